"""An event's explanation and money: true to what was put in, adding up, and the same when computed again."""

from __future__ import annotations

import json
import stat
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import URL
from typer.testing import CliRunner

from upstream_pipelines.alerts.content import Alert, build_message
from upstream_pipelines.claims.merge import payer_summary
from upstream_pipelines.cli.main import app
from upstream_pipelines.customers.configuration import parse_configuration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection, connect, dispose_engines
from upstream_pipelines.defs.drift_tables import drift_metadata
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.drift.breakdown import QUERIES, periods_of, read_breakdown
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.explaining import event_lines, find_event, is_explained
from upstream_pipelines.drift.explanation import describe
from upstream_pipelines.drift.money import money_of
from upstream_pipelines.drift.recompute import recompute
from upstream_pipelines.drift.settings import METHOD_VERSION, DriftSettings
from upstream_pipelines.drift.store import Show, Subject, look
from upstream_pipelines.errors import ConfigurationError, NotFoundError, UpstreamError
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

TODAY = date(2026, 6, 1)
CHANGE = TODAY - timedelta(days=60)
GROUPS = {"97110": "Therapy", "992*": "Visits"}


def all_paid() -> pd.DataFrame:
    """Two payers whose behaviour does not change."""
    claims = synthetic_claims(3, TODAY, 260)
    return claims[claims["payer"].isin(["Aetna", "Cigna"])].reset_index(drop=True)


def lines_in_the_end() -> pd.DataFrame:
    """Since `CHANGE` Aetna denies half of the therapy lines at North that it used to pay, for authorization."""
    rng = np.random.default_rng(11)
    claims = all_paid()
    claims["facility"] = rng.choice(["North", "South"], len(claims))
    hit = (
        (claims["payer"] == "Aetna")
        & claims["cpt"].isin(["97110", "99213"])
        & (claims["facility"] == "North")
        & (claims["outcome"] == "PAID")
        & (claims["decided_date"] >= pd.Timestamp(CHANGE))
        & (rng.random(len(claims)) < 0.6)
    )
    # Denials take a fifth longer than payments in this generator, and go on doing so.
    claims.loc[hit, "decided_date"] += (claims["decided_date"] - claims["submitted_date"])[hit] * 0.2
    claims["decided_date"] = claims["decided_date"].dt.floor("D")
    claims.loc[hit, ["outcome", "denial_reason_code"]] = ["DENIED", "CO-197"]
    claims.loc[hit, "allowed_amount"] = np.nan
    claims.loc[hit, "paid_amount"] = 0.0
    return claims


def send(conn: Connection, settings: Settings, customer: Customer, claims: pd.DataFrame, file: Path) -> None:
    file.write_text(claims.to_csv(index=False, date_format="%Y-%m-%d"))
    send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    refresh_activity(conn, customer.customer_id)


def load(conn: Connection, settings: Settings) -> None:
    """Acme with its lines loaded, as they would have been on the day before `TODAY`."""
    made, _ = create_customer(conn, "acme", "Acme")
    asked = {"channels": [{"kind": "email", "name": "m", "recipients": ["a@b.example"]}], "cpt_groups": GROUPS}
    configure_customer(conn, made, parse_configuration(asked, "t"))
    made = get_customer(conn, "acme")
    settings.home.mkdir()
    send(conn, settings, made, as_known_on(lines_in_the_end(), TODAY), settings.home / "claims.csv")
    # What came on a customer's first day is its history; what the tests send later came later.
    conn.execute("UPDATE uploads SET received_at = '2026-05-31 12:00+00'")
    conn.execute("UPDATE claims SET first_seen_at = '2026-05-31 12:00+00'")
    conn.execute("UPDATE claims SET decision_seen_at = first_seen_at WHERE decision_seen_at IS NOT NULL")


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


