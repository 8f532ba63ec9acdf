"""Bytes of unknown encoding as a stream of UTF-8: detection, transcoding, refusal of what is no text.

Not here: unpacking (unpack.py), what the text holds (csv_reader.py).
"""

from __future__ import annotations

import codecs
import io
import re

from upstream_pipelines.claims.mapping import SET_BY, Encoding
from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.unpack import ByteSource

HEAD_BYTES = 256 * 1024
_ZERO_EVERY = 256
_CONTROL_EVERY = 32  # what is packed has one in ten characters, a cell of text by chance one
_CONTROLS = re.compile("[\x00-\x08\x0e-\x19\x1c-\x1f]")
_CHUNK_BYTES = 1024 * 1024

_X12 = "an X12 file, not CSV. Send it again: a remittance (835) is recognised by how it begins"
_PICTURE = "a picture. Ask the source for the same data as CSV"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (
        b"PK\x03\x04",
        "packed twice, or a packed Excel workbook. Export the sheet as CSV and pack it once, or not at all",
    ),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of the old kind. Open it and export the sheet as CSV"),
    (b"%PDF", "a PDF. Ask the source for the same data as CSV"),
    (b"\x1f\x8b", "packed twice. Pack it once, or not at all"),
    (b"BZh91AY", "packed with bzip2. Send it unpacked, or packed with gzip or zip"),
    (b"\xfd7zXZ", "packed with xz. Send it unpacked, or packed with gzip or zip"),
    (b"7z\xbc\xaf", "a 7z archive. Send it unpacked, or packed with gzip or zip"),
    (b"Rar!", "a rar archive. Send it unpacked, or packed with gzip or zip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd. Send it unpacked, or packed with gzip or zip"),
    (b"PAR1", "a Parquet file. Export it as CSV"),
    *((mark, _PICTURE) for mark in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")),
    *((b"ISA" + mark, _X12) for mark in (b"*", b"|", b"^", b"~", b">", b":")),
    (b"ST*", _X12),
    (b"{", "JSON, not CSV. Post it to the webhook, or export it as CSV"),
    (b"[{", "JSON, not CSV. Post it to the webhook, or export it as CSV"),
    (b"<", "HTML or XML, not CSV; some portals name a web page .csv. Export it as CSV"),
)

# Windows-1252 as browsers read it: the five unassigned bytes are control characters.
_WINDOWS_1252 = {byte: bytes([byte]).decode("windows-1252", "ignore") or chr(byte) for byte in range(256)}
_FALLBACK = "upstream-windows-1252"


def _windows_1252(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(_WINDOWS_1252[byte] for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_FALLBACK, _windows_1252)


class Utf8Stream(io.RawIOBase):
    """A stream of UTF-8 over a stream of another encoding.

    Where no encoding was given, bytes that are not UTF-8 are read as Windows-1252 one by one, at any
    place in the stream. So a file whose first odd byte stands in its last row is read like one that
    starts with it, without a second pass over a stream that cannot seek, and the result does not
    depend on where a chunk ends. `encoding` says in the end whether that happened; `quoted` says whether
    a double quote was among the text given so far.
    """

    def __init__(self, stream: ByteSource, head: bytes, encoding: str | None) -> None:
        super().__init__()
        self._stream = stream
        self._forgiving = encoding is None
        self.encoding = encoding or ("utf-8 with BOM" if head.startswith(codecs.BOM_UTF8) else "utf-8")
        # Five bytes are unassigned in Python's windows-1252 and are control characters in everyone else's.
        errors = _FALLBACK if encoding == "windows-1252" else "strict"
        self._decoder = codecs.getincrementaldecoder(encoding or "utf-8")(errors)
        self._held = b""
        self.quoted = False
        self.ended = len(head) < HEAD_BYTES
        self.text = self._decode(head, final=self.ended).removeprefix("\ufeff")
        self._ready = memoryview(b"")

    def skip(self, characters: int) -> None:
        """Start the stream after this many characters of `text`, the decoded head."""
        self._ready = memoryview(self.text[characters:].encode())
        self.text = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        # The buffer is filled: the reader's blocks must not depend on how much the stream gives at a time.
        filled = 0
        while filled < len(buffer):
            if not self._ready:
                if self.ended:
                    break
                data = self._stream.read(_CHUNK_BYTES)
                self.ended = not data
                self._ready = memoryview(self._decode(data, final=self.ended).encode())
            part = self._ready[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            self._ready = self._ready[len(part) :]
            filled += len(part)
        return filled

    def _decode(self, data: bytes, *, final: bool) -> str:
        text = self._to_text(data, final=final)
        self.quoted = self.quoted or '"' in text
        return text

    def _to_text(self, data: bytes, *, final: bool) -> str:
        if not self._forgiving:
            try:
                return self._decoder.decode(data, final)
            except UnicodeDecodeError:
                raise FileRefusedError(
                    f"The file is not {self.encoding} text throughout. Export it as UTF-8, or correct encoding in "
                    f"the customer's mapping. {SET_BY}",
                    code="not_text",
                ) from None
        data = self._held + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(data, _FALLBACK, final)
            self.encoding = "windows-1252"
        self._held = data[used:]
        return text


def open_text(stream: ByteSource, encoding: Encoding | None) -> tuple[Utf8Stream, str]:
    """Detect the encoding from the first 256 KiB; returns the stream and the decoded head.

    Raises:
        FileRefusedError: the stream is empty or holds no text.
    """
    head = _read_head(stream)
    if not head.strip(b"\x00\xef\xbb\xbf\xff\xfe \t\r\n"):
        raise FileRefusedError("The file is empty. Check the export and send it again.", code="no_claims")
    for magic, advice in _MAGIC:
        if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(magic):
            raise FileRefusedError(f"The file is {advice}.", code="not_text")
    text = Utf8Stream(stream, head, encoding or _detect_utf_16(head))
    # A damaged cell has a zero here and there and costs its row; a binary file has one in a few dozen bytes.
    if text.text.count("\x00") * _ZERO_EVERY > len(text.text) or _is_packed(text.text):
        raise FileRefusedError("The file is binary, not text. Export it as CSV.", code="not_text")
    return text, text.text


def _is_packed(head: str) -> bool:
    """Few zeros, and many other control characters from the first line on: in cells under a clean line they cost rows."""
    first = head.lstrip("\r\n").partition("\n")[0].partition("\r")[0]
    return _CONTROLS.search(first) is not None and len(_CONTROLS.findall(head)) * _CONTROL_EVERY > len(head)


def _read_head(stream: ByteSource) -> bytes:
    """Up to 256 KiB; a pipe or an object store may give less at a time."""
    parts, missing = [], HEAD_BYTES
    while missing and (part := stream.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def _detect_utf_16(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    # Without a BOM nearly every other byte of Latin text is zero; binary files have zeros anywhere.
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.4 * len(head) / 2 and even == 0:
        return "utf-16-le"
    if even > 0.4 * len(head) / 2 and odd == 0:
        return "utf-16-be"
    return None
