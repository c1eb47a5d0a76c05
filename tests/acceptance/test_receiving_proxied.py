"""Providers behind a proxy that says in a PROXY header, or in the header Forwarded, who called it."""

from __future__ import annotations

import ipaddress
import socket
import struct
import typing
import urllib.parse

import pytest

from benchmarks.server import Server
from tests.acceptance.serving import Shared
from tests.gateway.door import stripe

# Another address of this machine than the one that the server is looked at from.
PROXY = "127.0.0.2"
BODY = b'{"id":"evt_1","type":"charge.succeeded"}'


@pytest.fixture
def server(shared: Shared) -> Server:
    return shared({"proxy_protocol": "true", "trusted_proxies": f"{PROXY}/32"})


def source(server: Server, **wanted: typing.Any) -> str:
    """The path of a new source that takes requests from 203.0.113.0/24 alone."""
    app = server.make("/app", {"name": "a"})["id"]
    given = {"name": "s", "type": "stripe", "secrets": ["whsec_test"], "allowedIps": ["203.0.113.0/24"], **wanted}
    return urllib.parse.urlsplit(server.make(f"/app/{app}/source", given)["ingestUrl"]).path


def request(path: str, *more: str, body: bytes = BODY) -> bytes:
    fields = [f"{name}: {value}" for name, value in stripe(body)]
    lines = (f"POST {path} HTTP/1.1", "host: h", f"content-length: {len(body)}", *fields, *more)
    return "\r\n".join((*lines, "", "")).encode() + body


def said(server: Server, pieces: typing.Sequence[bytes], caller: str = PROXY) -> bytes:
    """What the server answers to some bytes on one connection, up to its end."""
    with socket.create_connection((server.host, server.port), 30, (caller, 0)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while more := connection.recv(65_536):
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            pass
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def test_who_called_the_proxy_counts_for_the_whole_connection(server: Server) -> None:
    path = source(server)
    header = b"PROXY TCP4 203.0.113.7 198.51.100.2 4711 443\r\n"
    last = request(path, "connection: close", body=BODY.replace(b"evt_1", b"evt_2"))
    assert statuses(said(server, [header + request(path) + last])) == [200, 200]
    assert statuses(said(server, [bytes((byte,)) for byte in header] + [last])) == [200]
    other = b"PROXY TCP4 192.0.2.7 198.51.100.2 4711 443\r\n"
    assert statuses(said(server, [other + last])) == [403]


def test_the_binary_header_is_read_too(server: Server) -> None:
    path = source(server)
    addresses = ipaddress.ip_address("203.0.113.7").packed + ipaddress.ip_address("198.51.100.2").packed + struct.pack("!HH", 4711, 443)
    header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses
    assert statuses(said(server, [header, request(path, "connection: close")])) == [200]


def test_behind_it_other_proxies_are_believed_only_if_they_are_trusted(server: Server) -> None:
    path = source(server)
    forged = request(path, "x-forwarded-for: 203.0.113.7", "connection: close")
    assert statuses(said(server, [b"PROXY TCP4 192.0.2.7 198.51.100.2 1 2\r\n" + forged])) == [403]
    assert statuses(said(server, [b"PROXY UNKNOWN\r\n" + forged])) == [200], "the proxy speaks for itself, and is trusted"


def test_a_trusted_proxy_without_the_header_is_not_served(server: Server) -> None:
    path = source(server)
    assert said(server, [request(path, "connection: close")]) == b""
    assert said(server, [b"\r\n\r\n\x00\r\nQUIT\n\xff\xff\xff\xff"]) == b""


def test_a_stranger_cannot_send_the_header(server: Server) -> None:
    path = source(server)
    forged = b"PROXY TCP4 203.0.113.7 198.51.100.2 4711 443\r\n" + request(path, "connection: close")
    assert statuses(said(server, [forged], caller="127.0.0.1")) == [400]
    assert statuses(said(server, [request(path, "connection: close")], caller="127.0.0.1")) == [403]


def test_a_proxy_that_writes_forwarded_is_believed_in_nothing_else(shared: Shared) -> None:
    server = shared({"forwarded_header": "forwarded", "trusted_proxies": f"{PROXY}/32"})
    path = source(server)
    for fields, caller, status in (
        (["forwarded: for=203.0.113.7"], PROXY, 200),
        (["forwarded: for=203.0.113.7, for=192.0.2.1"], PROXY, 403),
        (["x-forwarded-for: 203.0.113.7"], PROXY, 403),
        (["forwarded: for=192.0.2.1", "x-forwarded-for: 203.0.113.7"], PROXY, 403),
        (["forwarded: for=203.0.113.7"], "127.0.0.1", 403),
    ):
        sent = request(path, *fields, "connection: close", body=b'{"id":"evt_%d","type":"a"}' % len(fields))
        assert statuses(said(server, [sent], caller=caller)) == [status], (fields, caller)
