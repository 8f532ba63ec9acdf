"""What a backup is on disk: a folder with two dumps, the files that wait, and a manifest that is written last.

Not here: making one (backup.py), reading one back (restore.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

from upstream_pipelines.errors import ConfigurationError

PRODUCT_DUMP = "upstream.dump"
DAGSTER_DUMP = "dagster.dump"
LANDING = "landing"
_MANIFEST = "manifest.json"
_FORMAT = 1


@with_config(ConfigDict(extra="forbid", strict=True))
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


_FACTS = TypeAdapter(dict[str, Any])
_MANIFESTS = TypeAdapter(Manifest)


def create_file(path: Path) -> BinaryIO:
    """A new file that this account alone can read, open for writing.

    Raises:
        FileExistsError: something of this name is there, be it a link.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The last step of a backup: a folder without a manifest is one that did not come to its end."""
    with create_file(folder / _MANIFEST) as file:
        file.write((json.dumps(asdict(manifest), indent=1, sort_keys=True) + "\n").encode())


def manifest_sha256(folder: Path) -> str:
    """What tells a backup from any other: SHA-256 of its manifest, which has that of each file; in hexadecimal."""
    return sha256_of(folder / _MANIFEST)


def read_manifest(folder: Path, sha256: str | None = None) -> Manifest:
    """The manifest of a backup whose files are all there, are those that were written, and are all that is there.

    `sha256`: what `manifest_sha256` must be, in hexadecimal.

    Raises:
        ConfigurationError: it is no whole backup, or another one; the message says what is wrong.
    """
    path = folder / _MANIFEST
    there = _files_of(folder)
    if _MANIFEST not in there:
        raise ConfigurationError(
            f"{folder} holds no {_MANIFEST}: it is no backup, or one that did not come to its end. Name another."
        )
    written = path.read_bytes()
    if sha256 is not None and hashlib.sha256(written).hexdigest() != sha256.strip().lower():
        raise ConfigurationError(
            f"{_MANIFEST} of {folder} has another SHA-256 than was asked for: it is another backup, or was changed. Nothing was "
            "restored; name the one that `upstream backup` gave this SHA-256 for."
        )
    manifest = _parsed(folder, written)
    absent = sorted({PRODUCT_DUMP, DAGSTER_DUMP} - manifest.files.keys())
    if absent:
        raise _damaged(folder, f"{_MANIFEST} lists no {absent[0]}")
    unlisted = sorted(there - manifest.files.keys() - {_MANIFEST})
    if unlisted:
        raise _damaged(folder, f"{unlisted[0]!r} is in it and not in {_MANIFEST}")
    for name, digest in manifest.files.items():
        if name not in there or sha256_of(folder / name) != digest:
            raise ConfigurationError(
                f"{name!r} of {folder} is missing or was changed since the backup was made. Nothing was restored; name another."
            )
    return manifest


def _files_of(folder: Path) -> set[str]:
    """The paths of all files within a folder, as a manifest names them; an error where anything else is in it."""
    found: set[str] = set()
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise _damaged(
                    folder, f"{path.relative_to(folder).as_posix()!r} in it is neither a file nor a folder"
                )
        found.update(Path(place, name).relative_to(folder).as_posix() for name in files)
    return found


def _parsed(folder: Path, written: bytes) -> Manifest:
    try:
        facts = _FACTS.validate_json(written)
        found = facts.get("format")
        if isinstance(found, int) and found != _FORMAT:
            raise ConfigurationError(
                f"{folder} is a backup of format {found}, this program reads {_FORMAT}. Use the release that made it."
            )
        return _MANIFESTS.validate_json(written)
    except ValidationError as error:
        # Not what stands there: whoever changed it may have put anything into it.
        where = {str(item["loc"][0]) for item in error.errors(include_input=False) if item["loc"]}
        known = sorted(where & Manifest.__dataclass_fields__.keys())
        raise _damaged(folder, f"{_MANIFEST} cannot be read ({', '.join(known) or 'its JSON'})") from None


def _damaged(folder: Path, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{folder} is no backup as it was made: {what}. Nothing was restored; name another, or fetch this one again from where "
        "it is kept."
    )
