"""A customer's mapping: how its files say what a claim line needs. Part of the customer's YAML.

Not here: the fields and their common headers (fields.py), applying aliases and groups (merge.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from upstream_pipelines.claims.fields import FIELDS, header_key
from upstream_pipelines.claims.sections import SECTIONS
from upstream_pipelines.quality.rules import FIXED_ERRORS, GRADABLE_RULES, NEVER_ERRORS, Grade
from upstream_pipelines.visible import visible

DateOrder = Literal["MDY", "DMY", "YMD"]
Encoding = Literal["utf-8", "utf-16", "windows-1252", "iso-8859-1"]
Outcome = Literal["PAID", "DENIED", "PENDING", "OTHER"]
#: Last sentence of a refusal that a mapping mends: no member of the customer can set one, and who can is to be told how.
SET_BY = "The platform's operator sets the mapping: `upstream customers configure SLUG --file FILE`."
#: The same where a preview of the file writes what is to be corrected.
WRITTEN_AND_SET_BY = (
    "The platform's operator sets the mapping: `upstream ingest preview FILE --write-mapping mapping.yaml` writes one to correct, "
    "`upstream customers configure SLUG --file mapping.yaml` sets it."
)
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class ClaimMapping(BaseModel):
    """How a customer's files name and write things; everything has a working default.

    columns: claim field → the file's header, where the header is not one everybody knows; without header, the number
        of the field's column as text, "1" being the first.
    no_header: the files begin with a claim.
    outcomes: word as sent → outcome, beside the known words (paid, denied, pending, ...).
    date_order: order of day, month and year in dates of digits; None: told from the file itself.
    no_cpt: the source has no procedure codes; every line gets `UNSPECIFIED`.
    payer_aliases: spelling as sent → canonical payer name.
    cpt_groups: procedure code, or its beginning and `*` (`992*`) → group; empty: the sections of CPT.
    delimiter, encoding: given where detection must not decide.
    quality: rule name → error, warning, info or off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, _Name] = Field(default_factory=dict)
    no_header: bool = False
    outcomes: dict[_Name, Outcome] = Field(default_factory=dict)
    date_order: DateOrder | None = None
    no_cpt: bool = False
    payer_aliases: dict[_Name, _Name] = Field(default_factory=dict)
    cpt_groups: dict[_Name, _Name] = Field(default_factory=dict)
    delimiter: Literal[",", ";", "\t", "|"] | None = None
    encoding: Encoding | None = None
    quality: dict[str, Grade] = Field(default_factory=dict)

    def groups(self) -> Mapping[str, str]:
        """Pattern of codes → group: the customer's own, or the sections of CPT where it has set none."""
        return self.cpt_groups or SECTIONS

    @field_validator("columns", mode="before")
    @classmethod
    def _numbers_of_columns_are_names(cls, columns: Any) -> Any:
        if not isinstance(columns, dict):
            return columns
        return {field: str(name) if type(name) is int else name for field, name in columns.items()}

    @model_validator(mode="after")
    def _without_header_columns_have_numbers(self) -> Self:
        wrong = sorted(field for field, name in self.columns.items() if not re.fullmatch(r"[1-9]\d{0,3}", name))
        if self.no_header and wrong:
            raise ValueError(
                f"with no_header, columns gives each field the number of its column (payer: 3), not: {', '.join(wrong)}"
            )
        return self

    @field_validator("columns")
    @classmethod
    def _columns_name_fields_once(cls, columns: dict[str, str]) -> dict[str, str]:
        unknown = sorted(set(columns) - set(FIELDS))
        if unknown:
            raise ValueError(f"not claim fields: {', '.join(unknown)}. Fields: {', '.join(FIELDS)}")
        keys = [header_key(header) for header in columns.values()]
        if "" in keys:
            raise ValueError("a header needs at least one letter or digit")
        twice = sorted({field for field, header in columns.items() if keys.count(header_key(header)) > 1})
        if twice:
            raise ValueError(f"one header is given to several fields: {', '.join(twice)}. Name one field a header")
        return columns

    @field_validator("payer_aliases")
    @classmethod
    def _aliases_are_read_like_the_names_of_files(cls, aliases: dict[str, str]) -> dict[str, str]:
        seen = {visible(spelling): visible(name) for spelling, name in aliases.items()}
        # Stored, it would be an empty name, and the whole configuration could not be read any more.
        if not all(seen) or not all(seen.values()):
            raise ValueError("a spelling or a name has nothing but characters that nobody sees")
        return seen

    @field_validator("cpt_groups")
    @classmethod
    def _groups_are_codes_or_beginnings(cls, groups: dict[str, str]) -> dict[str, str]:
        wrong = sorted(pattern for pattern in groups if not re.fullmatch(r"[A-Za-z0-9]+\*?", pattern))
        if wrong:
            raise ValueError(f"write a code (99213) or its beginning and a star (992*), not: {', '.join(wrong)}")
        return groups

    @field_validator("quality")
    @classmethod
    def _grades_name_rules(cls, grades: dict[str, Grade]) -> dict[str, Grade]:
        known = [rule.name for rule in GRADABLE_RULES]
        unknown = sorted(set(grades) - set(known))
        if unknown:
            raise ValueError(f"unknown rules: {', '.join(unknown)}. Rules: {', '.join(known)}")
        fixed = sorted(name for name, grade in grades.items() if name in FIXED_ERRORS and grade != "error")
        if fixed:
            raise ValueError(
                f"always an error, because a line without it cannot be stored: {', '.join(fixed)}"
                + (". A source without procedure codes sets no_cpt: true" if "cpt_present" in fixed else "")
            )
        soft = sorted(name for name, grade in grades.items() if name in NEVER_ERRORS and grade == "error")
        if soft:
            raise ValueError(f"told of rows that are stored already; give warning, info or off: {', '.join(soft)}")
        return grades
