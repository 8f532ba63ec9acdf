"""The pass over the claims that explains an event: the same sums as in pandas, of what was known on the day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.claims.sections import section_of
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.breakdown import (
    AGE_EDGES,
    EXPOSURE_KEYS,
    EXPOSURE_SUMS,
    KEYS,
    REACH_DAYS,
    SUMS,
    Breakdown,
    Periods,
    read_breakdown,
)
from upstream_pipelines.drift.contributions import explain
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.drift.scan import By
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

START, AS_OF = date(2025, 9, 1), date(2026, 5, 1)
CODES = ["CO-197", "CO-16", "CO-45", "N99", "said by phone", None]


def lines(seed: int = 4, count: int = 4000) -> pd.DataFrame:
    """Two payers, three groups of codes, two facilities and lines of none, every outcome, awkward amounts."""
    rng = np.random.default_rng(seed)
    submitted = pd.Timestamp(START) + pd.to_timedelta(rng.integers(0, 240, count), unit="D")
    decided = submitted + pd.to_timedelta(rng.gamma(3, 9, count).round(), unit="D")
    outcome = rng.choice(["PAID", "DENIED", "PENDING", "OTHER"], count, p=[0.7, 0.2, 0.05, 0.05])
    future = decided > pd.Timestamp(AS_OF) + pd.Timedelta(days=10)
    outcome = np.where(future, "PENDING", outcome)
    allowed = np.round(rng.lognormal(4, 1, count), 2)
    return pd.DataFrame(
        {
            "claim_id": [f"C{number:06d}" for number in range(count)],
            "line_number": 1,
            "payer": rng.choice(["Aetna", "Cigna"], count, p=[0.8, 0.2]),
            "cpt": rng.choice(["99213", "93000", "20610", "J1100"], count),
            "modifiers": rng.choice(["", "25", "TC"], count, p=[0.8, 0.1, 0.1]),
            "service_date": submitted,
            "submitted_date": submitted,
            "decided_date": pd.Series(decided).where(outcome != "PENDING"),
            "outcome": outcome,
            "billed_amount": np.round(allowed * 1.7, 2),
            "allowed_amount": pd.Series(allowed).where((outcome == "PAID") & (rng.random(count) > 0.1)),
            "paid_amount": pd.Series(np.round(allowed * 0.8, 2)).where(outcome == "PAID"),
            "denial_reason_code": pd.Series(rng.choice(np.array(CODES, dtype=object), count)).where(
                outcome == "DENIED"
            ),
            "units": rng.choice([1.0, 2.0, np.nan], count),
            "facility": rng.choice(np.array(["North", "South", None], dtype=object), count),
        }
    )


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    return fill_template(load)


def load(conn: Connection, settings: Settings) -> None:
    customer, _ = create_customer(conn, "acme", "Acme")
    file = settings.home / "claims.csv"
    file.parent.mkdir()
    file.write_text(lines().to_csv(index=False, date_format="%Y-%m-%d"))
    send_file(conn, settings, customer, file)
    stage_waiting(conn, settings, customer, source="csv", run_id="r")
    merge_staged(conn, settings, customer, "r")
    refresh_activity(conn, customer.customer_id)


@pytest.fixture
def customer_id(pipeline: Connection) -> int:
    return get_customer(pipeline, "acme").customer_id


def periods(by: By) -> Periods:
    change = date(2026, 3, 10)
    return Periods(by, change - timedelta(days=120), change - timedelta(days=1), change, AS_OF - timedelta(days=5))


def known(claims: pd.DataFrame, payer: str, span: Periods) -> pd.DataFrame:
    """One payer's lines as the look sees them: later decisions are not there yet."""
    rows = claims[
        (claims["payer"] == payer)
        & (claims["submitted_date"] >= pd.Timestamp(span.before_first) - pd.Timedelta(days=REACH_DAYS))
        & (claims["submitted_date"] <= pd.Timestamp(span.since_last))
    ].copy()
    rows["day"] = rows["decided_date"].where(rows["decided_date"] < pd.Timestamp(AS_OF))
    rows["code"] = rows["denial_reason_code"].fillna("").str.upper().str.replace(r"[^A-Z0-9]", "", regex=True)
    rows["facility"] = rows["facility"].fillna("not given")
    return rows


