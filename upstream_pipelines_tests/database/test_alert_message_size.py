"""How many alerts a message carries: a webhook's body stays small, however many there are to tell."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from upstream_pipelines.alerts.notices import DriftNotice
from upstream_pipelines.alerts.store import conservation, sync_channels, write_drift_alerts
from upstream_pipelines.alerts.timing import MOST_IN_A_WEBHOOK
from upstream_pipelines.customers.store import create_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.delivery import sending
from upstream_pipelines.delivery.channels import EmailChannel, WebhookChannel
from upstream_pipelines.delivery.outcome import Outcome
from upstream_pipelines.delivery.worker import deliver_due
from upstream_pipelines.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOOK = WebhookChannel(kind="webhook", name="hook", url="https://example.org/hook")
OFFICE = EmailChannel(kind="email", name="office", recipients=("a@example.org",))
# Four times what a look usually has to say of an event (4 kB).
LARGE = {"parts": [{"code": f"CODE{number}", "share": 0.123456789, "rate": 0.987654321} for number in range(250)]}


@pytest.fixture
def acme(pipeline: Connection) -> int:
    customer_id = create_customer(pipeline, "acme", "Acme")[0].customer_id
    sync_channels(pipeline, customer_id, [HOOK, OFFICE])
    return customer_id


def _tell(conn: Connection, customer: int, count: int, at: datetime) -> None:
    notices = [
        DriftNotice(
            event_id=uuid.uuid4(), notice="open", payer=f"Payer {at:%S} {number}", cpt_group="ALL", signal="denial_rate",
            direction="worsening", severity=0.5, effect=0.05, baseline=0.1, current=0.15, n_baseline=5000, n_current=900,
            maturity=0.9, p_value=1e-5, q_value=1e-4, as_of=date(2026, 5, 1), change_date=None, headline="More denials",
            sentences=("It denies more.",), facts=(("Before", "10 %"),), contributions=LARGE, chart_png=b"\0" * 40_000,
        )
        for number in range(count)
    ]  # fmt: skip
    with conn.transaction():
        assert write_drift_alerts(conn, customer, notices, at) == count


def _carried(conn: Connection, channel: str) -> Sequence[int]:
    rows = conn.execute(
        """SELECT count(*) FROM delivery_alerts AS l JOIN alert_channels AS c USING (customer_id, channel_id)
            WHERE c.name = %s GROUP BY l.delivery_id ORDER BY 1""",
        (channel,),
    ).fetchall()
    return [row[0] for row in rows]


def test_a_webhook_carries_fifty_alerts_at_most_and_the_rest_goes_into_further_messages(
    pipeline: Connection, acme: int, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[str] = []

    def take(*_: Any, payload: dict[str, Any], **__: Any) -> Outcome:
        bodies.append(json.dumps(payload))
        return Outcome("sent", "accepted", 200)

    monkeypatch.setattr(sending, "send_webhook", take)
    monkeypatch.setattr(sending, "send_email", lambda *_, **__: Outcome("sent", "accepted"))
    _tell(pipeline, acme, 2 * MOST_IN_A_WEBHOOK + 20, NOW)
    assert _carried(pipeline, "hook") == [20, MOST_IN_A_WEBHOOK, MOST_IN_A_WEBHOOK]
    assert _carried(pipeline, "office") == [2 * MOST_IN_A_WEBHOOK + 20]
    # What comes before they leave fills the one that has room, and goes on in another.
    _tell(pipeline, acme, MOST_IN_A_WEBHOOK, NOW + timedelta(seconds=10))
    assert _carried(pipeline, "hook") == [20, *[MOST_IN_A_WEBHOOK] * 3]
    counts = conservation(pipeline, acme)
    assert (counts["missing_places"], counts["unexpected_places"], counts["empty_deliveries"]) == (0, 0, 0)
    assert deliver_due(settings, clock=lambda: NOW + timedelta(minutes=1)).sent == 5
    told = [one["data"]["event_id"] for body in bodies for one in json.loads(body)["data"]["alerts"]]
    assert len(told) == len(set(told)) == 3 * MOST_IN_A_WEBHOOK + 20
    assert max(len(body) for body in bodies) < 1_000_000
