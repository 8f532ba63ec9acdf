"""The progress bar: rich's on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
LINE_EVERY = 15.0  # seconds


def progress(items: Iterable[Item], total: int) -> Iterator[Item]:
    """`items` as they are, the progress told on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, "customers", total=total, console=Console(stderr=True))
        return
    started = told = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - told >= LINE_EVERY or done == total:
            left = (now - started) / done * (total - done)
            print(f"{done} of {total} customers, about {left:.0f} s left", file=sys.stderr, flush=True)
            told = now
