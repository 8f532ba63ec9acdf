"""What a change consists of: one payer's lines before and since it, summed by procedure, facility, reason and age.

Belongs here: the periods, the sums, reading them from the claims. Not here: what they say (contributions.py).

The activity that drift is computed from knows neither facility nor reason nor code, and need not: an explanation is
made for the few events that are live, by one pass over the claims of one payer. Several groupings in that pass, and
not all combinations of them: those would be as many as there are lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from psycopg.rows import dict_row

from upstream_pipelines.claims.codes import shown_code, shown_modifiers, told_apart
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.facts import Ints
from upstream_pipelines.drift.scan import By
from upstream_pipelines.phi_patterns import BESIDE_A_PERSON
from upstream_pipelines.quality.phi import may_hold_phi

QUERIES = load_queries(__package__)

AGE_EDGES = (0, 3, 7, 10, 14, 21, 30, 45, 60, 90)
"""First day of each bin of decision age. Denials and payments come at different ages: a share of lines decided is
comparable among lines of like age only."""
REACH_DAYS = 180
"""Lines submitted this long before the baseline's first day still count where their decision falls into it."""
STOOD_DAYS = 90
"""Only denials first decided longer ago say how many are overturned: appeals are due within 60 to 180 days, and most
that succeed have done so by then. Of younger ones nobody knows yet."""

WITHHELD = "withheld names"
LONGEST_NAME = 60  # characters; a name of a place has fewer, a remark more
COMMON_LINES, COMMON_DAYS = 20, 10
"""A facility is named only from so many lines on so many days on: `SMITH JOHN` reads like the name of any clinic, and
what tells them apart is that a patient does not come back so often."""
COMMON_REACH_DAYS = 240  # before the change, however short the baseline: weekly files have 4 days in its 28
NOT_GIVEN = "not given"  # what the queries call an empty facility
FACILITY_DIMENSIONS = frozenset({"facility", "procedure_facility"})

SHORTEST_BEFORE = 28  # days
KEYS = ["dimension", "period", "age_bin", "name", "cpt", "modifiers"]
SUMS = [
    "lines", "decided", "denied", "denied_authorization", "paid_out", "priced", "billed", "allowed", "paid",
    "sum_log_allowed", "sum_log_allowed_sq",
]  # fmt: skip
EXPOSURE_KEYS = ["dimension", "period", "age_bin", "name"]
EXPOSURE_SUMS = ["line_days", "decided"]


@dataclass(frozen=True)
class Periods:
    """The days before a change and since it, ends included; `by` says which day of a line counts for its decision.

    A decision counts in a period where it was made by the period's end, so that neither knows what came after it.
    """

    by: By
    before_first: date
    before_last: date
    since_first: date
    since_last: date

    @property
    def since_days(self) -> int:
        """Length of the period since the change."""
        return (self.since_last - self.since_first).days + 1


@dataclass(frozen=True)
class Breakdown:
    """Sums of one payer's lines over both periods.

    `cells` has a row per dimension, period ("before", "since"), age bin (1.., 0: not decided in the period) and
    name. `lines` and `billed` are of lines submitted in the period; `decided`, `denied`, `denied_authorization` of
    lines decided in it as `periods.by` says; `paid_out` (decided), `priced` (paid, with an allowed amount), `allowed`,
    `paid` and the sums of logarithms of lines whose day of decision lies in it.
    `exposure` (decision lag only) has days spent open, and decisions, by age bin. `before_days` is how many days of
    the baseline the source covers. `overturned`: denials old enough to have an outcome (`STOOD_DAYS`), and those of
    them that were paid later.
    """

    periods: Periods
    cells: pd.DataFrame
    exposure: pd.DataFrame | None
    before_days: int
    overturned: tuple[int, int]

    def of(self, dimension: str) -> pd.DataFrame:
        """The rows of one dimension."""
        return self.cells[self.cells["dimension"] == dimension]

    def total(self, period: str, column: str) -> float:
        """A sum over all lines of a period."""
        rows = self.of("all")
        return float(rows.loc[rows["period"] == period, column].sum())


def period_numbers(rows: pd.DataFrame) -> Ints:
    """0 for each row of the period before the change, 1 for those since."""
    return rows["period"].eq("since").to_numpy().astype(np.int64)


def periods_of(detail: Mapping[str, Any], baseline_days: int, not_before: date | None = None) -> Periods:
    """The periods of an event from the `detail` of its row: change_date, by, complete_to.

    `not_before`: the first day that no earlier event of the same payer and signal has changed. It shortens the
    period before, unless nothing worth comparing with would be left.
    """
    since = date.fromisoformat(detail["change_date"])
    first = since - timedelta(days=baseline_days)
    if not_before is not None and first < not_before <= since - timedelta(days=SHORTEST_BEFORE):
        first = not_before
    return Periods(
        by=detail["by"],
        before_first=first,
        before_last=since - timedelta(days=1),
        since_first=since,
        since_last=max(date.fromisoformat(detail["complete_to"]), since),
    )


