"""Retention: what is kept for how many days, and taking away what is older. Not here: Dagster's own logs (defs/cleaning.py).

Kept for ever: claims, their history and what they were received as (claims can be built again from it, and each stored value
traced to its file and row), quality reports, activity, looks, events, alerts and judgements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from upstream_pipelines.customers.idempotency import KEPT_DAYS
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.ingest.landing import delete_folder, left_alone
from upstream_pipelines.settings import Settings

QUERIES = load_queries(__package__)

# Rows of a statement, which is a transaction: a tenth of a second, so that nothing waits for one.
BATCH_ROWS = 10_000
# Files that were written and never registered, because the API was killed between: no request takes so long.
_UNREGISTERED_DAYS = 1
# A file of a report is some 50 rows of PostgreSQL's own, of 2 kB each.
_BATCH_FILES = 200


# Customers that a message names: enough to begin with, where a whole disk is out of reach.
_NAMED = 5


class FilesLeftError(UpstreamError):
    """Of some files it is not known whether they are old, or they could not be deleted; all else was done."""

    code = "files_left"


@dataclass(frozen=True)
class Cleaned:
    """One kind: after how many days it goes (0: never), and how many were older; they are gone unless it was a dry run."""

    kind: str
    days: int
    older: int


@dataclass(frozen=True)
class Left:
    """What the landing zone kept from being cleaned up, by the customer's slug: folders of old files that could not be deleted, and
    folders that could not be read, of which nobody knows what lies in them.
    """

    undeleted: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def text(self) -> str:
        """What to do about it; empty where there is nothing."""
        told = []
        if self.unread:
            told.append(
                f"{self.unread.total()} folders of the landing zone could not be read, so that old files in them were neither "
                f"counted nor deleted (`.uploads`, or folders in it, of {_first(self.unread)}). Let this account read them; "
                "a file of that name is to be taken away."
            )
        if self.undeleted:
            told.append(
                f"{self.undeleted.total()} files of the landing zone could not be deleted (of {_first(self.undeleted)}). Let this "
                "account write there."
            )
        return " ".join(told)

    @property
    def counts(self) -> dict[str, int]:
        """The same for the trail and for a run: those that are none are not in it."""
        counted = {"files not deleted": self.undeleted.total(), "folders not read": self.unread.total()}
        return {kind: count for kind, count in counted.items() if count}

    def require_none(self) -> None:
        """For the end, when what was done is told.

        Raises:
            FilesLeftError: something was left.
        """
        if self.text:
            raise FilesLeftError(f"{self.text} All else was done. Then run `upstream cleanup` again.")


def _first(slugs: Counter[str]) -> str:
    named = ", ".join(sorted(slugs)[:_NAMED])
    return f"{named} and {len(slugs) - _NAMED} more customers" if len(slugs) > _NAMED else named


@dataclass(frozen=True)
class _Rows:
    kind: str
    setting: str | int
    count: LiteralString
    delete: LiteralString
    at_once: int = BATCH_ROWS


_ROWS = (
    _Rows("rejected rows", "retain_rejected_rows_days", QUERIES.count_rejected_rows, QUERIES.delete_rejected_rows),
    _Rows(
        "webhook bodies", "retain_webhook_bodies_days", QUERIES.count_webhook_bodies, QUERIES.delete_webhook_bodies
    ),
    _Rows(
        "messages with their attempts",
        "retain_deliveries_days",
        QUERIES.count_deliveries,
        QUERIES.delete_deliveries,
    ),
    # No setting: it is promised.
    _Rows("answers kept for idempotency keys", KEPT_DAYS, QUERIES.count_kept_answers, QUERIES.delete_kept_answers),
    _Rows(
        "files of reports",
        "retain_reports_days",
        QUERIES.count_report_files,
        QUERIES.delete_report_files,
        _BATCH_FILES,
    ),
    _Rows("expired tokens", "retain_tokens_days", QUERIES.count_tokens, QUERIES.delete_tokens),
    _Rows("ended log-ins", "retain_log_ins_days", QUERIES.count_log_ins, QUERIES.delete_log_ins),
    _Rows("expired invitations", "retain_log_ins_days", QUERIES.count_invitations, QUERIES.delete_invitations),
)


def oldest_kept(now: datetime, days: int) -> datetime | None:
    """What is older goes; None where nothing does."""
    return now - timedelta(days=days) if days else None


def clean_up(
    conn: Connection, settings: Settings, now: datetime, *, dry_run: bool = False
) -> tuple[list[Cleaned], Left]:
    """Delete what is older than the settings keep it, in batches; killed, the next call goes on. `dry_run`: count it.

    Returns: what was done, to be told in any case, and what could not be (`Left.require_none`).
    """
    cleaned, left = [], Left()
    for rows in _ROWS:
        days = rows.setting if isinstance(rows.setting, int) else getattr(settings, rows.setting)
        before = oldest_kept(now, days)
        older = 0
        if before is not None:
            older = _count(conn, rows.count, before) if dry_run else _delete(conn, rows, before)
        cleaned.append(Cleaned(rows.kind, days, older))
    # After their invitations.
    before = oldest_kept(now, settings.retain_people_days)
    people = 0
    if before is not None:
        people = _count(conn, QUERIES.count_people, before) if dry_run else _delete_people(conn, before)
    cleaned.append(Cleaned("people who left", settings.retain_people_days, people))
    before = oldest_kept(now, settings.retain_files_days)
    files = 0
    if before is not None:
        files = (
            _count(conn, QUERIES.count_files, before) if dry_run else _delete_files(conn, settings, before, left)
        )
    cleaned.append(Cleaned("files that were read", settings.retain_files_days, files))
    strays = _delete_strays(conn, settings, now - timedelta(days=_UNREGISTERED_DAYS), left, dry_run=dry_run)
    return [*cleaned, Cleaned("files of no upload", _UNREGISTERED_DAYS, strays)], left


def in_batches(delete: Callable[[], int], batch: int) -> int:
    """Call it until it deletes less than a batch. Returns: how many in all."""
    deleted = 0
    while True:
        count = delete()
        deleted += count
        if count < batch:
            return deleted


def _count(conn: Connection, statement: LiteralString, before: datetime) -> int:
    row = conn.execute(statement, {"before": before}).fetchone()
    assert row is not None
    return int(row[0])


def _delete(conn: Connection, rows: _Rows, before: datetime) -> int:
    batch = min(rows.at_once, BATCH_ROWS)
    parameters = {"before": before, "limit": batch}
    return in_batches(lambda: conn.execute(rows.delete, parameters).rowcount, batch)


def _delete_people(conn: Connection, before: datetime) -> int:
    def batch() -> int:
        with conn.transaction():
            # Locked, then looked at again: who is invited at this moment stays.
            found = conn.execute(QUERIES.lock_people, {"before": before, "limit": BATCH_ROWS}).fetchall()
            return conn.execute(QUERIES.delete_people, {"person_ids": [row[0] for row in found]}).rowcount

    return in_batches(batch, BATCH_ROWS)


def _delete_files(conn: Connection, settings: Settings, before: datetime, left: Left) -> int:
    """How many were deleted; those that could not be are added to `left`."""
    deleted = 0
    after: dict[str, Any] = {"customer_id": 0, "upload_id": UUID(int=0)}
    while True:
        batch = conn.execute(QUERIES.files_put_away, {**after, "before": before, "limit": BATCH_ROWS}).fetchall()
        for customer_id, upload_id, slug in batch:
            after = {"customer_id": customer_id, "upload_id": upload_id}
            try:
                # By its id, not by what is noted: the landing zone may have been moved.
                for place in (".done", ".failed"):
                    delete_folder(settings, slug, place, str(upload_id))
            except OSError:
                left.undeleted[slug] += 1
                continue
            conn.execute(QUERIES.forget_file, after)
            deleted += 1
        if len(batch) < BATCH_ROWS:
            return deleted


def _delete_strays(conn: Connection, settings: Settings, before: datetime, left: Left, *, dry_run: bool) -> int:
    """The same of folders in `.uploads` that belong to no upload; in a dry run nothing is deleted."""
    deleted = 0
    for customer_id, slug in conn.execute(QUERIES.customers_with_folders).fetchall():
        try:
            ids, unread = left_alone(settings, slug, before)
        except OSError:
            left.unread[slug] += 1
            continue
        if unread:
            left.unread[slug] += unread
        known = conn.execute(QUERIES.known_uploads, {"customer_id": customer_id, "upload_ids": ids}).fetchall()
        for upload_id in set(ids) - {row[0] for row in known}:
            try:
                if not dry_run:
                    delete_folder(settings, slug, ".uploads", str(upload_id))
            except OSError:
                left.undeleted[slug] += 1
                continue
            deleted += 1
    return deleted
