"""What a backup is on disk: a folder with two dumps, the files that wait, and a manifest that is written last.

Not here: making one (backup.py), reading one back (restore.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from upstream_pipelines.errors import ConfigurationError

PRODUCT_DUMP = "upstream.dump"
DAGSTER_DUMP = "dagster.dump"
LANDING = "landing"
_MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What a backup holds.

    tables: rows of each table at the moment of the backup. files: SHA-256 of each file, by its path within the folder.
    landing_root: where the landing zone was; landing_local: whether its waiting files are in the backup.
    pg_dump: major version of PostgreSQL that the dumps were made with; made_at: ISO 8601, UTC.
    """

    made_at: str
    program: str
    revision: str
    pg_dump: int
    tables: Mapping[str, int]
    files: Mapping[str, str]
    landing_root: str
    landing_local: bool
    format: int = _FORMAT


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The last step of a backup: a folder without a manifest is one that did not come to its end."""
    (folder / _MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all there and are those that were written.

    Raises:
        ConfigurationError: it is no whole backup; the message says what is wrong.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise ConfigurationError(
            f"{folder} holds no {_MANIFEST}: it is no backup, or one that did not come to its end. Name another."
        )
    facts = json.loads(path.read_text())
    if facts.get("format") != _FORMAT:
        raise ConfigurationError(
            f"{folder} is a backup of format {facts.get('format')}, this program reads {_FORMAT}. Use the release that made it."
        )
    manifest = Manifest(**facts)
    for name, digest in manifest.files.items():
        if not (folder / name).is_file() or sha256_of(folder / name) != digest:
            raise ConfigurationError(
                f"{name} of {folder} is missing or was changed since the backup was made. Nothing was restored; name another."
            )
    return manifest
