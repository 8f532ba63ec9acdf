"""The words that sources write for outcomes, yes and no, and nothing. Not here: a customer's own words (mapping.py)."""

from __future__ import annotations

#: Compared in lower case, every run of punctuation and space as one space.
OUTCOME_WORDS: dict[str, str] = {
    **dict.fromkeys(
        ("paid", "approved", "accepted", "partially paid", "partial paid", "partial payment", "partial", "paid partial",
         "paid in full", "fully paid", "processed and paid", "allowed", "settled", "payment", "finalized paid",
         "partially approved", "closed paid"),
        "PAID",
    ),
    **dict.fromkeys(
        ("denied", "rejected", "declined", "denial", "deny", "disallowed", "not covered", "non covered", "refused",
         "fully denied", "finalized denied", "closed denied", "not approved"),
        "DENIED",
    ),
    **dict.fromkeys(
        ("pending", "pended", "pend", "in process", "in progress", "processing", "open", "submitted", "resubmitted",
         "in review", "under review", "review", "pending review", "awaiting decision", "awaiting response",
         "received", "acknowledged", "on hold", "suspended", "new", "sent", "not decided", "undecided", "billed"),
        "PENDING",
    ),
    **dict.fromkeys(
        ("other", "void", "voided", "cancelled", "canceled", "withdrawn", "reversed", "reversal"),
        "OTHER",
    ),
}  # fmt: skip

YES_WORDS = ("yes", "y", "true", "t", "1", "1.0", "x", "required", "obtained", "approved")
NO_WORDS = ("no", "n", "false", "f", "0", "0.0", "not required", "not obtained", "not approved")
MISSING_WORDS = (
    "",
    "~",
    "n/a",
    "na",
    "#n/a",
    "null",
    "none",
    "nil",
    "nan",
    "nat",
    "-",
    "--",
    "\u2013",
    "\u2014",
    "n.a.",
    "(null)",
    "<null>",
    "?",
)
