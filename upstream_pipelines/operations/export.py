"""All that one customer owns, as CSV files for other programs. Not here: backups (backup.py), files for people.

Text stays as it is: what a spreadsheet would take for a formula is not guarded, since a program that reads it back must find
what was stored. Secrets are never among it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from psycopg import sql

from upstream_pipelines.customers.audit import Actor, record
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.db.engine import Connection, standing_still
from upstream_pipelines.db.migrate import head_revision
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.errors import ConflictError
from upstream_pipelines.operations.archive import create_file

QUERIES = load_queries(__package__)

# Each table with a customer's rows is in one of these two: a test asks.
EXPORTED = (
    "alert_channels",
    "alert_feedback",
    "alert_rules",
    "alert_silences",
    "alerts",
    "audit_log",
    "claim_history",
    "claims",
    "customers",
    "deliveries",
    "delivery_alerts",
    "delivery_attempts",
    "drift_acceptances",
    "drift_events",
    "drift_looks",
    "drift_placebo",
    "drift_results",
    "ingestion_tokens",
    "members",
    "missed_uploads",
    "payer_activity",
    "payer_codes",
    "payer_prices",
    "quality_findings",
    "quality_reports",
    "received_lines",
    "rejected_rows",
    "report_files",
    "report_runs",
    "upload_measures",
    "upload_runs",
    "uploads",
    "webhook_inbox",
)
LEFT_OUT: Mapping[str, str] = {
    "kept_answers": "answers given again for an Idempotency-Key; what was done is in the other tables",
    "touched_days": "days that wait to be counted again; counted, they are in payer_activity",
}
# Columns of another table, by its key: a member is known to the customer by the e-mail, not by the id.
ADDED: Mapping[str, tuple[str, str, str]] = {"members": ("people", "person_id", "email")}
# Columns that are left out of an exported table, and why.
WITHHELD: Mapping[str, Mapping[str, str]] = {
    "ingestion_tokens": {"token_sha256": "tells a guessed token"},
    "members": {"invitation_sha256": "the same"},
    "alert_channels": {
        "secret": "signs webhooks, or signs in at Slack",
        "previous_secret": "the same",
        "secret_last_four": "the end of it",
    },
}


@dataclass(frozen=True)
class ExportedTable:
    """One CSV file with a header: its rows, bytes and SHA-256 (hexadecimal)."""

    table: str
    rows: int
    bytes: int
    sha256: str


def export_customer(conn: Connection, actor: Actor, customer: Customer, folder: Path) -> list[ExportedTable]:
    """Write a file a table, all of one moment, and a manifest into a new folder that this account alone can read.

    The manifest comes last: a folder without one is an export that did not come to its end. The trail has the act before
    anything is written: what was copied cannot be taken back.

    Raises:
        ConflictError: the folder holds something.
    """
    folder = folder.expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConflictError(f"{folder} is there already and not empty. Name a new folder for the export.")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    record(conn, actor, "customer.exported", ("customer", customer.slug), customer_id=customer.customer_id)
    with standing_still(conn):
        tables = [_write(conn, customer.customer_id, table, folder / f"{table}.csv") for table in EXPORTED]
    manifest = {
        "customer": customer.slug,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": head_revision(),
        "format": "CSV (RFC 4180), UTF-8, header; empty is null, quoted empty is empty text; bytes as \\x hexadecimal",
        "tables": {one.table: {"rows": one.rows, "bytes": one.bytes, "sha256": one.sha256} for one in tables},
        "left_out": dict(LEFT_OUT),
        "withheld_columns": {table: dict(columns) for table, columns in WITHHELD.items()},
    }
    with create_file(folder / "manifest.json") as file:
        file.write((json.dumps(manifest, indent=1) + "\n").encode())
    return tables


def _write(conn: Connection, customer_id: int, table: str, target: Path) -> ExportedTable:
    names = [row[0] for row in conn.execute(QUERIES.columns_of_table, {"table": table}).fetchall()]
    kept = [sql.Identifier("t", name) for name in names if name not in WITHHELD.get(table, {})]
    joined: sql.Composable = sql.SQL("")
    if table in ADDED:
        other, key, column = ADDED[table]
        kept.append(sql.Identifier("o", column))
        joined = sql.SQL(" LEFT JOIN {} AS o USING ({})").format(sql.Identifier(other), sql.Identifier(key))
    statement = sql.SQL(
        "COPY (SELECT {} FROM {} AS t{} WHERE t.customer_id = {}) TO STDOUT (FORMAT csv, HEADER)"
    ).format(sql.SQL(", ").join(kept), sql.Identifier(table), joined, sql.Literal(customer_id))
    digest, size = hashlib.sha256(), 0
    with conn.cursor() as cursor, create_file(target) as file:
        with cursor.copy(statement) as copy:
            for block in copy:
                file.write(block)
                digest.update(block)
                size += len(block)
        rows = cursor.rowcount
    return ExportedTable(table, rows, size, digest.hexdigest())
