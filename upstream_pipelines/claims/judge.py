"""Judges raw blocks: types them, applies the rules, parts the rows, counts what was found.

Not here: reading files (ingest/), typing (normalise.py), the rules (quality/). One judge serves one
upload; what it found does not depend on how the rows were cut into blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandera.errors
import pyarrow as pa

from upstream_pipelines.claims.contract import build_contract
from upstream_pipelines.claims.fields import FIELDS
from upstream_pipelines.claims.keys import SeenKeys, line_keys, row_hashes
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.claims.normalise import Mask, TypedBlock, type_block
from upstream_pipelines.claims.raw_block import RawBlock, RowNumbers
from upstream_pipelines.errors import UpstreamError
from upstream_pipelines.quality.checks import check_for
from upstream_pipelines.quality.rules import READING_RULES, RULES, Rule, active_rules

SAMPLE_ROWS = 10
_PHI_RULES = ("phi_in_payer", "phi_in_denial_text", "phi_in_facility")
_INVALID_DATE_RULES = ("date_form", "date_order_known", "no_future_date")


class ContractBrokenError(UpstreamError):
    """Judged rows do not keep the contract: a fault of this product, never of the file."""

    code = "contract_broken"


@dataclass(frozen=True)
class JudgedBlock:
    """The rows of a block, parted.

    accepted: the columns of `received_lines` from source_row_number on, but source; arrow dtypes. Those that stood
        beside the claim line come last.
    rejected: source_row_number, field, rule, reason; a row for each rule and field that failed.
    rows: rows of the block, those apart from its frame included; rows = len(accepted) + rejected_rows.
    """

    accepted: pd.DataFrame
    rejected: pd.DataFrame
    rows: int
    rejected_rows: int


@dataclass
class _Tally:
    rule: Rule
    checked: int = 0
    failing: int = 0
    fields: set[str] = field(default_factory=set)
    samples: list[int] = field(default_factory=list)


@dataclass
class Counters:
    """Counts over the rows judged so far; names of fields and rules only.

    missing: field → empty cells, of fields that have a column. invalid_dates, invalid_values: rows.
    phi: rule → rows. warned: accepted rows with at least one warning.
    read: rows with cells, all but those apart from their frame. filled: field → cells that are not empty, of `read`.
    outcomes: outcome → accepted rows.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    warned: int = 0
    invalid_dates: int = 0
    invalid_values: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    phi: dict[str, int] = field(default_factory=dict)
    read: int = 0
    filled: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)


