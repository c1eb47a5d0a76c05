"""PROXY headers. Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.proxy_protocol import Header, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def binary(command: int, family: int, addresses: bytes, more: bytes = b"") -> bytes:
    rest = addresses + more
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(rest)) + rest


V4 = ipaddress.ip_address("192.0.2.1").packed + ipaddress.ip_address("198.51.100.2").packed + struct.pack("!HH", 4711, 443)
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("2001:db8::2").packed + struct.pack("!HH", 4711, 443)

WHOLE = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", ("192.0.2.1", 4711)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", ("2001:db8::1", 4711)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (binary(0x21, 0x11, V4), ("192.0.2.1", 4711)),
    (binary(0x21, 0x21, V6, b"\x04\x00\x01x"), ("2001:db8::1", 4711)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x20, 0x11, V4), None),
    (binary(0x21, 0x31, b"x" * 216), None),
]


@pytest.mark.parametrize(("header", "client"), WHOLE)
def test_a_header_says_who_called_the_proxy(header: bytes, client: tuple[str, int] | None) -> None:
    assert read_header(header + b"POST / HTTP/1.1\r\n") == Header(len(header), client)


@pytest.mark.parametrize("header", [header for header, _ in WHOLE])
def test_a_header_in_pieces_is_waited_for(header: bytes) -> None:
    assert {read_header(header[:size]) for size in range(len(header))} == {None}


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 4711 443\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 4711 443\r\n",
        b"PROXY TCP4 300.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 4711 443\r\n",
        b"PROXY " + b"x" * 200,
        binary(0x31, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x21, 0x11, V4[:11]),
        binary(0x21, 0x11, V4, b"x" * 5_000),
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_header(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_no_bytes_break_the_reading(data: bytes, begin: bytes) -> None:
    try:
        found = read_header(begin + data)
    except ValueError:
        return
    assert found is None or 0 < found.size <= len(begin + data)
