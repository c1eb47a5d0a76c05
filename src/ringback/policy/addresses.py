"""May we connect to this address? The rules that keep an endpoint's URL from reaching our own network.

Only global unicast addresses are admitted; an address that carries another one inside (IPv4-mapped, NAT64, 6to4, ISATAP) is judged by
that one. Source: the IANA special-purpose address registries (RFC 6890 and its updates).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Ranges of IPv4 that are not somebody's public server, with the word we show.
_BLOCKED_V4 = tuple(
    (ipaddress.IPv4Network(cidr), reason)
    for cidr, reason in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carrier NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

# The same for IPv6. Order matters: the first range that contains the address names the reason.
_BLOCKED_V6 = tuple(
    (ipaddress.IPv6Network(cidr), reason)
    for cidr, reason in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
# The upper half of an ISATAP interface id (RFC 5214 section 6.1), with the universal bit clear or set.
_ISATAP_MARKS = (0x00005EFE, 0x02005EFE)
_LOW_32 = 0xFFFF_FFFF
# inet_aton takes at most four parts.
_MAX_PARTS = 4
_OCTAL, _DECIMAL, _HEX = 8, 10, 16


def blocked_reason(address: Address) -> str | None:
    """Why this address must not be connected to, in a word or two; None when it is a public one."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((reason for network, reason in _BLOCKED_V4 if address in network), None)
    inner, form = _embedded(address)
    if inner is not None:
        reason = blocked_reason(inner)
        if reason is not None:
            return f"{reason}, inside {form}"
        if form != "ISATAP":
            return None
    for network, reason in _BLOCKED_V6:
        if address in network:
            return reason
    return None if address in _GLOBAL_UNICAST else "reserved"


def _embedded(address: ipaddress.IPv6Address) -> tuple[ipaddress.IPv4Address | None, str]:
    """The IPv4 address that packets to this IPv6 address end up at, and the name of the form."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped, "IPv4-mapped"
    number = int(address)
    if address in _NAT64:
        return ipaddress.IPv4Address(number & _LOW_32), "NAT64"
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(number >> 80 & _LOW_32), "6to4"
    if number >> 32 & _LOW_32 in _ISATAP_MARKS:
        return ipaddress.IPv4Address(number & _LOW_32), "ISATAP"
    return None, ""


class AddressPolicy:
    """Which addresses may be connected to: the public ones, and those in `allowed` (the setting whitelist_subnets)."""

    __slots__ = ("_allowed",)

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def refusal(self, address: Address) -> str | None:
        """Why the address is refused, in a word or two; None when it may be connected to."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            same = address.ipv4_mapped
            if any(same in network for network in self._allowed):
                return None
        if any(address in network for network in self._allowed):
            return None
        return blocked_reason(address)


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma-separated list of CIDRs or single addresses. Raises ValueError naming the wrong one."""
    networks: list[Network] = []
    for part in (piece.strip() for piece in text.split(",")):
        if not part:
            continue
        try:
            networks.append(ipaddress.ip_network(part))
        except ValueError as exc:
            raise ValueError(
                f"{part!r} is not a subnet ({exc}); write it as 10.1.0.0/16 or fd00:1::/32, several separated by commas"
            ) from exc
    return tuple(networks)


def parse_literal(host: str) -> Address | None:
    """The address that a host means when it is a literal in any spelling that a C library takes; None when it is a name.

    Takes brackets, a zone (dropped), a trailing dot, and numbers in decimal, octal and hexadecimal with one to four parts.
    """
    text = host.strip().rstrip(".")
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if ":" in text:
        try:
            return ipaddress.IPv6Address(text.partition("%")[0])
        except ValueError:
            return None
    return _parse_v4(text)


def is_this_machine(host: str) -> bool:
    """Does a host, as it stands in a URL, mean this machine and no other?"""
    literal = parse_literal(host)
    return literal.is_loopback if literal is not None else host == "localhost"


def _parse_v4(text: str) -> ipaddress.IPv4Address | None:
    parts = text.split(".")
    if len(parts) > _MAX_PARTS:
        return None
    numbers = [_parse_number(part) for part in parts]
    *leading, last = numbers
    value = 0
    for number in leading:
        if number is None or number > 0xFF:
            return None
        value = value << 8 | number
    # The last part fills all bytes that are left: 127.1 is 127.0.0.1.
    bits = 8 * (_MAX_PARTS - len(leading))
    if last is None or last >> bits:
        return None
    return ipaddress.IPv4Address(value << bits | last)


def _parse_number(part: str) -> int | None:
    if not part.isascii() or not part:
        return None
    lowered = part.lower()
    if lowered.startswith("0x"):
        digits, base = lowered[2:] or "0", _HEX
    elif len(lowered) > 1 and lowered[0] == "0":
        digits, base = lowered[1:], _OCTAL
    else:
        digits, base = lowered, _DECIMAL
    if not digits.isalnum():
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None