def open_event(conn: Connection, customer: Customer) -> dict[str, Any]:
    """The row of the denial event that the look of `TODAY` opens."""
    made = look(conn, Subject(customer.customer_id, "Acme", DriftSettings()), [TODAY])
    rows = made.rows[(made.rows["state"] == "open") & (made.rows["signal"] == "denial_rate")]
    assert len(rows) == 1
    assert made.pictures[str(rows.iloc[0]["event_id"])].startswith(b"\x89PNG")
    return {str(name): value for name, value in rows.iloc[0].to_dict().items()}


def test_a_sweep_draws_where_there_is_something_to_see(pipeline: Connection) -> None:
    calm, _ = create_customer(pipeline, "calm", "Calm")
    acme = get_customer(pipeline, "acme")

    def shown(customer: Customer, show: Show, day: date = TODAY) -> tuple[str, int]:
        made = look(pipeline, Subject(customer.customer_id, "Name", DriftSettings()), [day], show=show)
        return made.shown, len(made.pictures)

    assert [shown(calm, show)[0] for show in ("always", "events", "news")] == ["charts", "tables", "nothing"]
    # Two events open, which is news; the day after they are still live, which is none.
    assert shown(acme, "news") == ("charts", 2)
    assert shown(acme, "news", TODAY + timedelta(days=1)) == ("nothing", 0)
    assert shown(acme, "events", TODAY + timedelta(days=1)) == ("charts", 2)


@pytest.fixture
def customer(pipeline: Connection) -> Customer:
    return get_customer(pipeline, "acme")


@dataclass(frozen=True)
class Shared:
    """A database with an event, which several tests read and none changes."""

    settings: Settings
    customer_id: int
    row: dict[str, Any]


