"""Reads X12 835 remittances of any size into the same raw blocks as a CSV file: envelope, counts, refusals.

Memory is bounded by one claim and one block. A row's number is the number of its segment (SVC, or CLP where a claim has
none), 1 being the first of the file. Not here: separators (x12_segments.py), what loops and codes mean (remittance.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa

from upstream_pipelines.claims.raw_block import RawBlock
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.remittance import CELLS, NOTES, Remittance, RemittanceLine, day_of
from upstream_pipelines.ingest.unpack import unpacked
from upstream_pipelines.ingest.x12_segments import Segment, read_segments

_KINDS = {
    "270": "eligibility question", "271": "eligibility answer", "276": "question for a claim's status",
    "277": "claim status", "278": "authorisation", "820": "premium payment", "834": "enrolment", "837": "claims",
    "997": "acknowledgement", "999": "acknowledgement",
}  # fmt: skip
_CUT = "It was cut short, or several files were joined: ask the sender for the whole file and send that."


class RemittanceFile:
    """An opened 835: `detected` tells what was found so far, `blocks` gives its lines once."""

    def __init__(self, segments: Iterator[Segment], today: date) -> None:
        self._segments = segments
        self._today = today
        self._remittance: Remittance | None = None
        self._isa: Segment | None = None
        self._sent_on: date | None = None
        self._control = ""
        self._last = self._count = self._groups = 0
        self._digest = hashlib.sha256()
        self._seen: set[bytes] = set()
        self._facts: dict[str, Any] = {
            "format": "x12_835", "interchanges": 0, "repeated_interchanges": 0, "transactions": 0, "claims": 0,
            "reversals": 0, "provider_adjustments": 0, "envelope_faults": 0,
        }  # fmt: skip

    @property
    def detected(self) -> dict[str, Any]:
        """Counts of interchanges, transactions, claims, reversals, adjustments of the provider (PLB): no value."""
        return dict(self._facts)

    def blocks(self, rows: int = 65_000) -> Iterator[RawBlock]:
        """The lines in order, once, at most `rows` in a block.

        Raises:
            FileRefusedError: it is no 835 throughout, or its envelope is not closed; nothing of it may be kept.
        """
        held: list[RemittanceLine] = []
        for lines in self._claims():
            held.extend(lines)
            while len(held) >= rows:
                yield _block(held[:rows])
                held = held[rows:]
        if held:
            yield _block(held)

    def _claims(self) -> Iterator[Sequence[RemittanceLine]]:
        """Lines claim by claim. What was opened has to be closed before its like begins, and at the end."""
        steps = {"ISA": self._interchange, "ST": self._transaction, "IEA": self._end_of_interchange}
        for segment in self._segments:
            self._last = segment.number
            self._digest.update("\x1e".join(segment.elements).encode())
            self._count += 1
            if segment.name == "SE":
                yield self._end_of_transaction(segment)
            elif segment.name in steps:
                steps[segment.name](segment)
            elif self._remittance is not None:
                yield self._remittance.take(segment)
            elif segment.name in ("CLP", "SVC"):
                raise self._misplaced("a claim or service (CLP, SVC) stands outside of any transaction (ST)")
            elif segment.name == "GS":
                self._sent_on = day_of(segment.at(4))
                self._groups += 1
        for opened, what in ((self._remittance, "a transaction (ST)"), (self._isa, "an interchange (ISA)")):
            if opened is not None:
                raise FileRefusedError(
                    f"The file ends after segment {self._last}, within {what}. {_CUT}", code="cut_off"
                )
        if self._facts["transactions"] == 0:
            raise FileRefusedError(f"The file holds no remittance: there is no transaction (ST) in it. {_CUT}")

    def _interchange(self, segment: Segment) -> None:
        if self._isa is not None or self._remittance is not None:
            raise self._misplaced("an interchange begins (ISA) within another")
        self._isa, self._groups, self._sent_on = segment, 0, None
        self._digest = hashlib.sha256("\x1e".join(segment.elements).encode())
        self._facts["interchanges"] += 1

    def _end_of_interchange(self, segment: Segment) -> None:
        if self._isa is None or self._remittance is not None:
            raise self._misplaced("an interchange ends (IEA) before its transaction, or without a beginning")
        wrong = segment.at(1) != str(self._groups) or segment.at(2) != self._isa.at(13)
        self._facts["envelope_faults"] += wrong
        # Sender and number are in the digest with all the rest: the same number over other content is no repetition.
        self._facts["repeated_interchanges"] += self._digest.digest() in self._seen
        self._seen.add(self._digest.digest())
        self._isa = None

    def _transaction(self, segment: Segment) -> None:
        if self._remittance is not None:
            raise self._misplaced("a transaction begins (ST) within another")
        _require_835(segment.at(1))
        self._control, self._count = segment.at(2), 1
        self._facts["transactions"] += 1
        self._remittance = Remittance(self._sent_on, self._today)

    def _end_of_transaction(self, segment: Segment) -> Sequence[RemittanceLine]:
        remittance, self._remittance = self._remittance, None
        if remittance is None:
            raise self._misplaced("a transaction ends (SE) that did not begin (ST)")
        agree = segment.at(1).lstrip("0") == str(self._count) and segment.at(2) == self._control
        lines = remittance.finish(counts_agree=agree)
        self._facts["envelope_faults"] += not agree
        for name, count in remittance.counts().items():
            self._facts[name] += count
        return lines

    def _misplaced(self, what: str) -> FileRefusedError:
        return FileRefusedError(f"At segment {self._last} {what}. {_CUT}")


def open_remittance(stream: BinaryIO, today: date) -> RemittanceFile:
    """Open an 835 for reading, packed with gzip or zip or not packed. `today`: no payment is taken for made after it.

    Raises:
        FileRefusedError: an archive that cannot be unpacked, or holds several files.
    """
    return RemittanceFile(read_segments(unpacked(stream)), today)


def _require_835(kind: str) -> None:
    if kind == "835":
        return
    if kind in _KINDS:
        article = "an" if kind.startswith("8") else "a"
        raise FileRefusedError(
            f"The file is {article} {kind} ({_KINDS[kind]}), not an 835 (remittance). Send the payer's 835."
        )
    raise FileRefusedError(
        "The file holds a transaction that is no 835 (remittance). Send the payer's 835, and nothing else in it."
    )


def _block(lines: Sequence[RemittanceLine]) -> RawBlock:
    columns = dict(zip(CELLS, zip(*(line.cells for line in lines), strict=True), strict=True))
    table = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return RawBlock(
        frame,
        np.array([line.number for line in lines], dtype=np.int64),
        np.array([], dtype=np.int64),
        None,
        noted={
            rule: (field, np.array([rule in line.notes for line in lines], dtype=bool))
            for rule, field in NOTES.items()
        },
        beside={
            "payer_claim_number": pa.array([line.payer_claim_number for line in lines], pa.string()),
            "payer_position": pa.array([line.payer_position for line in lines], pa.int16()),
            "claim_ordinal": pa.array([line.ordinal for line in lines], pa.int32()),
            "submitted_stands_in": pa.array([line.submitted_stands_in for line in lines], pa.bool_()),
        },
    )
