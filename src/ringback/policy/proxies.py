"""Which proxy do deliveries go through, and which go past it? Pure text work: nothing is looked up."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from ringback.policy.addresses import Address, Network, parse_literal

# The ports that a proxy without one listens on: those of the schemes, and 1080 for SOCKS (IANA).
_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080}
# A field of RFC 1929 has a length of one byte.
_SOCKS_MAX_BYTES: Final = 255
# `host:port`, where host is a name, an address, a network, or in brackets an IPv6 one.
_WITH_PORT: Final = re.compile(r"(\[[0-9a-f:./]+\]|[^:\[\]]*):(\d{1,5})")
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
_PORT_MAX: Final = 65_535


class ProxyAddress(msgspec.Struct, frozen=True):
    """Where a proxy is, how it is spoken to (`http`, `https`, `socks5`), and what it is told to let us in ("" = nothing)."""

    scheme: str
    host: str
    port: int
    user: bytes = b""
    password: bytes = b""

    @property
    def text(self) -> str:
        """`host:port`, as messages say it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"ProxyAddress({self.scheme}://{'****@' if self.user else ''}{self.text})"


def parse_proxy(text: str) -> ProxyAddress:
    """The proxy of a URL. Raises ValueError with a sentence that never holds what may be a password."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if url.scheme == "socks5h":
        raise ValueError("asks the proxy to resolve names; write socks5://, and set proxy_resolves = true if that is meant")
    if url.scheme not in _PORTS:
        raise ValueError("has no scheme that a proxy is spoken to with")
    if not url.hostname or port == 0:
        raise ValueError("names no host, or port 0")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("has a path, a query or a fragment")
    userinfo = url.netloc.rpartition("@")[0]
    user, _, password = userinfo.partition(":")
    login = (unquote_to_bytes(user), unquote_to_bytes(password))
    if userinfo and not login[0]:
        raise ValueError("has a password without a user")
    if url.scheme == "socks5" and max(map(len, login)) > _SOCKS_MAX_BYTES:
        raise ValueError(f"has a user or password of more than {_SOCKS_MAX_BYTES} bytes, which SOCKS5 cannot carry")
    if b":" in login[0] and url.scheme != "socks5":
        raise ValueError("has a colon in its user, which HTTP cannot carry")
    literal = parse_literal(url.hostname)
    return ProxyAddress(url.scheme, str(literal or url.hostname), port or _PORTS[url.scheme], *login)


class _Rule(msgspec.Struct, frozen=True):
    """One exception. `name` is "" for networks; `port` None = any."""

    name: str
    subdomains_only: bool = False
    network: Network | None = None
    port: int | None = None

    def covers_name(self, host: str) -> bool:
        if self.name in ("", "*"):
            return self.name == "*"
        return host.endswith(f".{self.name}") or (host == self.name and not self.subdomains_only)


class Exceptions(msgspec.Struct, frozen=True):
    """What is reached directly although there is a proxy."""

    rules: tuple[_Rule, ...] = ()

    def covers_name(self, host: str, port: int) -> bool:
        """Is everything of this name reached directly? `host` is lower case, a literal address too."""
        named = host.rstrip(".")
        return any(rule.covers_name(named) for rule in self.rules if rule.port in (None, port))

    def covers_address(self, address: Address, port: int) -> bool:
        """Is this address reached directly, whatever its name?"""
        return any(rule.network is not None and address in rule.network for rule in self.rules if rule.port in (None, port))


def parse_exceptions(items: Iterable[str]) -> Exceptions:
    """The exceptions of a list: names (and all below them), `.suffix`, networks, addresses, `*`, each with `:port` or without.

    Raises ValueError naming the wrong one.
    """
    return Exceptions(tuple(_rule(item.strip().lower()) for item in items))


def _rule(item: str) -> _Rule:
    host, port = item, None
    match = _WITH_PORT.fullmatch(item)
    if match is not None:
        host, port = match[1], int(match[2])
        if not 0 < port <= _PORT_MAX:
            raise ValueError(f"holds {item!r}, whose port is not between 1 and {_PORT_MAX}")
    host = host.removeprefix("[").removesuffix("]")
    if host in ("", "*"):
        if not item:
            raise ValueError("holds an empty item")
        return _Rule("*", port=port)
    try:
        return _Rule("", network=ipaddress.ip_network(host), port=port)
    except ValueError:
        pass
    name = host.removeprefix("*").removeprefix(".").rstrip(".")
    if "/" in host or not _NAME.fullmatch(name):
        raise ValueError(f"holds {item!r}, which is neither a name nor a network without bits after its prefix")
    return _Rule(name, subdomains_only=host[0] in ".*", port=port)
