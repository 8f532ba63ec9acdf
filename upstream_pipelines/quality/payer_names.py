"""Finds payer names that look like another spelling of a known one, and the aliases that would make them one.

Nothing is renamed here: people accept a suggestion into the customer's configuration, or do not. Not here: reading the names
(store.py), applying aliases (claims/merge.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml
from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from upstream_pipelines.claims.payer_names import FEWEST_LINES_OF_A_NAME
from upstream_pipelines.quality.phi import holds_person_as_payer
from upstream_pipelines.visible import visible

#: The rule under which they are found.
RULE = "payer_spelling"
# Customers have ten to a hundred payers. Of more names than this the ones with the most lines are compared: the others
# are no spellings but a wrong column, and each pair costs.
_MOST_NAMES = 2000
# What two spellings have in common at least, in percent, before their words are compared one by one.
_COMMON = 70.0
# Legal forms and fillers: AETNA INC is Aetna. "Co" is Colorado as well, and is left out only behind "insurance".
_FILLERS = frozenset(
    (
        "inc",
        "incorporated",
        "llc",
        "ltd",
        "corp",
        "corporation",
        "company",
        "the",
        "of",
        "plc",
        "lp",
        "ins",
        "insurance",
    )
)
_LONG_FORMS = {
    "bcbs": ("blue", "cross", "blue", "shield"),
    "uhc": ("united", "healthcare"),
    "hlth": ("health",),
    "hlthcare": ("healthcare",),
    "natl": ("national",),
    "assn": ("association",),
    "assoc": ("association",),
    "svcs": ("services",),
}
# One slip of the keyboard in a word of five letters, two in nine. Shorter words and those with digits are other words:
# Part A and Part B, Plan 1 and Plan 2, East and West.
_SLIPS = ((9, 2), (5, 1))


@dataclass(frozen=True)
class Suggestion:
    """A spelling that looks like a known payer. lines: how many have it; likeness: 0 to 100.

    `may_be_shown`: the payer has lines enough to be named outside of the claim tables, or an alias leads to it. Two names of
    few lines that are alike may be two spellings of a patient.
    """

    spelling: str
    payer: str
    lines: int
    likeness: float
    may_be_shown: bool = True


def suggest_aliases(
    spellings: Mapping[str, int], known: Mapping[str, int], aliases: Mapping[str, str]
) -> list[Suggestion]:
    """Spellings without an alias that look like a known payer, the ones with the most lines first.

    spellings: names as sent → lines. known: canonical names → lines. aliases: the customer's own; an alias of a name to
    itself says that it is a payer of its own. A name is taken for a spelling of one with more lines, or of one that an
    alias leads to. Names that may be a person's are never looked at.
    """
    mapped = {_folded(spelling) for spelling in aliases}
    targets = {_tidy(name) for spelling, name in aliases.items() if _folded(spelling) != _folded(name)}
    new = _without_persons(
        [name for name in spellings if _folded(name) not in mapped and _tidy(name) not in targets]
    )
    new = sorted(new, key=lambda name: (-spellings[name], name))[:_MOST_NAMES]
    payers = _without_persons([*{**dict.fromkeys(targets, 0), **known}])
    payers = sorted(payers, key=lambda name: (-known.get(name, 0), name))[:_MOST_NAMES]
    if not new or not payers:
        return []
    words = {name: _words(name) for name in {*new, *payers}}
    # By the words in any order, and by the letters whatever their spaces.
    common = np.maximum(
        _likeness(
            [" ".join(sorted(words[name])) for name in new], [" ".join(sorted(words[name])) for name in payers]
        ),
        _likeness(["".join(words[name]) for name in new], ["".join(words[name]) for name in payers]),
    )
    found: dict[str, Suggestion] = {}
    for row, column in np.argwhere(common > 0).tolist():
        spelling, payer = new[row], payers[column]
        lines = spellings[spelling]
        if _tidy(spelling) == payer or not (payer in targets or known.get(payer, 0) > lines):
            continue
        if not _same_payer(words[spelling], words[payer]):
            continue
        may_be_shown = payer in targets or known.get(payer, 0) >= FEWEST_LINES_OF_A_NAME
        likeness = round(float(common[row, column]), 1)
        suggestion = Suggestion(_tidy(spelling), payer, lines, likeness, may_be_shown)
        best = found.get(spelling)
        if (
            best is None or suggestion.likeness > best.likeness
        ):  # among equals the payer with the most lines came first
            found[spelling] = suggestion
    return list(found.values())


def aliases_yaml(suggestions: Collection[Suggestion], aliases: Mapping[str, str]) -> str:
    """The section of the customer's YAML file that accepts these suggestions; its own aliases stay."""
    accepted = dict(aliases) | {suggestion.spelling: suggestion.payer for suggestion in suggestions}
    return str(yaml.safe_dump({"payer_aliases": accepted}, allow_unicode=True, sort_keys=True, width=1000))


def _likeness(new: list[str], payers: list[str]) -> npt.NDArray[np.float32]:
    """Likeness of each new name (rows) to each payer (columns), 0 below what two spellings have in common."""
    return process.cdist(new, payers, scorer=fuzz.ratio, score_cutoff=_COMMON)


def _without_persons(names: list[str]) -> list[str]:
    if not names:
        return []
    persons = holds_person_as_payer(pa.array(names, pa.string()), in_doubt=True)
    return [name for name, person in zip(names, persons.tolist(), strict=True) if not person]


def _tidy(name: str) -> str:
    """As the claims have a spelling without alias."""
    return " ".join(name.split())


def _folded(name: str) -> str:
    return _tidy(visible(name)).lower()


def _words(name: str) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKD", visible(name)).encode("ascii", "ignore").decode().casefold()
    words = re.findall(r"[a-z0-9]+", plain.replace("&", " and ").replace("'", ""))
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if word in _FILLERS or (word == "co" and before in {"ins", "insurance"}):
            continue
        kept.extend(_LONG_FORMS.get(word, (word,)))
    return tuple(kept or words)


def _same_payer(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two names say the same: but for spaces and the order of words, and for a slip in one long word."""
    if sorted(one) == sorted(other) or "".join(one) == "".join(other):
        return True
    if len(one) != len(other):
        return False
    different = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
    return len(different) == 1 and _slip(*different[0])


def _slip(one: str, other: str) -> bool:
    shorter = min(len(one), len(other))
    if not (one.isalpha() and other.isalpha()) or one[0] != other[0]:
        return False
    most = next((slips for length, slips in _SLIPS if shorter >= length), 0)
    return bool(OSA.distance(one, other, score_cutoff=most) <= most)
