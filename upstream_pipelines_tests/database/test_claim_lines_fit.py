"""Whatever is accepted can be stored: every accepted frame fits the table `received_lines`."""

from __future__ import annotations

import io
import itertools
from datetime import date

from upstream_pipelines.claims.fields import FIELDS
from upstream_pipelines.claims.judge import Judge
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.second import SecondConnection
from upstream_pipelines.ingest.csv_reader import open_csv
from upstream_pipelines.ingest.line_writer import LineWriter

GOOD = {
    "claim_id": "C1", "line_number": "1", "payer": "Aetna", "cpt": "99213", "submitted_date": "2026-01-05",
    "decided_date": "2026-02-01", "outcome": "paid",
}  # fmt: skip
# Each is stored, rejected or emptied; none may reach PostgreSQL in a form that it refuses.
NASTY = (
    "", " ", "~", "\x00", "a\x00b", "\\N", "\\.", '"', '""', "'", ",", ";", "a\nb", "a\r\nb", "a\tb", "\u2028", "\ufeff",
    "\ufffd", "\ufffe", "\U0001f600", "é", "e\u0301", "NULL", "999999999999.99", "1000000000000", "999999999.999", "999999999.9996",
    "-0", "0", "-0.001", "1e-30", "9" * 40, "1970-01-01", "2026-11-24", "0001-01-01", "x" * 200, "y" * 2000, "z" * 5000,
    "2147483648", "999999999", "yes", "no", "OTHER", "%s", "$1", "{}", "=1+1",
)  # fmt: skip


def test_every_cell_that_is_accepted_can_be_copied(pipeline: Connection) -> None:
    """Most likely wrong: a NUL, a number of one digit too many, a text that the COPY format reads as its own."""
    rows = [GOOD | {field: cell} for field, cell in itertools.product(FIELDS, NASTY)]
    header = ",".join(FIELDS)
    lines = [",".join('"' + row.get(field, "").replace('"', '""') + '"' for field in FIELDS) for row in rows]
    judge = Judge(ClaimMapping(), date(2026, 11, 24))
    blocks = open_csv(io.BytesIO("\n".join([header, *lines]).encode()), ClaimMapping()).blocks(rows=500)
    customer = pipeline.execute(
        "INSERT INTO customers (slug, name) VALUES ('acme', 'Acme') RETURNING customer_id"
    ).fetchone()
    assert customer is not None
    upload = pipeline.execute(
        "INSERT INTO uploads (customer_id, source, byte_count) VALUES (%s, 'csv', 1) RETURNING upload_id", customer
    ).fetchone()
    assert upload is not None
    constants: dict[str, object] = {"customer_id": customer[0], "upload_id": upload[0], "source": "csv"}
    accepted: list[tuple[int, str | None]] = []
    with (
        SecondConnection(pipeline) as second,
        pipeline.transaction(),
        LineWriter(pipeline, second, constants) as writer,
    ):
        for block in blocks:
            judged = judge.judge(block)
            texts = judged.accepted["facility"].astype(object)
            accepted.extend(
                zip(judged.accepted["source_row_number"], texts.where(texts.notna(), None), strict=True)
            )
            writer.write(judged)
    counts = pipeline.execute(
        "SELECT (SELECT count(*) FROM received_lines), (SELECT count(DISTINCT source_row_number) FROM rejected_rows)"
    ).fetchone()
    assert counts is not None
    assert sum(counts) == len(rows)
    assert counts[0] > len(rows) / 2
    assert (judge.counters().accepted, judge.counters().rejected) == counts
    stored = pipeline.execute(
        "SELECT source_row_number, facility FROM received_lines ORDER BY source_row_number"
    ).fetchall()
    assert stored == accepted
