"""The shapes of protected health information in free text: one regular expression a kind.

The one place for them: the quality rules (quality/phi.py) find them in claims, the log redactor
(observability/redaction.py) removes them. Not here: what is done about a match. Standard library only.
"""

from __future__ import annotations

import re

_DATE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"

# Nine digits without separators only behind a label: else any nine-digit account number is one. Its last four digits are
# personal data too, where they are said to be that.
SSN = re.compile(
    r"\b\d{3}-\d{2}-\d{4}\b|\b\d{3} \d{2} \d{4}\b|\b(?i:ssn|social security(?: number| no\.?)?)[\s:=#]*\d{9}\b"
    r"|(?i:\bssn (?:ending|ends)(?: in| with)? \d{4}\b)|(?i:\bxxx-xx-|\*\*\*-\*\*-)\d{4}\b"
)

# Separators are required: ten digits in a row are a claim number or an NPI, both everywhere in claims.
PHONE = re.compile(r"(?:\+?\b1[-. ])?(?:\(\d{3}\) ?|\b\d{3}[-. ])\d{3}[-. ]\d{4}\b")

EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

# Labelled only: a date alone is a service date far more often than a birthday.
DATE_OF_BIRTH = re.compile(
    r"\b(?:dob|d\.o\.b\.?|date of birth|birth ?date|birthday|born(?: on)?)[\s:=#]*(?:is )?"
    rf"(?:{_DATE}|\d{{8}}\b|\d{{1,2}} {_MONTH},? \d{{4}}\b|{_MONTH} \d{{1,2}},? \d{{4}}\b)",
    re.IGNORECASE,
)

# Labelled only, for the same reason; four digits and more, so that "MRN 2 of 3" is none.
MRN = re.compile(
    r"\b(?:mrn|mr(?= ?#)|med(?:ical)? rec(?:ord)?(?: number| no\.?)?|chart (?:number|no\.?)|"
    r"(?:patient|pt)\.? (?:id|number|no\.?|acct|account))[\s:=#-]*[A-Z]{0,3}-?\d{4,}\b",
    re.IGNORECASE,
)

# What an insurer calls a person. Labelled, six digits and more: a payer's own id has five. A Medicare number has a form that
# nothing else has.
MEMBER_ID = re.compile(
    r"\b(?i:(?:member|mbr|subscriber|insured|beneficiary|policyholder|medicare|medicaid) ?(?:id|number|no\b\.?|#)|mbi|hicn)"
    r"[\s:=#-]*[A-Za-z]{0,4}-?\d{6,}\b"
    r"|\b[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d[AC-HJKMNP-RT-Y]{2}\d{2}\b"
)

# "SMITH, JOHN", "Smith Jr, John A", "John Q. Smith Jr.", "Doe^Jane" (HL7), "Mr. John Smith". Sr. and III without an initial
# before the name are a plan's as well ("Kaiser Permanente Sr. Advantage"); MR alone is an imaging. After the comma of a company
# or a place stand other words: "AETNA, INC", "Boston, MA", "Humana, a plan of ...".
_NAME_WORD = r"(?:[A-Z][A-Z'\u2019-]+|[A-Z][a-z'\u2019-]+(?:[A-Z][a-z]+)?)"
# Martin Luther King Jr. Health Centre is a place.
_ENDS = r"(?!\.? [A-Z])"
_SUFFIX = r"(?:[JS][Rr]\b\.?|III?\b|IV\b)"
PERSON_NAME = re.compile(
    rf"\b[^\W\d_]{{2,}}\^[^\W\d_]|\b(?:Mrs?\.?|MRS\.?|MR\.) {_NAME_WORD}(?: {_NAME_WORD})?|"
    rf"\b{_NAME_WORD} (?:[A-Z]\b\.? )?{_NAME_WORD},? J[Rr]\b\.?{_ENDS}|"
    rf"\b{_NAME_WORD} [A-Z]\b\.? {_NAME_WORD},? {_SUFFIX}{_ENDS}|"
    rf"\b{_NAME_WORD}(?: {_SUFFIX})?, ?"
    r"(?!(?i:inc|llc|llp|lp|ltd|co|corp|corporation|company|plc|pc|pa|hmo|ppo|epo|pos|dba|the|of|and|plan|plans|"
    r"health|healthcare|insurance|medicare|medicaid|tricare|group|services|blue|cross|shield|aetna|anthem|cigna|humana|"
    r"united|uhc|kaiser|molina|centene|usa?|fl|ga|il|in|ky|la|ma|md|me|mi|mn|mo|ms|mt|"
    r"nc|nd|ne|nh|nj|nm|nv|ny|oh|ok|or|ri|sc|sd|tn|tx|ut|va|vt|wa|wi|wv|wy|ak|al|ar|az|ca|ct|dc|de|hi|ia|id|ks)\b)"
    rf"{_NAME_WORD}(?: [A-Z]\b\.?)?"
)

#: Every kind by name, in the order in which a redactor should apply them.
PATTERNS: dict[str, re.Pattern[str]] = {
    "ssn": SSN,
    "phone": PHONE,
    "email": EMAIL,
    "date_of_birth": DATE_OF_BIRTH,
    "mrn": MRN,
    "member_id": MEMBER_ID,
    "person_name": PERSON_NAME,
}

#: What shows that a person stands where a payer should, besides `PATTERNS`: a date with its year in full (a plan may be
#: called 80/20/50), a name as HL7 parts it, a word for a person or a record. Fewer words than beside a place: MD and MS
#: are states, and long numbers are payers' ids.
PERSON_AS_PAYER: tuple[re.Pattern[str], ...] = (
    re.compile(r"(?<!\d)(?:\d{1,2}[-/.]\d{1,2}[-/.](?:19|20)\d\d|(?:19|20)\d\d[-/.]\d{1,2}[-/.]\d{1,2})(?!\d)"),
    re.compile(r"[^\W\d_]\^[^\W\d_]"),
    re.compile(r"(?<![^\W_])(?:patients?|d\W?o\W?b|ssn|mrn|mr|mrs)(?![^\W\d_])", re.IGNORECASE),
)

#: What shows a person in a note that somebody writes about an alert, besides `PATTERNS`: nine digits, however separated, or a
#: word for a person or a record. A date there is a deadline.
PERSON_IN_A_NOTE = re.compile(
    r"\d(?:[\W_]{0,2}\d){8}|\b(?:patients?|d\W?o\W?b|ssn|mrn|mr|mrs|ms)\b", re.IGNORECASE
)

#: What the name of a place has no need of, and that of a person often stands beside: a date, six digits and more
#: (however separated), a word for a person or a record. Too common in other texts to be personal data there: a date
#: is a service date, ten digits are a claim number.
BESIDE_A_PERSON: tuple[re.Pattern[str], ...] = (
    re.compile(_DATE),
    re.compile(
        rf"\b\d{{1,2}}[\W_]*{_MONTH}[\W_]*\d{{2,4}}\b|\b{_MONTH}[\W_]*\d{{1,2}}(?:st|nd|rd|th)?[\W_]+\d{{2,4}}\b",
        re.IGNORECASE,
    ),
    re.compile(r"\d(?:[\W_]{0,3}\d){5}"),
    # Whole words: an outpatient centre is a place. Digits and underscores end a word here.
    re.compile(
        r"(?<![^\W_])(?:patients?|pts?|d\W?o\W?b|ssn|mrn|dr|doctor|m\W?d|mr|mrs|ms|miss)(?![^\W\d_])",
        re.IGNORECASE,
    ),
)
