"""Which bin is called here, what may pass through a relay, and what may come back? Pure: bytes in, values out.

A relay hands a stranger's request to a program on somebody's own machine, and that program's answer back under this server's name. So
both directions lose what speaks for one hop only, and the answer loses what a browser would take as the word of this whole server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ringback.policy.urls import DEFAULT_PORTS

Header = tuple[bytes, bytes]

# A relay's token is the prefix and ten base62 characters (60 bits); older clients make 27. All others of 10 to 64 are plain bins.
_RELAY: Final = re.compile(r"c_[0-9A-Za-z]{10,62}")
_PLAIN: Final = re.compile(r"[0-9A-Za-z]{10,64}")
_TOKEN: Final = rb"(c_[0-9A-Za-z]{10,62}|[0-9A-Za-z]{10,64})"
_IN: Final = re.compile(rb"/in/" + _TOKEN + rb"(?:/.*)?", re.DOTALL)

# What concerns one connection only (RFC 9110, 7.6.1, and what common software adds to it).
_HOP_BY_HOP: Final = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length",
    )
)  # fmt: skip
# The client calls another host, and an expectation was met before the body came.
_OF_THE_REQUEST: Final = _HOP_BY_HOP | {"host", "expect"}
# What would act on everything else under this server's name: its cookies, its stored data, its transport, its reports.
_OF_THE_ORIGIN: Final = frozenset(
    (
        "set-cookie", "set-cookie2", "clear-site-data", "strict-transport-security", "public-key-pins", "expect-ct", "alt-svc", "nel",
        "report-to", "reporting-endpoints", "service-worker-allowed", "origin-agent-cluster", "accept-ch", "critical-ch",
        "content-security-policy", "content-security-policy-report-only", "x-content-type-options", "date",
    )
)  # fmt: skip
# Shown in a browser the answer is a page of nobody: without scripts, forms, or this server's name as its origin.
_FENCE: Final[tuple[Header, ...]] = ((b"content-security-policy", b"sandbox"), (b"x-content-type-options", b"nosniff"))

# How a server on loopback is called.
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# As much head as this server takes itself, and as many headers.
_HEAD_MAX_BYTES: Final = 65_536
_HEADERS_MAX: Final = 100
# A final status that a peer can be told (RFC 9110, 15), and those that have no body.
_LEAST_STATUS, _GREATEST_STATUS = 200, 599
_BODILESS: Final = frozenset({204, 304})


class RelayAnswer(msgspec.Struct, frozen=True):
    """What a client says that its own server has answered. Nothing of it is believed."""

    id: str
    status: int
    headers: dict[str, str] = {}
    body: str = ""


class Allowance:
    """A rate with a burst: `per_s` come back each second, up to `at_once`."""

    __slots__ = ("_at_once", "_left", "_per_s", "_seen_at_s")

    def __init__(self, per_s: float, at_once: float) -> None:
        self._per_s = per_s
        self._at_once = self._left = at_once
        self._seen_at_s = 0.0

    def take(self, now_s: float, amount: float = 1.0) -> float:
        """Take so much. 0.0 when there was enough, else the seconds until there is, and nothing is taken. `now_s` is monotonic."""
        self._left = min(self._at_once, self._left + (now_s - self._seen_at_s) * self._per_s)
        self._seen_at_s = now_s
        if self._left < amount:
            return (amount - self._left) / self._per_s
        self._left -= amount
        return 0.0


def token_in(path: bytes) -> str | None:
    """The token of a path below `/in/`, with or without more behind it; None when it is no bin's."""
    match = _IN.fullmatch(path)
    return None if match is None else match[1].decode()


def is_token(text: str) -> bool:
    """Is this shaped like the token of a bin or a relay?"""
    return _PLAIN.fullmatch(text) is not None or _RELAY.fullmatch(text) is not None


def is_relay(token: str) -> bool:
    """Do requests to this token go to a client that listens?"""
    return token.startswith("c_")


def relay_token(asked: str) -> str | None:
    """The token that a client gets when it asks for this one; None when it can have none.

    A plain one gets the prefix, because older clients leave it out when they are told not to log.
    """
    if _RELAY.fullmatch(asked):
        return asked
    return relay_token(f"c_{asked}") if _PLAIN.fullmatch(asked) else None


def event_headers(headers: Iterable[Header]) -> dict[str, str]:
    """The headers of a request as a client hands them on: one value a name, without those of this hop."""
    named: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        named[name] = f"{named[name]}, {value}" if name in named else value
    dropped = _OF_THE_REQUEST | {name.strip().lower() for name in named.get("connection", "").split(",")}
    return {name: value for name, value in named.items() if name not in dropped}


def _text(value: bytes) -> str:
    """UTF-8 where it is that, so that the same bytes come out when a client writes it as UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def answer_headers(headers: Mapping[str, str]) -> tuple[Header, ...]:
    """The headers of a client's answer that may be sent under our name, fenced in. Raises ValueError when they are too many."""
    passed: list[Header] = []
    size = 0
    hop = ",".join(value for name, value in headers.items() if name.lower() == "connection")
    dropped = _HOP_BY_HOP | _OF_THE_ORIGIN | {name.strip().lower() for name in hop.split(",")}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in dropped or not _NAME.fullmatch(name) or _FORBIDDEN.search(value):
            continue
        written = (lowered.encode(), value.strip(" \t").encode("utf-8", "replace"))
        size += len(written[0]) + len(written[1])
        passed.append(written)
    if size > _HEAD_MAX_BYTES or len(passed) > _HEADERS_MAX:
        raise ValueError(f"has more than {_HEADERS_MAX} headers or {_HEAD_MAX_BYTES} bytes of them")
    return (*passed, *_FENCE)


def is_final(status: int) -> bool:
    """Can this status be the answer to a request?"""
    return _LEAST_STATUS <= status <= _GREATEST_STATUS


def has_body(status: int) -> bool:
    """May an answer of this status have a body?"""
    return status not in _BODILESS


def own_hosts(*urls: str | None) -> tuple[str, ...]:
    """What `listed_host` says of bins of a server that is reached at these URLs; one on loopback by each of its names."""
    hosts: dict[str, None] = {}
    for url in urls:
        parts = urlsplit(url or "")
        host = parts.hostname
        if host is None:
            continue
        port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        names = _LOOPBACK if host in ("localhost", "127.0.0.1", "::1") else (f"[{host}]" if ":" in host else host,)
        hosts.update((f"{name}{port}/in", None) for name in names)
    return tuple(hosts)


def listed_host(url: str) -> str:
    """What a list of endpoints may filter by: the host of a URL, for a bin's the whole authority and `/in`."""
    parts = urlsplit(url)
    if token_in(parts.path.encode("utf-8", "replace")) is not None:
        return f"{parts.netloc.rpartition('@')[2].lower()}/in"
    return parts.hostname or ""
