"""The fenced blocks of a document: which commands it shows, what it says they answer, and running them.

A block of `bash` is run unless a comment `<!-- not run: REASON -->` stands before it; a block of `text` behind it is what the
commands write. Not here: what has to be there before a document can be run.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What has commands to be run; test_end_to_end.py prepares for each of them.
DOCUMENTS = ("docs/guide/first_customer.md", "docs/guide/api.md", "README.md")

_FENCE = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- not run: (?P<reason>[^>]{10,}) -->\s*\Z")
_ANYTHING = "…"
# Written between the outputs of blocks; as no command of a document writes it.
_END = "\x1e"


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, where it begins, why it is not run (None: it is), and the output said to follow."""

    language: str
    text: str
    line: int
    reason: str | None
    expected: str | None


def blocks(document: str) -> list[Block]:
    """All fenced blocks of a Markdown text, in order."""
    found = list(_FENCE.finditer(document))
    made = []
    for number, match in enumerate(found):
        before = document[found[number - 1].end() if number else 0 : match.start()]
        mark = _MARK.search(before)
        after = found[number + 1] if number + 1 < len(found) else None
        expected = None
        if match["language"] == "bash" and after is not None and after["language"] == "text":
            expected = after["text"] if not document[match.end() : after.start()].strip() else None
        line = document[: match.start()].count("\n") + 1
        made.append(Block(match["language"], match["text"], line, mark["reason"] if mark else None, expected))
    return made


def commands(document: str) -> list[Block]:
    """The blocks that are run."""
    return [block for block in blocks(document) if block.language == "bash" and block.reason is None]


def _end_when_told() -> None:
    """As in a terminal: a worker of the tests may ignore SIGTERM, and what a document starts and kills would stay."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run(wanted: Sequence[Block], prelude: str, environment: Mapping[str, str], folder: Path) -> list[str]:
    """What each block wrote, to standard output and standard error as a terminal shows them; all in one bash.

    Raises:
        AssertionError: a command failed; the message has its block and what it wrote.
    """
    script = "\n".join([prelude, *(f"{block.text}printf '{_END}'" for block in wanted)])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], env=environment, cwd=folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=400,
        preexec_fn=_end_when_told,
    )  # fmt: skip
    outputs = done.stdout.split(_END)
    if done.returncode != 0 or len(outputs) != len(wanted) + 1:
        failed = wanted[min(len(outputs), len(wanted)) - 1]
        raise AssertionError(f"Line {failed.line} ended with {done.returncode}:\n{failed.text}\n{outputs[-1]}")
    return outputs[:-1]


def differs(wanted: Sequence[Block], outputs: Iterable[str]) -> list[tuple[int, str, str]]:
    """Where what was written is not what the document says: line of the block, what it says, what was written."""
    return [
        (block.line, block.expected, output)
        for block, output in zip(wanted, outputs, strict=True)
        if block.expected is not None and not pattern(block.expected).fullmatch(f"{output.rstrip()}\n")
    ]


def pattern(expected: str) -> re.Pattern[str]:
    """What an output has to match: `…` in a line stands for any characters there, a line of it alone for some lines; all else
    for itself, but for spaces at the ends of lines.
    """
    lines = []
    for line in expected.rstrip().splitlines():
        if line.strip() == _ANYTHING:
            lines.append(r"(?:[^\n]*\n)+?")
        else:
            lines.append(r"[^\n]+".join(re.escape(part) for part in line.rstrip().split(_ANYTHING)) + r" *\n")
    return re.compile("".join(lines))
