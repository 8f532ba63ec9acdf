"""No address of IANA's special-purpose registries may be sent to, at configuration or at connect.

The tables are the registries as published (iana-ipv4-special-registry, iana-ipv6-special-registry), with multicast and the
deprecated forms that carry an IPv4 address, which other registries hold. The guard's own list is not read.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from upstream_pipelines.delivery.address_guard import (
    DestinationNotAllowedError,
    address_allowed,
    check_every_address,
    check_url,
)
from upstream_pipelines.errors import ConfigurationError

IPV4 = {
    "0.0.0.0/8": "this network", "0.0.0.0/32": "this host", "10.0.0.0/8": "private", "100.64.0.0/10": "shared",
    "127.0.0.0/8": "loopback", "169.254.0.0/16": "link-local", "172.16.0.0/12": "private",
    "192.0.0.0/24": "protocol assignments", "192.0.0.0/29": "service continuity", "192.0.0.8/32": "dummy",
    "192.0.0.9/32": "port control anycast", "192.0.0.10/32": "TURN anycast", "192.0.0.170/31": "NAT64 discovery",
    "192.0.2.0/24": "documentation", "192.31.196.0/24": "AS112", "192.52.193.0/24": "AMT",
    "192.88.99.0/24": "6to4 relay", "192.88.99.2/32": "6a44 relay", "192.168.0.0/16": "private",
    "192.175.48.0/24": "AS112, direct", "198.18.0.0/15": "benchmarking", "198.51.100.0/24": "documentation",
    "203.0.113.0/24": "documentation", "224.0.0.0/4": "multicast", "239.0.0.0/8": "multicast of a site",
    "240.0.0.0/4": "reserved", "255.255.255.255/32": "broadcast",
}  # fmt: skip
IPV6 = {
    "::/128": "unspecified", "::1/128": "loopback", "::/96": "v4-compatible", "::ffff:0:0/96": "v4-mapped",
    "::ffff:0:0:0/96": "v4-translated", "64:ff9b::/96": "NAT64", "64:ff9b:1::/48": "local NAT64",
    "100::/64": "discard", "100:0:0:1::/64": "dummy", "2001::/23": "protocol assignments", "2001::/32": "Teredo",
    "2001:1::1/128": "port control anycast", "2001:1::2/128": "TURN anycast", "2001:1::3/128": "DNS-SD anycast",
    "2001:2::/48": "benchmarking", "2001:3::/32": "AMT", "2001:4:112::/48": "AS112", "2001:10::/28": "ORCHID",
    "2001:20::/28": "ORCHIDv2", "2001:30::/28": "drones", "2001:db8::/32": "documentation", "2002::/16": "6to4",
    "2620:4f:8000::/48": "AS112, direct", "3fff::/20": "documentation", "5f00::/16": "segment routing",
    "fc00::/7": "unique local", "fe80::/10": "link-local", "fec0::/10": "site-local", "ff00::/8": "multicast",
    "ff0e::/16": "multicast, global",
}  # fmt: skip
RANGES = IPV4 | IPV6
# Public ones just outside of a range, so that a range made too wide is seen as well.
NEIGHBOURS = (
    "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0", "192.0.3.0",
    "192.31.195.255", "192.31.197.0", "192.52.192.255", "192.52.194.0", "192.88.98.255", "192.88.100.0",
    "192.167.255.255", "192.169.0.0", "192.175.47.255", "192.175.49.0", "198.17.255.255", "198.20.0.0",
    "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255", "168.63.129.15",
    "2001:200::", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "2001:ffff::1", "2003::",
    "2620:4f:7fff::1", "2620:4f:8001::", "3ffe:ffff::1", "3fff:1000::",
)  # fmt: skip


def _samples(network: str) -> list[str]:
    """First, last and middle, and the quarters between."""
    whole = ipaddress.ip_network(network)
    last = whole.num_addresses - 1
    return list(dict.fromkeys(str(whole[last * part // 4]) for part in range(5)))


def _carriers() -> Iterator[str]:
    """IPv6 forms of public and of internal IPv4 addresses: translators and relays would deliver to the IPv4 one."""
    for text in ("8.8.8.8", "93.184.215.14", "10.0.0.1", "127.0.0.1", "169.254.169.254"):
        inner = int(ipaddress.IPv4Address(text))
        for number in (
            inner,
            0xFFFF << 32 | inner,
            0xFFFF << 48 | inner,
            0x0064FF9B << 96 | inner,
            0x0064FF9B0001 << 80 | inner,
            0x2002 << 112 | inner << 80,
            0x20010000 << 96 | 0x8000 << 48 | (inner ^ 0xFFFFFFFF),  # Teredo turns the client's bits round
        ):
            yield str(ipaddress.IPv6Address(number))


def _url(address: str) -> str:
    return f"https://[{address}]/hook" if ":" in address else f"https://{address}/hook"


@pytest.mark.parametrize("network", RANGES, ids=lambda network: f"{network} {RANGES[network]}")
def test_no_address_of_a_special_range_is_allowed(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At configuration as the URL's host; at connect as the only, the first or the last answer of a resolver."""
    for address in _samples(network):
        _refused_everywhere(address, monkeypatch)


