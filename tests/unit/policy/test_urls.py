"""Is this a URL that we can deliver to?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.urls import MAX_URL_CHARS, normalise_url, split_url


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM/Hook?Q=1", "https://example.com/Hook?Q=1"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("http://example.com:443/a", "http://example.com:443/a"),
        ("https://example.com/a#part", "https://example.com/a"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
        ("https://bücher.example/ü?ö=ä", "https://xn--bcher-kva.example/%C3%BC?%C3%B6=%C3%A4"),
        ("https://example.com/a%20b%2F", "https://example.com/a%20b%2F"),
        ("https://user:p%40ss@example.com/", "https://user:p%40ss@example.com/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[0:0::1]/x", "http://[::1]/x"),
        ("http://2130706433/", "http://127.0.0.1/"),
        ("http://0x7f.1:8080/", "http://127.0.0.1:8080/"),
        ("http://my_host.internal./a", "http://my_host.internal./a"),
    ],
)
def test_a_url_has_one_normal_spelling(text: str, normal: str) -> None:
    assert normalise_url(text) == normal
    assert normalise_url(normal) == normal


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "http://"),
        ("example.com/hook", "http://"),
        ("/hook", "http://"),
        ("ftp://example.com", "http://"),
        ("file:///etc/passwd", "http://"),
        ("javascript:alert(1)", "http://"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://user@", "no host"),
        ("https://exa mple.com", "percent-encode"),
        ("https://example.com/a b", "percent-encode"),
        ("https://example.com/\r\nx: y", "percent-encode"),
        ("https://example.com/\x00", "percent-encode"),
        ("https://example.com\\@evil.example", "percent-encode"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:65536/", "cannot be read"),
        ("https://example.com:x/", "cannot be read"),
        ("https://[::1/", "cannot be read"),
        ("https://[nonsense]/", "IPv6 address"),
        ("https://[v1.x]/", "not an IPv6 address"),
        ("https://exa$mple.com/", "not a name"),
        ("https://a..b/", "not a name"),
        ("https://" + "a" * 64 + ".example/", "not a name"),
        ("https://example.com/" + "a" * MAX_URL_CHARS, "at most 65536"),
    ],
)
def test_what_cannot_be_delivered_to_is_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        split_url(text)


def test_user_and_password_become_basic_authorization() -> None:
    assert split_url("https://user:p%40ss%C3%A9@example.com/").basic == "Basic dXNlcjpwQHNzw6k="
    assert split_url("https://user@example.com/").basic == "Basic dXNlcjo="
    assert split_url("https://example.com/").basic == ""


def test_the_host_header_names_only_unusual_ports() -> None:
    assert split_url("https://example.com:443/").authority == "example.com"
    assert split_url("https://example.com:8443/").authority == "example.com:8443"
    assert split_url("https://[::1]:443/").authority == "[::1]"


@given(st.one_of(st.text(max_size=60), st.text(max_size=60).map("https://".__add__), st.text(max_size=40).map("http://a.example/".__add__)))
def test_any_text_is_refused_or_made_of_safe_ascii(text: str) -> None:
    try:
        parts = split_url(text)
    except ValueError:
        return
    for piece in (parts.host, parts.target, parts.authority, parts.basic):
        assert piece.isascii()
        assert piece.isprintable()
    assert " " not in parts.host + parts.target
    assert split_url(normalise_url(text)).target == parts.target
