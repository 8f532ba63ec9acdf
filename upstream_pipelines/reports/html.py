"""A document as one HTML page that loads nothing from elsewhere. Not here: what it says (document.py)."""

from __future__ import annotations

import base64
from functools import cache

import jinja2

from upstream_pipelines.reports.document import Document
from upstream_pipelines.visible import visible


def render_html(document: Document) -> bytes:
    """The page in UTF-8, its pictures inside it."""
    return _templates().get_template("report.html").render(document=document).encode()


@cache
def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("upstream_pipelines.reports"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["base64"] = lambda png: base64.b64encode(png).decode()
    return templates
