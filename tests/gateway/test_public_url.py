"""Which URL did the provider call? What the owner said, else the name of this server, else what a trusted proxy says; never a stranger."""

from __future__ import annotations

import hmac
from base64 import b64encode

import pytest

from ringback.gateway.app import Place
from ringback.model.sources import Source
from ringback.policy.addresses import parse_networks
from ringback.services.gateway import Ready
from tests.gateway.conftest import BASE, Running, path_of

TRUSTED = parse_networks("10.0.0.0/8, ::1")
PROXIED = {b"host": b"internal:8071", b"x-forwarded-proto": b"https", b"x-forwarded-host": b"hooks.example.com"}


@pytest.fixture
def ready(running: Running) -> Ready:
    return Ready(running.made(), running.clock.now_us())


def said(place: Place, ready: Ready, named: dict[bytes, bytes], peer: str = "10.0.0.1", query: bytes = b"a=%27") -> bytes:
    return place.url(b"http", b"/hooks/x", query, named, peer, ready)


def test_a_trusted_proxy_says_how_it_was_called(ready: Ready) -> None:
    place = Place(TRUSTED)
    assert said(place, ready, PROXIED) == b"https://hooks.example.com/hooks/x?a=%27"
    assert said(place, ready, PROXIED, peer="::1", query=b"") == b"https://hooks.example.com/hooks/x"
    assert said(place, ready, {b"host": b"internal"}) == b"http://internal/hooks/x?a=%27"
    # Of several proxies the nearest one is ours: what stands left of its word was written by others.
    listed = {**PROXIED, b"x-forwarded-proto": b"ftp, https", b"x-forwarded-host": b"evil.example, hooks.example.com"}
    assert said(place, ready, listed) == b"https://hooks.example.com/hooks/x?a=%27"


@pytest.mark.parametrize("peer", ["203.0.113.9", "", "unix", "2001:db8::1"])
def test_a_stranger_does_not(ready: Ready, peer: str) -> None:
    assert said(Place(TRUSTED), ready, PROXIED, peer=peer) == b"http://internal:8071/hooks/x?a=%27"
    assert said(Place(), ready, PROXIED) == b"http://internal:8071/hooks/x?a=%27"


def test_the_name_of_the_server_and_that_of_the_source_go_before(running: Running, ready: Ready) -> None:
    assert said(Place(TRUSTED, f"{BASE}/"), ready, PROXIED) == f"{BASE}/hooks/x?a=%27".encode()
    own: Source = running.made(publicUrl="https://own.example/registered")
    assert said(Place(TRUSTED, BASE), Ready(own, running.clock.now_us()), PROXIED) == b"https://own.example/registered?a=%27"


@pytest.mark.parametrize("signed", ["{base}{path}?q=a%20b", "{base}:443{path}?q=a%20b"])
def test_twilio_is_believed_with_and_without_the_port_that_a_proxy_took_away(running: Running, signed: str) -> None:
    source = running.made(type="twilio", secrets=["token"])
    url = signed.format(base=BASE, path=path_of(source))
    signature = b64encode(hmac.digest(b"token", f"{url}Body1To2".encode(), "sha1")).decode()
    headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}
    assert running.ask(path_of(source), b"To=2&Body=1", headers, query=b"q=a%20b").status == 200
    assert running.ask(path_of(source), b"To=2&Body=1", headers, query=b"q=other").status == 401
