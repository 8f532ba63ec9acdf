"""Which header is which claim field: the customer's mapping first, then the common names.

Not here: the names themselves (fields.py), finding the header in a file (ingest/csv_reader.py).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upstream_pipelines.claims.fields import FIELDS, header_key, required_fields
from upstream_pipelines.claims.mapping import ClaimMapping
from upstream_pipelines.errors import FileRefusedError

#: Shown in a refusal: enough to see what the file is, not a page of names.
_SHOWN = 30
# Numbers, dates and amounts start with no letter; a claim or patient number has many digits.
_NAME = re.compile(r"[^\W\d][\w ./#()%$&?:-]{0,59}")
_DIGIT = re.compile(r"\d")


@dataclass(frozen=True)
class HeaderMatch:
    """Position of each recognised field among the headers, and what could not be placed.

    ambiguous: field → the headers that all could be it.
    absent: field → the mapped header that the input does not have (its common names were tried instead).
    """

    positions: dict[str, int]
    ambiguous: dict[str, list[str]]
    absent: dict[str, str]


def match_headers(headers: Sequence[str], mapping: ClaimMapping) -> HeaderMatch:
    """Place every claim field at one header, or say between which it could not choose."""
    keys = [header_key(header) for header in headers]
    mapped = {field: header_key(header) for field, header in mapping.columns.items()}
    taken = set(mapped.values())
    positions: dict[str, int] = {}
    ambiguous: dict[str, list[str]] = {}
    absent = {field: mapping.columns[field] for field, key in mapped.items() if key not in keys}
    for name, field in FIELDS.items():
        tiers: tuple[tuple[str, ...], ...] = ((name,), field.synonyms, field.weak_synonyms)
        if name in mapped and name not in absent:
            tiers = ((mapping.columns[name],),)
        wanted = [{header_key(header) for header in tier} for tier in tiers]
        if name not in mapped or name in absent:
            wanted = [tier - taken for tier in wanted]
        for tier in wanted:
            found = [position for position, key in enumerate(keys) if key in tier]
            if len(found) == 1:
                positions[name] = found[0]
            elif found:
                ambiguous[name] = [headers[position] for position in found]
            if found:
                break
    return HeaderMatch(positions, ambiguous, absent)


def require_fields(match: HeaderMatch, headers: Sequence[str], mapping: ClaimMapping) -> None:
    """Refuse an input whose headers do not give every required field exactly one column.

    Raises:
        FileRefusedError: names fields and headers (never a value) and the mapping that would help.
    """
    if match.ambiguous:
        choices = "; ".join(f"{field}: {_names(names)}" for field, names in match.ambiguous.items())
        raise FileRefusedError(
            f"More than one header could be a field ({choices}). Remove or rename the extra columns, or name "
            "the right one under columns in the customer's mapping."
        )
    missing = [field for field in required_fields(no_cpt=mapping.no_cpt) if field not in match.positions]
    if not missing:
        return
    wished = [f"{field}: {match.absent[field]}" for field in missing if field in match.absent]
    read = (
        f"the headers read are {_names(headers)}"
        if _is_header_row(match, headers)
        else f"the first row, of {len(headers)} cells, does not look like a header row"
    )
    raise FileRefusedError(
        ("No header row was recognised. " if not match.positions else "")
        + f"No column found for {', '.join(missing)}; {read}. "
        + (f"The mapping names headers that are not there ({', '.join(wished)}). " if wished else "")
        + "Export the file with these columns and a header row, or name the headers under columns in the "
        + f"customer's mapping, such as `{missing[0]}: <header>`"
        + ("; a source without procedure codes sets `no_cpt: true`." if "cpt" in missing else ".")
    )


def describe_headers(match: HeaderMatch, headers: Sequence[str]) -> dict[str, Any]:
    """The facts about the headers that are kept with the upload: names only."""
    used = set(match.positions.values())
    facts: dict[str, Any] = {
        "columns": {headers[position]: field for field, position in match.positions.items()},
        "unused_columns": [header for position, header in enumerate(headers) if position not in used],
    }
    if match.absent:
        facts["mapped_headers_not_found"] = match.absent
    repeated = [header for header, count in Counter(map(header_key, headers)).items() if count > 1 and header]
    if repeated:
        facts["repeated_headers"] = repeated
    return facts


def _is_header_row(match: HeaderMatch, headers: Sequence[str]) -> bool:
    """Whether the names may be shown. In a file without header the first row is a claim, and never shown."""
    named = [header for header in headers if header.strip()]
    if not all(_NAME.fullmatch(header) and len(_DIGIT.findall(header)) < 6 for header in named):
        return False
    return len(match.positions) >= 2 or 2 * sum("_" in header for header in named) > len(named)


def _names(headers: Sequence[str]) -> str:
    shown = ", ".join(repr(header[:60]) for header in headers[:_SHOWN])
    return shown + (f" and {len(headers) - _SHOWN} more" if len(headers) > _SHOWN else "")
