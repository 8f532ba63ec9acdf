"""Which header is which claim field: the customer's mapping first, then the common names.

Not here: the names themselves (fields.py), which may be shown (header_words.py), finding the header in a file
(ingest/csv_header.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from upstream_pipelines.claims.fields import FIELDS, header_key, required_fields
from upstream_pipelines.claims.header_words import looks_like_column_name, shown_header, shown_headers, tidy_header
from upstream_pipelines.claims.mapping import SET_BY, WRITTEN_AND_SET_BY, ClaimMapping
from upstream_pipelines.errors import FileRefusedError

#: Shown in a refusal: enough to see what the file is, not a page of names.
_SHOWN = 30
_LONGEST = 60
_NAME_THEM = (
    "Export the file with these columns, or name the headers under columns in the customer's mapping, such as "
    "`{field}: <header>`"
)
_SEND_THEM = "Send the claims with these names, or give yours under columns in the customer's mapping, such as `{field}: <name>`"
_NO_HEADER = (
    "Export the file with a header row. If it cannot have one, set `no_header: true` in the customer's mapping and give each "
    "field the number of its column under columns, such as `{field}: 3`"
)


@dataclass(frozen=True)
class HeaderMatch:
    """Position of each recognised field among the headers, and what could not be placed.

    ambiguous: field → the places of the headers that all could be it.
    absent: field → the mapped header that the input does not have (its common names were tried instead).
    """

    positions: dict[str, int]
    ambiguous: dict[str, list[int]]
    absent: dict[str, str]


def match_headers(headers: Sequence[str], mapping: ClaimMapping) -> HeaderMatch:
    """Place every claim field at one header, or say between which it could not choose."""
    keys = [header_key(header) for header in headers]
    mapped = {field: header_key(header) for field, header in mapping.columns.items()}
    taken = set(mapped.values())
    positions: dict[str, int] = {}
    ambiguous: dict[str, list[int]] = {}
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
                ambiguous[name] = found
            if found:
                break
    return HeaderMatch(positions, ambiguous, absent)


def require_fields(
    match: HeaderMatch, headers: Sequence[str], mapping: ClaimMapping, *, batch: bool = False
) -> None:
    """Refuse an input whose headers do not give every required field exactly one column.

    batch: whether it is one of JSON, whose claims have names and no header row.

    Raises:
        FileRefusedError: names fields, and headers that may be shown (never a value), and the mapping that would help.
    """
    if match.ambiguous:
        raise FileRefusedError(_ambiguous(match, headers, batch=batch), code="columns_not_found")
    missing = missing_fields(match, mapping)
    if not missing:
        return
    wished = [f"{field}: {match.absent[field]}" for field in missing if field in match.absent]
    no_code = "; a source without procedure codes sets `no_cpt: true`." if "cpt" in missing else "."
    if mapping.no_header and not batch:
        raise FileRefusedError(
            f"No column found for {', '.join(missing)}; the file has {len(headers)} columns"
            + (f", and the mapping names others ({', '.join(wished)}). " if wished else ". ")
            + f"Give their numbers under columns in the customer's mapping, such as `{missing[0]}: 3`{no_code} {WRITTEN_AND_SET_BY}",
            code="columns_not_found",
        )
    if batch:
        found = f"No claim has {', '.join(missing)}; the names read are {_names(headers, range(len(headers)))}. "
        advice = _SEND_THEM
    elif is_header_row(match, headers):
        found = f"No column found for {', '.join(missing)}; the headers read are {_names(headers, range(len(headers)))}. "
        advice = _NAME_THEM
    else:
        found = (
            ("" if match.positions else "No header row was recognised. ")
            + f"No column found for {', '.join(missing)}; the first row, of {len(headers)} cells, does not look like a "
            "header row. "
        )
        advice = _NO_HEADER
    raise FileRefusedError(
        found
        + (f"The mapping names headers that are not there ({', '.join(wished)}). " if wished else "")
        + advice.format(field=missing[0])
        + f"{no_code} {SET_BY if batch else WRITTEN_AND_SET_BY}",
        code="columns_not_found",
    )


def _ambiguous(match: HeaderMatch, headers: Sequence[str], *, batch: bool) -> str:
    choices = "; ".join(f"{field}: {_names(headers, places)}" for field, places in match.ambiguous.items())
    # A mapping goes by the header, so it cannot choose between equal ones.
    alike = any(len({header_key(headers[place]) for place in places}) == 1 for places in match.ambiguous.values())
    return f"More than one {'name' if batch else 'header'} could be a field ({choices}). Remove or rename " + (
        "one of those that are the same."
        if alike
        else "the extra ones, or name the right one under columns in the customer's mapping. "
        + (SET_BY if batch else WRITTEN_AND_SET_BY)
    )


def missing_fields(match: HeaderMatch, mapping: ClaimMapping) -> list[str]:
    """Required fields that have no column."""
    return [field for field in required_fields(no_cpt=mapping.no_cpt) if field not in match.positions]


def describe_headers(match: HeaderMatch, headers: Sequence[str]) -> dict[str, Any]:
    """The facts about the headers that are kept with the upload and shown: no text that may be a patient's."""
    used = set(match.positions.values())
    unused = [place for place in range(len(headers)) if place not in used]
    facts: dict[str, Any] = {
        "columns": {
            tidy_header(headers[position])[:_LONGEST]: field for field, position in match.positions.items()
        },
        "unused_columns": shown_headers(headers, unused),
    }
    if match.absent:
        facts["mapped_headers_not_found"] = match.absent
    keys = [header_key(header) for header in headers]
    counts = Counter(keys)
    repeated = {key: place for place, key in reversed(list(enumerate(keys))) if key and counts[key] > 1}
    if repeated:
        facts["repeated_headers"] = [shown_header(headers[place], place) for place in sorted(repeated.values())]
    return facts


def is_header_row(match: HeaderMatch, headers: Sequence[str]) -> bool:
    """Whether a row is one of headers, as far as can be told; in a file without one it is a claim."""
    named = [header for header in headers if header.strip()]
    known = sum(map(looks_like_column_name, named))
    return len(match.positions) + len(match.ambiguous) >= 2 or 2 * known > len(named) > 0


def _names(headers: Sequence[str], places: Sequence[int]) -> str:
    shown = ", ".join(
        repr(tidy_header(headers[place])) if looks_like_column_name(headers[place]) else shown_header("", place)
        for place in places[:_SHOWN]
    )
    return shown + (f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else "")
