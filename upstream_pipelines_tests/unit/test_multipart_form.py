"""The streaming form reader: the file's bytes come out the same however the network cuts the body."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.api.multipart import FileForm
from upstream_pipelines.api.problems import ProblemError

_TYPE = "multipart/form-data; boundary=B"


@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.lists(st.sampled_from([b"\r\n", b"--B", b"-", b"a", b"\r", b"\n"])).map(b"".join),
    ),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_any_cutting_of_the_body_gives_the_same_file(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--B" in b"\r\n" + content:
        content = content.replace(b"--B", b"--C")
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        + content
        + b"\r\n--B--\r\n"
    )
    form, out, at = FileForm(_TYPE), b"", 0
    for cut in [*sorted(cuts), len(body)]:
        out += form.feed(body[at:cut])
        at = max(at, min(cut, len(body)))
    form.finish()
    assert out == content
    assert form.file_name == "a.csv"


@given(
    body=st.binary(max_size=200), content_type=st.one_of(st.none(), st.text('multipart/form-data;boundary=B "'))
)
def test_any_bytes_end_as_a_file_or_a_problem_of_the_sender(body: bytes, content_type: str | None) -> None:
    for kind in (content_type, _TYPE):
        assert _outcome(kind, body) in {200, 400, 415, 422}


def _outcome(content_type: str | None, body: bytes) -> int:
    try:
        form = FileForm(content_type)
        form.feed(body)
        form.finish()
    except ProblemError as error:
        return error.status
    return 200
