"""POST and GET /api/v1/uploads/: files arrive whole or not at all, and each customer sees its own."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.settings import Settings

URL = "/api/v1/uploads/"
CSV = b"payer,cpt,submitted_date,outcome\nAetna,99213,2026-03-02,PENDING\n"
Count = Callable[[], int]


@pytest.fixture
def small(
    settings: Settings, serve: Callable[[Settings], str], token: Callable[[str], str]
) -> Iterator[httpx.Client]:
    """A client of an API that accepts files of at most 1 MiB."""
    url = serve(settings.model_copy(update={"max_upload_bytes": 1024 * 1024}))
    headers = {"Authorization": f"Bearer {token('small')}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def _files(settings: Settings) -> list[Path]:
    return [path for path in Path(settings.landing_root).rglob("*") if path.is_file()]


def _form(parts: bytes) -> dict[str, object]:
    return {"content": parts, "headers": {"Content-Type": "multipart/form-data; boundary=B"}}


def test_a_file_is_stored_byte_for_byte_and_registered(
    acme: httpx.Client, settings: Settings, pipeline: Connection
) -> None:
    """3 MiB of random bytes: more than one write, and every line ending and boundary look-alike in it."""
    content = os.urandom(3 * 1024 * 1024) + b"\r\n--B\r\n\r\n--"
    answer = acme.post(
        URL,
        files={"file": ("march 2026.csv", content)},
        headers={"X-Request-Id": "6f2c1d6e0d3a4b529c510a4f6f1d2e3b"},
    )
    assert answer.status_code == 202, answer.text
    upload_id = answer.json()["upload_id"]
    row = pipeline.execute(
        "SELECT source, file_name, location, sha256, byte_count, status, request_id FROM uploads WHERE upload_id = %s",
        (upload_id,),
    ).fetchone()
    path = Path(settings.landing_root) / "acme" / ".uploads" / upload_id / "march 2026.csv"
    assert row == (
        "csv", "march 2026.csv", str(path), hashlib.sha256(content).digest(), len(content), "received",
        "6f2c1d6e0d3a4b529c510a4f6f1d2e3b",
    )  # fmt: skip
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["march.835", "march.csv"])
def test_a_remittance_is_recognised_by_its_content(
    acme: httpx.Client, pipeline: Connection, remittance: Callable[..., bytes], name: str
) -> None:
    answer = acme.post(URL, files={"file": (name, remittance("CLP*A1*1*100*80**12*I1~DTM*232*20260105"))})
    assert answer.status_code == 202, answer.text
    assert pipeline.execute("SELECT source, file_name FROM uploads").fetchall() == [("x12_835", name)]
    assert acme.get(URL + answer.json()["upload_id"]).json()["source"] == "x12_835"


def test_the_status_of_an_upload_is_shown_to_its_customer_only(
    acme: httpx.Client, beta: httpx.Client, pipeline: Connection
) -> None:
    upload_id = acme.post(URL, files={"file": ("a.csv", CSV)}).json()["upload_id"]
    pipeline.execute(
        "UPDATE uploads SET status = 'partial', rows = 3, accepted = 1, rejected = 1, duplicates = 1, seconds = 0.5"
    )
    pipeline.execute(
        """INSERT INTO rejected_rows (customer_id, upload_id, source_row_number, rule, field, reason)
           SELECT customer_id, upload_id, n, 'payer_present', 'payer', 'The payer is empty.'
             FROM uploads, generate_series(2, 13) AS n"""
    )
    own = acme.get(URL + upload_id)
    assert own.status_code == 200
    assert own.json()["rejections"] == [
        {"rule": "payer_present", "field": "payer", "reason": "The payer is empty.", "rows": 12,
         "row_numbers": list(range(2, 12))},
    ]  # fmt: skip
    assert {name: own.json()[name] for name in ("status", "rows", "accepted", "rejected", "duplicates")} == {
        "status": "partial", "rows": 3, "accepted": 1, "rejected": 1, "duplicates": 1,
    }  # fmt: skip
    assert "location" not in own.json()
    other, unknown = beta.get(URL + upload_id), beta.get(URL + str(uuid4()))
    assert (other.status_code, unknown.status_code) == (404, 404)
    assert {**other.json(), "request_id": ""} == {**unknown.json(), "request_id": ""}


def test_an_upload_needs_a_token(anonymous: httpx.Client, uploads: Count, settings: Settings) -> None:
    assert anonymous.post(URL, files={"file": ("a.csv", CSV)}).status_code == 401
    assert anonymous.get(URL + str(uuid4())).status_code == 401
    assert uploads() == 0
    assert _files(settings) == []


def test_a_file_too_large_by_its_length_is_refused_and_nothing_stays(
    small: httpx.Client, uploads: Count, settings: Settings
) -> None:
    answer = small.post(URL, files={"file": ("a.csv", b"x" * (2 * 1024 * 1024))})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert uploads() == 0
    assert _files(settings) == []


def test_a_file_too_large_by_counting_is_refused_and_its_part_is_removed(
    small: httpx.Client, uploads: Count, settings: Settings
) -> None:
    def body() -> Iterator[bytes]:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        for _ in range(17):
            yield b"x" * 65536

    answer = small.post(URL, **_form(body()))  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert uploads() == 0
    assert _files(settings) == []


def test_a_file_of_exactly_the_limit_is_accepted(small: httpx.Client, uploads: Count) -> None:
    assert small.post(URL, files={"file": ("a.csv", b"x" * (1024 * 1024))}).status_code == 202
    assert uploads() == 1


_HEAD = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


# In one test each, these lists: a database and a server a case would cost half a second.
_BAD_FORMS = [
    (b"", 400, "form_malformed"),
    (b"payer,cpt\n", 400, "form_malformed"),
    (b"--B--\r\n", 422, "file_missing"),
    (_HEAD + CSV, 400, "form_malformed"),
    (_HEAD + CSV + b"\r\n--B\r\n", 400, "form_malformed"),
    (_HEAD + b"\r\n--B--\r\n", 422, "file_empty"),
    (_HEAD.replace(b"a.csv", b"") + CSV + b"\r\n--B--\r\n", 422, "file_name_missing"),
    (_HEAD.replace(b"a.csv", b"../..") + CSV + b"\r\n--B--\r\n", 422, "file_name_missing"),
    (_HEAD.replace(b"a.csv", b"a" * 201) + CSV + b"\r\n--B--\r\n", 422, "file_name_too_long"),
    (_HEAD.replace(b'; filename="a.csv"', b"") + CSV + b"\r\n--B--\r\n", 422, "file_name_missing"),
    (_HEAD.replace(b'"file"', b'"other"') + CSV + b"\r\n--B--\r\n", 422, "unexpected_part"),
    (_HEAD + CSV + b"\r\n" + _HEAD + CSV + b"\r\n--B--\r\n", 422, "unexpected_part"),
    (_HEAD[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--B--\r\n", 415, "content_encoding"),
    (b"--B\r\n" + b"X-A: " + b"y" * 100_000 + b"\r\n\r\n", 400, "form_malformed"),
]


def test_a_form_that_holds_no_whole_file_is_refused_and_nothing_stays(
    acme: httpx.Client, uploads: Count, settings: Settings
) -> None:
    for body, status, code in _BAD_FORMS:
        answer = acme.post(URL, **_form(body))  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (status, code), body[:100]
    assert uploads() == 0
    assert _files(settings) == []
    assert list(Path(settings.landing_root).rglob(".uploads/*")) == []


def test_what_is_no_form_is_refused_by_its_type(acme: httpx.Client) -> None:
    for kind in ("text/csv", "", "multipart/form-data", "multipart/mixed; boundary=B"):
        answer = acme.post(URL, content=CSV, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "content_type"), kind


def test_a_file_never_leaves_its_own_folder(acme: httpx.Client, settings: Settings) -> None:
    expected = set()
    for name in ("../../etc/passwd", "/etc/passwd", "..\\..\\boot.ini", "a\x00b.csv", "ä" * 90 + ".csv"):
        form = _form(_HEAD.replace(b"a.csv", name.encode()) + CSV + b"\r\n--B--\r\n")
        answer = acme.post(URL, **form)  # type: ignore[arg-type]
        assert answer.status_code == 202, (name, answer.text)
        expected.add(Path(settings.landing_root) / "acme" / ".uploads" / answer.json()["upload_id"])
    assert {path.parent for path in _files(settings)} == expected


def test_a_landing_zone_in_an_object_store_takes_files_too(
    settings: Settings, serve: Callable[[Settings], str], token: Callable[[str], str], pipeline: Connection
) -> None:
    from upath import UPath

    bucket = f"memory://landing-{uuid4().hex}"
    headers = {"Authorization": f"Bearer {token('acme')}"}
    url = serve(settings.model_copy(update={"landing_zone": bucket}))
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        assert client.post(URL, files={"file": ("a.csv", CSV)}).status_code == 202
        assert client.post(URL, files={"file": ("a.csv", b"")}).status_code == 422
    row = pipeline.execute("SELECT location FROM uploads").fetchone()
    assert row is not None
    assert UPath(row[0]).read_bytes() == CSV
    assert len([path for path in UPath(bucket).rglob("*") if path.is_file()]) == 1


def test_a_landing_zone_that_cannot_be_written_to_is_a_503(
    settings: Settings,
    serve: Callable[[Settings], str],
    token: Callable[[str], str],
    uploads: Count,
    tmp_path: Path,
) -> None:
    (tmp_path / "not-a-folder").write_text("x")
    headers = {"Authorization": f"Bearer {token('acme')}"}
    url = serve(settings.model_copy(update={"landing_zone": str(tmp_path / "not-a-folder")}))
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as client:
        answer = client.post(URL, files={"file": ("a.csv", CSV)})
    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert uploads() == 0
