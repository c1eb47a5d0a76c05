"""Who is at the other end of the proxy? The PROXY header, versions 1 and 2, that stands before all other bytes. Pure.

Source: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import Final

import msgspec

# The longest line of version 1, its end included (2.1).
_MAX_LINE: Final = 107
_LINE: Final = re.compile(rb"PROXY (?:(TCP[46]) ([0-9A-Fa-f:.]{2,39}) [0-9A-Fa-f:.]{2,39} ([0-9]{1,5}) [0-9]{1,5}|UNKNOWN[^\r\n]*)\r\n")
_BEGIN: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# Signature, version and command, family, length.
_FIXED: Final = 16
# Addresses and some further facts; no proxy sends more, and memory is not theirs to take.
_MAX_LENGTH: Final = 4_096
_LOCAL, _PROXIED = 0x20, 0x21
# TCP over IPv4 and IPv6: family byte to the size of an address.
_SIZES: Final = {0x11: 4, 0x21: 16}


class Header(msgspec.Struct, frozen=True):
    """A whole header: how many bytes it has, and who called the proxy; None where it speaks for itself."""

    size: int
    client: tuple[str, int] | None


def read_header(data: bytes) -> Header | None:
    """The header at the beginning of a connection; None while it is not whole. Raises ValueError when it is none."""
    if data.startswith(_SIGNATURE[: len(data)]):
        return _binary(data) if len(data) >= _FIXED else None
    if not data.startswith(_BEGIN[: len(data)]):
        raise ValueError("the connection does not begin with a PROXY header")
    end = data.find(b"\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE:
            raise ValueError("the PROXY header has no end")
        return None
    match = _LINE.fullmatch(data, 0, end + 1)
    if match is None:
        raise ValueError("the PROXY header cannot be read")
    if match[1] is None:
        return Header(end + 1, None)
    address = ipaddress.ip_address(match[2].decode())
    if (address.version == 4) is not (match[1] == b"TCP4"):
        raise ValueError("the address of the PROXY header is of another family")
    return Header(end + 1, (str(address), int(match[3])))


def _binary(data: bytes) -> Header | None:
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXIED) or length > _MAX_LENGTH:
        raise ValueError("the PROXY header cannot be read")
    if len(data) < _FIXED + length:
        return None
    size = _SIZES.get(family)
    if command == _LOCAL or size is None:
        return Header(_FIXED + length, None)
    if length < 2 * size + 4:
        raise ValueError("the PROXY header is too short for its addresses")
    (port,) = struct.unpack_from("!H", data, _FIXED + 2 * size)
    return Header(_FIXED + length, (str(ipaddress.ip_address(data[_FIXED : _FIXED + size])), port))
