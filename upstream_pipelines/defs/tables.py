"""What people see in the Dagster UI: tables in markdown, column schemas, charts, links.

Not here: where the figures come from. Nothing shown may be a claim's own value.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from upstream_pipelines.visible import visible

_MARKUP = frozenset("\\|[]!<>`*&")
OWNERS = ["team:data-engineering"]


def markdown_table(headers: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> dg.MarkdownMetadataValue:
    """A markdown table; numbers with thousands separators, None as a dash; `empty` says what no rows mean."""
    lines = [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    if not lines:
        return dg.MetadataValue.md(empty)
    head = f"| {' | '.join(headers)} |\n|{'|'.join(' --- ' for _ in headers)}|"
    return dg.MetadataValue.md("\n".join([head, *lines]))


def _cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float() if math.isnan(value):
            return "-"
        case float() if 0 < abs(value) < 0.001:
            return f"{value:.0e}"
        case float():
            return f"{value:,.3f}".rstrip("0").rstrip(".")
        case int():
            return f"{value:,}"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
        case date():
            return value.isoformat()
        case list():
            return ", ".join(_cell(str(part)) for part in value)
        case _:
            # Payer names come from outside: neither an image nor a link may come of one.
            text = " ".join(visible(str(value)).split())
            return "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in text)


def evidence(samples: Sequence[Mapping[str, Any]]) -> str:
    """Where a rule failed: upload and first row numbers, never a value or a file's name."""
    return "; ".join(
        f"{str(sample['upload_id'])[:8]}: rows {', '.join(map(str, sample['rows']))}" for sample in samples
    )


def chart(png: bytes, alternative: str) -> dg.MarkdownMetadataValue:
    """A PNG inside markdown, which the UI shows in the materialisation's metadata."""
    return dg.MetadataValue.md(f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})")


def column_schema(columns: Iterable[tuple[str, str, str]]) -> dict[str, dg.TableSchemaMetadataValue]:
    """Column schema from (name, type, description) triples, under the key the UI looks for."""
    return {
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema(
                columns=[dg.TableColumn(name, kind, description) for name, kind, description in columns]
            )
        )
    }


def uploads_table(uploads: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Uploads with status, counts and, where one failed, what to do. Not their names: a customer may name a patient."""
    return markdown_table(
        ("upload", "source", "status", "rows", "rejected", "warnings", "what to do"),
        (
            (
                str(upload["upload_id"])[:8],
                upload["source"],
                "same bytes as an earlier upload" if upload["duplicate_of"] else upload["status"],
                upload["rows"],
                upload["rejected"],
                upload["warnings"],
                upload["error_message"],
            )
            for upload in uploads
        ),
        "No upload was waiting.",
    )
