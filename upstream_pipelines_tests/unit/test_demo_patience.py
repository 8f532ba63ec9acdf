"""How long the demonstration waits for a step: longer while its runs have yet to begin, and never for ever."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from upstream_pipelines.demo import run
from upstream_pipelines.demo.run import DemoError, _await


@pytest.mark.parametrize(("queued_for", "waited"), [(0, 180), (400, 580), (10_000, 1200)])
def test_a_run_that_has_yet_to_begin_lengthens_the_wait_up_to_a_limit(
    queued_for: int, waited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def sleep(_: float) -> None:
        clock[0] += 1.0

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(run, "_runs_wait", lambda _: clock[0] < queued_for)
    demo: Any = SimpleNamespace(
        platform=SimpleNamespace(watch=lambda: None), settings=SimpleNamespace(home=Path("/somewhere"))
    )
    with pytest.raises(DemoError, match=r"for the sweep in vain"):
        _await(demo, "the sweep", lambda: False)
    assert clock[0] == pytest.approx(waited, abs=3)
