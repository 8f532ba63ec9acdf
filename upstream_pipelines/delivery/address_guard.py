"""Where a request may go: public addresses only, judged after name resolution and pinned.

A customer chooses the URL, and the request leaves from inside our network: without this guard a
webhook could read the cloud's metadata service or reach an internal system. Not here: HTTP itself.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any

import requests
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from upstream_pipelines.errors import ConfigurationError, UpstreamError

# `is_global` alone is not enough: it has let most of these through in one Python release or another, and it lets
# through what the registries call reachable though no webhook receiver lives there (AS112, AMT, PCP and TURN anycast).
_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # a cloud's internal service at a public address
        "2001::/23",  # protocol assignments, among them Teredo (2001::/32) and ORCHID
        "2001:db8::/32", "2002::/16",  # documentation; 6to4 carries an IPv4 address
        "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
# Everything else in IPv6 is loopback, unspecified, v4-mapped, v4-compatible, NAT64 (64:ff9b::),
# unique local, link-local, site-local (fec0::), segment routing or multicast.
_GLOBAL_UNICAST_6 = ipaddress.ip_network("2000::/3")
_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
# A last label of this form makes resolvers read the whole as an IPv4 address: 2130706433, 127.1, 0x7f.0.0.1, 0177.0.0.1.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


class DestinationNotAllowedError(UpstreamError):
    """The address is not one that may be sent to. Says no more: the answer must not map our network."""

    code = "destination_not_allowed"

    def __init__(self) -> None:
        super().__init__("destination not allowed")


def address_allowed(address: str, *, allow_loopback: bool) -> bool:
    """Whether a resolved IP address may be connected to."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return False
    if _within(ip, _LOOPBACK):  # not is_loopback: Python 3.13 says it of ::ffff:127.0.0.1 too
        return allow_loopback
    if ip.version == 6 and ip not in _GLOBAL_UNICAST_6:
        return False
    return ip.is_global and not _within(ip, _REFUSED)


def check_url(
    url: str, where: str, *, ports: Sequence[int], allow_loopback: bool, hosts: Sequence[str] | None = None
) -> None:
    """What can be said of a URL without resolving its name.

    Raises:
        ConfigurationError: the rule it breaks, after `where`; the URL itself is not repeated.
    """
    parsed = _parse(url)
    if parsed is None or not parsed.host or _UNSAFE.search(url):
        raise ConfigurationError(f"{where}: this is not a URL. Write it as https://host/path.")
    if parsed.auth is not None:
        raise ConfigurationError(f"{where}: a URL may not hold a user name or password. Remove them.")
    if parsed.fragment is not None:
        raise ConfigurationError(f"{where}: a URL that is sent to has no part after #. Remove it.")
    host = parsed.host.strip("[]")
    literal = _literal(host)
    if literal is None and not _NAME.fullmatch(host):
        raise ConfigurationError(f"{where}: this is not a URL. Write it as https://host/path.")
    loopback = host.lower() == "localhost" or (
        literal is not None and "%" not in host and _within(literal, _LOOPBACK)
    )
    if loopback and allow_loopback and parsed.scheme in ("http", "https"):
        return
    if parsed.scheme != "https":
        hint = (
            " For a receiver on this machine, while developing, set UPSTREAM_WEBHOOK_ALLOW_LOOPBACK=true."
            if loopback
            else ""
        )
        raise ConfigurationError(f"{where}: only https:// is accepted.{hint}")
    if hosts is not None and host.lower() not in hosts:
        raise ConfigurationError(f"{where}: the host must be {' or '.join(hosts)}.")
    port = 443 if parsed.port is None else parsed.port
    if port not in ports:
        raise ConfigurationError(
            f"{where}: the port must be one of {', '.join(map(str, ports))} (UPSTREAM_WEBHOOK_PORTS)."
        )
    # An address in an odd spelling is refused whatever it comes to, since resolvers disagree on it.
    labels = host.lower().removesuffix(".").split(".")
    if (
        labels[-1] == "localhost"
        or (literal is None and _NUMBER.fullmatch(labels[-1]))
        or (literal is not None and not address_allowed(host, allow_loopback=allow_loopback))
    ):
        raise ConfigurationError(f"{where}: destination not allowed. Use a public address.")


def host_of(url: str) -> str | None:
    """The host of a URL, for people: the rest may hold a key. None where it is no URL."""
    parsed = _parse(url)
    return parsed.host if parsed is not None else None


def check_every_address(host: str, port: int, *, allow_loopback: bool) -> None:
    """Resolve the name; all of its addresses must be allowed, not only the one that would be used.

    Raises:
        DestinationNotAllowedError: one is not.
        OSError: the name does not resolve.
    """
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not address_allowed(str(address[0]), allow_loopback=allow_loopback):
            raise DestinationNotAllowedError


class GuardedAdapter(IPFilterAdapter):  # type: ignore[misc]  # the package has no types
    """Connects to the address that was checked: a name that resolves differently next time gains nothing."""

    def __init__(self, *, is_https: bool, allow_loopback: bool) -> None:
        self._loopback = allow_loopback
        super().__init__(is_https_proto=is_https, allow_loopback=allow_loopback)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check all addresses of the name, let the parent resolve and pin one, and check that one again."""
        parsed = parse_url(request.url or "")
        port = parsed.port or (443 if parsed.scheme == "https" else 80)
        check_every_address((parsed.host or "").strip("[]"), port, allow_loopback=self._loopback)
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        # The parent resolved a second time; a DNS answer that changed in between ends here.
        if not address_allowed(host["host"].strip("[]"), allow_loopback=self._loopback):
            raise DestinationNotAllowedError
        return host, pool


def _parse(url: str) -> Url | None:
    """The parser that requests itself uses, so that both mean the same host."""
    try:
        return parse_url(url)
    except LocationParseError:
        return None


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is the standard spelling of; None for a name and for odd spellings."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _within(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
    networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
) -> bool:
    return any(ip in network for network in networks if network.version == ip.version)