class Judge:
    """Judges the blocks of one upload for one customer, as of one day."""

    def __init__(self, mapping: ClaimMapping, today: date) -> None:
        self._mapping = mapping
        self._contract = build_contract(mapping, today)
        self._rules = active_rules(mapping.quality)
        self._checks = [
            check_for(rule, name, today=today, no_cpt=mapping.no_cpt)
            for rule in self._rules
            if not rule.noted
            for name in rule.fields
        ]
        self._tallies = {rule.name: _Tally(rule) for rule in (*READING_RULES, *self._rules)}
        self._counters = Counters()
        self._keys = SeenKeys()
        self._unnatural = 0

    def judge(self, block: RawBlock) -> JudgedBlock:
        """Part the rows of a block into accepted and rejected; add what was found to the counts.

        Raises:
            ContractBrokenError: a row that passed every rule cannot be stored.
        """
        typed = type_block(block.frame, self._mapping, block.date_order, block.serial_dates)
        failures = self._failures(block, typed)
        wrong = np.zeros(len(block.frame), dtype=bool)
        warned = np.zeros(len(block.frame), dtype=bool)
        for rule, _, mask in failures:
            if rule.severity == "error":
                wrong |= mask
            elif rule.severity == "warning":
                warned |= mask
        accepted = self._accept(block.row_numbers, typed, ~wrong)
        for name, column in block.beside.items():
            accepted[name] = _frame({name: column.filter(pa.array(~wrong))})[name]
        rejected = _rejections(block, failures)
        self._count(block, typed, failures, wrong, warned)
        for outcome, lines in accepted["outcome"].value_counts().items():
            self._counters.outcomes[str(outcome)] = self._counters.outcomes.get(str(outcome), 0) + int(lines)
        apart = sum(map(len, block.apart.values()))
        return JudgedBlock(accepted, rejected, len(block.frame) + apart, int(wrong.sum()) + apart)

    def counters(self) -> Counters:
        """The counts over the blocks judged so far."""
        return self._counters

    def lines_repeat(self) -> bool | None:
        """Whether two of the accepted rows may be versions of one line; None: unknown, there are too many rows."""
        return self._keys.repeat()

    def unnatural_lines(self) -> int:
        """How many of the accepted rows have no key of their own: no claim id, or no line number."""
        return self._unnatural

    def findings(self) -> pd.DataFrame:
        """A row for each rule looked at: rule, field, severity, checked_rows, failing_rows, sample_row_numbers.

        Gradable rules are all listed, also those without a failing row, but those of remittances only for a
        remittance; reading rules where they failed.
        """
        always = {rule.name for rule in self._rules if not rule.noted}
        told = {rule.name for rule in self._rules if self._tallies[rule.name].checked}
        tallies = [tally for name, tally in self._tallies.items() if name in always | told or tally.failing]
        return pd.DataFrame(
            {
                "rule": [tally.rule.name for tally in tallies],
                "field": [", ".join(sorted(tally.fields) or tally.rule.fields) for tally in tallies],
                "severity": [tally.rule.severity for tally in tallies],
                "checked_rows": [tally.checked for tally in tallies],
                "failing_rows": [tally.failing for tally in tallies],
                "sample_row_numbers": [tally.samples for tally in tallies],
            }
        )

    def _failures(self, block: RawBlock, typed: TypedBlock) -> list[tuple[Rule, str, Mask]]:
        rows = len(block.frame)
        failures = [(RULES[name], column, mask) for name, column, mask in typed.failures]
        failures.extend(self._noted(block))
        unread: dict[str, Mask] = {}
        for _, column, mask in (failure for failure in failures if failure[0] in READING_RULES):
            unread[column] = unread.get(column, np.zeros(rows, dtype=bool)) | mask
        frame = _frame({**typed.columns, "outcome_known": typed.outcome_known})
        applied: dict[str, Mask] = {}
        for check in self._checks:
            name, column = check.rule.name, check.field
            applies, failing = check.applies(frame), check.failing(frame)
            if column in unread:
                # What could not be read has its own reason; it is not missing as well.
                applies, failing = applies & ~unread[column], failing & ~unread[column]
            applied[name] = applied.get(name, np.zeros(rows, dtype=bool)) | applies
            if failing.any():
                failures.append((check.rule, column, failing))
        for name, mask in applied.items():
            self._tallies[name].checked += int(mask.sum())
        for rule in READING_RULES:
            self._tallies[rule.name].checked += rows + len(block.apart.get(rule.name, ()))
        return failures

    def _noted(self, block: RawBlock) -> list[tuple[Rule, str, Mask]]:
        """What the reader found, by the grades this customer gave."""
        graded = {rule.name: rule for rule in (*READING_RULES, *self._rules)}
        found = []
        for name, (column, mask) in block.noted.items():
            if name in graded:
                found.append((graded[name], column, mask))
                self._tallies[name].checked += 0 if RULES[name] in READING_RULES else len(mask)
        return [(rule, column, mask) for rule, column, mask in found if mask.any()]

    def _accept(self, numbers: RowNumbers, typed: TypedBlock, good: Mask) -> pd.DataFrame:
        keep = pa.array(good)
        columns = (
            typed.columns if good.all() else {name: array.filter(keep) for name, array in typed.columns.items()}
        )
        keys, natural = line_keys(columns)
        self._keys.add(keys)
        self._unnatural += natural.false_count
        accepted = _frame(
            {
                "source_row_number": pa.array(numbers).filter(keep),
                "line_key": keys,
                "key_is_natural": natural,
                "row_hash": row_hashes(columns),
                **columns,
            }
        )
        try:
            self._contract.validate(accepted, lazy=True, inplace=True)
        except pandera.errors.SchemaErrors as error:
            # Neither pandera's message nor its cause may travel on: both quote the rows.
            failed = sorted({f"{item.column_name}: {item.reason_code.name}" for item in error.schema_errors})
            raise ContractBrokenError(
                f"Accepted claim lines break their contract ({'; '.join(failed)}). This is a fault of the program, "
                "not of the file: report it with the upload's id."
            ) from None
        return accepted

    def _count(
        self,
        block: RawBlock,
        typed: TypedBlock,
        failures: list[tuple[Rule, str, Mask]],
        wrong: Mask,
        warned: Mask,
    ) -> None:
        counters, rows = self._counters, len(block.frame)
        for name, (mask, columns) in _by_rule(failures, rows).items():
            self._tally(name, block.row_numbers[mask], columns)
        for name, numbers in block.apart.items():
            self._tally(name, numbers, set())
        invalid = {"date": np.zeros(rows, dtype=bool), "value": np.zeros(rows, dtype=bool)}
        for rule, _, mask in failures:
            if rule.name in _INVALID_DATE_RULES:
                invalid["date"] |= mask
            elif rule.dimension == "validity" and rule.name not in _PHI_RULES:
                invalid["value"] |= mask
            if rule.name in _PHI_RULES:
                counters.phi[rule.name] = counters.phi.get(rule.name, 0) + int(mask.sum())
        counters.invalid_dates += int(invalid["date"].sum())
        counters.invalid_values += int(invalid["value"].sum())
        for name in FIELDS:
            if name in block.frame.columns:
                unread = sum(
                    (mask for _, column, mask in typed.failures if column == name), np.zeros(rows, dtype=bool)
                )
                empty = typed.columns[name].is_null().to_numpy(zero_copy_only=False) & ~unread
                counters.missing[name] = counters.missing.get(name, 0) + int(empty.sum())
                counters.filled[name] = counters.filled.get(name, 0) + rows - int(empty.sum())
        apart = sum(map(len, block.apart.values()))
        counters.read += rows
        counters.rows += rows + apart
        counters.accepted += int((~wrong).sum())
        counters.rejected += int(wrong.sum()) + apart
        counters.warned += int((warned & ~wrong).sum())

    def _tally(self, rule: str, numbers: RowNumbers, columns: set[str]) -> None:
        tally = self._tallies[rule]
        tally.failing += len(numbers)
        tally.fields |= columns
        tally.samples.extend(numbers[: SAMPLE_ROWS - len(tally.samples)].tolist())


