"""A sensor's ticks one after the other, for tests of what it remembers. Not here: the daemon itself (conftest.py)."""

from __future__ import annotations

from typing import Any

import dagster as dg

from upstream_pipelines.defs.resources import Platform


class Ticks:
    """A sensor's ticks with its cursor kept between them, as the daemon does."""

    def __init__(self, sensor: Any, instance: dg.DagsterInstance, platform: Platform) -> None:
        self.cursor: str | None = None
        self._parts = (sensor, instance, platform)

    def tick(self) -> str:
        sensor, instance, platform = self._parts
        with dg.build_sensor_context(
            instance=instance, cursor=self.cursor, resources={"platform": platform}
        ) as context:
            ticked = sensor.evaluate_tick(context)
        self.cursor = ticked.cursor
        return str(ticked.skip_message)
