"""Which addresses and URLs may be sent to. Each range here has been let through by some guard."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upstream_pipelines.delivery.address_guard import address_allowed, check_every_address, check_url
from upstream_pipelines.errors import ConfigurationError, UpstreamError

REFUSED = {
    "0.0.0.0": "unspecified", "0.1.2.3": "this network", "10.0.0.1": "private", "172.16.0.1": "private",
    "172.31.255.255": "private", "192.168.1.1": "private", "100.64.0.1": "carrier-grade NAT",
    "127.0.0.1": "loopback", "127.255.255.254": "loopback", "169.254.169.254": "metadata service",
    "168.63.129.16": "a cloud's internal service", "192.0.0.8": "protocol assignments",
    "192.0.2.1": "documentation", "198.51.100.1": "documentation", "203.0.113.1": "documentation",
    "192.88.99.1": "6to4 relay", "198.18.0.1": "benchmarks", "224.0.0.1": "multicast", "239.1.1.1": "multicast",
    "240.0.0.1": "reserved", "255.255.255.255": "broadcast",
    "::": "unspecified", "::1": "loopback", "::7f00:1": "v4-compatible", "::5db8:d70e": "v4-compatible",
    "::ffff:10.0.0.1": "v4-mapped", "::ffff:93.184.215.14": "v4-mapped, public inside",
    "::ffff:0:127.0.0.1": "translated", "64:ff9b::a00:1": "NAT64", "64:ff9b::5db8:d70e": "NAT64, public inside",
    "64:ff9b:1::1": "local NAT64", "100::1": "discard", "2001::1": "Teredo", "2001:0:4136:e378::1": "Teredo",
    "2001:10::1": "ORCHID", "2001:20::1": "ORCHIDv2", "2001:db8::1": "documentation",
    "2002:a00:1::": "6to4 of 10.0.0.1", "2002:5db8:d70e::1": "6to4, public inside", "3fff::1": "documentation",
    "5f00::1": "segment routing", "fc00::1": "unique local", "fd12:3456::1": "unique local",
    "fe80::1": "link-local", "fe80::1%eth0": "link-local with a scope", "fec0::1": "site-local",
    "ff02::1": "multicast", "ff0e::1": "global multicast",
}  # fmt: skip


@pytest.mark.parametrize("address", REFUSED, ids=lambda address: f"{address} {REFUSED[address]}")
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert not address_allowed(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert address_allowed(address, allow_loopback=False)


def test_allowing_loopback_opens_loopback_only() -> None:
    opened = {address for address in REFUSED if address_allowed(address, allow_loopback=True)}
    assert opened == {"127.0.0.1", "127.255.255.254", "::1"}


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_comes_in_through_an_ipv6_form(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = (
        number,
        0xFFFF << 32 | number,
        0xFFFF << 48 | number,
        0x64FF9B << 96 | number,
        0x2002 << 112 | number << 80,
    )
    for form in forms:
        assert form == 1 or not address_allowed(str(ipaddress.IPv6Address(form)), allow_loopback=True)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "localhost", "::1"]
)
def test_every_way_to_write_loopback_is_seen_after_resolution(host: str) -> None:
    with pytest.raises(UpstreamError, match=r"^destination not allowed$"):
        check_every_address(host, 443, allow_loopback=False)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://example.org/", "only https"),
        ("ftp://example.org/", "only https"),
        ("https://user:secret@example.org/", "user name"),
        ("https://user@example.org/", "user name"),
        ("https://example.org:22/", "port must be one of 443, 8443"),
        ("https://example.org/#part", "after #"),
        ("https://10.0.0.1/", "destination not allowed"),
        ("https://[::ffff:10.0.0.1]/", "destination not allowed"),
        ("https://127.0.0.1/", "destination not allowed"),
        ("https://localhost/", "destination not allowed"),
        ("http://127.0.0.1/", "only https"),
        ("https://good.example\\@10.0.0.1/", "not a URL|user name"),
        ("https://exa mple.org/", "not a URL"),
        ("https://example.org/\r\nx: y", "not a URL"),
        ("https://", "not a URL"),
        ("example.org/hook", "only https|not a URL"),
    ],
)
def test_a_url_that_can_never_be_sent_to_is_refused_and_not_repeated(url: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        check_url(url, "channel x", ports=(443, 8443), allow_loopback=False)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://example.org/hook?a=b", "https://example.org:8443/", "https://8.8.8.8/"])
def test_a_public_https_url_is_accepted(url: str) -> None:
    check_url(url, "channel x", ports=(443, 8443), allow_loopback=False)


def test_plain_http_is_for_loopback_in_development() -> None:
    check_url("http://127.0.0.1:9999/hook", "channel x", ports=(443,), allow_loopback=True)
    with pytest.raises(ConfigurationError, match="only https"):
        check_url("http://example.org/", "channel x", ports=(443,), allow_loopback=True)


@given(
    st.one_of(
        st.text(max_size=60), st.text(max_size=60).map("https://{}".format), st.from_regex("https://.{1,40}")
    )
)
def test_any_text_is_accepted_or_refused_with_a_reason(url: str) -> None:
    """Most likely wrong: a parser that raises something else on odd input."""
    with suppress(ConfigurationError):
        check_url(url, "channel x", ports=(443,), allow_loopback=False)
        assert url.lower().startswith("https://")
