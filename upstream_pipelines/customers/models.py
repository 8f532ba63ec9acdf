"""What a customer is. Not here: the YAML file (configuration.py), statements (store.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from upstream_pipelines.customers.configuration import CustomerConfiguration
from upstream_pipelines.errors import ConfigurationError


@dataclass(frozen=True)
class CustomerKey:
    """Which customer, without its configuration."""

    customer_id: int
    slug: str


@dataclass(frozen=True)
class Customer(CustomerKey):
    """A provider organisation: the tenant, and the key of the Dagster partition `customer`.

    `names_wanted`: the last change of its payer aliases or CPT groups; None where there was none.
    """

    name: str
    status: str
    stored_configuration: dict[str, Any]
    created_at: datetime
    names_wanted: UUID | None

    @cached_property
    def configuration(self) -> CustomerConfiguration:
        """The stored configuration, read when it is needed: a broken one must not keep the customer from being
        listed, disabled or configured again.

        Raises:
            ConfigurationError: it cannot be used; the message names the customer and the keys.
        """
        try:
            return CustomerConfiguration.model_validate(self.stored_configuration)
        except ValidationError as error:
            where = ", ".join(sorted({".".join(str(part) for part in item["loc"]) for item in error.errors()}))
            raise ConfigurationError(
                f"The stored configuration of customer {self.slug} cannot be used: {where}. It was written by hand or "
                f"by another version. `upstream customers configure {self.slug} --file FILE --replace` writes it anew."
            ) from None
