"""A document as a PDF. Not here: what it says (document.py).

The font is DejaVu Sans, which matplotlib brings: Latin, Greek, Cyrillic and more. A letter that it has not (Chinese, for one)
stands as an empty box, and what is written from right to left stands letter by letter.
"""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path

from fpdf import FPDF
from fpdf.enums import Align, TableBordersLayout
from fpdf.fonts import FontFace

from upstream_pipelines.reports.document import Block, Document, Paragraph, Picture, Story, Table
from upstream_pipelines.visible import visible

_FONT = "DejaVu"
_INK, _NOTE, _LINE = (28, 36, 48), (91, 102, 117), (223, 227, 232)
_TEXT, _SMALL = 9.5, 7.5
# Stands for the number of pages until that is known. Of letters that `visible` leaves in no name; {nb}, as the library has it, may be one.
_PAGES = "\u2060pages\u2060"


class _Page(FPDF):
    """US letter, upright, with the number of the page at its foot."""

    def footer(self) -> None:
        self.set_y(-12)
        self.set_font(_FONT, size=_SMALL)
        self.set_text_color(*_NOTE)
        self.cell(0, 5, f"{self.page_no()} / {_PAGES}", align=Align.R)


def render_pdf(document: Document, made_at: datetime) -> bytes:
    """The document on US letter pages; `made_at` is the date of its making, so that the same content gives the same bytes."""
    from matplotlib import get_data_path

    fonts = Path(get_data_path()) / "fonts" / "ttf"
    page = _Page(format="letter", unit="mm")
    page.alias_nb_pages(_PAGES)
    page.add_font(_FONT, fname=fonts / "DejaVuSans.ttf")
    page.add_font(_FONT, "B", fonts / "DejaVuSans-Bold.ttf")
    page.set_creation_date(made_at)
    page.set_title(f"{_seen(document.title)}, {document.subtitle}")
    page.set_lang("en-US")
    page.set_margin(15)
    page.set_auto_page_break(auto=True, margin=16)
    page.set_draw_color(*_LINE)
    page.add_page()
    _write(page, document.title, 17, bold=True)
    _write(page, document.subtitle, 11, colour=_NOTE, after=3)
    for name, value in document.facts:
        page.set_font(_FONT, "B", _TEXT)
        page.set_text_color(*_INK)
        page.cell(58, 5.2, _seen(name))
        _write(page, value, _TEXT)
    for section in document.sections:
        page.ln(5)
        # A heading at the foot of a page, away from what it heads, is none.
        if page.will_page_break(40):
            page.add_page()
        _write(page, section.title, 13, bold=True, after=1.5)
        for block in section.blocks:
            _block(page, block)
    page.ln(4)
    _write(page, document.made, _SMALL, colour=_NOTE)
    buffer = io.BytesIO()
    page.output(buffer)
    return buffer.getvalue()


def _block(page: FPDF, block: Block) -> None:
    match block:
        case Paragraph():
            _write(page, block.text, _TEXT, after=2)
        case Story():
            if page.will_page_break(25):
                page.add_page()
            page.ln(1.5)
            _write(page, block.title, _TEXT + 0.5, bold=True, after=0.5)
            _write(page, " ".join(block.sentences), _TEXT, after=2)
        case Picture():
            page.image(io.BytesIO(block.png), w=page.epw, alt_text=block.alternative)
            page.ln(2)
        case Table():
            _table(page, block)


def _table(page: FPDF, block: Table) -> None:
    page.set_font(_FONT, size=_SMALL)
    page.set_text_color(*_INK)
    aligned = tuple(Align.L if number < block.words else Align.R for number in range(len(block.headers)))
    with page.table(
        col_widths=block.widths, text_align=aligned, line_height=4.2, padding=(0.8, 0.8, 0.8, 0.4),
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        headings_style=FontFace(emphasis="BOLD", color=_NOTE),
    ) as table:  # fmt: skip
        table.row([_seen(header) for header in block.headers])
        for row in block.rows:
            table.row([_seen(cell) for cell in row])
    page.ln(3)


def _write(
    page: FPDF,
    text: str,
    size: float,
    *,
    bold: bool = False,
    colour: tuple[int, int, int] = _INK,
    after: float = 0.0,
) -> None:
    page.set_font(_FONT, "B" if bold else "", size)
    page.set_text_color(*colour)
    page.multi_cell(0, size * 0.53, _seen(text), align=Align.L, new_x="LMARGIN", new_y="NEXT")
    page.ln(after)


def _seen(text: str) -> str:
    return visible(text)
