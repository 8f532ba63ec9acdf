"""Runs the demonstration on the real platform and says whether the whole path happened.

Not here: the customers (story.py), the receivers (receivers.py) and what they leave (messages.py), the claims (generator.py).
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import requests
from dagster_graphql import DagsterGraphQLClient
from rich.text import Text
from upath import UPath

from upstream_pipelines.alerts.channel_changes import disable_channel
from upstream_pipelines.alerts.overview import channel_states
from upstream_pipelines.cli.output import err, out, print_table
from upstream_pipelines.cli.supervisor import Platform, running_platform, sole_copy
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.demo.messages import MessageFolder
from upstream_pipelines.demo.receivers import Receivers, customer_of, running_receivers
from upstream_pipelines.demo.story import LOOK_DAYS, DemoCustomer, batch, demo_customers, write_files
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.ingest.landing import customer_folder
from upstream_pipelines.operations.deletion import delete_rows
from upstream_pipelines.settings import Settings, read_settings

QUERIES = load_queries(__package__)
_STEP_SECONDS = 180.0  # of nothing to be seen, since the last moment a run had yet to begin
_LONGEST_STEP_SECONDS = 1200.0
_NOT_BEGUN = """query { runsOrError(filter: {statuses: [QUEUED, NOT_STARTED, STARTING]}, limit: 1) {
    ... on Runs { results { runId } } } }"""


class DemoError(UpstreamError):
    """A part of the path did not happen."""

    code = "demo_failed"


@dataclass
class _Demo:
    """What the steps share."""

    settings: Settings
    platform: Platform
    receivers: Receivers
    messages: MessageFolder
    customers: list[DemoCustomer]
    tokens: dict[str, str]
    today: date


def run_demo(settings: Settings) -> bool:
    """Run it all; returns whether every part of the path happened as it should."""
    started = time.monotonic()
    today = datetime.now(UTC).date()
    customers = demo_customers(today)
    messages = MessageFolder(settings.home / "demo-messages")
    with running_receivers(folder=messages) as receivers:
        # The receivers are on loopback, which senders refuse unless told; the platform's processes inherit it.
        os.environ |= {
            "UPSTREAM_SMTP_HOST": "127.0.0.1",
            "UPSTREAM_SMTP_PORT": str(receivers.smtp_port),
            "UPSTREAM_SMTP_SECURITY": "none",
            "UPSTREAM_SMTP_FROM": "alerts@upstream.example",
            "UPSTREAM_WEBHOOK_ALLOW_LOOPBACK": "true",
            "UPSTREAM_LANDING_QUIET_SECONDS": "1",
        }
        settings = read_settings()
        with sole_copy(settings):
            messages.begin()
            _say("database", "starting and migrating")
            migrate(settings)
            # Before the sensors run: what an earlier demonstration left must not be taken up.
            tokens = _sign_up(settings, customers, receivers)
            try:
                with running_platform(settings, lambda text: _say("platform", text)) as platform:
                    demo = _Demo(settings, platform, receivers, messages, customers, tokens, today)
                    _send(demo)
                    _await_uploads(demo)
                    _sweep(demo)
                    _await_deliveries(demo)
            finally:
                # Its receivers end with it, also where it was broken off.
                end_channels(settings, customers)
        return _summarise(demo, time.monotonic() - started)


def _say(stage: str, text: str) -> None:
    out.print(Text.assemble((f"{stage:>10}", "bold"), f"  {text}"))


def _forget_earlier(conn: Connection, slug: str) -> None:
    row = conn.execute(QUERIES.find_earlier, {"slug": slug}).fetchone()
    if row is not None:
        delete_rows(conn, row[0])
        conn.execute(QUERIES.forget_customer, {"customer_id": row[0]})


def _sign_up(settings: Settings, customers: list[DemoCustomer], receivers: Receivers) -> dict[str, str]:
    tokens = {}
    with connect(settings, "upstream_pipeline") as conn:
        for customer in customers:
            _forget_earlier(conn, customer.slug)
            _, tokens[customer.slug] = create_customer(conn, customer.slug, customer.name)
            base = f"http://127.0.0.1:{receivers.http_port}"
            file = parse_configuration(
                customer.configuration
                | {
                    # Failed runs too would count what a killed demonstration left behind.
                    "alert_rules": [{"name": "default", "kinds": ["drift"]}],
                    "channels": [
                        {
                            "kind": "email",
                            "name": "billing office",
                            "recipients": [f"billing@{customer.slug}.example"],
                        },
                        {"kind": "slack", "name": "slack", "webhook_url": f"{base}/slack/{customer.slug}"},
                        {"kind": "webhook", "name": "billing system", "url": f"{base}/hook/{customer.slug}"},
                    ],
                },
                customer.slug,
            )
            secrets = configure_customer(conn, get_customer(conn, customer.slug), file)
            receivers.received.secrets[customer.slug] = secrets["billing system"]
            folder = customer_folder(settings, customer.slug)
            _empty(folder)
            _say("customer", f"{customer.slug} ({customer.name}), with e-mail, Slack and webhook channels")
    return tokens


def _empty(folder: UPath) -> None:
    """Files that a killed demonstration left in the customer's folder."""
    for entry in folder.iterdir():
        if entry.is_file():
            entry.unlink()
        elif entry.name in {".uploads", ".done", ".failed"}:
            entry.fs.rm(entry.path, recursive=True)


