"""Files in every encoding, and packed: read to their end, or refused before they fill the memory."""

from __future__ import annotations

import codecs
import gzip
import io
import zipfile
from typing import Any

import pytest

from upstream_pipelines.ingest import unpack
from upstream_pipelines.ingest.recognise import source_of
from upstream_pipelines.ingest.remittance_reader import open_remittance
from upstream_pipelines_tests.unit.claim_files import (
    HEADER,
    ROW,
    TEXT,
    TODAY,
    line,
    read_file,
    refused,
)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: text.encode(),
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("windows-1252"),
    ],
    ids=["utf-8", "utf-8 BOM", "utf-16", "utf-16 BE", "utf-16 without BOM", "windows-1252"],
)
def test_every_encoding_goes_with_every_delimiter_and_with_a_packing(encoded: Any, delimiter: str) -> None:
    content = encoded(TEXT.replace(",", delimiter))
    sent: list[tuple[bytes, str | None]] = [(content, None)]
    if delimiter == ",":
        sent = [(gzip.compress(content), "gzip"), (_zip({"a.csv": content}), "zip")]
    for packed, name in sent:
        accepted, rejected, _, file = read_file(packed)
        assert (accepted["payer"].tolist(), rejected) == (["Santé “Québec”"], {})
        assert file.detected.get("compression") == name


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_gzip_of_several_members_and_with_padding_is_read_to_its_end() -> None:
    halves = [gzip.compress(part.encode()) for part in (f"{HEADER}\n{ROW}\n", f"{line(claim_id='C2')}\n")]
    assert read_file(b"".join(halves) + bytes(600))[0]["claim_id"].tolist() == ["C1", "C2"]


def test_what_systems_add_to_an_archive_is_passed_over() -> None:
    members = {
        "claims/": b"",
        "__MACOSX/._a.csv": b"\x00\x05",
        "claims/a.csv": TEXT.encode(),
        "claims/.DS_Store": b"x",
    }
    assert len(read_file(_zip(members))[0]) == 1


def test_what_cannot_be_unpacked_is_refused_and_told_what_to_do() -> None:
    good, text = gzip.compress(TEXT.encode()), TEXT.encode()
    encrypted = bytearray(_zip({"a.csv": text}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + place] |= 1
    for content, says in (
        (_zip({"CANARY.csv": text, "b.csv": text}), "holds 2 files. Send each"),
        (_zip({}), "binary, not text"),
        (_zip({"__MACOSX/._a.csv": b"x"}), "holds no file"),
        (_zip({"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b""}), "Excel workbook"),
        (bytes(encrypted), "encrypted"),
        (good[:-20], "damaged"),
        (good[:-8] + b"\x00" * 8, "damaged"),
        (_zip({"a.csv": text})[:-10], "damaged"),
        (gzip.compress(good), "packed twice"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7z"),
    ):
        message = refused(content)
        assert says in message
        assert "CANARY" not in message


@pytest.mark.parametrize("pack", [gzip.compress, lambda content: _zip({"a.csv": content})])
def test_a_bomb_is_refused_by_its_ratio_and_by_its_bytes_before_it_is_unpacked(
    pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = pack((HEADER + "\n" + ROW + "\n" + " " * 8_000_000).encode())
    monkeypatch.setattr(unpack, "FREE_BYTES", 1_000_000)
    assert "unpacks to more than" in refused(bomb)
    monkeypatch.setattr(unpack, "MOST_RATIO", 10**9)
    monkeypatch.setattr(unpack, "MOST_BYTES", 2_000_000)
    assert "unpacks to more than" in refused(bomb)


def test_a_packed_remittance_is_recognised_and_read(remittance: Any) -> None:
    sent = remittance("CLP*A1*1*100*80**12*N1~SVC*HC:99213*100*80~DTM*472*20260105~CAS*CO*45*20")
    for packed in (gzip.compress(sent), _zip({"era.835": sent}), _zip({"era.835": sent}, zipfile.ZIP_STORED)):
        assert source_of(packed[:4096]) == "x12_835"
        lines = [
            line for block in open_remittance(io.BytesIO(packed), TODAY).blocks() for line in block.row_numbers
        ]
        assert len(lines) == 1
    assert source_of(gzip.compress(TEXT.encode())[:4096]) == "csv"
    assert source_of(b"\x1f\x8b damaged") == "csv"
