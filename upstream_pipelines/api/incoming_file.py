"""A file on its way into the landing zone: written, counted, hashed, made durable, or removed again.

Not here: HTTP. All methods block; the route runs them in a thread.
"""

from __future__ import annotations

import hashlib
import os
from typing import IO

from upath import UPath

from upstream_pipelines.api.bodies import too_large
from upstream_pipelines.api.problems import ProblemError
from upstream_pipelines.ingest.recognise import HEAD_BYTES, FileSource, source_of

_LOCAL = {"", "file", "local"}


class IncomingFile:
    """Opened at once under its final path; nothing reads it there before its upload is registered.

    Raises, from every method: ProblemError 503 when the landing zone cannot be written to.
    """

    def __init__(self, path: UPath, limit: int) -> None:
        self.path = path
        self.byte_count = 0
        self._head = b""
        self._limit = limit
        self._sha256 = hashlib.sha256()
        try:
            self._file: IO[bytes] = path.open("wb")
        except OSError as error:
            raise unwritable() from error

    @property
    def sha256(self) -> bytes:
        """Digest of what was written so far."""
        return self._sha256.digest()

    @property
    def source(self) -> FileSource:
        """What the file holds, told by how it begins."""
        return source_of(self._head)

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            ProblemError: 413, the file is larger than the limit.
        """
        self.byte_count += len(data)
        if self.byte_count > self._limit:
            raise too_large(self._limit)
        self._sha256.update(data)
        if len(self._head) < HEAD_BYTES:
            self._head += data[: HEAD_BYTES - len(self._head)]
        try:
            self._file.write(data)
        except OSError as error:
            raise unwritable() from error

    def close(self) -> None:
        """Make the file durable: to the disk with its folder's entry, or complete in the object store."""
        try:
            if self.path.protocol in _LOCAL:
                self._file.flush()
                os.fsync(self._file.fileno())
            self._file.close()
            if self.path.protocol in _LOCAL:
                _sync_folder(self.path.parent.path)
                _sync_folder(self.path.parent.parent.path)
        except OSError as error:
            raise unwritable() from error

    def discard(self) -> None:
        """Remove what was written, and the folder that was made for it."""
        self._file.close()
        self.path.unlink(missing_ok=True)
        if self.path.protocol in _LOCAL:
            self.path.parent.rmdir()


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable() -> ProblemError:
    """The answer when the landing zone takes no file: full, read-only, gone."""
    return ProblemError(
        503,
        "storage_unavailable",
        "The file could not be stored; nothing was accepted. Send it again later.",
        headers={"Retry-After": "60"},
    )