def read_breakdown(
    conn: Connection, customer_id: int, payer: str, periods: Periods, as_of: date, *, with_exposure: bool
) -> Breakdown:
    """Sum one payer's lines as they were known before `as_of`."""
    values = {
        "customer_id": customer_id, "payer": payer, "as_of": as_of, "by": periods.by, "edges": list(AGE_EDGES),
        "reach": REACH_DAYS, "before_first": periods.before_first, "before_last": periods.before_last,
        "since_first": periods.since_first, "since_last": periods.since_last, "stood_days": STOOD_DAYS,
        "common_first": periods.since_first - timedelta(days=COMMON_REACH_DAYS), "common_lines": COMMON_LINES,
        "common_days": COMMON_DAYS,
    }  # fmt: skip
    common = frozenset(str(row[0]) for row in conn.execute(QUERIES.common_facilities, values)) | {NOT_GIVEN}
    cells = _codes_withheld(_frame(conn, QUERIES.breakdown, values, KEYS, SUMS), listed_codes(conn, customer_id))
    cells = _withheld(cells, common, KEYS, SUMS)
    exposure = None
    if with_exposure:
        exposure = _frame(conn, QUERIES.lag_exposure, values, EXPOSURE_KEYS, EXPOSURE_SUMS)
        exposure = _withheld(exposure, common, EXPOSURE_KEYS, EXPOSURE_SUMS)
    first, with_outcome, overturned = conn.execute(QUERIES.denial_outcomes, values).fetchone() or (None, 0, 0)
    begins = max(periods.before_first, first or periods.before_first)
    return Breakdown(
        periods=periods,
        cells=cells,
        exposure=exposure,
        before_days=max((periods.before_last - begins).days + 1, 1),
        overturned=(with_outcome, overturned),
    )


def listed_codes(conn: Connection, customer_id: int) -> frozenset[str]:
    """The codes that a customer's `cpt_groups` name in full: its own may be shown, whatever their form."""
    rows = conn.execute(QUERIES.select_listed_codes, {"customer_id": customer_id})
    return frozenset(str(row[0]) for row in rows)


def _codes_withheld(cells: pd.DataFrame, listed: frozenset[str]) -> pd.DataFrame:
    """The same sums under codes and modifiers that may be shown. The others keep sums of their own, so that prices are
    compared like with like.
    """
    codes = {text: shown_code(text, listed) if text else "" for text in cells["cpt"].unique()}
    modifiers = {text: shown_modifiers(text) for text in cells["modifiers"].unique()}
    return cells.assign(
        cpt=cells["cpt"].map(told_apart(list(codes), codes)),
        modifiers=cells["modifiers"].map(told_apart(list(modifiers), modifiers)),
    )


def _frame(
    conn: Connection, statement: Any, values: dict[str, Any], keys: list[str], sums: list[str]
) -> pd.DataFrame:
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    frame = pd.DataFrame(rows, columns=[*keys, *sums])
    return frame.astype(dict.fromkeys(sums, "float64") | {"age_bin": "int64"})


def _withheld(frame: pd.DataFrame, common: frozenset[str], keys: list[str], sums: list[str]) -> pd.DataFrame:
    """The same sums, without names that may be a patient's: what is read here goes into alerts, charts and reports.

    A source may write anything into its column of facilities. What looks like personal data, and what is no short
    plain text, is called `WITHHELD`, and so is a facility that is not among the `common`; sums that now bear one name
    are added up.
    """
    facilities = frame["dimension"].isin(FACILITY_DIMENSIONS)
    hidden = frame["name"].isin([text for text in frame["name"].unique() if not _may_be_shown(text)])
    named = [text for text in frame.loc[facilities, "name"].unique() if text in common and may_name_a_place(text)]
    hidden |= facilities & ~frame["name"].isin(named)
    if not hidden.any():
        return frame
    return frame.assign(name=frame["name"].mask(hidden, WITHHELD)).groupby(keys, as_index=False)[sums].sum()


def _may_be_shown(name: str) -> bool:
    return len(name) <= LONGEST_NAME and name.isprintable() and not may_hold_phi(name)


def may_name_a_place(name: str) -> bool:
    """Whether the form of a facility's name says that it may be shown: more is asked than of a code or a group, which
    may well be called 97110-97140 or PT.
    """
    return _may_be_shown(name) and not any(pattern.search(name) for pattern in BESIDE_A_PERSON)
