"""Groups of customers who set none: the sections of CPT, so that another mix of procedures is no denial."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.sections import SECTIONS, section_of
from upstream_pipelines.customers.configuration import CustomerConfiguration
from upstream_pipelines.drift import replay


@pytest.mark.parametrize(
    ("code", "section"),
    [
        ("99213", "VISITS"),
        ("99499", "VISITS"),
        ("97110", "THERAPY"),
        ("93000", "MEDICINE"),
        ("71046", "RADIOLOGY"),
        ("80053", "LABORATORY"),
        ("29881", "SURGERY"),
        ("00100", "ANESTHESIA"),
        ("J1100", "DRUGS"),
        ("j1100", "DRUGS"),
        ("D0120", "DENTAL"),
        ("E0114", "SUPPLIES"),
        ("G0008", "SERVICES"),
        ("0500F", "OTHER"),
        ("UNSPECIFIED", "OTHER"),
        ("", "OTHER"),
    ],
)
def test_a_code_belongs_to_its_section(code: str, section: str) -> None:
    assert section_of(code) == section


def test_a_customers_own_groups_go_before_the_sections() -> None:
    assert ClaimMapping().groups() == SECTIONS
    assert ClaimMapping(cpt_groups={"992*": "OFFICE"}).groups() == {"992*": "OFFICE"}


def test_setting_the_sections_by_hand_changes_no_name() -> None:
    by_hand = CustomerConfiguration(mapping=ClaimMapping(cpt_groups=dict(SECTIONS)))
    assert by_hand.naming_sha256() == CustomerConfiguration().naming_sha256()
    other = CustomerConfiguration(mapping=ClaimMapping(cpt_groups={"992*": "OFFICE"}))
    assert other.naming_sha256() != CustomerConfiguration().naming_sha256()


@pytest.mark.parametrize("seed", [1, 2])
def test_more_surgery_with_the_same_denials_of_each_code_is_a_mix_and_no_denial_event(seed: int) -> None:
    # 6 % of visits and 30 % of knee operations are denied throughout; operations go from 15 to 45 % of the lines.
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(365), np.where(np.arange(365) % 7 < 5, rng.poisson(60, 365), 0))
    surgery = rng.random(len(day)) < np.where(day < 275, 0.15, 0.45)
    denied = rng.random(len(day)) < np.where(surgery, 0.30, 0.06)
    submitted = pd.Timestamp("2025-06-02") + pd.to_timedelta(day, unit="D")
    lag = np.round(rng.lognormal(np.log(14), 0.5, len(day))).astype(int) + 1
    price = np.where(surgery, 300.0, 90.0)
    claims = pd.DataFrame(
        {
            "payer": "Aetna",
            "cpt": np.where(surgery, "29881", "99213"),
            "submitted_date": submitted,
            "decided_date": submitted + pd.to_timedelta(lag, unit="D"),
            "outcome": np.where(denied, "DENIED", "PAID"),
            "allowed_amount": np.where(denied, np.nan, price),
        }
    )

    def opened(frame: pd.DataFrame) -> set[str]:
        rows = replay(frame, pd.date_range("2026-03-05", "2026-05-28", freq="3D"))
        return set(rows.loc[rows["state"] == "open", "signal"])

    assert opened(claims) == {"procedure_mix"}
    # All in one group it looks like a payer who denies more: what the sections are for.
    assert "denial_rate" in opened(claims.assign(cpt_group="OTHER"))
