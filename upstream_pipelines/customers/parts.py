"""Parts of a customer's configuration that people change one by one: payer aliases, CPT groups, grades of the quality rules.

Each is a mapping of texts, read whole and replaced whole. Not here: what it means (claims/mapping.py), the other parts, which
the YAML file sets (configuration.py) or labels.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.customers.configuration import ConfigurationFile, CustomerConfiguration
from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import configure_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.errors import ConflictError, InvalidInputError

PartName = Literal["payer_aliases", "cpt_groups", "quality"]

# What is wrong is said without what was sent.
_FORM: Mapping[PartName, str] = {
    "payer_aliases": "Give a spelling and the payer's name for each, of 1 to 200 characters that can be seen.",
    "cpt_groups": "Give a code (99213), or its beginning and a star (992*), and the group's name for each, of 1 to 200 "
    "characters.",
    "quality": "Give the names of rules, and error, warning, info or off for each. Rules without which a line cannot be stored "
    "are always an error; those that tell of rows that are stored already are never one. docs/guide/configuration.md lists "
    "them.",
}


@dataclass(frozen=True)
class Part:
    """What a part holds, and its `revision`: another one for other content, the same one for the same."""

    values: Mapping[str, str]
    revision: str


@dataclass(frozen=True)
class Replaced:
    """A part as it is now, and the keys that were added, taken away, or lead to something else; sorted."""

    part: Part
    added: list[str]
    removed: list[str]
    changed: list[str]


def part_of(customer: Customer, name: PartName) -> Part:
    """A part as the customer's configuration has it.

    Raises:
        ConfigurationError: the stored configuration cannot be used.
    """
    values: dict[str, str] = dict(getattr(customer.configuration.mapping, name))
    return Part(values, _revision(values))


def replace_part(
    conn: Connection, customer: Customer, name: PartName, values: Mapping[str, str], revision: str
) -> Replaced:
    """Store a part whole, as `upstream customers configure` does with a file of this part alone. `customer` is read under
    `lock_to_configure`.

    Raises:
        ConflictError: it is not at `revision`: somebody changed it since it was read.
        InvalidInputError: it cannot be used; the message says what can, and repeats nothing of it.
    """
    before = part_of(customer, name)
    if before.revision != revision:
        raise ConflictError(
            "It was changed since that revision was read. Read it again, and send the change anew."
        )
    present = customer.configuration
    try:
        mapping = ClaimMapping.model_validate({**present.mapping.model_dump(), name: values})
        stored = present.model_copy(update={"mapping": mapping})
        # As it will be read from the database: what cannot be read again would stop everything of the customer.
        CustomerConfiguration.model_validate(stored.model_dump(mode="json", exclude_defaults=True))
    except ValidationError:
        raise InvalidInputError(f"This cannot be used. {_FORM[name]}") from None
    configure_customer(conn, customer, ConfigurationFile(stored=stored))
    new: dict[str, str] = dict(getattr(mapping, name))
    after = Part(new, _revision(new))
    old = before.values
    return Replaced(
        after,
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed=sorted(key for key in new.keys() & old.keys() if new[key] != old[key]),
    )


def _revision(values: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