def test_no_ipv4_address_is_reached_in_an_ipv6_form(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in _carriers():
        _refused_everywhere(address, monkeypatch)


def test_a_scoped_address_is_never_allowed_whatever_its_range(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("fe80::1%eth0", "fe80::1%1", "2606:4700::1111%eth0", "::1%lo"):
        _refused_everywhere(address, monkeypatch, loopback=True)
        with pytest.raises(ConfigurationError):
            check_url(_url(address.replace("%", "%25")), "channel x", ports=(443,), allow_loopback=True)


def _refused_everywhere(address: str, monkeypatch: pytest.MonkeyPatch, *, loopback: bool = False) -> None:
    assert not address_allowed(address, allow_loopback=loopback), address
    with pytest.raises(ConfigurationError, match=r"^channel x: destination not allowed\. Use a public address\.$"):
        check_url(_url(address), "channel x", ports=(443,), allow_loopback=loopback)
    for answers in ([address], [address, "8.8.8.8"], ["8.8.8.8", "2606:4700::1111", address]):
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda _host, port, *_, answers=answers, **__: [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in answers
            ],
        )  # fmt: skip
        with pytest.raises(DestinationNotAllowedError, match=r"^destination not allowed$"):
            check_every_address("named.example.org", 443, allow_loopback=loopback)


@pytest.mark.parametrize("address", NEIGHBOURS)
def test_a_public_address_beside_a_special_range_is_allowed(address: str) -> None:
    assert address_allowed(address, allow_loopback=False)
    check_url(_url(address), "channel x", ports=(443,), allow_loopback=False)


def test_loopback_can_be_opened_and_opens_nothing_else() -> None:
    for network in RANGES:
        for address in _samples(network):
            own = address == "::1" or address.startswith("127.")
            assert address_allowed(address, allow_loopback=True) == own, address


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "127.1", "127.0.1", "0x7f000001", "0x7f.0.0.1", "0X7F.1", "0177.0.0.1", "017700000001", "0",
        "0x", "00.0.0.0", "8.8.8.08", "010.8.8.8", "134744072", "8.8.8.8.", "127.0.0.1.", "1.2.3.4.5", "256.1.1.1",
        "127%2e0.0.1", "localhost", "LOCALHOST", "localhost.", "x.localhost", "x.localhost.",
    ],
)  # fmt: skip
def test_an_odd_spelling_of_an_address_is_not_allowed_even_of_a_public_one(host: str) -> None:
    """Resolvers disagree on these: 010.8.8.8 is 8.8.8.8 to one and 10.8.8.8 to another."""
    with pytest.raises(ConfigurationError, match="destination not allowed"):
        check_url(f"https://{host}/", "channel x", ports=(443,), allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://\uff11\uff12\uff17.0.0.1/", "https://127。0。0。1/", "https://①27.0.0.1/", "https://٣.0.0.1/", "https://[::1/",
        "https://::1/", "https://127.0.0.1:99999/", "https://example..org/", "https://[v1.x]/", "https://exa%20mple.org/",
        "https://good.example\\@10.0.0.1/", "https:///etc/passwd", "https://" + "a" * 64 + ".org/",
        "https://" + "a." * 130 + "org/", "https://\u202eexample.org/",
    ],
)  # fmt: skip
def test_a_host_that_parsers_read_differently_is_no_url(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"not a URL|destination not allowed|only https"):
        check_url(url, "channel x", ports=(443,), allow_loopback=False)


@pytest.mark.parametrize("user", ["user", "user:secret", "8.8.8.8", "example.org:443", ":"])
def test_a_url_with_a_user_part_is_refused(user: str) -> None:
    for host in ("10.0.0.1", "example.org", "[::1]"):
        with pytest.raises(ConfigurationError, match="user name"):
            check_url(f"https://{user}@{host}/", "channel x", ports=(443,), allow_loopback=False)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 80, 444, 5432, 6379, 8020, 65535])
def test_a_port_that_is_not_listed_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match="port must be one of 443, 8443"):
        check_url(f"https://example.org:{port}/", "channel x", ports=(443, 8443), allow_loopback=False)
