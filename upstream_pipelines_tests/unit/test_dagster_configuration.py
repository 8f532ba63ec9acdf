"""dagster.yaml with the sections that a deployment has in place of the project's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from upstream_pipelines.defs.home import dagster_configuration, most_work_at_once, project_file
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

OWN = yaml.safe_load(project_file("dagster.yaml").read_text())
CELERY = project_file("deploy/celery/dagster.yaml")


def test_without_overrides_it_is_the_projects_own_text() -> None:
    assert dagster_configuration(Settings()) == project_file("dagster.yaml").read_text()


def test_sections_of_the_overrides_stand_in_place_of_the_projects_and_the_others_stay() -> None:
    made = yaml.safe_load(dagster_configuration(Settings(dagster_overrides=CELERY)))
    assert made == {**OWN, **yaml.safe_load(CELERY.read_text())}
    assert made["storage"] == OWN["storage"]
    assert "run_launcher" not in OWN


def test_with_celery_the_same_limits_hold_and_work_is_less_than_all_runs() -> None:
    runs = yaml.safe_load(CELERY.read_text())["concurrency"]["runs"]
    limits = {(each["key"], "value" in each): each["limit"] for each in runs["tag_concurrency_limits"]}
    own = {(each["key"], "value" in each) for each in OWN["concurrency"]["runs"]["tag_concurrency_limits"]}
    assert set(limits) == own
    assert limits["dagster/partition", True] == 1
    assert all(limit < runs["max_concurrent_runs"] for limit in limits.values())


def test_the_most_work_at_once_is_read_from_what_is_in_force() -> None:
    assert most_work_at_once(Settings()) == 3
    assert most_work_at_once(Settings(dagster_overrides=CELERY)) == 7


def test_redis_gives_no_run_out_again_while_it_may_still_be_at_work() -> None:
    config = yaml.safe_load(CELERY.read_text())["run_launcher"]["config"]["config_source"]
    longest = OWN["run_monitoring"]["max_runtime_seconds"]
    assert config["broker_transport_options"]["visibility_timeout"] > longest


@pytest.mark.parametrize(
    ("text", "says"), [("a: [", "cannot be read"), ("- a", "holds no sections"), (None, "cannot be read")]
)
def test_overrides_that_cannot_be_used_are_named(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "overrides.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=says) as raised:
        dagster_configuration(Settings(dagster_overrides=path))
    assert str(path) in str(raised.value)
    assert "deploy/celery/dagster.yaml" in str(raised.value)
