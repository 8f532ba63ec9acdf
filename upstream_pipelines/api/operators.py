"""Who may ask for the figures of the whole platform: a scraper or an operator, not a customer. Not here: the figures."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from fastapi import Depends, Request
from fastapi.security.utils import get_authorization_scheme_param
from starlette.exceptions import HTTPException

from upstream_pipelines.settings import Settings

# What a proxy adds: behind one every request comes from this machine.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


def _require_operator(request: Request) -> None:
    """With UPSTREAM_METRICS_TOKEN set, its bearer, from wherever; else whoever asks from this machine and not through a proxy.
    To all others there is nothing at this address.
    """
    settings: Settings = request.app.state.settings
    if settings.metrics_token is not None:
        scheme, given = get_authorization_scheme_param(request.headers.get("authorization"))
        known = settings.metrics_token.get_secret_value()
        allowed = scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), known.encode())
    else:
        allowed = _is_local(request)
    if not allowed:
        raise HTTPException(404)


def _is_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False  # a name or a socket's path


OPERATOR = Depends(_require_operator)
