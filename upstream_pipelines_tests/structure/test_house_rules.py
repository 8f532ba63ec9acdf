"""Conventions that would rot without a test: direction of imports, what each asset says, size of modules, docs."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import typer

import upstream_pipelines
from upstream_pipelines.cli.main import app
from upstream_pipelines.definitions import build_definitions
from upstream_pipelines.settings import Settings

PACKAGE = Path(upstream_pipelines.__file__).parent
ROOT = PACKAGE.parent
DOMAINS = ("customers", "claims", "ingest", "quality", "drift", "alerts", "delivery", "operations", "reports")
MODULES = sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in DOMAINS], ids=str
)
def test_domain_packages_know_neither_dagster_nor_the_api(path: Path) -> None:
    outer = ("dagster", "fastapi", "starlette", "typer", "rich")
    own = tuple(f"upstream_pipelines.{name}" for name in ("defs", "api", "cli", "demo", "portal"))
    wrong = {name for name in _imports(path) if name.split(".")[0] in outer or name.startswith(own)}
    assert wrong == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "db").rglob("*.py")), ids=str)
def test_the_database_package_knows_no_domain(path: Path) -> None:
    allowed = ("upstream_pipelines.db", "upstream_pipelines.settings", "upstream_pipelines.errors")
    wrong = {
        name for name in _imports(path) if name.startswith("upstream_pipelines") and not name.startswith(allowed)
    }
    assert wrong == set()


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_each_module_says_what_belongs_in_it_and_stays_small(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert len(text.splitlines()) <= 400


def test_definitions_load_in_a_fresh_interpreter_with_an_empty_environment() -> None:
    """Loading must read no setting and connect to nothing: a misconfigured location loads, and its run fails."""
    done = subprocess.run(
        [sys.executable, "-c", "from upstream_pipelines.definitions import defs; print(len(list(defs.assets)))"],
        env={"PATH": os.environ["PATH"], "UPSTREAM_DATABASE_URL": "nonsense"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "9"


def test_every_asset_has_owner_group_kinds_and_description_and_one_partitions_definition() -> None:
    specs = build_definitions().resolve_all_asset_specs()
    assert {spec.key.to_user_string() for spec in specs} == {
        "csv_claims", "webhook_claims", "remittances", "claims", "upload_quality", "payer_activity", "payer_drift", "alerts",
        "drift_report",
    }  # fmt: skip
    for spec in specs:
        assert spec.owners, spec.key
        assert spec.group_name not in {None, "default"}, spec.key
        assert spec.kinds, spec.key
        assert len(spec.description or "") > 60, spec.key
        assert isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition), spec.key
        assert spec.partitions_def.name == "customer", spec.key


def test_the_fourteen_default_rules_are_checks_of_claims() -> None:
    checks = build_definitions().resolve_asset_graph().asset_check_keys
    assert len([key for key in checks if key.asset_key.to_user_string() == "claims"]) == 14


def test_sensors_and_the_schedules_run_by_default() -> None:
    definitions = build_definitions()
    repository = definitions.get_repository_def()
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "waiting_uploads", "changed_names", "waiting_reports", "due_alerts", "failed_runs", "silent_customers", "run_counts",
    }  # fmt: skip
    assert all(sensor.default_status == dg.DefaultSensorStatus.RUNNING for sensor in repository.sensor_defs)
    assert {schedule.name for schedule in repository.schedule_defs} == {
        "daily_drift",
        "nightly_placebo",
        "nightly_cleanup",
    }
    assert all(
        schedule.default_status == dg.DefaultScheduleStatus.RUNNING for schedule in repository.schedule_defs
    )


def test_every_setting_is_in_the_example_file_and_in_the_guide() -> None:
    example = (ROOT / ".env.example").read_text()
    guide = (ROOT / "docs" / "guide" / "settings.md").read_text()
    for name in Settings.model_fields:
        variable = f"UPSTREAM_{name.upper()}"
        assert re.search(rf"^#?{variable}=", example, re.MULTILINE), variable
        assert f"`{variable}`" in guide, variable


def test_every_command_is_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide" / "commands.md").read_text()
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    for name, command in group.commands.items():
        names = (
            [f"{name} {inner}" for inner in command.commands]
            if isinstance(command, typer.core.TyperGroup)
            else [name]
        )
        for full in names:
            assert f"`upstream {full}" in guide, full


def test_no_loop_over_claim_rows_and_no_row_by_row_writing() -> None:
    for path in MODULES:
        found = re.findall(
            r"iterrows|itertuples|\.to_sql\(|executemany|axis=1\)\.apply|apply\([^)]*axis=1", path.read_text()
        )
        assert found == [], path


def test_named_statements_are_all_used_and_all_say_what_for() -> None:
    code = "\n".join(path.read_text() for path in MODULES)
    for path in PACKAGE.rglob("queries.sql"):
        text = path.read_text()
        for name, body in re.findall(r"^-- name: (\w+)\n(.*?)(?=^-- name:|\Z)", text, re.MULTILINE | re.DOTALL):
            assert body.lstrip().startswith("--"), f"{path}: {name} does not say what it is for"
            assert re.search(rf"\.{name}\b", code), f"{path}: {name} is not used"


def test_senders_import_what_they_need_before_threads_send() -> None:
    """Two deliveries that imported slack_sdk at once met it half imported, and both failed."""
    code = (
        "import sys; import upstream_pipelines.delivery.worker; "
        "print(all(name in sys.modules for name in ('slack_sdk.webhook.client', 'slack_sdk.web.client', 'requests')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "True"
