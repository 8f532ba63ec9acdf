"""Runs in the libraries' own environment: Evidently or NannyML at their defaults on one customer a request.

A line of JSON in (claims file, start, looks), a line out: per payer and column, the direction in which the library
says it drifts at each look, or null. Imports nothing of the arena: the environments share files only.

Per payer and look, lines of the last 14 days against those of the 90 days before: outcome, days to the decision and
allowed amount of the lines decided in those days (by submission day, a distance would mostly measure how many are
undecided yet), and the codes of the lines submitted in them. At least 30 lines on both sides.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pandas as pd

CURRENT_DAYS, BASELINE_DAYS, LEAST_LINES = 14, 90, 30
NUMBERS, WORDS = ("decision_days", "allowed_amount"), ("outcome", "cpt")
Drifts = Callable[[pd.DataFrame, pd.DataFrame, list[str]], dict[str, bool]]


def main() -> None:
    """Answer requests until the input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not mix with the answers
    drifts = {"evidently": evidently, "nannyml": nannyml}[sys.argv[1]]()
    for line in sys.stdin:
        request = json.loads(line)
        answer = customer(drifts, pd.read_parquet(request["claims"]), request["start"], request["looks"])
        print(json.dumps(answer), file=answers, flush=True)


def evidently() -> Drifts:
    """Evidently's ValueDrift: the method and threshold it chooses by column and number of lines."""
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.metrics import ValueDrift  # type: ignore[import-not-found]
    from evidently.metrics.column_statistics import ValueDriftCalculation  # type: ignore[import-not-found]

    # Its charts take four fifths of the time and are not looked at; the statistic is computed before them.
    ValueDriftCalculation._render = lambda *_: []  # noqa: SLF001

    def drifts(current: pd.DataFrame, baseline: pd.DataFrame, columns: list[str]) -> dict[str, bool]:
        types = DataDefinition(
            numerical_columns=[name for name in columns if name in NUMBERS],
            categorical_columns=[name for name in columns if name in WORDS],
        )
        report = Report([ValueDrift(column=name) for name in columns], include_tests=True)
        done = report.run(Dataset.from_pandas(current, types), Dataset.from_pandas(baseline, types)).dict()
        return {
            test["metric_config"]["params"]["column"]: _status(test["status"]) == "FAIL" for test in done["tests"]
        }

    return drifts


def _status(status: Any) -> str:
    return str(getattr(status, "value", status)).upper()


def nannyml() -> Drifts:
    """NannyML's UnivariateDriftCalculator: Jensen-Shannon, threshold three deviations over the reference's chunks."""
    from nannyml import UnivariateDriftCalculator  # type: ignore[import-not-found]

    def drifts(current: pd.DataFrame, baseline: pd.DataFrame, columns: list[str]) -> dict[str, bool]:
        if len(current) > len(baseline):
            return {}
        calculator = UnivariateDriftCalculator(
            column_names=columns,
            treat_as_categorical=[name for name in columns if name in WORDS],
            chunk_size=len(current),
        )
        calculator.fit(baseline)
        found = calculator.calculate(current).filter(period="analysis").to_df()
        return {name: bool(found[(name, "jensen_shannon", "alert")].any()) for name in columns}

    return drifts


def customer(
    drifts: Drifts, claims: pd.DataFrame, start: str, looks: list[int]
) -> dict[str, dict[str, list[str | None]]]:
    """Per payer and column, the direction of the drift at each look."""
    first = pd.Timestamp(start)
    day = {name: (claims[name] - first).dt.days for name in ("submitted_date", "decided_date")}
    seen = (claims["first_seen_at"] - first).dt.days if "first_seen_at" in claims else day["submitted_date"]
    decision = (
        (claims["decision_seen_at"] - first).dt.days if "decision_seen_at" in claims else day["decided_date"]
    )
    lines = pd.DataFrame(
        {
            "payer": claims["payer"].astype(str),
            "submitted": day["submitted_date"],
            "decided": day["decided_date"],
            "seen": seen,
            "decision_seen": decision,
            "outcome": claims["outcome"].astype(str).astype(object),
            "decision_days": (day["decided_date"] - day["submitted_date"]).astype(float),
            "allowed_amount": claims["allowed_amount"].where(claims["outcome"] == "PAID").astype(float),
            "cpt": claims["cpt"].astype(str).astype(object),
        }
    )
    answer: dict[str, dict[str, list[str | None]]] = {}
    for payer, own in lines.groupby("payer"):
        columns: dict[str, list[str | None]] = {name: [] for name in (*WORDS, *NUMBERS)}
        for look in looks:
            found = at_look(drifts, own, look)
            for name, directions in columns.items():
                directions.append(found.get(name))
        answer[str(payer)] = columns
    return answer


def at_look(drifts: Drifts, own: pd.DataFrame, look: int) -> dict[str, str]:
    """The columns of one payer that drift at a look, with the direction by their means."""
    sent = own[own["seen"] < look]
    decided = own[own["decision_seen"] < look]
    found: dict[str, str] = {}
    for lines, day, columns in (
        (decided, "decided", ["outcome", "decision_days", "allowed_amount"]),
        (sent, "submitted", ["cpt"]),
    ):
        current = lines[lines[day] >= look - CURRENT_DAYS].reset_index(drop=True)
        baseline = lines[
            (lines[day] >= look - CURRENT_DAYS - BASELINE_DAYS) & (lines[day] < look - CURRENT_DAYS)
        ].reset_index(drop=True)
        if min(len(current), len(baseline)) >= LEAST_LINES:
            for name, drifted in drifts(current[columns], baseline[columns], columns).items():
                if drifted:
                    found[name] = _direction(name, current, baseline)
    return found


def _direction(name: str, current: pd.DataFrame, baseline: pd.DataFrame) -> str:
    """A distance has no direction; the difference of the means, which a reader would look at, gives one."""
    if name == "outcome":
        worse = (current[name] == "DENIED").mean() > (baseline[name] == "DENIED").mean()
    elif name == "decision_days":
        worse = current[name].mean() > baseline[name].mean()
    else:
        worse = name == "cpt" or current[name].mean() < baseline[name].mean()
    return "worsening" if worse else "improving"


if __name__ == "__main__":
    main()
