"""A report's tables as an Excel workbook and as CSV. Not here: which tables and columns there are (tables.py)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from upstream_pipelines.csv_lines import CsvLines
from upstream_pipelines.reports.tables import Sheet, cell_text

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
# Excel's own letters of a width; headlines are cut on the screen, not in the cell.
_NARROW, _WIDE = 14, 28
_WIDE_COLUMNS = frozenset({"payer", "headline", "description", "customer_name", "event_id", "upload_id", "rule"})


def render_xlsx(sheets: Sequence[Sheet], made_at: datetime) -> bytes:
    """A workbook with a sheet a table. Numbers are numbers, days are days, instants are UTC; texts are guarded. The same
    tables and instant give the same bytes.
    """
    import openpyxl
    from openpyxl.writer.excel import ExcelWriter

    book = openpyxl.Workbook(write_only=True)
    for sheet in sheets:
        _add_sheet(book, sheet)
    made = made_at.astimezone(UTC).replace(tzinfo=None)
    book.properties.creator = "Upstream Pipelines"
    book.properties.created = book.properties.modified = made
    written, fixed = io.BytesIO(), io.BytesIO()
    # Workbook.save() would write the time of day into it, and the archive has that of each part.
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        ExcelWriter(book, archive).save()
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in archive.namelist():
            part = zipfile.ZipInfo(name, _ZIP_EPOCH)
            part.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(part, archive.read(name))
    return fixed.getvalue()


def _add_sheet(book: Any, sheet: Sheet) -> None:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    page = book.create_sheet(sheet.name)
    page.freeze_panes = "A2"
    for number, name in enumerate(sheet.columns, start=1):
        page.column_dimensions[get_column_letter(number)].width = _WIDE if name in _WIDE_COLUMNS else _NARROW

    def cell(value: Any, column: str) -> Any:
        if isinstance(value, str):
            text = WriteOnlyCell(page, value=cell_text(value))
            # "#N/A" is a payer's name here, and no error.
            text.data_type = "s"
            return text
        made = WriteOnlyCell(page, value=_plain(value))
        if isinstance(value, Decimal):
            made.number_format = "#,##0.00"
        elif column == "denied_share":
            made.number_format = "0.0%"
        return made

    headers = [WriteOnlyCell(page, value=name) for name in sheet.columns]
    for header in headers:
        header.font = Font(bold=True)
    page.append(headers)
    for row in sheet.rows:
        page.append([cell(value, column) for value, column in zip(row, sheet.columns, strict=True)])


def _plain(value: Any) -> Any:
    """Excel knows no zone: instants are UTC, as the guide says."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) else value


def render_csv(sheets: Sequence[Sheet]) -> bytes:
    """One table in UTF-8: the rows of all sheets, `section` saying of which, with the columns of all of them.

    Texts are guarded. What may begin with a sign beside them is a number, written here.
    """
    columns = list(dict.fromkeys(["section", *(name for sheet in sheets for name in sheet.columns)]))
    text = io.StringIO(newline="")
    lines = CsvLines(text)
    lines.write(columns)
    for record in _records(sheets):
        lines.write(record.get(name) for name in columns)
    return text.getvalue().encode()


def _records(sheets: Sequence[Sheet]) -> Iterator[dict[str, Any]]:
    for sheet in sheets:
        for row in sheet.rows:
            cells = {name: _written(value) for name, value in zip(sheet.columns, row, strict=True)}
            yield {"section": sheet.name, **cells}


def _written(value: Any) -> Any:
    match value:
        case str():
            return cell_text(value)
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        case date():
            return value.isoformat()
        case _:
            return value