def in_pandas(claims: pd.DataFrame, payer: str, span: Periods) -> pd.DataFrame:
    """The same sums, written down as the definition reads."""
    rows = known(claims, payer, span)
    cells = []
    for period, first, last in (
        ("before", span.before_first, span.before_last),
        ("since", span.since_first, span.since_last),
    ):
        part = rows[rows["submitted_date"] <= pd.Timestamp(last)].copy()
        part["sent"] = part["submitted_date"].between(pd.Timestamp(first), pd.Timestamp(last))
        part["paid_out"] = part["day"].between(pd.Timestamp(first), pd.Timestamp(last))
        part["is_decided"] = (
            part["paid_out"] if span.by == "decision" else part["sent"] & (part["day"] <= pd.Timestamp(last))
        )
        part = part[part["sent"] | part["paid_out"] | part["is_decided"]]
        age = (part["day"] - part["submitted_date"]).dt.days
        part["age_bin"] = np.where(part["is_decided"], np.searchsorted(AGE_EDGES, age.fillna(-1), side="right"), 0)
        denied = part["is_decided"] & (part["outcome"] == "DENIED") & ~part["code"].isin(["CO45"])
        priced = part["paid_out"] & (part["outcome"] == "PAID") & (part["allowed_amount"] > 0)
        log = np.log((part["allowed_amount"] / part["units"].fillna(1)).where(priced, 1.0))
        known_code = part["code"].str.fullmatch(r"(CO|PR|OA|PI|CR)?([0-9]{1,3}|[A-Z][0-9]{1,2})")
        part["reason"] = np.select(
            [~denied, part["code"] == "", ~known_code], ["", "not given", "other"], part["code"]
        )
        part = part.assign(
            period=period, lines=part["sent"], decided=part["is_decided"], denied=denied,
            denied_authorization=denied & part["code"].str.fullmatch("(CO|PR|OA|PI)?(15|197|198)"), priced=priced,
            billed=part["billed_amount"].where(part["sent"], 0), allowed=part["allowed_amount"].where(priced, 0),
            paid=part["paid_amount"].where(priced, 0), sum_log_allowed=log, sum_log_allowed_sq=log**2,
            cpt_group=part["cpt"].map(section_of),
        )  # fmt: skip
        for dimension, by in {
            "all": [], "cpt_group": ["age_bin", "cpt_group"], "facility": ["age_bin", "facility"],
            "denial_code": ["age_bin", "reason"], "procedure": ["cpt", "modifiers", "cpt_group"],
            "procedure_facility": ["cpt", "modifiers", "facility"],
        }.items():  # fmt: skip
            sums = part.groupby(["period", *by])[SUMS].sum().reset_index()
            name = by[-1] if by else None
            sums = sums.assign(dimension=dimension, name=sums[name] if name else "")
            cells.append(sums)
    whole = pd.concat(cells).fillna({"age_bin": 0, "cpt": "", "modifiers": ""})[[*KEYS, *SUMS]]
    return whole.astype(dict.fromkeys(SUMS, "float64") | {"age_bin": "int64"})


