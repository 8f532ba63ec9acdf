"""The demonstration's customers: what each sends and what should be found. Not here: running it (run.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from upstream_pipelines.demo.generator import Change, as_known_on, changed_since, synthetic_claims

HISTORY_DAYS = 300
# Looks are made daily over the last ten weeks; the changes lie within them.
LOOK_DAYS = 75
_EXPORT_DAYS_AGO = 9
_BATCH_DAYS_AGO = 1


@dataclass(frozen=True)
class DemoCustomer:
    """One customer of the demonstration; `expected` is the one (payer, signal) that should be found."""

    slug: str
    name: str
    seed: int
    change: Change | None
    expected: tuple[str, str] | None
    configuration: dict[str, Any]


def demo_customers(today: date) -> list[DemoCustomer]:
    """The three customers, with their changes dated from today."""
    return [
        DemoCustomer(
            slug="demo-denials",
            name="Lakeside Orthopaedics",
            seed=11,
            change=Change("Aetna", today - timedelta(days=60), denial_rate=0.22),
            expected=("Aetna", "denial_rate"),
            configuration={},
        ),
        DemoCustomer(
            slug="demo-prices",
            name="Harbor Family Medicine",
            seed=12,
            change=Change("Cigna", today - timedelta(days=40), price_factor=0.92),
            expected=("Cigna", "allowed_amount"),
            # This one's system has header names of its own, semicolons and amounts with a currency sign.
            configuration={
                "columns": {
                    "claim_id": "Ref", "line_number": "Pos", "payer": "Carrier Name", "cpt": "Proc",
                    "service_date": "DOS", "submitted_date": "Sent On", "decided_date": "Answered On",
                    "outcome": "Answer", "billed_amount": "Charge $", "allowed_amount": "Allowed $",
                    "paid_amount": "Paid $", "denial_reason_code": "Why", "provider_npi": "NPI",
                },
                "outcomes": {"ok": "PAID", "no": "DENIED", "waiting": "PENDING"},
                "date_order": "MDY",
            },
        ),
        DemoCustomer(
            slug="demo-quiet",
            name="Northgate Physical Therapy",
            seed=13,
            change=None,
            expected=None,
            configuration={"cpt_groups": {"992*": "VISITS", "97*": "THERAPY"}},
        ),
    ]  # fmt: skip


def write_files(customer: DemoCustomer, today: date, folder: Path) -> list[Path]:
    """The customer's history as one file, then what changed since as a second; returns their paths."""
    claims = synthetic_claims(customer.seed, today, HISTORY_DAYS, customer.change)
    first_day, second_day = today - timedelta(days=_EXPORT_DAYS_AGO), today - timedelta(days=_BATCH_DAYS_AGO)
    history = as_known_on(claims, first_day)
    export = changed_since(history, as_known_on(claims, second_day))
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "history.csv", folder / f"export-{second_day}.csv"]
    for path, frame in zip(paths, (history, export), strict=True):
        # Written beside and renamed: a file that appears is whole.
        unfinished = path.with_suffix(".part")
        unfinished.write_text(_as_csv(customer, frame), encoding="utf-8")
        unfinished.rename(path)
    return paths


def batch(customer: DemoCustomer, today: date) -> dict[str, Any]:
    """What changed on the last day, as the body of a webhook batch."""
    claims = synthetic_claims(customer.seed, today, HISTORY_DAYS, customer.change)
    before = as_known_on(claims, today - timedelta(days=_BATCH_DAYS_AGO))
    changed = changed_since(before, as_known_on(claims, today))
    for name in ("service_date", "submitted_date", "decided_date"):
        changed[name] = pd.to_datetime(changed[name]).dt.strftime("%Y-%m-%d")
    rows = changed.astype(object).where(changed.notna(), None).to_dict("records")
    # Two that no rule lets through, as real batches have: no payer, and a decision in the far future.
    rows += [
        {**rows[0], "claim_id": "D99999996", "payer": ""},
        {**rows[0], "claim_id": "D99999997", "decided_date": "2999-01-01"},
    ]
    return {"claims": rows}


def _as_csv(customer: DemoCustomer, frame: pd.DataFrame) -> str:
    if not customer.configuration.get("columns"):
        text = frame.to_csv(index=False, date_format="%Y-%m-%d")
        # Two rows that no rule lets through, as real files have: no payer, and a decision in the far future.
        bad = "D99999998,1,,99213,2026-01-05,2026-01-06,2026-01-20,PAID,100,80,64,,1234567893\n"
        bad += "D99999999,1,Aetna,99213,2026-01-05,2026-01-06,2999-01-01,PAID,100,80,64,,1234567893\n"
        return text + (bad if len(frame) > 10_000 else "")
    other = frame.copy()
    for name in ("billed_amount", "allowed_amount", "paid_amount"):
        other[name] = "$" + other[name].map("{:,.2f}".format, na_action="ignore")
    other["outcome"] = other["outcome"].map({"PAID": "ok", "DENIED": "no", "PENDING": "waiting"})
    headers = customer.configuration["columns"]
    return other.rename(columns=headers).to_csv(index=False, date_format="%m/%d/%Y", sep=";")
