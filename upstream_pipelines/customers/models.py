"""What a customer is. Not here: the YAML file (configuration.py), statements (store.py)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from upstream_pipelines.customers.configuration import CustomerConfiguration


@dataclass(frozen=True)
class CustomerKey:
    """Which customer, without its configuration."""

    customer_id: int
    slug: str


@dataclass(frozen=True)
class Customer(CustomerKey):
    """A provider organisation: the tenant, and the key of the Dagster partition `customer`."""

    name: str
    status: str
    configuration: CustomerConfiguration
    created_at: datetime
