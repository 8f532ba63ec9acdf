"""The landing zone: one folder a customer, local or in an object store, through universal-pathlib.

    <landing>/<customer>/name.csv                 dropped by the customer, read once it stands still
    <landing>/<customer>/.uploads/<id>/name.csv   being read, or streamed in by the API or the command
    <landing>/<customer>/.done/<id>/name.csv      dealt with: loaded, or the same bytes again
    <landing>/<customer>/.failed/<id>/name.csv    refused; correct it and drop it again

Not here: what a file holds, the rows of uploads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from uuid import UUID

from upath import UPath

from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.settings import Settings

# Names that programs give to files they are still writing.
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")


@dataclass(frozen=True)
class LandedFile:
    """A file in a customer's folder: where it is, its size in bytes, when it was last written (epoch s)."""

    path: UPath
    size: int
    written_at: float


def customer_folder(settings: Settings, slug: str) -> UPath:
    """The customer's folder; made when missing (object stores have none to make)."""
    folder = UPath(settings.landing_root) / slug
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def settled_files(settings: Settings, slug: str) -> Iterator[LandedFile]:
    """Files of a customer that are no longer being written, oldest first.

    A file counts as written when its last change is `landing_quiet_seconds` ago, and when
    its name is not one that copying programs use for a file in the making. Empty files count:
    they are refused with a message instead of lying there unseen.
    """
    now = time.time()
    landed = []
    for path in customer_folder(settings, slug).iterdir():
        if path.name.startswith(".") or path.name.lower().endswith(_UNFINISHED):
            continue
        try:
            # A link would let whoever can write here read any file that this account can.
            if path.is_symlink() or not path.is_file():
                continue
            facts = path.stat()
        except FileNotFoundError:
            continue  # another run moved it between the listing and here
        if now - facts.st_mtime >= settings.landing_quiet_seconds:
            landed.append(LandedFile(path, int(facts.st_size), float(facts.st_mtime)))
    yield from sorted(landed, key=lambda file: (file.written_at, file.path.name))


def count_left(settings: Settings, slug: str) -> int:
    """How many files lie in a customer's folder and would be taken, now or when they stand still.

    Raises:
        OSError: the folder cannot be read.
    """
    folder = UPath(settings.landing_root) / slug
    if not folder.exists():
        return 0
    return sum(
        1
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and not path.name.lower().endswith(_UNFINISHED)
        and not path.is_symlink()
        and path.is_file()
    )


def upload_path(settings: Settings, slug: str, upload_id: UUID, file_name: str) -> UPath:
    """Where an uploaded file is streamed to; its folder is made."""
    folder = customer_folder(settings, slug) / ".uploads" / str(upload_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / safe_name(file_name)


def safe_name(file_name: str) -> str:
    """The last part of a name, with nothing in it that a path could be made of."""
    last = file_name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(letter if letter.isalnum() or letter in "._- ()" else "_" for letter in last)
    return kept.strip(" .")[-120:] or "upload.csv"


def take_in(settings: Settings, slug: str, upload_id: UUID, location: str) -> UPath:
    """Move a dropped file to where no later file of the same name can overwrite it while it is read.

    Returns: its place; a file that an attempt before this one took in is found there.

    Raises:
        FileRefusedError: the file is in neither place.
    """
    source, target = UPath(location), upload_path(settings, slug, upload_id, UPath(location).name)
    folder = customer_folder(settings, slug)
    if source.parent not in (folder, target.parent):
        raise FileRefusedError("The file does not lie in the customer's landing folder. Put it there.")
    if source.is_symlink() or target.is_symlink():
        raise FileRefusedError("The file is a link. Put the file itself into the landing folder.")
    if not target.exists():
        if not source.exists():
            raise FileRefusedError("The file was gone before it could be read. Send it again.")
        source.rename(target)
    return target


def put_away(settings: Settings, slug: str, upload_id: UUID, outcome: Literal["done", "failed"]) -> UPath | None:
    """Move what was taken in out of the way; retention deletes it (operations/cleanup.py).

    Returns: the file's new place, None when there is nothing to move (it was moved before).
    """
    taken = customer_folder(settings, slug) / ".uploads" / str(upload_id)
    files = list(taken.iterdir()) if taken.exists() else []
    if not files:
        return None
    folder = customer_folder(settings, slug) / f".{outcome}" / str(upload_id)
    folder.mkdir(parents=True, exist_ok=True)
    moved = files[0].rename(folder / files[0].name)
    taken.rmdir()
    return UPath(moved)


def left_alone(settings: Settings, slug: str, before: datetime) -> tuple[list[UUID], int]:
    """The ids of uploads, known or not, for which a folder lies in `.uploads` where nothing was written since then, and how many
    folders there could not be read.

    Raises:
        OSError: `.uploads` itself cannot be read.
    """
    uploads = UPath(settings.landing_root) / slug / ".uploads"
    # A link leads to what is not the platform's.
    if uploads.is_symlink() or not uploads.exists():
        return [], 0
    found, unread = [], 0
    for folder in uploads.iterdir():
        upload_id = _upload_id(folder.name)
        if upload_id is None:
            continue  # not the platform's
        try:
            # A file that is being written is younger than its folder; in an object store folders have no time at all.
            newest = max(float(path.stat().st_mtime) for path in (folder, *folder.iterdir()))
        except (FileNotFoundError, NotADirectoryError):
            continue  # moved between the listing and here, or no folder and so not the platform's
        except OSError:
            unread += 1
            continue
        # 0: the store does not say.
        if 0 < newest < before.timestamp():
            found.append(upload_id)
    return found, unread


def _upload_id(name: str) -> UUID | None:
    """The id that a folder of the platform's is named by; None for any other name, also for an id spelled otherwise."""
    try:
        upload_id = UUID(name)
    except ValueError:
        return None
    return upload_id if str(upload_id) == name else None


def delete_folder(settings: Settings, slug: str, *below: str) -> int:
    """Delete what lies in a customer's folder, or in one below it; a folder that is not there is empty.

    Returns: how many files there were.
    """
    if "://" in settings.landing_root:
        stored = UPath(settings.landing_root).joinpath(slug, *below)
        count = sum(1 for path in stored.rglob("*") if path.is_file()) if stored.exists() else 0
        if count:
            stored.rmdir(recursive=True)
        return count
    folder = Path(settings.landing_root).joinpath(slug, *below)
    if folder.is_symlink():
        folder.unlink()  # what it leads to is not the platform's
        return 0
    if not folder.exists():
        return 0
    count = sum(1 for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return count
