"""Commands that documents show to people are run by a test, or say why they are not."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from upstream_pipelines.definitions import defs
from upstream_pipelines_tests.orchestration.document_blocks import (
    DOCUMENTS,
    Block,
    blocks,
    commands,
    differs,
    pattern,
)

ROOT = Path(__file__).parents[2]
SHOWN = sorted([ROOT / "README.md", *(ROOT / "docs" / "guide").glob("*.md")])


def test_every_block_names_its_language_and_every_block_of_commands_is_run_or_says_why_not() -> None:
    """Without a language a command would pass for a text; `<!-- not run: … -->` before a block holds the reason."""
    runnable = set()
    for path in SHOWN:
        text = path.read_text()
        found = blocks(text)
        assert text.count("```") == 2 * len(found), f"{path}: a fence that is not at the beginning of its line"
        for block in found:
            assert block.language in {"bash", "text", "yaml", "json", "python"}, f"{path}, line {block.line}"
            assert block.reason is None or block.language == "bash", f"{path}, line {block.line}"
        answers = [one.expected for one in found if one.expected is not None]
        assert [one.text for one in found if one.language == "text"] == answers, f"{path}: compared with nothing"
        if commands(text):
            runnable.add(str(path.relative_to(ROOT)))
    assert runnable == set(DOCUMENTS)


def test_every_sensor_and_schedule_is_named_to_operators_with_how_often_it_ticks() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    ticks = {
        *(f"| `{one.name}` | every {one.minimum_interval_seconds} s |" for one in defs.sensors or ()),
        *(
            f"| `{one.name}` | {int(str(one.cron_schedule).split()[1]):02}:00 UTC |"
            for one in defs.schedules or ()
            if isinstance(one, dg.ScheduleDefinition)
        ),
    }
    assert len(ticks) == 10
    assert {line for line in ticks if line not in text} == set()


def test_a_reason_is_for_the_block_right_behind_it_and_an_output_for_the_one_right_before() -> None:
    document = (
        "<!-- not run: it takes all night -->\n```bash\nmake arena\n```\nwords\n```bash\nls\n```\n"
        "\n```text\nfile\n```\n\n<!-- not run: it takes all night -->\nwords\n```bash\npwd\n```\n"
    )
    assert [(one.text, one.reason, one.expected) for one in blocks(document) if one.language == "bash"] == [
        ("make arena\n", "it takes all night", None), ("ls\n", None, "file\n"), ("pwd\n", None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("id …, done\n", "id 7f3a, done\n", True),
        ("id …, done\n", "id 7f3a, not done\nid 1, done\n", False),
        ("a.b\n", "axb\n", False),
        ("one\n", "one\ntwo\n", False),
        ("one\n…\nlast\n", "one\n2\n3\nlast\n", True),
        ("one\n…\nlast\n", "one\nlast\n", False),
        ("title\n", "title     \n", True),
        ("done\n", "", False),
    ],
)
def test_a_placeholder_stands_for_anything_on_its_spot_and_all_else_for_itself(
    expected: str, output: str, *, same: bool
) -> None:
    assert bool(pattern(expected).fullmatch(output)) is same
    assert differs([Block("bash", "", 1, None, expected)], [output]) == ([] if same else [(1, expected, output)])
