"""Log lines: JSON, with ids, from structlog and the standard library alike, and no message of an error."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.logging import configure_logging, log_context
from upstream_pipelines.settings import Settings


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    logging.getLogger("dagster").propagate = True
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_both_kinds_of_logger_write_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    with log_context(request_id="request-1", run_id="run-1", upload_id="upload-1"):
        structlog.stdlib.get_logger("ours").info("loaded\nrows", rows=3)
        logging.getLogger("theirs").warning("took %d s", 4, extra={"file": "a.csv"})
    logging.getLogger("later").info("done")
    ours, theirs, later = _lines(capsys)
    assert {**ours, "timestamp": None} == {
        "event": "loaded\nrows", "rows": 3, "level": "info", "logger": "ours", "timestamp": None,
        "request_id": "request-1", "run_id": "run-1", "upload_id": "upload-1",
    }  # fmt: skip
    assert theirs["event"] == "took 4 s"
    assert theirs["file"] == "a.csv"
    assert theirs["request_id"] == "request-1"
    assert "request_id" not in later


def test_events_arguments_and_extras_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    logging.getLogger("theirs").info("for %s", "MUSTERMANN, ERIKA", extra={"who": ["123-45-6789"]})
    structlog.stdlib.get_logger("ours").info("for %s", "a@b.example", note={"phone": "555-123-4567"})
    text = capsys.readouterr().err
    for canary in ("MUSTERMANN", "ERIKA", "123-45-6789", "a@b.example", "555-123-4567"):
        assert canary not in text


@pytest.mark.parametrize("source", ["standard", "structlog"])
def test_a_traceback_says_where_and_what_kind_but_not_the_value(
    capsys: pytest.CaptureFixture[str], source: str
) -> None:
    """The value has no pattern: no redactor could find it."""
    configure_logging(Settings())
    try:
        try:
            float("canary value")
        except ValueError as error:
            raise ConfigurationError("Set the mapping's column.") from error
    except ConfigurationError:
        if source == "standard":
            logging.getLogger("theirs").exception("failed")
        else:
            structlog.stdlib.get_logger("ours").exception("failed")
    (line,) = _lines(capsys)
    assert "canary" not in json.dumps(
        {**line, "exception": line["exception"].replace('float("canary value")', "")}
    )
    assert "builtins.ValueError: message withheld" in line["exception"]
    assert "ConfigurationError: Set the mapping's column." in line["exception"]
    assert "test_logging.py" in line["exception"]


def test_a_record_that_cannot_be_formatted_does_not_print_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(Settings())
    logging.getLogger("theirs").warning("rows: %d", "canary")
    (line,) = _lines(capsys)
    assert "canary" not in json.dumps(line)
    assert "theirs" in line["event"]


def test_debug_records_are_left_out_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    structlog.stdlib.get_logger("ours").debug("hidden")
    assert _lines(capsys) == []
    configure_logging(Settings(log_level="DEBUG"))
    structlog.stdlib.get_logger("ours").debug("shown")
    logging.getLogger("python_multipart").debug("a part of a file")
    assert [line["event"] for line in _lines(capsys)] == ["shown"]


def test_warnings_become_records(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old way", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    (line,) = _lines(capsys)
    assert line["logger"] == "py.warnings"


def test_ids_of_one_thread_are_not_in_the_lines_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings())
    with log_context(request_id="request-1"):
        thread = threading.Thread(target=lambda: logging.getLogger("other").info("x"))
        thread.start()
        thread.join()
    assert "request_id" not in _lines(capsys)[0]
