"""Which headers may be shown: those made of nothing but words that head the columns of claims files.

In a file without header the first row is a claim, and a report may have a patient's name above a column; so what a header
says is repeated only where each of its words is known, and it is called by its place otherwise. Belongs here: the words
and the verdict. Not here: which header is which field (headers.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from upstream_pipelines.claims.fields import FIELDS, header_key
from upstream_pipelines.visible import visible

#: A longer header is a sentence or several cells.
_LONGEST = 60
_PLAIN = re.compile(rf"[A-Za-z0-9 _./#()%$&?:\-\u00ae]{{1,{_LONGEST}}}")
# "ClaimID", "CLAIM_ID2" and "claim id" are the same words.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# ICD10, HCPCS modifier 4, 837: no date, SSN or telephone number has so few digits.
_MOST_DIGITS = 3

_FURTHER = """
    about account acct action active actual address adj adjudication adjusted adjustment adjustments admission admit after age
    all allowed amount amounts amt and appeal appealed approval assigned at attending auth authorization authorized authorisation
    avg balance based batch before benefit bill billed biller billing birth box branch by cancel carc carrier case cat category
    cd center charge charged charges check city claim claimant claims class clearinghouse clerk clinic clm close closed cob code
    codes coinsurance coins collected comment comments company condition contract contractual contractor control copay cost count
    county coverage covered cpt create created crossover current cust customer cycle data date dates day days dcn deadline decided
    decision deductible denial denials denied department dept desc description detail determination diag diagnosis dob doc
    document dos dt due dup duplicate dx edi eff effective eft elapsed electronic eligible eligibility employer encounter end
    entered entry eob episode era error estimated event expected export external facility fee fein file filed filing final finance
    financial finalized first flag follow form frequency from full fund gender grand gross group guarantor hcpcs held high hold
    hospital icd icn id ids in income ind indicator info initial inpatient ins insurance insurer insured interest internal
    invoice is issue item key kind lag last late ledger length level line lines list location loc low mac management max
    measure medicaid medical medicare member message method middle min mod modified modifier modifiers modifiers money month mrn
    name names national nbr ndc net network new next no non not note notes npi num number obligation obtained of office old on
    open operator or order ordering organization original other out outcome outpatient outstanding owner package page paid part
    partial participating patient pay payable payer payers payment payments payor pended pending percent period person phone
    place plan point policy portal pos post posted posting practice pre prescriber previous price primary prior priority prv
    prvdr procedure process processed processing product professional program prov provider qty quantity quarter queue rarc rate
    ratio re reason rec received recipient record ref reference referral referring region reimbursed reimbursement reject rejected
    rejection related relationship remark remarks remit remittance rendering report request requested required resp response
    responsibility responsible result resubmission rev revenue review reversal rowid row run rvu schedule scheduled second
    secondary section sending sent seq sequence serial service services settled sex signed site source specialty ssn staff start
    state status stay step sub subscriber subtotal submission submit submitted submitter supervising suspended svc system tax
    taxonomy tcn team tertiary text third through tier time timely timestamp tin to total totals tracking trace transaction type
    ub unapplied unbilled uniq unique unit units unpaid update updated upload user value vendor version visit void with withhold
    work worked write writeoff written year ytd zip zone cntrctr fac num prcsg finl actn obslt sgntr prfnl bene utn
    accident ageing aging allow allowance answer answered apc appointment archived assignee bucket cause cheque clinician co
    deleted deposit diff difference division doctor drg email ethnicity explanation ext extract fiscal hipps import
    justification language legacy load marital memo off offset onset overpaid overpayment performed phase
    position precert preventable progress pt recoup recoupment recovered refunded rendered replied reply req resolution
    room scheme scrubbed settlement sum supply surgeon takeback therapist ticket touched trans treatment txn
    underpaid underpayment uuid variance verdict week why
"""
_NAMES = [name for field in FIELDS.values() for name in (field.name, *field.synonyms, *field.weak_synonyms)]
_WORDS = {
    *_FURTHER.split(),
    *map(header_key, _NAMES),
    *(word for name in _NAMES for word in re.findall("[a-z]+", name)),
}
# For words written together ("claimid", "patientname"): those of a few letters are found in too many names.
_TOGETHER = frozenset(word for word in _WORDS if len(word) > 3) | {"pay", "tax", "sub"}
_AT_THE_END = ("id", "no", "num", "nbr", "code", "dt", "amt", "date", "name")


def tidy_header(header: str) -> str:
    """A header in one line, without quotes: files break them, quote them and put marks between the letters."""
    return " ".join(visible(header).replace('"', " ").split())


# Words of columns that are persons' names too, without the s that some of them end in: a header of nothing else is somebody.
_NAMES_TOO = frozenset(
    "bill branch case co day gross key load mac max min page post price room sum week".split()  # noqa: SIM905  a list of words
)


def looks_like_column_name(header: str) -> bool:
    """Whether a header is a plain name of a column of a claims file: short, of known words, with few digits."""
    bare = tidy_header(header[: 4 * _LONGEST])
    words = _WORD.findall(bare)
    digits = sum(map(str.isdigit, bare))
    return bool(
        _PLAIN.fullmatch(bare)
        and digits <= _MOST_DIGITS
        and any(map(str.isalpha, words))
        and all(map(_known, words))
        and (len(words) == 1 or not _NAMES_TOO.issuperset(word.lower().removesuffix("s") for word in words))
    )


def shown_header(header: str, place: int) -> str:
    """The header as it may stand in messages, logs and reports; else the place of its column, 0 being the first."""
    return tidy_header(header) if looks_like_column_name(header) else f"column {place + 1}"


def shown_headers(headers: Sequence[str], places: Sequence[int] | None = None) -> list[str]:
    """Those at `places`, or all, each as `shown_header` gives it."""
    return [shown_header(headers[place], place) for place in (range(len(headers)) if places is None else places)]


def _known(word: str) -> bool:
    return word.isdigit() or _of_known_words(word.lower())


@lru_cache(maxsize=10_000)
def _of_known_words(word: str) -> bool:
    """A known word, its plural, or known words written together."""
    if word in _WORDS or (word.endswith("s") and word[:-1] in _WORDS):
        return True
    if any(word.endswith(end) and word.removesuffix(end) in _TOGETHER for end in _AT_THE_END):
        return True
    return any(word[:cut] in _TOGETHER and _of_known_words(word[cut:]) for cut in range(3, len(word) - 2))
