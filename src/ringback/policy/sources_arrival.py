"""May this request come in at all? Where it comes from, how often, and with which headers: decided before its body is read."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Container, Mapping, Sequence
from typing import Final

from ringback.policy.addresses import Address, Network, is_this_machine

# Bits before the IPv4 address in a mapped one (RFC 4291, 2.5.5.2).
_MAPPED_BITS: Final = 96
# Proxies in a row that are walked through; a longer list is somebody's invention.
_MAX_HOPS: Final = 32
# A name or address with its port, as a Host header has it (RFC 9112, 3.2): nothing that would end the host within a URL.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


def remote_address(peer: str, forwarded: Sequence[bytes], trusted: Sequence[Network]) -> Address | None:
    """Who sent the request: the peer, or, behind trusted proxies, the nearest address that is none of them.

    `forwarded` are the values of X-Forwarded-For, in order. Each proxy has added its own peer at the right end: what stands left of the
    first address that is no proxy of ours was written by strangers.
    """
    address = _read(peer)
    if address is None or not _inside(address, trusted):
        return address
    hops = [hop.strip() for hop in b",".join(forwarded).split(b",")][-_MAX_HOPS:]
    for hop in reversed(hops):
        further = _read(hop.decode("latin-1"))
        if further is None:
            return address
        address = further
        if not _inside(address, trusted):
            return address
    return address


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Is this peer one of the proxies whose word on the request counts?"""
    address = _read(peer)
    return address is not None and _inside(address, trusted)


def called(scheme: bytes, headers: Mapping[bytes, bytes], peer: str, trusted: Sequence[Network]) -> tuple[bytes, bytes]:
    """By which scheme and under which name (`host:port`) the caller reached us: as the connection has it, or as a trusted proxy says."""
    host = headers.get(b"host", b"")
    if not trusted or not is_trusted(peer, trusted):
        return scheme, host
    scheme = headers.get(b"x-forwarded-proto", scheme).split(b",")[-1].strip()
    return scheme, headers.get(b"x-forwarded-host", host).split(b",")[-1].strip()


def base_url(scheme: bytes, headers: Mapping[bytes, bytes], peer: str, trusted: Sequence[Network]) -> str | None:
    """The URL of this server as its caller has it; None where only strangers say so.

    A program on this machine and a trusted proxy are believed, anybody else could have links made that lead to a server of his.
    """
    if not (is_trusted(peer, trusted) or is_this_machine(peer)):
        return None
    scheme, host = called(scheme, headers, peer, trusted)
    if scheme not in (b"http", b"https") or _HOST.fullmatch(host) is None:
        return None
    return f"{scheme.decode()}://{host.decode().lower()}"


def unmapped(network: Network) -> Network:
    """The network of IPv4 that one of IPv6 stands for (`::ffff:192.0.2.0/120`); any other as it is. Addresses are compared unmapped."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def is_allowed(address: Address | None, allowed: Sequence[Container[Address]]) -> bool:
    """Is the address in one of the networks? Without networks everybody is."""
    return not allowed or (address is not None and _inside(address, allowed))


def missing_header(headers: Mapping[bytes, bytes], required: Mapping[str, str]) -> str | None:
    """The first of the required headers that is not there with the wanted value; None when all are."""
    for name, wanted in required.items():
        value = headers.get(name.lower().encode())
        if value is None:
            return name
        if not _is_wanted(value, wanted):
            return name
    return None


def unproven(fields: Sequence[tuple[bytes, bytes]], wanted: Mapping[str, str]) -> str | None:
    """The first of these headers that is not there exactly once with its wanted value; None when all are.

    A proxy that adds its own header beside one that a stranger sent leaves two.
    """
    for name, value in wanted.items():
        found = [content for field, content in fields if field == name.lower().encode()]
        if len(found) != 1 or not _is_wanted(found[0], value):
            return name
    return None


def _is_wanted(value: bytes, wanted: str) -> bool:
    text = value.decode("latin-1")
    return text.startswith(wanted[:-1]) if wanted.endswith("*") else text == wanted


def _read(text: str) -> Address | None:
    host = text.strip().strip('"')
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _inside(address: Address, networks: Sequence[Container[Address]]) -> bool:
    return any(address in network for network in networks)


class Bucket:
    """A rate: `per_s` tokens a second, as many at once. Belongs to one event loop."""

    __slots__ = ("_filled_at_s", "_left", "per_s")

    def __init__(self, per_s: float) -> None:
        self.per_s = per_s
        self._left = per_s
        self._filled_at_s = 0.0

    def take(self, now_s: float) -> float:
        """Take one. 0.0 when there was one, else the seconds until there is. `now_s` is monotonic."""
        self._left = min(self.per_s, self._left + (now_s - self._filled_at_s) * self.per_s)
        self._filled_at_s = now_s
        if self._left < 1.0:
            return (1.0 - self._left) / self.per_s
        self._left -= 1.0
        return 0.0
