"""A labelled set of payer names and denial texts for benchmarks/phi.py: people who do not exist, in the forms in which systems
write them, and the texts beside which they stand.

Made by a generator of its own from a seed. It shares no word list and no pattern with the detector. Not here: the detector,
the measuring.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from benchmarks.phi_words import (
    BRANDS,
    COMPOUND_FAMILY,
    CONTEXT,
    DENIALS,
    FAMILY,
    GIVEN,
    NAMES,
    NUMBERED,
    TAILS,
    UNSEEN_DENIALS,
    UNSEEN_PAYERS,
)


@dataclass(frozen=True)
class Text:
    """`kind` None: no personal data is in it. `form`: how it was made, for the table of what goes wrong."""

    field: str
    text: str
    kind: str | None
    form: str


class _Maker:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def one(self, items: tuple[str, ...] | list[str]) -> str:
        return self._random.choice(items)

    def digits(self, count: int) -> str:
        return str(self._random.randint(1, 9)) + "".join(str(self._random.randint(0, 9)) for _ in range(count - 1))

    def day(self, first: int, last: int) -> date:
        return date(first, 1, 1) + timedelta(days=self._random.randrange(365 * (last - first)))

    def upper(self, text: str) -> str:
        return text.upper() if self._random.random() < 0.5 else text

    def birthday(self) -> str:
        day = self.day(1930, 2024)
        forms = ("%m/%d/%Y", "%Y-%m-%d", "%m-%d-%y", "%m/%d/%y", "%Y%m%d", "%m%d%Y", "%b %d, %Y", "%d %B %Y")
        return day.strftime(self.one(forms))

    def name(self, form: str) -> str:
        given, family, initial = self.one(GIVEN), self.one(FAMILY), self.one(list("ABCDEFGHJKLMPRSTW"))
        made = {
            "Family, Given": f"{family}, {given}",
            "Family, Given I": f"{family}, {given} {initial}",
            "Family, Given I. Jr.": f"{family}, {given} {initial}. {self.one(['Jr.', 'Sr', 'III'])}",
            "Family Jr, Given": f"{family} {self.one(['Jr', 'Sr.', 'III'])}, {given}",
            "Family,Given": f"{family},{given}",
            "Two Words, Given": f"{self.one(COMPOUND_FAMILY)}, {given}",
            "Family^Given": f"{family}^{given}" + self.one(["", f"^{initial}", "^^^Jr"]),
            "Given I. Family Jr.": f"{given} {initial}. {family} {self.one(['Jr.', 'Jr', 'Sr.'])}",
            "Given Family Jr.": f"{given} {family} Jr.",
            "Mr. Given Family": f"{self.one(['Mr.', 'Mrs.', 'Mr', 'Mrs'])} {given} {family}",
            "Given I. Family": f"{given} {initial}. {family}",
            "Given Family": f"{given} {family}",
        }[form]
        return self.upper(made)

    def number_text(self, form: str) -> str:
        day = self.day(2024, 2026)
        text = form
        makers: dict[str, Callable[[], str]] = {
            "ten": lambda: self.digits(10), "thirteen": lambda: self.digits(13), "nine": lambda: self.digits(9),
            "cpt": lambda: self.digits(5), "two": lambda: self.digits(2), "three": lambda: self.digits(3), "four": lambda: self.digits(4),
            "claim": lambda: f"CLM{self.digits(8)}", "ein": lambda: f"{self.digits(2)}-{self.digits(7)}", "us": lambda: day.strftime("%m/%d/%Y"),
            "iso": day.isoformat, "year": lambda: str(day.year),
        }  # fmt: skip
        for name, make in makers.items():
            while f"{{{name}}}" in text:
                text = text.replace(f"{{{name}}}", make(), 1)
        return text


def _identifiers(make: _Maker) -> dict[str, dict[str, Callable[[], str]]]:
    """By kind and form."""
    three, two, four = (partial(make.digits, length) for length in (3, 2, 4))
    return {
        "ssn": {
            "123-45-6789": lambda: f"{three()}-{two()}-{four()}", "SSN 123-45-6789": lambda: f"SSN {three()}-{two()}-{four()}",
            "SSN: 123456789": lambda: f"{make.one(['SSN', 'SSN:', 'SSN#', 'ssn='])} {make.digits(9)}",
            "social security number 123456789": lambda: f"social security {make.one(['number', 'no.', '#'])} {make.digits(9)}",
            "SSN ending 6789": lambda: make.one([f"SSN ending {four()}", f"xxx-xx-{four()}", f"***-**-{four()}"]),
        },
        "phone": {
            "(555) 123-4567": lambda: f"({make.digits(1)}{make.digits(2)[::-1]}) {three()}-{four()}".replace("(8", "(6"),
            "212-123-4567": lambda: f"{make.one(['212', '615', '703', '503', '916'])}-{three()}-{four()}",
            "212.123.4567": lambda: f"{make.one(['212', '615', '703', '503', '916'])}.{three()}.{four()}",
            "+1 212 123 4567": lambda: f"+1 {make.one(['212', '615', '703', '503', '916'])} {three()} {four()}",
        },
        "email": {
            "given.family@": lambda: str.lower(
                f"{make.one(GIVEN)}.{make.one(FAMILY).replace(chr(39), '')}@{make.one(['mail', 'inbox'])}.example.com"
            ),
            "GF12@": lambda: f"{make.one(GIVEN)[0]}{make.one(FAMILY).replace(chr(39), '')}{two()}@WEB.EXAMPLE.COM",
        },
        "date_of_birth": {
            "DOB": lambda: f"{make.one(['DOB', 'DOB:', 'D.O.B.', 'dob='])} {make.birthday()}",
            "date of birth": lambda: f"{make.one(['date of birth', 'Birth date', 'birthdate:', 'Date Of Birth is'])} {make.birthday()}",
            "born": lambda: f"{make.one(['born', 'born on', 'b.'])} {make.birthday()}",
        },
        "mrn": {
            "MRN": lambda: f"{make.one(['MRN', 'MRN:', 'MRN#', 'mrn', 'MR#', 'Med Rec #'])} {make.digits(7)}",
            "medical record number": lambda: f"{make.one(['medical record number', 'Medical Record #', 'chart number', 'Pt ID', 'patient acct #'])} {make.digits(6)}",
        },
        "member_id": {
            "Member ID": lambda: f"{make.one(['Member ID', 'Member ID:', 'member #', 'Mbr ID', 'Subscriber ID', 'Insured ID#'])} "
            f"{make.one(['W', 'XYZ', 'ABC', ''])}{make.digits(9)}",
            "HICN, MBI": lambda: f"{make.one(['MBI', 'HICN', 'Medicare ID', 'Medicaid ID'])} 1EG4TE5MK{two()}",
        },
    }  # fmt: skip


def texts(seed: int, each: int) -> Iterator[Text]:
    """`each` texts of every form. A form that has only so many gives doubles; they count as often as they come."""
    make = _Maker(seed)
    for form in NAMES:
        for _ in range(each):
            yield Text("payer", make.name(form), "person_name", form)
            yield Text("denial_text", make.one(CONTEXT).format(make.name(form)), "person_name", form)
    for kind, forms in _identifiers(make).items():
        for form, identifier in forms.items():
            for _ in range(each):
                yield Text("payer", f"{make.one(('', make.name('Given Family') + ' '))}{identifier()}", kind, form)
                yield Text("denial_text", make.one(CONTEXT).format(identifier()), kind, form)
    for _ in range(8 * each):
        brand = make.upper(make.one(BRANDS))
        of = make.upper(
            f"{make.one(BRANDS)} of {make.one(['Virginia', 'MS', 'Illinois', 'Northeastern New York', 'MD'])}"
        )
        tail = make.upper(f"{make.one(BRANDS)}, {make.one(TAILS)}")
        number = f"{make.one(BRANDS)} {make.one(['', '#', 'Payer ID '])}{make.digits(5)}"
        for form, text in (("brand", brand), ("of a place", of), ("comma and tail", tail), ("payer id", number)):
            yield Text("payer", text, None, form)
        yield Text("payer", make.digits(10), None, "ten digits")
        yield Text("denial_text", make.one(DENIALS), None, "denial")
        yield Text("denial_text", make.upper(make.one(DENIALS)), None, "denial, either case")
        yield Text("denial_text", make.number_text(make.one(NUMBERED)), None, "with numbers and days")
        yield Text("payer", make.upper(make.one(UNSEEN_PAYERS)), None, "unseen, two names and a comma")
        yield Text("denial_text", make.upper(make.one(UNSEEN_DENIALS)), None, "unseen denial")
        payer = f"{make.one(['Primary payer', 'Bill', 'COB:', 'Forwarded to'])} {brand}, {make.one(TAILS)}"
        yield Text("denial_text", payer, None, "names a payer")
