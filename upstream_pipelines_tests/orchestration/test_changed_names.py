"""Changed payer aliases and CPT groups reach the stored claims by a run that a sensor asks for, once a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest

from upstream_pipelines.claims.naming import MOST_ASKS, apply_changed_mapping, names_applied
from upstream_pipelines.customers.configuration import ConfigurationFile
from upstream_pipelines.customers.store import accept_aliases, configure_customer, create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.definitions import build_definitions
from upstream_pipelines.defs.partitions import customer_partitions
from upstream_pipelines.defs.resources import Platform
from upstream_pipelines.defs.sensors import changed_names
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.settings import Settings

HEADER = "claim_id,payer,cpt,submitted_date,decided_date,outcome\n"


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Acme with two lines of two spellings of a payer; and beta, which sent nothing yet."""

    def load(conn: Connection, settings: Settings) -> None:
        customer, _ = create_customer(conn, "acme", "Acme")
        create_customer(conn, "beta", "Beta")
        settings.home.mkdir(parents=True)
        file = settings.home / "claims.csv"
        file.write_text(
            HEADER + "A1,Aetna,99213,2026-05-01,2026-05-10,PAID\nA2,AETNA INC,99213,2026-05-01,2026-05-10,PAID\n"
        )
        send_file(conn, settings, customer, file)
        stage_waiting(conn, settings, customer, source="csv", run_id="1")
        merge_staged(conn, settings, customer, "1")
        refresh_activity(conn, customer.customer_id)

    return fill_template(load)


def _tick(instance: dg.DagsterInstance, platform: Platform) -> Any:
    with dg.build_sensor_context(instance=instance) as context:
        return changed_names(context, platform=platform)


def _asked_for(instance: dg.DagsterInstance, platform: Platform) -> list[tuple[str, str]]:
    result = _tick(instance, platform)
    if isinstance(result, dg.SkipReason):
        return []
    return [(request.partition_key, request.run_key) for request in result.run_requests]


def _later(conn: Connection) -> None:
    conn.execute("UPDATE customers SET names_asked_at = now() - interval '1 day'")


def test_a_changed_alias_becomes_one_run_that_renames_the_stored_claims_and_counts_them_again(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    assert isinstance(_tick(instance, platform), dg.SkipReason)
    accept_aliases(pipeline, get_customer(pipeline, "acme"), {"AETNA INC": "Aetna"})
    assert not names_applied(pipeline, get_customer(pipeline, "acme"))
    result = _tick(instance, platform)
    (request,) = result.run_requests
    assert (request.partition_key, request.tags) == ("acme", {"upstream/names": "changed"})
    assert [list(added.partition_keys) for added in result.dynamic_partitions_requests] == [["acme"]]
    assert isinstance(_tick(instance, platform), dg.SkipReason), "asked for again only after half a minute"

    instance.add_dynamic_partitions(customer_partitions.name or "", ["acme"])
    job = build_definitions({"platform": platform}).resolve_job_def("ingest")
    done = job.get_subset(
        asset_selection=set(request.asset_selection), asset_check_selection=set(request.asset_check_keys)
    ).execute_in_process(instance=instance, partition_key="acme")
    assert done.success
    materialised = {
        event.asset_key.to_user_string() for event in done.get_asset_materialization_events() if event.asset_key
    }
    assert materialised == {"claims", "payer_activity"}
    assert not done.get_asset_check_evaluations()
    assert pipeline.execute("SELECT payer_name, count(*) FROM claims GROUP BY 1").fetchall() == [("Aetna", 2)]
    assert pipeline.execute("SELECT DISTINCT payer FROM payer_activity").fetchall() == [("Aetna",)]
    assert names_applied(pipeline, get_customer(pipeline, "acme"))
    _later(pipeline)
    assert isinstance(_tick(instance, platform), dg.SkipReason)


def test_a_run_that_fails_is_asked_for_a_few_times_and_anew_after_the_next_change(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    keys = set()
    for alias in ("Aetna", "Aetna Health"):
        accept_aliases(pipeline, get_customer(pipeline, "acme"), {"AETNA INC": alias})
        for _ in range(MOST_ASKS):
            ((slug, key),) = _asked_for(instance, platform)
            keys.add((slug, key))
            _later(pipeline)
        assert _asked_for(instance, platform) == []
    assert len(keys) == 2 * MOST_ASKS, "a key that was asked for once is spent"
    told = "SELECT slug, why FROM platform_failing() WHERE why = 'names'"
    assert pipeline.execute(told).fetchall() == [], "the change was made this minute"
    pipeline.execute("UPDATE customers SET names_wanted_at = now() - interval '16 minutes'")
    assert pipeline.execute(told).fetchall() == [("acme", "names")]
    apply_changed_mapping(pipeline, get_customer(pipeline, "acme"))
    assert pipeline.execute(told).fetchall() == []


def test_no_run_is_asked_for_where_another_brings_the_names_or_no_claim_has_any(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    for slug in ("acme", "beta"):
        accept_aliases(pipeline, get_customer(pipeline, slug), {"AETNA INC": "Aetna"})
    assert names_applied(pipeline, get_customer(pipeline, "beta"))
    # One of its uploads waits.
    pipeline.execute(
        "INSERT INTO uploads (customer_id, source, byte_count) SELECT customer_id, 'webhook', 1 FROM customers WHERE slug = 'acme'"
    )
    assert _asked_for(instance, platform) == []
    pipeline.execute("DELETE FROM uploads WHERE status = 'received'")
    # A run of it stands in the queue.
    job = build_definitions({"platform": platform}).resolve_job_def("ingest")
    run = instance.create_run_for_job(
        job, tags={"dagster/partition": "acme"}, status=dg.DagsterRunStatus.NOT_STARTED
    )
    assert _asked_for(instance, platform) == []
    assert pipeline.execute("SELECT sum(names_asks) FROM customers").fetchone() == (0,)
    instance.delete_run(run.run_id)
    assert [slug for slug, _ in _asked_for(instance, platform)] == ["acme"]


def test_a_change_made_while_another_is_applied_waits_on_and_one_of_other_settings_asks_for_nothing(
    pipeline: Connection, platform: Platform, instance: dg.DagsterInstance
) -> None:
    accept_aliases(pipeline, get_customer(pipeline, "acme"), {"AETNA INC": "Aetna"})
    read_before = get_customer(pipeline, "acme")
    accept_aliases(pipeline, get_customer(pipeline, "acme"), {"AETNA INC": "Aetna Health"})
    assert apply_changed_mapping(pipeline, read_before) == 1
    assert len(_asked_for(instance, platform)) == 1
    assert apply_changed_mapping(pipeline, get_customer(pipeline, "acme")) == 1
    customer = get_customer(pipeline, "acme")
    silent = customer.configuration.model_copy(update={"cadence_days": 9})
    configure_customer(pipeline, customer, ConfigurationFile(stored=silent))
    _later(pipeline)
    assert _asked_for(instance, platform) == []
