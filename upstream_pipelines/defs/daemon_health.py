"""Whether Dagster's daemon lives and its sensors and schedules are on, for `upstream doctor`. Not here: printing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from upstream_pipelines.defs.home import dagster_instance
from upstream_pipelines.settings import Settings

# Those without which nothing is taken in, looked at or sent.
_NEEDED = ("SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR")


@dataclass(frozen=True)
class DaemonHealth:
    """`last_beat`: of the part of the daemon that was silent longest, None where one was never heard of. `failing`: parts
    that report an error of their own. `stopped`: sensors and schedules that somebody switched off in the UI.
    """

    last_beat: datetime | None
    failing: tuple[str, ...]
    stopped: tuple[str, ...]


def daemon_health(settings: Settings) -> DaemonHealth:
    """Ask Dagster's storage."""
    with dagster_instance(settings) as instance:
        beats = instance.get_daemon_heartbeats()
        stopped = [state.name for state in instance.all_instigator_state() if not state.is_running]
    needed = [beats.get(part) for part in _NEEDED]
    known = [beat for beat in needed if beat is not None]
    return DaemonHealth(
        last_beat=datetime.fromtimestamp(min(beat.timestamp for beat in known), UTC)
        if len(known) == len(needed)
        else None,
        failing=tuple(sorted(beat.daemon_type for beat in known if beat.errors)),
        stopped=tuple(sorted(set(stopped))),
    )
