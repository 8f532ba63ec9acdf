"""What a command prints of names and cells that come from customers' files: as they are, and as nothing else."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from upstream_pipelines.cli import output
from upstream_pipelines.cli.drift import _told
from upstream_pipelines.cli.drift_explain import _to_file, _write
from upstream_pipelines.defs.drift_assets import look_days
from upstream_pipelines.drift.explaining import LINE_COLUMNS
from upstream_pipelines.errors import ConfigurationError, ConflictError

NAMES = ("Plan [/ppo]", "Aetna [hmo]", "[bold]Cigna[/bold]", ":smile:", "[link=x]Y")


def line(claim_id: str) -> dict[str, Any]:
    return dict.fromkeys(LINE_COLUMNS, "x") | {"claim_id": claim_id, "line_number": -1}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "shown",
    [
        lambda name: output.print_table(name, ("payer", "n"), [(name, 1)]),
        lambda name: output.print_fields(name, {"payer": name, name: 1}),
        lambda name: output.out.print(f"About {name}, and {name}."),
    ],
)
def test_a_name_that_looks_like_markup_is_printed_as_it_is(
    name: str, shown: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A payer named "Plan [/ppo]" would end every list of events with an error, for ever."""
    shown(name)
    assert capsys.readouterr().out.count(name) >= 2


def test_a_coloured_cell_is_printed_in_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    """Markup is off for the sake of names, so colour written as markup would be printed with its brackets."""
    output.print_table("Parts", ("state", "rows"), [(Text("not ok", style="red"), [7, 3000])])
    shown = capsys.readouterr().out
    assert "not ok" in shown
    assert "7, 3000" in shown
    assert "[" not in shown.replace("\x1b[", "")


@pytest.mark.parametrize("cell", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_of_the_claim_lines_is_a_formula_to_a_spreadsheet(cell: str) -> None:
    target = io.StringIO(newline="")
    assert _write([line(cell), line("A-1")], target) == 2
    rows = list(csv.DictReader(io.StringIO(target.getvalue(), newline="")))
    assert [row["claim_id"] for row in rows] == [f"'{cell}", "A-1"]
    assert rows[0]["line_number"] == "-1"  # a number is no text


def test_a_file_that_cannot_be_written_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        _to_file([line("A")], tmp_path / "no" / "lines.csv")
    with pytest.raises(ConflictError, match="there already"):
        _to_file([line("A")], tmp_path)


def test_what_could_not_be_written_whole_is_not_kept(tmp_path: Path) -> None:
    def rows() -> Any:
        yield line("A")
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigurationError, match="No space left on device"):
        _to_file(rows(), tmp_path / "lines.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_who_stops_early_leaves_no_stack_trace() -> None:
    """As in `upstream drift lines acme 1234 | head`."""
    script = (
        "from upstream_pipelines.cli.drift_explain import _to_pipe\n"
        "from upstream_pipelines.drift.explaining import LINE_COLUMNS\n"
        "_to_pipe(dict.fromkeys(LINE_COLUMNS, 'x' * 50) for _ in range(20_000))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        assert started.stdout.readline().startswith("claim_key,")
        started.stdout.close()
        assert started.stderr.read() == ""
    assert started.returncode == 0


ROW: dict[str, Any] = {
    "as_of": "2026-05-01", "event_id": "12345678-0000", "payer": "Blue Cross of Alabama", "signal": "volume",
    "direction": "worsening", "state": "watch", "cause": "payer", "baseline": 2600.0, "current": 1800.0,
    "q_value": 2e-6, "maturity": 1.0,
    "detail": {
        "change_date": "2026-03-05", "waits_for": "evidence",
        "money": {"per_month": 8734.2, "low": 1.0, "high": 2.0, "delayed": None, "gain": False},
    },
}  # fmt: skip


def test_a_look_is_told_in_words_that_fit_a_table() -> None:
    told = [str(value).replace("\N{NO-BREAK SPACE}", " ") for value in _told(ROW, frozenset({ROW["event_id"]}))]
    assert told == [
        "May 1", "12345678", "Blue Cross of Alabama", "claim volume", "worse", "watch, for more evidence",
         "payer", "2,600 a week", "1,800 a week", "$8,700", "Mar 5", "under 0.1 %",
        "None",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "over", [{"state": "resolved"}, {"state": "updated", "detail": {**ROW["detail"], "calm_since": "2026-04-20"}}]
)
def test_a_change_that_is_over_is_told_without_dollars_and_without_how_sure_it_is(over: dict[str, Any]) -> None:
    """Its last days deny it: their chance says nothing of what was found."""
    told = _told({**ROW, **over}, frozenset({ROW["event_id"]}))
    assert (told[9], told[11]) == (None, None)


def test_a_change_of_the_data_has_its_cause_and_no_price_and_a_past_event_no_id() -> None:
    told = _told({**ROW, "cause": "data", "state": "open"}, frozenset())
    assert "data" in told
    assert "(past)" in told
    assert "$" not in str(told)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "03/31/2026"])
def test_what_is_no_day_is_told_how_to_write_one(text: str) -> None:
    for days in ((text, None), ("2026-03-01", text)):
        with pytest.raises(ConfigurationError, match="YYYY-MM-DD") as caught:
            look_days(*days)
        assert "isoformat" not in str(caught.value)
        assert text in str(caught.value)