def _send(demo: _Demo) -> None:
    for customer in demo.customers:
        folder = customer_folder(demo.settings, customer.slug)
        for path in write_files(customer, demo.today, folder):  # type: ignore[arg-type]
            _say("file", f"{customer.slug}: {path.name} dropped into the landing zone")
    _await(demo, "the files to be read", lambda: len(_finished(demo)) == 2 * len(demo.customers))
    for customer in (demo.customers[0], demo.customers[2]):
        body = json.dumps(batch(customer, demo.today)).encode()
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"http://{demo.settings.api_host}:{demo.settings.api_port}/api/v1/ingest/webhook/",
                data=body,
                headers={
                    "Authorization": f"Bearer {demo.tokens[customer.slug]}",
                    "Content-Type": "application/json",
                    "Idempotency-Key": f"demo-{customer.slug}-{demo.today}",
                },
                timeout=30,
            )
        if answer.status_code != 202:
            raise DemoError(f"The webhook answered {answer.status_code} instead of 202. Read the API's log.")
        _say("webhook", f"{customer.slug}: a batch of {len(body):,} bytes posted, answered 202")


def _finished(demo: _Demo) -> list[dict[str, Any]]:
    columns = (
        "slug",
        "source",
        "file",
        "status",
        "rows",
        "accepted",
        "rejected",
        "duplicates",
        "updated",
        "error",
    )
    with connect(demo.settings, "upstream_pipeline") as conn:
        rows = [
            dict(zip(columns, row, strict=True))
            for row in conn.execute(QUERIES.select_upload_progress, {}).fetchall()
        ]
    return [row for row in rows if row["status"] not in {"received", "processing"}]


def _await_uploads(demo: _Demo) -> None:
    expected = 2 * len(demo.customers) + 2
    _await(demo, "the batches to be read", lambda: len(_finished(demo)) == expected)
    failed = [row for row in _finished(demo) if row["status"] == "failed"]
    if failed:
        raise DemoError(f"{failed[0]['slug']}, {failed[0]['file']}: {failed[0]['error']}")
    rows = sum(row["rows"] for row in _finished(demo))
    _say("ingest", f"{expected} uploads with {rows:,} rows became claims, by the sensor and its runs")


def _sweep(demo: _Demo) -> None:
    """Ask the webserver for the job that the daily schedule asks for, over the last weeks."""
    client = DagsterGraphQLClient(demo.settings.ui_host, port_number=demo.settings.ui_port)
    first = demo.today - timedelta(days=LOOK_DAYS)
    _say("drift", f"daily looks from {first} to {demo.today}, through the sweep job")
    run_id = client.submit_job_execution(
        "drift_sweep",
        run_config={
            "ops": {
                "look_at_customers": {"config": {"as_of": demo.today.isoformat(), "from_day": first.isoformat()}}
            }
        },
    )
    _await(demo, "the sweep", lambda: client.get_run_status(run_id).value in {"SUCCESS", "FAILURE", "CANCELED"})
    if client.get_run_status(run_id).value != "SUCCESS":
        raise DemoError(
            f"The sweep failed: {demo.settings.ui_url}/runs/{run_id}. Run `upstream up` to look at it."
        )
    for slug, as_of, payer, signal, direction, baseline, current, *_ in _opened(demo):
        _say("event", f"{slug}: {payer}, {signal}, {direction}, {baseline:.3f} to {current:.3f}, opened {as_of}")


def _opened(demo: _Demo) -> list[tuple[Any, ...]]:
    with connect(demo.settings, "upstream_pipeline") as conn:
        return conn.execute(QUERIES.select_opened_events, {}).fetchall()


