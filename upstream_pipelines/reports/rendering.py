"""All formats of a report from one content. Not here: any of them."""

from __future__ import annotations

from upstream_pipelines.reports.document import document_of
from upstream_pipelines.reports.html import render_html
from upstream_pipelines.reports.models import Format, ReportContent
from upstream_pipelines.reports.pdf import render_pdf
from upstream_pipelines.reports.spreadsheets import render_csv, render_xlsx
from upstream_pipelines.reports.tables import sheets_of


def render(content: ReportContent) -> dict[Format, bytes]:
    """The files of a report by format. Equal contents give equal bytes."""
    document, sheets = document_of(content), sheets_of(content)
    return {
        "html": render_html(document),
        "pdf": render_pdf(document, content.made_at),
        "xlsx": render_xlsx(sheets, content.made_at),
        "csv": render_csv(sheets),
    }
