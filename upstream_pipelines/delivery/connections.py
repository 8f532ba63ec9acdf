"""Connections to webhook receivers: guarded, cut at the deadline, kept between requests. Not here: what is sent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from upstream_pipelines.delivery.address_guard import GuardedAdapter
from upstream_pipelines.delivery.deadline import Breaker
from upstream_pipelines.settings import Settings

_CONNECT_SECONDS = 10.0
# Servers close a connection that was idle for 2 s (gunicorn), 5 s (node, uvicorn, Apache) or 75 s (nginx); a request that
# meets the closing fails without having been looked at.
_IDLE_SECONDS = 1.0


class Connections:
    """What one thread keeps between its requests; not for two threads at once.

    Each request resolves and checks its name anew, and only a connection to the very address that was pinned is used
    again, so keeping them weakens nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._adapters: dict[str, _WatchedAdapter] = {}

    @contextmanager
    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], breaker: Breaker, read_seconds: float
    ) -> Iterator[requests.Response]:
        """The answer's head; its body is read by the caller. The socket in use is watched by the breaker.

        By an adapter alone, without a session around it: then there is nothing that follows a redirect, keeps a
        cookie, or reads proxies and .netrc from the environment, and a request takes two thirds of the time.

        Raises:
            DestinationNotAllowedError, InvalidIPAddress: an address of the name is not allowed.
            requests.exceptions.RequestException, HTTPError, OSError: no connection, or it broke.
        """
        request = requests.PreparedRequest()
        request.prepare(method="POST", url=url, headers=dict(headers), data=body)
        adapter = self._adapter((request.url or "").partition(":")[0])
        adapter.breaker = breaker
        with adapter.send(
            request,
            stream=True,
            timeout=(_CONNECT_SECONDS, read_seconds),
            verify=str(self._settings.webhook_ca_file) if self._settings.webhook_ca_file else True,
        ) as response:
            yield response

    def abandon(self) -> None:
        """Leave all to a thread that still hangs on one of them; the next request opens its own."""
        self._adapters = {}

    def close(self) -> None:
        """Close what is kept."""
        for adapter in self._adapters.values():
            adapter.close()
        self._adapters = {}

    def _adapter(self, scheme: str) -> _WatchedAdapter:
        if scheme not in self._adapters:
            self._adapters[scheme] = _WatchedAdapter(
                is_https=scheme == "https", allow_loopback=self._settings.webhook_allow_loopback
            )
        return self._adapters[scheme]


class _WatchedAdapter(GuardedAdapter):
    """Hands the socket of each request to the breaker of that request: at connect, and when it is used again."""

    breaker: Breaker

    def __init__(self, *, is_https: bool, allow_loopback: bool) -> None:
        super().__init__(is_https=is_https, allow_loopback=allow_loopback)
        adapter = self

        class Watched(HTTPConnection):
            used = 0.0

            def _new_conn(self) -> Any:
                sock = super()._new_conn()
                # Before TLS: a receiver that drips its handshake is cut as well.
                adapter.breaker.watch(sock)
                return sock

            @property
            def is_connected(self) -> bool:
                return time.monotonic() - self.used < _IDLE_SECONDS and super().is_connected

            def request(self, *args: Any, **kwargs: Any) -> None:
                if self.sock is not None:
                    adapter.breaker.watch(self.sock)
                self.used = time.monotonic()
                super().request(*args, **kwargs)

        class WatchedTls(Watched, HTTPSConnection):
            pass

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Watched

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = WatchedTls

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}
