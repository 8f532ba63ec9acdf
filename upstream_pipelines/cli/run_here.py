"""A job of Dagster for one customer, in the process of a command and recorded like any other run.

Not here: which job, and what is said of what it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from upstream_pipelines.cli.output import err
from upstream_pipelines.settings import Settings

_QUIET: Mapping[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_here(
    settings: Settings,
    job: str,
    slug: str,
    tags: Mapping[str, str],
    *,
    assets: Sequence[Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Run the job for the customer's partition, all of its assets or some; `config` is for its ops. Says what failed on
    standard error: what the run was for shows whether that matters.
    """
    from upstream_pipelines.definitions import build_definitions
    from upstream_pipelines.defs.home import dagster_instance
    from upstream_pipelines.defs.orphans import in_process_tags
    from upstream_pipelines.defs.partitions import customer_partitions

    with dagster_instance(settings) as instance:
        instance.add_dynamic_partitions(customer_partitions.name or "", [slug])
        result = (
            build_definitions()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                partition_key=slug,
                asset_selection=assets,
                tags={**in_process_tags(), **tags},
                run_config={**_QUIET, **({"ops": config} if config is not None else {})},
                raise_on_error=False,
            )
        )
    if result.success:
        return
    err.print(f"The run {result.run_id} failed; the Dagster UI shows it (`upstream up`).")
    for event in result.all_events:
        failure = event.step_failure_data if event.is_step_failure else None
        if failure is not None and failure.user_failure_data is not None:
            err.print(failure.user_failure_data.description, markup=False)
        elif failure is not None and failure.error is not None:
            err.print(failure.error.cls_name or "error", failure.error.message, markup=False)