def exposure_in_pandas(claims: pd.DataFrame, payer: str, span: Periods) -> pd.DataFrame:
    """Day by day, as nobody would in production."""
    cells: dict[tuple[str, str, int, str], list[float]] = {}
    rows = known(claims, payer, span)
    rows = rows.assign(cpt_group=rows["cpt"].map(section_of))
    for period, first, last in (
        ("before", span.before_first, span.before_last),
        ("since", span.since_first, span.since_last),
    ):
        for row in rows.to_dict("records"):
            sent, day = row["submitted_date"].date(), row["day"].date() if pd.notna(row["day"]) else None
            if span.by == "submission" and sent < first:
                continue
            at = max(sent, first)
            while at <= last and (day is None or at <= day):
                age_bin = int(np.searchsorted(AGE_EDGES, (at - sent).days, side="right"))
                for dimension in ("cpt_group", "facility"):
                    cell = cells.setdefault((dimension, period, age_bin, row[dimension]), [0.0, 0.0])
                    cell[0] += 1
                    cell[1] += at == day
                at += timedelta(days=1)
    return pd.DataFrame(
        [[*key, *values] for key, values in cells.items()], columns=[*EXPOSURE_KEYS, *EXPOSURE_SUMS]
    )


def same(found: pd.DataFrame, expected: pd.DataFrame, keys: list[str]) -> None:
    columns = list(found.columns)
    left, right = (frame[columns].sort_values(keys).reset_index(drop=True) for frame in (found, expected))
    pd.testing.assert_frame_equal(left, right, check_dtype=False, rtol=1e-9)


def read(conn: Connection, customer_id: int, by: By) -> Breakdown:
    return read_breakdown(conn, customer_id, "Aetna", periods(by), AS_OF, with_exposure=True)


@pytest.mark.parametrize("by", ["decision", "submission"])
def test_the_database_sums_what_pandas_sums(pipeline: Connection, customer_id: int, by: By) -> None:
    found = read(pipeline, customer_id, by)
    same(found.cells, in_pandas(lines(), "Aetna", periods(by)), KEYS)
    assert found.exposure is not None
    same(found.exposure, exposure_in_pandas(lines(), "Aetna", periods(by)), EXPOSURE_KEYS)


def test_every_dimension_holds_the_same_lines(pipeline: Connection, customer_id: int) -> None:
    found = read(pipeline, customer_id, "submission")
    for dimension in ("cpt_group", "facility", "denial_code"):
        sums = found.of(dimension).groupby("period")[SUMS].sum()
        for period in ("before", "since"):
            for column in SUMS:
                assert sums.loc[period, column] == pytest.approx(found.total(period, column)), (dimension, column)


def test_words_in_place_of_a_reason_code_are_not_repeated(pipeline: Connection, customer_id: int) -> None:
    """A source may write anything into the column, a patient's name among it."""
    names = set(read(pipeline, customer_id, "decision").of("denial_code")["name"])
    assert names == {"", "CO197", "CO16", "N99", "not given", "other"}


def test_what_may_be_a_patients_name_is_withheld_and_its_lines_are_counted(
    pipeline: Connection, customer_id: int
) -> None:
    before = read(pipeline, customer_id, "decision")
    pipeline.execute("UPDATE claims SET facility = 'CANARY, JANE' WHERE facility = 'North' AND line_number = 1")
    pipeline.execute("UPDATE claims SET facility = repeat('as she said ', 6) WHERE facility IS NULL")
    pipeline.execute("UPDATE claims SET cpt_group = 'CANARY, JOHN' WHERE cpt = '99213'")
    after = read(pipeline, customer_id, "decision")
    assert set(after.of("facility")["name"]) == {"South", "withheld names"}
    assert set(after.of("cpt_group")["name"]) == {"MEDICINE", "SURGERY", "DRUGS", "withheld names"}
    assert after.exposure is not None
    everything = f"{after.cells.to_csv()} {after.exposure.to_csv()}"
    assert "CANARY" not in everything
    assert "she said" not in everything
    for dimension in ("facility", "procedure_facility"):
        was = before.of(dimension).assign(
            name=lambda rows: rows["name"].replace({"North": "withheld names", "not given": "withheld names"})
        )
        same(after.of(dimension), was.groupby(KEYS, as_index=False)[SUMS].sum(), KEYS)


