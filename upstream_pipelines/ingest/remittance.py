"""What an X12 835 (005010X221) means: its loops, statuses and adjustments as claim lines. All of it stands here.

A line is a service (SVC), or a whole claim (CLP) that has none; then its code is UNSPECIFIED.

- Outcome: DENIED where the claim's status is 4, or nothing was paid and something was taken off that is a denial.
  Contractual reductions, the patient's share (1, 2, 3) and what an earlier payer decided (23) are none: a line wholly
  applied to the deductible is PAID. Where a line has no adjustment of its own, the claim's are looked at.
- Denial code: the largest such adjustment, CO-16; among equals the first in the alphabet, so that order means nothing.
- Allowed: what the payer says (AMT*B6, of a whole claim AMT*AU), else billed less contractual reductions and the earlier
  payer's part; of a denied line nothing is guessed.
- Decided: the production date (DTM*405, or GS04, which stands for it), but not after the payment (BPR16): nobody pays
  before deciding. Paid on BPR16, where something was paid and that day has come.
- Submitted: the day the payer received the claim (DTM*050). Most remittances have none; then the day of service stands
  in, and rule `submitted_date_sent` says so.
- Reversal (status 22): takes a decision back. It becomes `reversed`, which is read as OTHER, and the correction that
  follows, in this file or a later one, replaces it under the same key.
- Identity: the claim's number (CLP01) with the number of the line (REF*6R) where it is one of at most nine digits; else
  procedure, modifiers and day, as for files without line numbers, since a payer may leave lines out and order them anew.
  Equal ones within a claim are told apart by their ordinal. `payer_position` tells the primary payer (1) from the second
  and third; a denial or a reversal does not say, and the merge finds out.

Taken are these fields and no other: names and numbers of patients (NM1*QC, NM1*IL), notes and free text are not read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import lru_cache

from upstream_pipelines.claims.fields import UNSPECIFIED_CPT
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.x12_segments import Segment, text_of

#: The claim fields an 835 fills, in the order of `RemittanceLine.cells`.
CELLS = (
    "claim_id", "line_number", "payer", "cpt", "modifiers", "service_date", "submitted_date", "decided_date", "payment_date",
    "outcome", "billed_amount", "allowed_amount", "paid_amount", "denial_reason_code", "denial_reason_text", "units",
    "provider_npi",
)  # fmt: skip
#: What the reader itself finds fault with: rule → field. The rules are in quality/rules.py.
NOTES = {
    "service_code_sent": "cpt", "service_amounts_sent": "billed_amount", "adjustments_readable": "denial_reason_code",
    "submitted_date_sent": "submitted_date", "remittance_dates": "decided_date", "payment_made": "payment_date",
    "remittance_balances": "paid_amount", "remittance_counts": "claim_id", "component_separator": "cpt",
}  # fmt: skip

# The standard has at most 999 services in a claim; a claim is held until it is complete.
_MOST_SERVICES = 9_999
_POSITIONS = {"1": 1, "19": 1, "2": 2, "20": 2, "3": 3, "21": 3}
_DENIED, _REVERSED = "4", "22"
# Not our claim and forwarded; pricing without a claim.
_OTHER = ("23", "25")
# Of version 4010: pended, received, suspended in several ways.
_UNDECIDED = ("5", "10", "13", "15", "16", "17")
# What a contract, a law or a discount takes off, whatever group it is sent under.
_CONTRACTUAL = frozenset({"42", "44", "45", "94", "104", "105", "131", "144", "161", "237", "253", "A2"})
_PATIENT = frozenset({"1", "2", "3"})
_EARLIER_PAYER = "23"
_QUALIFIED = re.compile(r"(?:AD|ER|HC|HP|IV|N4|N6|NU|UI|WK)([^A-Za-z0-9\s])(.+)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d{1,18}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)
_DAY = re.compile(r"(?:19|20)\d{6}", re.ASCII)
_LINE_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_GROUP = re.compile(r"[A-Z]{2}", re.ASCII)
_PRINTED = re.compile(r"[!-~][ -~]{0,49}")
_REASON = re.compile(r"[A-Z]?\d{1,3}|[A-Z]\d[A-Z]?", re.ASCII)
_REMARK = re.compile(r"[A-Z]{1,2}\d{1,4}", re.ASCII)
_NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class RemittanceLine:
    """One line of a claim. cells: texts in the order of CELLS. notes: rules of NOTES that it fails."""

    number: int
    cells: tuple[str | None, ...]
    notes: frozenset[str]
    payer_claim_number: str | None
    payer_position: int | None
    ordinal: int
    submitted_stands_in: bool


@dataclass
class _Adjustments:
    """Adjustments of a claim or a line: code with group → amount."""

    amounts: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    readable: bool = True

    def add(self, segment: Segment) -> None:
        """A CAS: its group, then up to six times reason, amount and quantity."""
        group = segment.at(1)
        for place in range(2, max(len(segment.elements), 3), 3):
            reason, amount = segment.at(place), _amount(segment.at(place + 1))
            if not reason and not segment.at(place + 1):
                continue
            if not _GROUP.fullmatch(group) or not _REASON.fullmatch(reason) or amount is None:
                self.readable = False
                continue
            self.amounts[group, reason] = self.amounts.get((group, reason), _NOTHING) + amount

    def total(self) -> Decimal:
        return sum(self.amounts.values(), _NOTHING)

    def of(self, reasons: Iterable[str]) -> Decimal:
        return sum((amount for (_, reason), amount in self.amounts.items() if reason in reasons), _NOTHING)

    def denial(self) -> str | None:
        """Code of the largest denial among them."""
        no_denials = _CONTRACTUAL | _PATIENT | {_EARLIER_PAYER}
        found = [
            (-amount, f"{group}-{reason}")
            for (group, reason), amount in self.amounts.items()
            if amount > 0 and reason not in no_denials
        ]
        return min(found)[1] if found else None


@dataclass
class _Paid:
    """A claim or a service while its segments arrive: the segment it began with, and what is known of it."""

    segment: Segment
    dates: dict[str, str] = field(default_factory=dict)
    amounts: dict[str, str] = field(default_factory=dict)
    adjustments: _Adjustments = field(default_factory=_Adjustments)
    line_number: str | None = None
    remarks: list[str] = field(default_factory=list)


@dataclass
class _Claim(_Paid):
    services: list[_Paid] = field(default_factory=list)
    npi: str | None = None


class Remittance:
    """One transaction: `take` its segments between ST and SE, each gives the lines of the claim that it ends."""

    def __init__(self, sent_on: date | None, today: date) -> None:
        self._sent_on, self._today = sent_on, today
        self._payer: str | None = None
        self._payee_npi: str | None = None
        self._payment = self._production = ""
        self._claim: _Claim | None = None
        self._open: _Paid | None = None
        self._counts = {"claims": 0, "reversals": 0, "provider_adjustments": 0}

    def counts(self) -> dict[str, int]:
        """Claims, reversals and adjustments of the provider (PLB) so far."""
        return dict(self._counts)

    def take(self, segment: Segment) -> Sequence[RemittanceLine]:
        """One segment; what is not named here is passed over."""
        match segment.name:
            case "CLP":
                ended = self._end_of_claim()
                self._claim = self._open = _Claim(segment)
                self._counts["claims"] += 1
                self._counts["reversals"] += segment.at(2) == _REVERSED
                return ended
            case "LX":
                return self._end_of_claim()
            case "PLB":
                # The last claim is held until the transaction's end says whether its counts are right.
                self._counts["provider_adjustments"] += 1
                self._open = None
            case "SVC":
                if self._claim is None:
                    raise FileRefusedError(
                        f"At segment {segment.number} a service (SVC) belongs to no claim (CLP). Ask the sender for the "
                        "whole file and send that."
                    )
                self._open = _Paid(segment)
                self._claim.services.append(self._open)
                if len(self._claim.services) > _MOST_SERVICES:
                    raise FileRefusedError(
                        f"The claim at segment {self._claim.segment.number} has more than {_MOST_SERVICES:,} services; "
                        "the standard has 999. Ask the sender to split it."
                    )
            case "BPR":
                self._payment = segment.at(16)
            case "N1":
                self._take_party(segment)
            case "DTM" if self._open is not None:
                self._open.dates.setdefault(segment.at(1), segment.at(2))
            case "DTM" if segment.at(1) == "405":
                self._production = segment.at(2)
            case _ if self._open is not None:
                self._take_detail(segment, self._open)
        return ()

    def finish(self, *, counts_agree: bool) -> Sequence[RemittanceLine]:
        """The last claim's lines; where the transaction's own counts are wrong, they say so."""
        return self._end_of_claim(() if counts_agree else ("remittance_counts",))

    def _take_party(self, segment: Segment) -> None:
        if segment.at(1) == "PR":
            self._payer = text_of(segment.at(2)) or segment.at(4) or None
        elif segment.at(1) == "PE" and segment.at(3) == "XX":
            self._payee_npi = segment.at(4) or None

    def _take_detail(self, segment: Segment, opened: _Paid) -> None:
        match segment.name, segment.at(1):
            case "CAS", _:
                opened.adjustments.add(segment)
            case "AMT", qualifier:
                opened.amounts[qualifier] = segment.at(2)
            case "REF", "6R" if _LINE_NUMBER.fullmatch(segment.at(2)):
                opened.line_number = segment.at(2)
            case "NM1", "82" if segment.at(8) == "XX" and self._claim is not None:
                self._claim.npi = segment.at(9)
            case "LQ", "HE" if _REMARK.fullmatch(segment.at(2)):
                opened.remarks.append(segment.at(2))

    def _end_of_claim(self, notes: Sequence[str] = ()) -> Sequence[RemittanceLine]:
        claim, self._claim, self._open = self._claim, None, None
        if claim is None:
            return ()
        notes = [*notes, *self._faults_of_dates(), *_faults_of_claim(claim)]
        ordinals: Counter[tuple[str | None, ...]] = Counter()
        return [self._line(claim, paid, notes, ordinals) for paid in claim.services or [claim]]

    def _faults_of_dates(self) -> list[str]:
        sent = [text for text in (self._payment, self._production) if text]
        return [] if all(day_of(text) for text in sent) else ["remittance_dates"]

    def _decided_on(self) -> date | None:
        known = (day_of(self._production) or self._sent_on, day_of(self._payment))
        return min((day for day in known if day is not None), default=None)

    def _line(
        self, claim: _Claim, paid: _Paid, of_claim: Sequence[str], ordinals: Counter[tuple[str | None, ...]]
    ) -> RemittanceLine:
        notes = set(of_claim)
        whole = paid is claim
        segment = paid.segment
        billed_text, paid_text = (segment.at(3), segment.at(4)) if whole else (segment.at(2), segment.at(3))
        code, modifiers = (UNSPECIFIED_CPT, None) if whole else _procedure(segment, notes)
        billed, paid_amount = _amount(billed_text), _amount(paid_text or "0")
        if not billed_text:
            notes.add("service_amounts_sent")
        if not paid.adjustments.readable:
            notes.add("adjustments_readable")
        elif not whole and not _balances(billed, [paid.adjustments], paid_amount):
            notes.add("remittance_balances")
        considered = paid.adjustments if paid.adjustments.amounts or whole else claim.adjustments
        outcome = _outcome(claim.segment.at(2), paid_amount or _NOTHING, considered)
        decided = self._decided_on()
        service = _first(paid.dates, "472", "150") or _first(claim.dates, "232", "472", "150")
        received = day_of(claim.dates.get("050", ""))
        if received is None:
            notes.add("submitted_date_sent")
        payment_date = day_of(self._payment) if (paid_amount or _NOTHING) > 0 else None
        if payment_date is not None and payment_date > self._today:
            notes.add("payment_made")
            payment_date = None
        allowed = paid.amounts.get("AU" if whole else "B6") or _allowed(outcome, billed, paid.adjustments)
        units = None if whole else segment.at(7) or segment.at(5) or "1"
        if outcome == "reversed":
            # The amounts of a reversal are those of the decision with their signs turned: what was paid is nothing.
            billed_text, paid_text, allowed, payment_date = billed_text.lstrip("-"), "0", None, None
            units = units.lstrip("-") if units else None
        identity = (paid.line_number,) if paid.line_number else (code, modifiers, service)
        ordinals[identity] += 1
        denied = outcome == "denied"
        cells = (
            _claim_id(claim), paid.line_number, self._payer, code, modifiers, _iso(service),
            received.isoformat() if received else _iso(service),
            decided.isoformat() if decided and outcome != "pending" else None,
            payment_date.isoformat() if payment_date else None,
            outcome, billed_text, allowed, paid_text or "0",
            considered.denial() if denied else None,
            f"Remark codes: {' '.join(paid.remarks)}" if denied and paid.remarks else None,
            units, claim.npi or self._payee_npi,
        )  # fmt: skip
        return RemittanceLine(
            segment.number, cells, frozenset(notes), _plain(claim.segment.at(7)),
            _POSITIONS.get(claim.segment.at(2)), ordinals[identity], received is None,
        )  # fmt: skip


@lru_cache(maxsize=4096)
def day_of(text: str) -> date | None:
    """A day as X12 writes it (CCYYMMDD), None where it is none."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _iso(text: str | None) -> str | None:
    """A day as the claim line's reader knows it; what is no day stays, and its row is rejected for it."""
    day = day_of(text or "")
    return day.isoformat() if day else text


