"""How many requests one caller may make: by class of request, per token, person and address.

Counted in this process, or in Redis where UPSTREAM_RATE_LIMIT_STORAGE names one (several API processes). Windows slide.
Not here: which class a route is of (its rule says so, authentication.py), the numbers (settings.py).
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from fastapi import Request
from limits import parse
from limits.errors import ConfigurationError as LimitsConfigurationError
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter

from upstream_pipelines.api.problems import ProblemError
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.settings import Settings

# A request waits for Redis no longer; it lies beside the API or it is of no use here.
_REDIS_SECONDS = 2.0


class RateClass(StrEnum):
    """What a request costs, and so how many of its kind one caller may make."""

    AUTH = "auth"
    """Passwords tried for one account, refreshes of one log-in."""
    ADDRESS = "address"
    """Log-ins of one address; requests of one address that were refused for their token."""
    READ = "read"
    WRITE = "write"
    INGEST = "ingest"
    """Webhook batches."""
    BULK = "bulk"
    """Files up and exports down."""
    REPORT = "report"
    """Reports asked for."""


@dataclass(frozen=True)
class Allowance:
    """What a caller has left in the window: requests, and seconds until there is one more at the latest."""

    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """The same as `RateLimit-*` headers."""
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset),
        }


class RateLimits:
    """The counters of one API. Connects to nothing until the first request.

    Raises:
        ConfigurationError: the storage cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        written = {
            RateClass.AUTH: settings.rate_limit_auth,
            RateClass.ADDRESS: settings.rate_limit_address,
            RateClass.READ: settings.rate_limit_read,
            RateClass.WRITE: settings.rate_limit_write,
            RateClass.INGEST: settings.rate_limit_ingest,
            RateClass.BULK: settings.rate_limit_bulk,
            RateClass.REPORT: settings.rate_limit_report,
        }
        self._items = {kind: parse(text) for kind, text in written.items()}
        self._limiter = _limiter(settings)

    def storage_answers(self) -> bool:
        """Whether what counts can be reached; for `upstream doctor`."""
        return self._limiter.storage.check()

    def spend(self, request: Request, kind: RateClass, caller: str) -> None:
        """Count a request of a caller; its answer tells what is left.

        Raises:
            ProblemError: 429, there was none left; 503, Redis does not answer.
        """
        item = self._items[kind]
        try:
            allowed = self._limiter.hit(item, kind, caller)
            stats = self._limiter.get_window_stats(item, kind, caller)
        except StorageError as error:
            raise ProblemError(
                503, "rate_limits_unavailable", "Requests cannot be counted at the moment; nothing was done. Try again.",
                headers={"Retry-After": "5"},
            ) from error  # fmt: skip
        reset = max(1, math.ceil(stats.reset_time - time.time()))
        allowance = Allowance(item.amount, stats.remaining if allowed else 0, reset)
        request.state.rate_limit = allowance
        if not allowed:
            raise ProblemError(
                429, "too_many_requests", f"More than {item.amount} requests of this kind in {item.get_expiry()} s. Wait.",
                headers={"Retry-After": str(reset)},
            )  # fmt: skip


def limits_of(request: Request) -> RateLimits:
    """The counters of the API that serves the request."""
    limits: RateLimits = request.app.state.rate_limits
    return limits


def spend_log_in(request: Request, email: str) -> None:
    """Count an attempt to log in, for the address and for the account, whether it exists or not."""
    spend_address(request, "log-in")
    spend_account(request, email)


def spend_account(request: Request, email: str) -> None:
    """Count a password that is tried for an account, by whichever route."""
    limits_of(request).spend(request, RateClass.AUTH, account_of(email))


def account_of(email: str) -> str:
    """A digest of whatever was sent as an e-mail: the counters may lie in Redis."""
    return hashlib.sha256(email.strip().casefold().encode("utf-8", "replace")).hexdigest()


def spend_refresh(request: Request, session_id: UUID | None) -> None:
    """Count a refresh for its log-in, one with an unknown token for the address.

    Counted for the address alone, a stranger behind the same proxy would end everybody's work within half an hour.
    """
    if session_id is None:
        spend_address(request, "refresh")
    else:
        limits_of(request).spend(request, RateClass.AUTH, f"session {session_id}")


def spend_address(request: Request, what: str) -> None:
    """Count something that is counted per address, as it has no caller yet."""
    limits_of(request).spend(request, RateClass.ADDRESS, f"{what} {address_of(request)}")


def address_of(request: Request) -> str:
    """The sender's address; of IPv6 the network of 64 bits, for whoever has one address there has all of them."""
    host = request.client.host if request.client is not None else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if address.version == 4:
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address)


def _limiter(settings: Settings) -> SlidingWindowCounterRateLimiter:
    url = settings.rate_limit_storage
    if url is None:
        return SlidingWindowCounterRateLimiter(storage_from_string("memory://"))
    try:
        return SlidingWindowCounterRateLimiter(
            storage_from_string(
                url.get_secret_value(), wrap_exceptions=True, socket_timeout=_REDIS_SECONDS,
                socket_connect_timeout=_REDIS_SECONDS,
            )
        )  # fmt: skip
    except (LimitsConfigurationError, ValueError, TypeError):
        # Without the cause: it quotes the URL, and that may hold a password.
        raise ConfigurationError(
            "UPSTREAM_RATE_LIMIT_STORAGE cannot be used. Write it as redis://host:6379/1; the package redis must be "
            "installed (it comes with the extra `celery`)."
        ) from None
