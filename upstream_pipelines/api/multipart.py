"""One file out of a multipart form, as its bytes arrive. Not here: where the bytes go.

Starlette's own form reader spools each file to a temporary file first; 2 GiB would be written twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from upstream_pipelines.api.problems import ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # exists for type checkers only

_FIELD = b"file"
# A file name of more bytes does not fit into a directory entry beside what the landing zone adds.
_MAX_NAME_BYTES = 200


class FileForm:
    """Fed with the body's chunks, gives the bytes of its one part `file`.

    `file_name` is None until the part has begun. Errors are ProblemErrors of status 400, 415 or 422;
    none quotes the form.
    """

    def __init__(self, content_type: str | None) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise ProblemError(
                415,
                "content_type",
                "Send the file as multipart/form-data, in a part named `file`, with a boundary.",
            )
        self.file_name: str | None = None
        self._pieces: list[bytes] = []
        self._name = bytearray()
        self._value = bytearray()
        self._part: dict[bytes, bytes] = {}
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._part.clear,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise _malformed() from None

    def feed(self, chunk: bytes) -> bytes:
        """Take the next chunk of the body; returns the bytes of the file in it, often none."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _malformed() from None
        piece = b"".join(self._pieces)
        self._pieces.clear()
        return piece

    def finish(self) -> None:
        """Check that the form was complete and held a file."""
        if not self._ended:
            raise _malformed()
        if self.file_name is None:
            raise ProblemError(422, "file_missing", "The form has no part named `file`. Send the file in one.")

    def _header_end(self) -> None:
        self._part[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._part.get(b"content-disposition"))
        if kind != b"form-data" or options.get(b"name") != _FIELD or self.file_name is not None:
            raise ProblemError(
                422, "unexpected_part", "Send one file a request, in a part named `file` and no other."
            )
        if self._part.get(b"content-transfer-encoding", b"binary").lower() not in {b"binary", b"8bit", b"7bit"}:
            raise ProblemError(
                415, "content_encoding", "Send the file as it is, without Content-Transfer-Encoding."
            )
        name = options.get(b"filename", b"").decode("utf-8", errors="replace")
        if not name.strip(" ./\\"):
            raise ProblemError(422, "file_name_missing", "The part `file` has no file name. Send it with one.")
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise ProblemError(
                422, "file_name_too_long", f"The file's name is longer than {_MAX_NAME_BYTES} bytes. Shorten it."
            )
        self.file_name = name

    def _end(self) -> None:
        self._ended = True


def _malformed() -> ProblemError:
    return ProblemError(
        400, "form_malformed", "The multipart form is malformed or ends early. Send the whole file again."
    )