def _first(dates: dict[str, str], *qualifiers: str) -> str | None:
    return next((dates[name] for name in qualifiers if dates.get(name)), None)


def _claim_id(claim: _Claim) -> str | None:
    """The provider's number of the claim, or the payer's where the provider's is missing: a payer that never got it sends 0."""
    own = claim.segment.at(1)
    if own.strip("0"):
        return own
    number = _plain(claim.segment.at(7))
    return f"ICN:{number}" if number else None


def _plain(text: str) -> str | None:
    """A number of the payer's that can be stored as it is; anything odd is left out."""
    return text if _PRINTED.fullmatch(text) else None


def _amount(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _procedure(segment: Segment, notes: set[str]) -> tuple[str | None, str | None]:
    """Code and modifiers of a service (SVC01), behind its qualifier. A separator that is not the interchange's is told
    by what stands behind the qualifier.
    """
    composite, component = segment.at(1), segment.component
    if component is None or component not in composite:
        other = _QUALIFIED.fullmatch(composite)
        if other is not None:
            if component is not None:
                notes.add("component_separator")
            component = other[1]
    parts = [part.strip() for part in composite.split(component)] if component else [composite]
    if len(parts) < 2 or not parts[1]:
        notes.add("service_code_sent")
        return None, None
    return parts[1], " ".join(part for part in parts[2:6] if part) or None


def _outcome(status: str, paid: Decimal, adjustments: _Adjustments) -> str:
    """The word for the outcome; a status that is not known is said as such, and becomes OTHER with a warning."""
    if status == _REVERSED:
        return "reversed"
    if status == _DENIED:
        return "denied"
    if status in _UNDECIDED:
        return "pending"
    if status in _OTHER:
        return "other"
    if status not in _POSITIONS:
        return "unknown claim status"
    return "denied" if paid <= 0 and adjustments.denial() else "paid"


def _allowed(outcome: str, billed: Decimal | None, adjustments: _Adjustments) -> str | None:
    """What the payer allowed, worked out where it does not say (see above); None where that is less than nothing."""
    if outcome != "paid" or billed is None:
        return None
    allowed = billed - adjustments.of(_CONTRACTUAL | {_EARLIER_PAYER})
    return str(allowed) if allowed >= 0 else None


def _faults_of_claim(claim: _Claim) -> list[str]:
    """Billed less all adjustments, the claim's and its services', has to be what was paid (CLP03 - CAS = CLP04)."""
    parts: list[_Paid] = [claim, *claim.services]
    billed, paid = _amount(claim.segment.at(3)), _amount(claim.segment.at(4) or "0")
    if not claim.adjustments.readable:
        return ["adjustments_readable"]
    balanced = _balances(billed, [part.adjustments for part in parts], paid)
    return [] if balanced else ["remittance_balances"]


def _balances(billed: Decimal | None, adjustments: Iterable[_Adjustments], paid: Decimal | None) -> bool:
    """What is no amount has a rule of its own."""
    if billed is None or paid is None:
        return True
    return billed - sum((each.total() for each in adjustments), _NOTHING) == paid
