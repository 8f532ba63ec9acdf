"""Folders of the landing zone are passed over only while nothing can have come into them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from upstream_pipelines.ingest.landing_watch import LandingWatch
from upstream_pipelines.settings import Settings


def _settings(landing_zone: str) -> Settings:
    return Settings(landing_zone=landing_zone, database_url=SecretStr("postgresql://nobody@localhost/none"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for slug in ("acme", "beta"):
        (tmp_path / slug).mkdir()
    return _settings(str(tmp_path))


def _look(watch: LandingWatch, settings: Settings, *slugs: str) -> list[str]:
    due = watch.due(settings, slugs or ("acme", "beta"))
    for slug in due:
        watch.looked(settings, slug)
    return due


def test_an_empty_folder_is_listed_twice_and_then_when_it_changes(settings: Settings, tmp_path: Path) -> None:
    watch = LandingWatch()
    assert [_look(watch, settings) for _ in range(3)] == [["acme", "beta"], ["acme", "beta"], []]
    (tmp_path / "beta" / "claims.csv").write_text("x")
    assert [_look(watch, settings) for _ in range(3)] == [["beta"]] * 3
    (tmp_path / "beta" / "claims.csv").unlink()
    assert [_look(watch, settings) for _ in range(3)] == [["beta"], ["beta"], []]


def test_a_file_that_comes_within_the_same_clock_tick_as_a_listing_is_seen_by_the_next(
    settings: Settings, tmp_path: Path
) -> None:
    watch = LandingWatch()
    folder = tmp_path / "acme"
    before = folder.stat().st_mtime_ns
    _look(watch, settings, "acme")
    (folder / "claims.csv").write_text("x")
    os.utime(folder, ns=(before, before))
    assert _look(watch, settings, "acme") == ["acme"]
    assert _look(watch, settings, "acme") == ["acme"]


@pytest.mark.parametrize("name", ["claims.csv.part", "link"])
def test_a_folder_with_anything_visible_in_it_is_listed_until_it_is_gone(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    watch = LandingWatch()
    path = tmp_path / "acme" / name
    if name == "link":
        path.symlink_to(tmp_path)
    else:
        path.write_text("x")
    assert [_look(watch, settings, "acme") for _ in range(4)] == [["acme"]] * 4


def test_a_folder_that_is_not_there_is_due_until_it_was_made_and_found_empty(tmp_path: Path) -> None:
    settings, watch = _settings(str(tmp_path / "landing")), LandingWatch()
    assert [_look(watch, settings, "acme") for _ in range(4)] == [["acme"], ["acme"], ["acme"], []]
    assert (tmp_path / "landing" / "acme").is_dir()


def test_an_object_store_is_listed_each_time() -> None:
    settings, watch = _settings("memory://landing-watch"), LandingWatch()
    assert [_look(watch, settings, "acme") for _ in range(4)] == [["acme"]] * 4


@given(steps=st.lists(st.sampled_from(["look", "drop", "take", "hidden"]), max_size=20))
def test_whatever_happens_a_folder_with_a_file_is_due(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("landing")
    settings, watch = _settings(str(root)), LandingWatch()
    file = root / "acme" / "claims.csv"
    file.parent.mkdir()
    for number, step in enumerate(steps):
        if step == "drop":
            file.write_text("x")
        elif step == "take":
            file.unlink(missing_ok=True)
        elif step == "hidden":
            (file.parent / f".{number}").mkdir()
        else:
            assert "acme" in _look(watch, settings, "acme") or not file.exists()
    assert not file.exists() or watch.due(settings, ["acme"]) == ["acme"]