def _deliveries(demo: _Demo) -> list[tuple[Any, ...]]:
    with connect(demo.settings, "upstream_pipeline") as conn:
        return conn.execute(QUERIES.select_delivery_states, {}).fetchall()


def _await_deliveries(demo: _Demo) -> None:
    _await(
        demo, "the alerts to be delivered", lambda: all(row[2] in {"sent", "dead"} for row in _deliveries(demo))
    )
    got = demo.receivers.received
    _say(
        "alerts",
        f"{len(got.mails)} e-mails, {len(got.slack)} Slack messages, {len(got.webhooks)} signed webhooks arrived",
    )


def end_channels(settings: Settings, customers: Sequence[DemoCustomer]) -> None:
    """Switch the customers' channels off: their receivers end here. Left on, each later alert would fail, and `upstream doctor`
    would ask for a mail server that nobody misses.
    """
    with connect(settings, "upstream_pipeline") as conn:
        for customer in customers:
            customer_id = get_customer(conn, customer.slug).customer_id
            for channel in channel_states(conn, customer_id, datetime.now(UTC)):
                disable_channel(conn, customer_id, channel.channel_id)
    _say("channels", "switched off, as their receivers end with the demonstration")


def _await(demo: _Demo, what: str, done: Callable[[], bool]) -> None:
    begun = time.monotonic()
    end = begun + _STEP_SECONDS
    with err.status(f"waiting for {what} …"):
        while not done():
            demo.platform.watch()
            now = time.monotonic()
            if _runs_wait(demo):  # on a busy machine a run may take minutes to begin
                end = min(now + _STEP_SECONDS, begun + _LONGEST_STEP_SECONDS)
            if now > end:
                raise DemoError(
                    f"Waited {now - begun:.0f} s for {what} in vain. On a busy machine run it again later: it begins anew. "
                    f"`upstream doctor` says what does not work, {demo.settings.home / 'logs' / 'daemon.log'} why runs did "
                    "not begin."
                )
            time.sleep(0.5)


def _runs_wait(demo: _Demo) -> bool:
    """Whether a run is queued or starting; no where the webserver does not say."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                f"http://{demo.settings.ui_host}:{demo.settings.ui_port}/graphql",
                json={"query": _NOT_BEGUN},
                timeout=10,
            )
        return bool(answer.json()["data"]["runsOrError"].get("results"))
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return False


def _summarise(demo: _Demo, seconds: float) -> bool:
    uploads, opened, deliveries = _finished(demo), _opened(demo), _deliveries(demo)
    got = demo.receivers.received
    received = {
        "email": Counter(customer_of(mail) for mail in got.mails),
        "slack": Counter(message["customer"] for message in got.slack),
        "webhook": Counter(message["customer"] for message in got.webhooks),
    }
    rows, fine = [], got.refused == 0
    for customer in demo.customers:
        own = [upload for upload in uploads if upload["slug"] == customer.slug]
        found = [(payer, signal) for slug, _, payer, signal, *_ in opened if slug == customer.slug]
        sent = {
            kind: count for slug, kind, state, count in deliveries if slug == customer.slug and state == "sent"
        }
        arrived = {kind: received[kind][customer.slug] for kind in ("email", "slack", "webhook")}
        right = found == ([customer.expected] if customer.expected else [])
        right &= all(sent.get(kind, 0) == arrived[kind] for kind in arrived)
        right &= all(count > 0 for count in arrived.values()) == bool(customer.expected)
        right &= all(
            upload["rows"] == upload["accepted"] + upload["rejected"] + upload["duplicates"] for upload in own
        )
        fine &= right
        rows.append(
            (
                customer.slug,
                len(own),
                sum(upload["rows"] for upload in own),
                sum(upload["rejected"] for upload in own),
                sum(upload["updated"] for upload in own),
                "; ".join(f"{payer}: {signal}" for payer, signal in found) or "none",
                f"{customer.expected[0]}: {customer.expected[1]}" if customer.expected else "none",
                " / ".join(str(arrived[kind]) for kind in ("email", "slack", "webhook")),
                Text("as it should", style="green") if right else Text("not as it should", style="red"),
            )
        )
    print_table(
        f"Upstream demonstration, {seconds:.0f} s",
        (
            "customer",
            "uploads",
            "rows",
            "rejected",
            "updated",
            "found",
            "injected",
            "e-mail / Slack / webhook",
            "",
        ),
        rows,
    )
    out.print(f"To read what was sent, as its receivers got it: {demo.messages.path}", soft_wrap=True)
    out.print(f"To look around: make up, then the Dagster UI at {demo.settings.ui_url}")
    return fine
