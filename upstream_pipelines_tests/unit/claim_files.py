"""A small file of claims read and judged as an upload is, for tests of readers. Not here: tests."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pandas as pd
import pytest

from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.csv_reader import CsvFile, open_csv

TODAY = date(2026, 11, 24)
HEADER = "claim_id,payer,cpt,submitted_date,decided_date,outcome,allowed_amount,modifiers,provider_npi"
CELLS = HEADER.split(",")
GOOD = dict(
    zip(CELLS, ["C1", "Aetna", "99213", "2026-01-05", "2026-02-01", "Paid", "100.50", "", ""], strict=True)
)
ROW = ",".join(GOOD.values())


def read_file(content: str | bytes, **mapping: Any) -> tuple[pd.DataFrame, dict[int, str], int, CsvFile]:
    """Accepted lines, rule by rejected row, rows, the file."""
    chosen = ClaimMapping(**mapping)
    file = open_csv(io.BytesIO(content.encode() if isinstance(content, str) else content), chosen)
    judge = Judge(chosen, TODAY)
    judged = [judge.judge(block) for block in file.blocks()]
    accepted = pd.concat([block.accepted for block in judged], ignore_index=True)
    rejected = pd.concat([block.rejected for block in judged], ignore_index=True)
    rows = sum(block.rows for block in judged)
    assert rows == len(accepted) + rejected["source_row_number"].nunique() == judge.counters().rows
    assert rejected.empty or rejected["reason"].str.len().min() > 20
    return accepted, dict(zip(rejected["source_row_number"], rejected["rule"], strict=True)), rows, file


def refused(content: str | bytes, **mapping: Any) -> str:
    with pytest.raises(FileRefusedError) as refused:
        read_file(content, **mapping)
    return str(refused.value)


def line(**cells: str) -> str:
    return ",".join(f'"{cell}"' if "," in cell else cell for cell in (GOOD | cells).values())


TEXT = f"{HEADER}\n{ROW.replace('Aetna', 'Santé “Québec”')}\n"
