"""The folder in which the demonstration's receivers leave what they got, for people to read. Not here: receiving it (receivers.py)."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Literal

Kind = Literal["email", "slack", "webhook"]
_ENDINGS: dict[Kind, str] = {"email": ".eml", "slack": ".json", "webhook": ".json"}


class MessageFolder:
    """A folder with one for each kind of receiver; files are numbered as they came, whatever their kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count(1)

    def begin(self) -> None:
        """Make it anew: what an earlier demonstration left would pass for this one's."""
        if self.path.exists():
            shutil.rmtree(self.path)
        for kind in _ENDINGS:
            (self.path / kind).mkdir(parents=True)

    def keep(self, kind: Kind, customer: str, content: bytes) -> None:
        """Write a message to a customer: an e-mail byte by byte, JSON indented."""
        # Any program of this machine can reach the receivers: of what it calls itself no path is made.
        name = f"{next(self._numbers):03}-{re.sub('[^a-z0-9-]', '', customer)[:60]}{_ENDINGS[kind]}"
        if kind != "email":
            content = json.dumps(json.loads(content), indent=2, ensure_ascii=False).encode()
        (self.path / kind / name).write_bytes(content)