def test_what_is_no_code_is_named_nowhere_and_is_compared_with_its_own_prices(
    pipeline: Connection, customer_id: int
) -> None:
    """Names of patients in place of codes and modifiers; of the customer's own codes those are named that it lists."""
    before = read(pipeline, customer_id, "submission")
    for old, new in (("99213", "CANARY JANE"), ("93000", "CANARY JOHN"), ("20610", "CLINIC7")):
        pipeline.execute("UPDATE claims SET cpt = %s WHERE cpt = %s", (new, old))
    pipeline.execute("UPDATE claims SET modifiers = 'CANARY' WHERE modifiers = 'TC'")
    mapping = '{"mapping": {"cpt_groups": {"Clinic7": "OWN", "CANARY*": "THEIRS"}}}'
    pipeline.execute("UPDATE customers SET configuration = %s::jsonb", (mapping,))
    after = read(pipeline, customer_id, "submission")
    assert "CANARY" not in after.cells.to_csv()
    codes = {"99213": "other codes 1", "93000": "other codes 2", "20610": "CLINIC7"}  # by name
    was = before.cells.assign(
        cpt=before.cells["cpt"].replace(codes),
        modifiers=before.cells["modifiers"].replace({"TC": "other modifiers 1"}),
    )
    same(after.cells, was, KEYS)
    told = explain(after, {"signal": "procedure_mix", "effect": -0.03})
    assert told is not None
    procedures = {entry["name"]: entry for entry in told["by"]["procedure"]}
    assert set(procedures) == {
        "other codes", *(f"{code}{with_}" for code in ("CLINIC7", "J1100") for with_ in ("", "-25", " with other modifiers"))
    }  # fmt: skip
    assert sum(entry["total"] for entry in procedures.values()) == pytest.approx(told["change"])
    assert sum(entry["share_before"] for entry in procedures.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("count", "days", "shown"), [(20, 10, True), (19, 10, False), (20, 9, False), (2, 1, False)]
)
def test_a_facility_is_named_from_twenty_lines_on_ten_days_before_the_change_on(
    pipeline: Connection, customer_id: int, count: int, days: int, *, shown: bool
) -> None:
    """Many more lines since the change, and lines of another payer's that count as well."""
    change = periods("decision").since_first
    pipeline.execute(
        "UPDATE claims SET facility = 'SMITH JOHN' WHERE submitted_date >= %s AND facility = 'North'", (change,)
    )
    sent = pipeline.execute(
        "SELECT submitted_date FROM claims WHERE submitted_date < %s GROUP BY 1 HAVING count(*) >= 11"
        " ORDER BY 1 DESC LIMIT %s",
        (change, days),
    ).fetchall()
    pipeline.execute(
        """UPDATE claims SET facility = 'SMITH JOHN' WHERE claim_key IN (
               SELECT claim_key FROM (SELECT claim_key, submitted_date,
                                             row_number() OVER (PARTITION BY submitted_date ORDER BY claim_key) AS turn
                                        FROM claims WHERE submitted_date = ANY(%s)) AS lines
                ORDER BY turn, submitted_date LIMIT %s)""",
        ([day for (day,) in sent], count),
    )
    found = read(pipeline, customer_id, "decision")
    names = {"SMITH JOHN"} if shown else {"withheld names"}
    assert set(found.of("facility")["name"]) == {"North", "South", "not given"} | names
    assert set(found.of("procedure_facility")["name"]) == {"North", "South", "not given"} | names
    assert found.exposure is not None
    assert ("SMITH JOHN" in set(found.exposure["name"])) == shown


def test_what_a_source_covers_of_the_baseline_is_told(pipeline: Connection, customer_id: int) -> None:
    found = read(pipeline, customer_id, "decision")
    assert found.before_days == 120
    early = Periods(
        "decision", START - timedelta(days=30), START + timedelta(days=59), START + timedelta(days=60), AS_OF
    )
    assert read_breakdown(pipeline, customer_id, "Aetna", early, AS_OF, with_exposure=False).before_days == 60
