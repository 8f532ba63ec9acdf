"""Unpacks gzip and zip (one member) as a stream, within bounds of bytes and ratio.

Belongs here: what the packing is, its bounds, its refusals. Not here: what is packed (recognise.py and the readers). No
message names a member: a customer may name a file after a patient.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO, Literal, Protocol

from upstream_pipelines.errors import FileRefusedError

Packing = Literal["gzip", "zip"]

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_CHUNK = 256 * 1024
_DEFLATE = 8
#: Claims shrink 5 to 30 times, a file of one repeated line 300 times; bombs 1,000 times (gzip's own limit is 1,032).
MOST_RATIO = 400
#: Below it no ratio is looked at: what little there is cannot hurt.
FREE_BYTES = 64 * 1024 * 1024
#: Some 200 million claim lines.
MOST_BYTES = 32 * 1024**3
# A list of more entries than this is read into memory for nothing: one file is wanted.
_MOST_MEMBERS = 1000
_DAMAGED = "The file is packed and damaged, or was cut short. Pack it again and send it again."
_NO_ZIP = (
    "The file is a zip archive or an Excel workbook, and damaged or cut short. Send an archive again; open a workbook and "
    "export the sheet as CSV."
)
# What macOS and Windows add to an archive.
_BESIDE = ("__MACOSX/", ".DS_Store", "Thumbs.db", "desktop.ini")


class ByteSource(Protocol):
    """What readers need of a stream: bytes in order, none at its end; it need not seek."""

    def read(self, size: int, /) -> bytes: ...


class Unpacked:
    """The bytes of a stream, unpacked where they are packed; `packing` says how.

    Memory is bounded by a chunk, whatever the archive claims.
    """

    def __init__(self, read: Callable[[int], bytes], packing: Packing | None, packed: Callable[[], int]) -> None:
        self._read, self._packed = read, packed
        self.packing = packing
        self._given = 0

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, none at the end.

        Raises:
            FileRefusedError: damaged, cut short, or more than claims can be for what was sent.
        """
        if self.packing is None:
            return self._read(size)
        data = self._read(min(size, _CHUNK))
        self._given += len(data)
        if self._given > MOST_BYTES or (
            self._given > FREE_BYTES and self._given > MOST_RATIO * max(self._packed(), 1)
        ):
            raise FileRefusedError(
                f"The file unpacks to more than {self._given // 1024**2:,} MiB from {self._packed():,} bytes, which no "
                "claims do. Send it unpacked, or in parts.",
                code="not_unpacked",
            )
        return data


def unpacked(stream: BinaryIO) -> Unpacked:
    """The stream from its start, unpacked where it begins as gzip or zip.

    stream: a zip archive has its list at its end, so it must be able to seek; others need not.

    Raises:
        FileRefusedError: an archive of none or several files, encrypted, packed by a method nobody reads, damaged; an
            Excel workbook (which is a zip archive).
    """
    head = _read_four(stream)
    if head.startswith(_GZIP):
        gzip = _Gzip(stream, head)
        return Unpacked(gzip.read, "gzip", lambda: gzip.packed)
    if head == _ZIP:
        return _open_zip(stream)
    return Unpacked(_Rest(stream, head).read, None, lambda: 0)


def beginning(head: bytes) -> bytes:
    """What the file that begins with these bytes begins with once it is unpacked; as it is where nothing is packed."""
    try:
        if head.startswith(_GZIP):
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, _CHUNK)
        if head.startswith(_ZIP):
            method, name, extra = (struct.unpack_from("<H", head, place)[0] for place in (8, 26, 28))
            data = head[30 + name + extra :]
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _CHUNK) if method == _DEFLATE else data
    except (zlib.error, struct.error):
        return head  # damaged: its reader will say so
    return head


def _read_four(stream: BinaryIO) -> bytes:
    head = b""
    while len(head) < 4 and (part := stream.read(4 - len(head))):
        head += part
    return head


class _Rest:
    """A stream whose first bytes were taken already."""

    def __init__(self, stream: BinaryIO, head: bytes) -> None:
        self._stream, self._head = stream, head

    def read(self, size: int) -> bytes:
        if self._head:
            given, self._head = self._head[:size], self._head[size:]
            return given
        return self._stream.read(size)


class _Gzip:
    """Gzip of one or more members one after another, as `cat a.gz b.gz` makes them."""

    def __init__(self, stream: BinaryIO, head: bytes) -> None:
        self._stream, self._held = stream, head
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._ended = False
        self.packed = len(head)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        while not self._ended:
            if not self._held:
                self._held = self._stream.read(_CHUNK)
                self.packed += len(self._held)
                if not self._held:
                    raise FileRefusedError(_DAMAGED, code="not_unpacked")
            try:
                data = self._inner.decompress(self._held, size)
            except zlib.error:
                raise FileRefusedError(_DAMAGED, code="not_unpacked") from None
            self._held = self._inner.unconsumed_tail
            if self._inner.eof:
                self._next_member()
            if data:
                return data
        return b""

    def _next_member(self) -> None:
        """Another member, or the end; zeros behind the last one are padding, as tapes have it."""
        rest = self._inner.unused_data
        while not rest.strip(b"\x00"):
            rest = self._stream.read(_CHUNK)
            self.packed += len(rest)
            if not rest:
                self._ended = True
                return
        self._held = rest.lstrip(b"\x00")
        self._inner = zlib.decompressobj(zlib.MAX_WBITS | 16)


def _open_zip(stream: BinaryIO) -> Unpacked:
    if not stream.seekable():
        raise FileRefusedError(
            "A zip archive cannot be read from here. Send it unpacked, or packed with gzip.", code="not_unpacked"
        )
    try:
        archive = zipfile.ZipFile(stream)
        if len(archive.filelist) > _MOST_MEMBERS:
            raise _several(len(archive.filelist))
        names = [member.filename for member in archive.filelist]
        if "[Content_Types].xml" in names:
            raise FileRefusedError(
                "The file is an Excel workbook. Open it and export the sheet as CSV.", code="not_unpacked"
            )
        members = [
            member
            for member in archive.filelist
            if not member.is_dir()
            and not member.filename.startswith(_BESIDE)
            and not member.filename.endswith(_BESIDE)
        ]
        if not members:
            raise FileRefusedError(
                "The zip archive holds no file. Pack the CSV file and send it again.", code="not_unpacked"
            )
        if len(members) > 1:
            raise _several(len(members))
        if members[0].flag_bits & 1:
            raise FileRefusedError(
                "The zip archive is encrypted. Send it without a password; the connection is encrypted.",
                code="not_unpacked",
            )
        opened = archive.open(members[0])
    except NotImplementedError:
        raise FileRefusedError(
            "The zip archive is packed by a method that cannot be read. Pack it as an ordinary zip (deflate) or with gzip.",
            code="not_unpacked",
        ) from None
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # a place before the start, read from a damaged list; anything else is the disk's
            raise
        raise FileRefusedError(_NO_ZIP, code="not_unpacked") from None
    except (zipfile.BadZipFile, EOFError, ValueError, struct.error):
        raise FileRefusedError(_NO_ZIP, code="not_unpacked") from None
    packed = members[0].compress_size

    def read(size: int) -> bytes:
        try:
            return opened.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError):
            raise FileRefusedError(_DAMAGED, code="not_unpacked") from None

    return Unpacked(read, "zip", lambda: packed)


def _several(count: int) -> FileRefusedError:
    return FileRefusedError(
        f"The zip archive holds {count} files. Send each of them by itself, or in an archive of its own.",
        code="not_unpacked",
    )
