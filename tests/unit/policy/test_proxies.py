"""How is a proxy written, and what goes past it?"""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.proxies import ProxyAddress, parse_exceptions, parse_proxy


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://proxy:3128", ProxyAddress("http", "proxy", 3128)),
        ("http://proxy", ProxyAddress("http", "proxy", 80)),
        ("https://Proxy.Example/", ProxyAddress("https", "proxy.example", 443)),
        ("socks5://10.0.0.1", ProxyAddress("socks5", "10.0.0.1", 1080)),
        ("socks5://[fd00::1]:9", ProxyAddress("socks5", "fd00::1", 9)),
        ("http://user:p%40ss%3A@proxy:1", ProxyAddress("http", "proxy", 1, b"user", b"p@ss:")),
        ("socks5://user@proxy:1", ProxyAddress("socks5", "proxy", 1, b"user", b"")),
    ],
)
def test_a_proxy_is_read(text: str, address: ProxyAddress) -> None:
    assert parse_proxy(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "proxy:3128", "ftp://proxy:1", "http://", "http://:3128", "http://proxy:0", "http://proxy:70000", "http://proxy:1/path",
        "http://proxy:1?a=1", "http://:secret@proxy:1", "http://us%3Aer:secret@proxy:1", f"socks5://{'u' * 256}:secret@proxy:1",
        "socks5h://user:secret@proxy:1", "socks4://proxy:1", "http://user:secret@[::1:80",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_telling_a_password(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse_proxy(text)
    assert "secret" not in str(refused.value)


def test_a_proxy_does_not_show_its_login() -> None:
    shown = repr(parse_proxy("http://user:secret@proxy:3128"))
    assert "proxy:3128" in shown and "secret" not in shown and "user" not in shown


@pytest.mark.parametrize(
    "item", ["", "a b", "10.0.0.1/8", "host/8", "host:0", "host:70000", "http://host", "*.*.x", "-?", "[::1]x", "a..b"]
)
def test_an_exception_that_is_none_is_named(item: str) -> None:
    with pytest.raises(ValueError, match="holds"):
        parse_exceptions(["fine.example", item])


def test_an_exception_for_a_network_covers_its_addresses_and_no_name() -> None:
    exceptions = parse_exceptions(["10.0.0.0/8", "fd00::/8", "192.0.2.7"])
    assert exceptions.covers_address(ipaddress.ip_address("10.255.0.1"), 1)
    assert exceptions.covers_address(ipaddress.ip_address("fd12::1"), 1)
    assert not exceptions.covers_address(ipaddress.ip_address("192.0.2.8"), 1)
    assert not exceptions.covers_name("10.example", 1)


@given(st.text(max_size=40))
def test_any_text_is_a_proxy_or_a_sentence(text: str) -> None:
    try:
        assert parse_proxy(text).port
    except ValueError as refused:
        assert str(refused)
    try:
        parse_exceptions([text])
    except ValueError as refused:
        assert "holds" in str(refused)
