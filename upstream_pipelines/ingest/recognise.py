"""Tells by its first bytes which source a file is of; its name and ending say nothing.

Not here: reading it (csv_reader.py, remittance_reader.py), unpacking it (unpack.py).
"""

from __future__ import annotations

import codecs
import re
from typing import Literal

from upstream_pipelines.ingest.unpack import beginning

FileSource = Literal["csv", "x12_835"]
Source = Literal["csv", "webhook", "x12_835"]
#: Every source of claim lines, as `uploads.source` has it.
SOURCES: tuple[Source, ...] = ("csv", "webhook", "x12_835")
#: As many bytes as `source_of` looks at: packed ones begin with names and tables.
HEAD_BYTES = 4096

# ISA*00*: the separator is whatever stands behind the name. A damaged one is still X12 and is told so; but a column of a
# CSV file may be called ISA, and then a comma, a semicolon or a tab follows.
_X12 = re.compile(rb"ISA(?:([^A-Za-z0-9])[A-Za-z0-9 ]{2}\1|[^A-Za-z0-9\s,;\"'_.-])|ST([^A-Za-z0-9\s])\d{3}\2")


def source_of(head: bytes) -> FileSource:
    """The source of a file that begins with these bytes: X12 by its ISA (or ST, without envelope), else CSV.

    A file in gzip or zip is told by what it unpacks to.
    """
    bare = beginning(head).removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n\x00")
    return "x12_835" if _X12.match(bare) else "csv"
