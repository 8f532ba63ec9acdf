"""The settings: read on demand, clear when wrong, silent about secrets."""

from __future__ import annotations

import pytest

from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import read_settings


def test_a_wrong_value_names_its_variable_and_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_API_PORT", "eighty")
    with pytest.raises(ConfigurationError, match=r"UPSTREAM_API_PORT.*valid integer"):
        read_settings()


def test_a_wrong_value_is_not_repeated_since_it_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_SMTP_SECURITY", "hunter2")
    with pytest.raises(ConfigurationError) as caught:
        read_settings()
    assert "hunter2" not in str(caught.value)


def test_settings_follow_the_environment_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_UI_PORT", "4001")
    assert read_settings().ui_port == 4001
    monkeypatch.setenv("UPSTREAM_UI_PORT", "4002")
    assert read_settings().ui_port == 4002
