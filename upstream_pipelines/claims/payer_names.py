"""Which payers people see by name. Not here: what a payer is called (mapping.py), names that look like a person's
(quality/phi.py).

A sender can put a patient where the payer belongs ("Jane Doe"), and no pattern tells such a name from a plan's. A payer that
pays has many lines; so those of few are counted and not named wherever names leave the claim tables for Dagster's.
"""

from __future__ import annotations

# The field's own rule for small cells: CMS publishes no count of 1 to 10 persons.
FEWEST_LINES_OF_A_NAME = 11


def unnamed_payers(count: int) -> str:
    """What stands in place of the names of so many payers."""
    which = "1 payer" if count == 1 else f"{count:,} payers"
    return f"({which} with fewer than {FEWEST_LINES_OF_A_NAME} lines)"
