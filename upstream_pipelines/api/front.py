"""GET /: who types host and port alone is sent to the page that lists the routes. Not here: that page (app.py)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from upstream_pipelines.api.rate_limits import RateClass, address_of, limits_of
from upstream_pipelines.api.requests import DOCS_PATH

router = APIRouter()


# Not in the document: it is for a browser's address bar, and no client made from the document needs it.
@router.get("/", include_in_schema=False)
def go_to_docs(request: Request) -> RedirectResponse:
    """A redirect, counted as reading of its address, for nobody is known."""
    limits_of(request).spend(request, RateClass.READ, f"front {address_of(request)}")
    return RedirectResponse(DOCS_PATH)