@pytest.fixture(scope="module")
def shared(server_url: URL, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    name, folder = f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("shared")
    with psycopg.connect(server_url.render_as_string(hide_password=False), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        url = server_url.set(database=name).render_as_string(hide_password=False)
        settings = Settings(home=folder / "home", database_url=SecretStr(url), landing_quiet_seconds=0)
        with connect(settings, "upstream_pipeline") as conn:
            customer = get_customer(conn, "acme")
            row = open_event(conn, customer)
        yield Shared(settings, customer.customer_id, row)
        dispose_engines()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def opened(shared: Shared) -> dict[str, Any]:
    return shared.row


def test_every_list_of_contributions_adds_up_to_the_change(opened: dict[str, Any]) -> None:
    told = opened["detail"]["explanation"]
    assert told["since"] - told["before"] == pytest.approx(told["change"], abs=1e-12)
    assert sum(told["parts"].values()) == pytest.approx(told["change"], abs=1e-12)
    for dimension in ("cpt_group", "facility", "denial_code"):
        total = sum(entry["total"] for entry in told["by"][dimension])
        assert total + told["parts"]["maturity"] == pytest.approx(told["change"], abs=1e-12), dimension


def test_the_largest_contributors_are_those_that_were_put_in(opened: dict[str, Any]) -> None:
    told = opened["detail"]["explanation"]
    assert told["by"]["facility"][0]["name"] == "North"
    assert told["by"]["facility"][0]["total"] > 0.9 * told["change"]
    assert told["by"]["denial_code"][0]["name"] == "CO-197"
    assert {entry["name"] for entry in told["by"]["cpt_group"][:2]} == {"Therapy", "Visits"}
    assert told["parts"]["rate"] > 0.9 * told["change"]


def test_the_money_is_what_the_denied_lines_would_have_been_allowed(opened: dict[str, Any]) -> None:
    """Worked out from the lines themselves, before they were denied."""
    money = opened["detail"]["money"]
    whole = all_paid()
    now = lines_in_the_end()
    since = date.fromisoformat(opened["detail"]["change_date"])
    lost = (
        (whole["outcome"] == "PAID")
        & (now["outcome"] == "DENIED")
        & (now["decided_date"] >= pd.Timestamp(since))
        & (now["decided_date"] < pd.Timestamp(TODAY))
    )
    a_month = whole.loc[lost, "allowed_amount"].sum() / (TODAY - since).days * 30.44
    assert money["low"] < a_month < money["high"]
    assert money["per_month"] == pytest.approx(a_month, rel=0.3)
    assert (money["lost"], money["delayed"], money["gain"]) == (money["per_month"], None, False)
    assert "gross" in money["basis"]


def appealed(claims: pd.DataFrame, every: int) -> pd.DataFrame:
    """Every so many of Aetna's denials of any age, paid on appeal: the lines as they come again."""
    denials = claims[(claims["outcome"] == "DENIED") & (claims["payer"] == "Aetna")]
    won = denials.iloc[::every]
    return won.assign(outcome="PAID", denial_reason_code=None, allowed_amount=80.0, paid_amount=64.0)


def test_the_money_is_net_of_the_share_of_denials_that_were_paid_later(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    """A third of all denials is paid on appeal, and a third is what is said: of the young ones too few have had time to
    stand, and those that were paid already would make it a half.
    """
    claims = as_known_on(lines_in_the_end(), TODAY)
    paid = appealed(claims, 3)
    send(pipeline, settings, customer, paid, tmp_path / "appeals.csv")
    pipeline.execute("UPDATE claims SET decision_seen_at = '2026-06-10' WHERE decision_seen_at > '2026-06-10'")
    asked = {"customer_id": customer.customer_id, "payer": "Aetna", "stood_days": 90}
    before = pipeline.execute(QUERIES.denial_outcomes, {**asked, "as_of": TODAY}).fetchone()
    assert before is not None
    assert before[1] > 0
    assert before[2] == 0
    made = look(pipeline, Subject(customer.customer_id, "Acme", DriftSettings()), [TODAY + timedelta(days=10)])
    row = made.rows[made.rows["state"] == "open"].iloc[0]
    as_of = TODAY + timedelta(days=11)
    after = pipeline.execute(QUERIES.denial_outcomes, {**asked, "as_of": as_of}).fetchone()
    old = pd.Timestamp(as_of) - pd.Timedelta(days=90)
    denied = claims[(claims["outcome"] == "DENIED") & (claims["payer"] == "Aetna")]
    assert after is not None
    assert after[1:] == ((denied["decided_date"] < old).sum(), (paid["decided_date"] < old).sum())
    assert after[2] / after[1] == pytest.approx(1 / 3, abs=0.05)
    assert f"({after[2]} of {after[1]})" in _explained_on(pipeline, customer, as_of, row)


def _explained_on(conn: Connection, customer: Customer, as_of: date, row: Any) -> str:
    """What the money of a row would rest on, were it looked at that day."""
    periods = periods_of(row["detail"], 180)
    breakdown = read_breakdown(conn, customer.customer_id, "Aetna", periods, as_of, with_exposure=False)
    money = money_of(breakdown, row)
    assert money is not None
    gross = money_of(replace(breakdown, overturned=(0, 0)), row)
    assert gross is not None
    with_outcome, overturned = breakdown.overturned
    assert money["per_month"] == pytest.approx(gross["per_month"] * (1 - overturned / with_outcome))
    return str(money["basis"])


def test_a_later_load_changes_nothing_of_an_event_computed_again(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    opened = open_event(pipeline, customer)
    stored = find_event(pipeline, customer.customer_id, str(opened["event_id"])[:8])
    assert recompute(pipeline, customer.customer_id, stored).differences == {}
    # What was pending is decided, and new lines arrive.
    later = as_known_on(lines_in_the_end(), TODAY + timedelta(days=40))
    send(pipeline, settings, customer, later, tmp_path / "later.csv")
    again = recompute(pipeline, customer.customer_id, stored)
    assert again.differences == {}
    # A line that was known then is corrected: it comes out otherwise, and it is said in what.
    pipeline.execute("UPDATE claims SET facility = 'West' WHERE facility = 'North'")
    differences = recompute(pipeline, customer.customer_id, stored).differences
    assert differences
    assert all(path.startswith("detail.explanation.by.facility") for path in differences)


def test_an_appeal_won_after_an_event_opened_changes_nothing_of_its_money(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    """Old denials of which some were paid before the look, some after it, and some of these denied once more."""
    claims = as_known_on(lines_in_the_end(), TODAY)
    send(pipeline, settings, customer, appealed(claims, 5), tmp_path / "before.csv")
    # What the history holds came before the look as well; decisions seen since then came on its eve.
    pipeline.execute(
        "UPDATE claims SET decision_seen_at = '2026-05-31 12:00+00' WHERE decision_seen_at IS NOT NULL"
    )
    opened = open_event(pipeline, customer)
    stored = find_event(pipeline, customer.customer_id, str(opened["event_id"]))
    assert "paid later" in opened["detail"]["money"]["basis"]
    later = appealed(claims, 2)
    send(pipeline, settings, customer, later, tmp_path / "after.csv")
    send(pipeline, settings, customer, later.assign(outcome="PENDING").iloc[::3], tmp_path / "open-again.csv")
    assert recompute(pipeline, customer.customer_id, stored).differences == {}


def test_a_patients_name_in_the_facility_reaches_no_message_and_no_metadata(
    pipeline: Connection, customer: Customer
) -> None:
    """The facility with all of the change is one that a source filled with its patients; each under many lines, but for
    some under a bare name.
    """
    pipeline.execute(
        """UPDATE claims SET facility = (ARRAY['CANARY, JANE', 'Jane Canary 01/02/1980', 'Patient: Jane Canary',
                                               'pt 000123456 canary', 'CANARY 123456789', 'Dr. John Canary'])
                                        [1 + source_row_number %% 6]
            WHERE facility = 'North'""",
        (),
    )
    pipeline.execute(
        """UPDATE claims SET facility = 'CANARY JOHN ' || chr(65 + (source_row_number %% 20)::integer)
            WHERE claim_key IN (SELECT claim_key FROM claims WHERE facility LIKE '%%anary%%' ORDER BY claim_key LIMIT 200)""",
        (),
    )
    made = look(pipeline, Subject(customer.customer_id, "Acme", DriftSettings()), [TODAY])
    told = [row["detail"]["explanation"] for row in made.rows.to_dict("records") if is_explained(row)]
    assert {entry["name"] for entry in told[0]["by"]["facility"]} == {"withheld names", "South"}
    total = sum(entry["total"] for entry in told[0]["by"]["facility"])
    assert total + told[0]["parts"]["maturity"] == pytest.approx(told[0]["change"], abs=1e-12)
    kept = pipeline.execute("SELECT content FROM alerts").fetchall()
    messages = [
        build_message(
            [Alert({**content, "customer": {"slug": "acme", "name": "Acme"}}, "2026-06-01T00:00:00+00:00")]
        )
        for (content,) in kept
    ]
    assert any("withheld names" in message.text for message in messages)
    everything = (
        made.rows.to_csv(), kept, messages, drift_metadata(customer, made),
        pipeline.execute("SELECT detail FROM drift_results").fetchall(),
    )  # fmt: skip
    assert "canary" not in repr(everything).casefold()


def test_a_patients_name_as_the_payer_of_few_lines_reaches_no_metadata(
    pipeline: Connection, settings: Settings, customer: Customer, tmp_path: Path
) -> None:
    """Bare names, which no pattern tells from a plan's; eleven lines make one a payer."""
    claims = all_paid()
    patients = claims.iloc[:14].assign(claim_id=[f"P{number}" for number in range(14)])
    patients["payer"] = ["Jane Canary"] * 10 + ["canary john", "5558675309", "Zz Canary", "CANARY J"]
    send(pipeline, settings, customer, pd.concat([claims, patients]), tmp_path / "patients.csv")
    # They came today, by the database's clock.
    made = look(
        pipeline,
        Subject(customer.customer_id, "Acme", DriftSettings()),
        [datetime.now(UTC).date() + timedelta(days=1)],
    )
    assert "Jane Canary" in set(made.figures["payer"]), "the look knows them"
    drift, claims_shown = (
        repr(shown).replace("\\", "")
        for shown in (drift_metadata(customer, made), payer_summary(pipeline, customer.customer_id))
    )
    for shown in (drift, claims_shown):
        assert "canary" not in shown.casefold()
        assert "5558675309" not in shown
        assert "(5 payers with fewer than 11 lines)" in shown
    assert payer_summary(pipeline, customer.customer_id)[-1][1] == 14


def test_the_lines_behind_an_event_are_those_it_counts(shared: Shared, opened: dict[str, Any]) -> None:
    with connect(shared.settings, "upstream_pipeline") as conn:
        event = find_event(conn, shared.customer_id, str(opened["event_id"]))
        rows = list(event_lines(conn, shared.customer_id, event))
    assert {row["outcome"] for row in rows} == {"DENIED"}
    claims = as_known_on(lines_in_the_end(), TODAY)
    since = pd.Timestamp(opened["detail"]["change_date"])
    day = claims["decided_date" if opened["detail"]["by"] == "decision" else "submitted_date"]
    denied = claims[(claims["payer"] == "Aetna") & (claims["outcome"] == "DENIED") & (day >= since)]
    assert {(row["claim_id"], row["line_number"]) for row in rows} == set(
        zip(denied["claim_id"], denied["line_number"], strict=True)
    )


def test_an_event_is_found_by_a_beginning_that_is_its_own_and_by_no_pattern(shared: Shared) -> None:
    begins = str(shared.row["event_id"])[:8]
    with connect(shared.settings, "upstream_pipeline") as conn:
        assert find_event(conn, shared.customer_id, begins).row["payer"] == "Aetna"
        for wrong in ("%", "________", "no-such"):
            with pytest.raises(NotFoundError):
                find_event(conn, shared.customer_id, wrong)
        for none in ("", "  "):
            with pytest.raises(ConfigurationError, match="`upstream drift list acme` shows them"):
                find_event(conn, shared.customer_id, none, slug="acme")


def test_the_commands_tell_an_event_and_write_its_lines_for_one_account_only(
    shared: Shared, opened: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = shared.settings
    monkeypatch.setenv("UPSTREAM_HOME", str(settings.home))
    assert settings.database_url is not None
    monkeypatch.setenv("UPSTREAM_DATABASE_URL", settings.database_url.get_secret_value())
    event, runner = str(opened["event_id"])[:8], CliRunner()
    document = json.loads(runner.invoke(app, ["drift", "explain", "acme", event, "--json"]).stdout)
    assert document["opened_with"]["method_version"] == METHOD_VERSION
    assert document["opened_with"]["settings"] == DriftSettings().model_dump(mode="json")
    told = runner.invoke(app, ["drift", "explain", "acme", event, "--recompute"], catch_exceptions=False)
    assert told.exit_code == 0
    for part in ("Aetna denies more", "This costs about $", "North", "CO-197", "the same event and explanation"):
        assert part in told.output, part
    assert "gross:" in told.output
    assert "age of the lines" in told.output
    assert "".join(describe(document["row"]).split()) in "".join(told.output.split()), "the words of the page"
    file = tmp_path / "lines.csv"
    assert runner.invoke(app, ["drift", "lines", "acme", event, "--csv", str(file)]).exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text().splitlines()) > 100
    with pytest.raises(UpstreamError, match="there already"):
        runner.invoke(app, ["drift", "lines", "acme", event, "--csv", str(file)], catch_exceptions=False)
    assert len(runner.invoke(app, ["drift", "lines", "acme", event]).output.splitlines()) > 100
    with connect(settings, "upstream_pipeline") as conn:
        acts = conn.execute("SELECT entity_id FROM audit_log WHERE action = 'claim_lines.exported'").fetchall()
    assert acts == [(str(opened["event_id"]),)] * 2, "what was refused is no act"
