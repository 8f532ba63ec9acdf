"""Bytes of X12 as a stream of segments: separators of each interchange, line breaks, bounded memory.

The separators are read from every ISA anew, as one file may hold interchanges of several senders. Bytes are read as
Latin-1, which loses none; `text_of` gives a name its characters back. Not here: what a segment means (remittance.py),
whether the envelope is whole (remittance_reader.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from upstream_pipelines.errors import FileRefusedError
from upstream_pipelines.ingest.unpack import ByteSource

_CHUNK_BYTES = 256 * 1024
# An ISA has 106 characters, the beginning of a transaction some hundred more.
_HEAD = 1024
# The longest segment of an 835 has some 3,000 characters: without a terminator by here there is none.
_LONGEST = 64 * 1024
_BLANK = " \t\r\n\x00\x1a\x0b\x0c"
_AGAIN = "Ask the sender for the file as it was made; an editor or a transfer in text mode may have changed it."


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. number: place in the file from 1. component: what parts a composite, None where nothing says so."""

    number: int
    elements: list[str]
    component: str | None

    @property
    def name(self) -> str:
        """ISA, ST, CLP, ..."""
        return self.elements[0]

    def at(self, place: int) -> str:
        """The element of this place (CLP01 is 1) without blanks around it; empty where there is none."""
        return self.elements[place].strip() if place < len(self.elements) else ""


@dataclass(frozen=True, slots=True)
class _Separators:
    element: str
    component: str | None
    terminator: str


def read_segments(stream: ByteSource) -> Iterator[Segment]:
    """The segments of a file in order; the stream need not seek.

    Empty segments are passed over; what stands behind the last terminator is a segment too.

    Raises:
        FileRefusedError: no interchange and no transaction begins where one has to, or a segment has no end.
    """
    buffer, place, number, ended = "", 0, 0, False
    separators: _Separators | None = None

    def more() -> None:
        nonlocal buffer, place, ended
        data = stream.read(_CHUNK_BYTES)
        ended = not data
        buffer, place = buffer[place:] + data.decode("latin-1"), 0

    while True:
        if separators is None:
            while not ended and len(buffer) - place < _HEAD:
                more()
                if number == 0:
                    buffer = buffer.removeprefix("\xef\xbb\xbf")
                buffer = buffer[place:].lstrip(_BLANK)
                place = 0
            buffer, place = buffer[place:].lstrip(_BLANK), 0
            if not buffer:
                return
            separators = _separators(buffer[:_HEAD], first=number == 0)
        end = buffer.find(separators.terminator, place)
        if end < 0 and not ended:
            if len(buffer) - place > _LONGEST:
                raise FileRefusedError(f"Segment {number + 1} has no end within {_LONGEST:,} characters. {_AGAIN}")
            more()
            continue
        text = buffer[place : end if end >= 0 else len(buffer)].strip(_BLANK)
        place = end + 1 if end >= 0 else len(buffer)
        if text:
            number += 1
            elements = text.split(separators.element)
            yield Segment(number, elements, separators.component)
            if elements[0] == "IEA":
                separators = None
        elif end < 0:
            return


def text_of(element: str) -> str:
    """An element as its sender wrote it: UTF-8 where it is that, else Windows-1252."""
    if element.isascii():
        return element
    data = element.encode("latin-1")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("windows-1252", "replace")


def _separators(head: str, *, first: bool) -> _Separators:
    if head.startswith("ISA") and len(head) > 3:
        return _of_interchange(head)
    if first and head.startswith("ST") and len(head) > 3:
        return _of_bare_transaction(head)
    if first:
        raise FileRefusedError(f"The file does not begin with an interchange (ISA). {_AGAIN}")
    raise FileRefusedError(
        f"After the end of an interchange (IEA) comes something that is no interchange. {_AGAIN}"
    )


def _of_interchange(head: str) -> _Separators:
    """ISA is the one segment of fixed length; counting its sixteen elements also reads one that lost its padding."""
    element, place = head[3], 3
    for _ in range(15):
        place = head.find(element, place + 1)
        if place < 0:
            break
    found = head[place + 1 : place + 3]
    marks = {element, *found}
    if place < 0 or len(marks) < 3 or any(mark.isalnum() or mark == " " for mark in marks):
        raise FileRefusedError(f"The separators cannot be told from the interchange's header (ISA). {_AGAIN}")
    return _Separators(element, found[0], found[1])


def _of_bare_transaction(head: str) -> _Separators:
    """A transaction without its envelope, as some portals hand it out: the second segment shows where the first ends."""
    element = head[2]
    if not element.isalnum():
        for mark in head[3:]:
            if mark != element and not mark.isalnum() and mark not in " -":
                return _Separators(element, None, mark)
    raise FileRefusedError(f"The separators cannot be told from the transaction's header (ST). {_AGAIN}")
