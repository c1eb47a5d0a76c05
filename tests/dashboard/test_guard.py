"""Which requests are a person's own: cookies, tokens of forms, origins, and how often somebody may try."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.dashboard import guard
from ringback.dashboard.limiter import Limiter

HELD = "0123456789abcdef" * 4


@given(st.text(max_size=80))
def test_no_text_is_a_token_by_accident(text: str) -> None:
    assert not guard.is_form_token(HELD, text)


def test_a_token_belongs_to_what_the_browser_holds() -> None:
    token = guard.form_token(HELD, secrets.token_bytes)
    assert guard.is_form_token(HELD, token)
    assert not guard.is_form_token(HELD[::-1], token)
    assert not guard.is_form_token("", guard.form_token("", secrets.token_bytes)), "a browser that holds nothing has no token"


def test_tokens_are_masked_anew_each_time_and_never_hold_what_the_browser_holds() -> None:
    tokens = {guard.form_token(HELD, secrets.token_bytes) for _ in range(20)}
    assert len(tokens) == 20 and not any(HELD in token for token in tokens)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/dashboard\\..\\evil",
        "/dashboard//evil.example",
        "/dashboardx",
        "/api/v1/app",
        "javascript:alert(1)",
        "/dashboard/\nset-cookie: a=b",
        "/dashboard/login?next=/dashboard/login",
        "",
    ],
)
def test_the_login_leads_nowhere_else(path: str) -> None:
    assert guard.local_path(path) == "/dashboard/"


def test_the_login_leads_to_the_page_that_was_wanted() -> None:
    for path in ("/dashboard", "/dashboard/audit", "/dashboard/apps/app_1/messages?type=a.b&at=msg_1"):
        assert guard.local_path(path) == path


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://127.0.0.1:8071", "127.0.0.1:8071", True),
        ("https://hooks.example.com", "hooks.example.com", True),
        ("http://[::1]:8071", "[::1]:8071", True),
        ("http://127.0.0.1:8072", "127.0.0.1:8071", False),
        ("https://hooks.example.com.evil.example", "hooks.example.com", False),
        ("null", "127.0.0.1:8071", False),
        ("http://[", "127.0.0.1:8071", False),
    ],
)
def test_a_form_comes_from_the_host_that_it_goes_to(origin: str, host: str, expected: bool) -> None:
    headers = {b"origin": origin.encode(), b"host": host.encode()}
    _, names = guard.Arrival().reached("http", headers, "127.0.0.1")
    assert guard.comes_from_here(headers, names) is expected


def test_only_a_proxy_that_was_named_is_believed() -> None:
    headers = {b"host": b"127.0.0.1:8071", b"x-forwarded-proto": b"https", b"x-forwarded-host": b"evil.example"}
    scheme, names = guard.Arrival().reached("http", headers, "127.0.0.1")
    assert scheme == "http" and not any("evil" in name for name in names)
    assert guard.Arrival().address("10.0.0.1", [b"1.2.3.4"]) == "10.0.0.1"


def test_cookies_of_others_do_not_hide_ours() -> None:
    headers = [(b"cookie", b'a={"x": 1, "y": [2]}; ringback_session=abc; broken; =; ringback_session=later')]
    assert guard.cookies_of(headers)["ringback_session"] == "abc"


def test_ten_failures_at_once_and_then_one_each_six_seconds() -> None:
    limiter = Limiter()
    for _ in range(10):
        assert limiter.wait_s("203.0.113.9", 0.0) == 0
        limiter.began("203.0.113.9", 0.0)
    assert limiter.wait_s("203.0.113.9", 0.0) == 6
    assert limiter.wait_s("203.0.113.10", 0.0) == 0, "another address is not held up"
    assert limiter.wait_s("203.0.113.9", 6.0) == 0


def test_a_success_does_not_count() -> None:
    limiter = Limiter()
    for _ in range(100):
        assert limiter.wait_s("203.0.113.9", 0.0) == 0
        limiter.began("203.0.113.9", 0.0)
        limiter.succeeded("203.0.113.9", 0.0)


def test_one_customers_whole_network_is_one_address() -> None:
    limiter = Limiter()
    for n in range(10):
        limiter.began(f"2001:db8::{n:x}", 0.0)
    assert limiter.wait_s("2001:db8::ffff", 0.0) > 0
    assert limiter.wait_s("2001:db8:0:1::1", 0.0) == 0


def test_many_addresses_together_are_held_up_and_remembered_in_bounded_memory() -> None:
    limiter = Limiter()
    for n in range(12_000):
        limiter.began(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n * 0.05)
    assert limiter.wait_s("203.0.113.9", 600.0) > 0
    assert limiter.remembered <= 10_000
    assert limiter.wait_s("203.0.113.9", 10_000.0) == 0
