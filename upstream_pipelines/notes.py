"""Short texts that people write beside an event, an alert or a silence: one line, and nothing about a patient.

Not here: the shapes of personal data (phi_patterns.py), who may write.
"""

from __future__ import annotations

from upstream_pipelines.errors import InvalidInputError
from upstream_pipelines.phi_patterns import PATTERNS, PERSON_IN_A_NOTE

TEXT_LENGTH = 200
_NAMES = {
    "ssn": "a social security number", "phone": "a phone number", "email": "an e-mail address",
    "date_of_birth": "a date of birth", "mrn": "a medical record number", "member_id": "an insurer's number of a person",
    "person_name": "a person's name",
}  # fmt: skip


def checked_note(text: str, what: str) -> str:
    """The text without blanks at its ends; refused where it looks like it is about a patient. It is never repeated.

    Raises:
        InvalidInputError: it is too long, more than a line, or may be about a patient; `what` is what it is called.
    """
    text = text.strip()
    if len(text) > TEXT_LENGTH:
        raise InvalidInputError(f"The {what} has {len(text)} characters; {TEXT_LENGTH} is the most. Shorten it.")
    found = next((kind for kind, pattern in PATTERNS.items() if pattern.search(text)), None)
    about = (
        _NAMES[found]
        if found is not None
        else "something about a person"
        if PERSON_IN_A_NOTE.search(text)
        else None
    )
    if about is not None:
        raise InvalidInputError(
            f"The {what} seems to hold {about}. Nothing about a patient belongs here; say it without."
        )
    if any(not letter.isprintable() for letter in text):
        raise InvalidInputError(f"The {what} is one line of text. Leave line breaks and control characters out.")
    return text
