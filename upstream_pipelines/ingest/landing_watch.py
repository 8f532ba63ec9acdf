"""Which customers' folders have to be listed again: looking through ten thousand empty ones took 15 s of a tick.

Not here: what lies in a folder (landing.py), registering it (uploads.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from upath import UPath

from upstream_pipelines.ingest.landing import count_left, customer_folder
from upstream_pipelines.settings import Settings


class LandingWatch:
    """Remembers the folders in which nothing lies, by the time of their last change.

    Only a folder that was found empty twice at the same time of change is passed over: what came in the clock tick of the
    first listing is seen by the second. Times are compared with themselves, never with a clock, which a file server has of
    its own. Lost with the process; then every folder is listed twice again. Object stores have no folders with a time:
    there all are listed.
    """

    def __init__(self) -> None:
        self._changed: dict[str, int] = {}
        self._empty_once: dict[str, int] = {}
        self._empty: dict[str, int] = {}
        self._left: dict[str, int] = {}

    def due(self, settings: Settings, slugs: Iterable[str]) -> list[str]:
        """The customers whose folder may hold something, or is not there yet.

        Raises:
            OSError: the landing zone cannot be read.
        """
        self._changed = _times_of_change(UPath(settings.landing_root))
        return [
            slug for slug in slugs if slug not in self._changed or self._empty.get(slug) != self._changed[slug]
        ]

    def looked(self, settings: Settings, slug: str) -> None:
        """Called after what lies in the folder was registered.

        Raises:
            OSError: the folder cannot be read; it stays due.
        """
        if any(not path.name.startswith(".") for path in customer_folder(settings, slug).iterdir()):
            return
        changed = self._changed.get(slug)
        if changed is None:
            return  # made just now, or in an object store
        if self._empty_once.get(slug) == changed:
            self._empty[slug] = changed
        self._empty_once[slug] = changed

    def newly_left(self, settings: Settings, slug: str) -> int | None:
        """How many files lie in the folder of a customer whose files are not taken (`csv_upload` is off); None where that
        was said already, or there are none.

        Raises:
            OSError: the folder cannot be read.
        """
        count = count_left(settings, slug)
        said, self._left[slug] = self._left.get(slug, 0), count
        return count if count not in {0, said} else None

    def taken_again(self, slug: str) -> None:
        """Its files are taken: what is left later is said anew."""
        self._left.pop(slug, None)


@dataclass(frozen=True)
class LeftFiles:
    """A customer whose files are not taken, and how many lie in its folder."""

    slug: str
    files: int


def left_files(settings: Settings, customers: Iterable[str]) -> list[LeftFiles]:
    """Those of the customers, by slug, in whose folder files lie.

    Raises:
        OSError: a folder cannot be read.
    """
    counted = [LeftFiles(slug, count_left(settings, slug)) for slug in customers]
    return [one for one in counted if one.files]


def _times_of_change(root: UPath) -> dict[str, int]:
    """Folder names with the time of their last change in ns; none where the landing zone has no such times."""
    if root.protocol not in {"", "file", "local"} or not root.exists():
        return {}
    with os.scandir(root.path) as entries:
        return {entry.name: entry.stat().st_mtime_ns for entry in entries if entry.is_dir()}