def _by_rule(failures: list[tuple[Rule, str, Mask]], rows: int) -> dict[str, tuple[Mask, set[str]]]:
    found: dict[str, tuple[Mask, set[str]]] = {}
    for rule, column, mask in failures:
        before, columns = found.get(rule.name, (np.zeros(rows, dtype=bool), set()))
        found[rule.name] = (before | mask, columns | {column})
    return found


def _rejections(block: RawBlock, failures: list[tuple[Rule, str, Mask]]) -> pd.DataFrame:
    """A row for each rejected row, field and error rule; a rejected row's warnings are not listed."""
    parts: list[tuple[Rule, str, npt.NDArray[Any]]] = [
        (rule, column, block.row_numbers[mask]) for rule, column, mask in failures if rule.severity == "error"
    ]
    parts.extend((RULES[name], "row", numbers) for name, numbers in block.apart.items())
    lengths = [len(numbers) for _, _, numbers in parts]
    table = pa.table(
        {
            "source_row_number": pa.array(np.concatenate([numbers for _, _, numbers in parts]), pa.int64()),
            **{
                name: pa.array(np.repeat(np.array(texts, dtype=object), lengths), pa.string())
                for name, texts in (
                    ("field", [column for _, column, _ in parts]),
                    ("rule", [rule.name for rule, _, _ in parts]),
                    ("reason", [rule.reason for rule, _, _ in parts]),
                )
            },
        }
    )
    frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
    return frame


def _frame(columns: dict[str, Any]) -> pd.DataFrame:
    frame: pd.DataFrame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    return frame
