"""The one resource: settings and connections, made when a run asks for them and not when code is loaded.

Not here: logic of any stage.
"""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from upstream_pipelines.customers.models import Customer
from upstream_pipelines.customers.store import get_customer
from upstream_pipelines.db.engine import Connection, connect
from upstream_pipelines.db.migrate import require_current
from upstream_pipelines.defs.run_queue import WORK
from upstream_pipelines.errors import ConfigurationError, UpstreamError
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.observability.tracebacks import format_error
from upstream_pipelines.observability.tracing import configure_tracing
from upstream_pipelines.settings import Settings, read_settings

# Linux weighs a process at 0 with 1024 and one at 10 with 110: beside a backfill a sending run has nine tenths of a core.
_NICENESS_OF_WORK = 10


class StageFailedError(UpstreamError):
    """An unexpected error, told without its data."""

    code = "stage_failed"


class Platform(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Settings and the pipeline's database, read from the environment of the run."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Let a run of work that has a process of its own give way to delivery, which its backfills would keep waiting."""
        of_its_own = multiprocessing.parent_process() is not None
        if of_its_own and context.run is not None and WORK.items() <= context.run.tags.items():
            os.nice(_NICENESS_OF_WORK)

    def settings(self) -> Settings:
        """The settings of this moment.

        Raises:
            ConfigurationError: a variable cannot be used. The location still loads; the run says so.
        """
        return read_settings()

    @contextmanager
    def connect(self) -> Iterator[tuple[Settings, Connection]]:
        """Settings and a connection as upstream_pipeline, with a schema that this program knows."""
        settings = self.settings()
        configure_logging(settings)
        configure_tracing(settings)
        require_current(settings)
        with connect(settings, "upstream_pipeline") as conn:
            try:
                yield settings, conn
            except (UpstreamError, dg.Failure):
                raise
            except Exception as error:  # noqa: BLE001  told again below, without its data
                # Dagster stores an exception's message and its causes in its event log, and a database or
                # parser error quotes the row it failed on.
                raise StageFailedError(
                    f"The stage ended unexpectedly; nothing half done was kept, and it may be run again.\n{format_error(error)}"
                ) from None

    @contextmanager
    def for_customer(self, slug: str) -> Iterator[tuple[Settings, Connection, Customer]]:
        """As `connect`, with the customer of the partition.

        Raises:
            NotFoundError: no customer has this slug.
            ConfigurationError: the customer is disabled.
        """
        with self.connect() as (settings, conn):
            customer = get_customer(conn, slug)
            if customer.status != "active":
                raise ConfigurationError(
                    f"Customer {slug} is disabled; nothing is read for it. "
                    f"`upstream customers enable {slug}` takes it up again."
                )
            yield settings, conn, customer
