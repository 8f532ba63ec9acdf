"""Labelled days of a customer: adding and taking back what its drift settings hold of them.

Not here: what they mean for a look (drift/detector.py), the days of an event (the command names them).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from upstream_pipelines.customers.configuration import ConfigurationFile
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.settings import LabelledDays
from upstream_pipelines.errors import ConflictError, InvalidInputError, NotFoundError

# A look goes through them for each chart.
_MOST = 500


def days_to_label(values: Mapping[str, Any]) -> LabelledDays:
    """Days as somebody typed or sent them.

    Raises:
        InvalidInputError: they cannot be labelled; the message says which part is why.
    """
    # Only here: a stored configuration that has such a label already must still load.
    texts = [values["label"] or "", *(values["payers"] or ())]
    if not all(str(text).isprintable() for text in texts):
        raise InvalidInputError(
            "These days cannot be labelled: the label or a payer has line breaks or control characters. Write it on "
            "one line."
        )
    try:
        return LabelledDays.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'days'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise InvalidInputError(
            f"These days cannot be labelled: {problems}. A label, a first day and a last day are needed."
        ) from None


def label_days(conn: Connection, customer: Customer, made: LabelledDays) -> tuple[LabelledDays, ...]:
    """Add days; they go into the next look. `customer` is read under `lock_to_configure`. Returns: all labelled days.

    Raises:
        ConflictError: others have this label, or there are too many.
    """
    calendar = customer.configuration.drift.calendar
    if any(days.label == made.label for days in calendar):
        raise ConflictError(
            "There are days of that label already, and both would be taken back together. Give another label, "
            "or take the old one back first."
        )
    if len(calendar) >= _MOST:
        raise ConflictError(f"{_MOST} spans of days are labelled already. Take some back first.")
    return _store(conn, customer, (*calendar, made))


def unlabel_days(conn: Connection, customer: Customer, label: str) -> tuple[LabelledDays, ...]:
    """Take the days of a label back; as `label_days`.

    Raises:
        NotFoundError: nothing has this label.
    """
    calendar = customer.configuration.drift.calendar
    kept = tuple(days for days in calendar if days.label != label)
    if kept == calendar:
        raise NotFoundError(f"No days are labelled {label!r}. `upstream drift label {customer.slug}` lists them.")
    return _store(conn, customer, kept)


def _store(conn: Connection, customer: Customer, calendar: tuple[LabelledDays, ...]) -> tuple[LabelledDays, ...]:
    present = customer.configuration
    drift = present.drift.model_copy(update={"calendar": calendar})
    configure_customer(conn, customer, ConfigurationFile(stored=present.model_copy(update={"drift": drift})))
    return calendar
