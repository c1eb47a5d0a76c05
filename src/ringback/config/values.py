"""How is a setting written? Each kind turns text into a value, or says in words what is wrong with the text.

Text is the common form of all sources: TOML's own numbers, booleans and lists are turned into text first, so that a value means the
same wherever it stands. A parser raises ValueError with a sentence about the text; the loader adds where the text stood.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote, urlsplit

import msgspec

from ringback.policy.proxies import Exceptions, ProxyAddress, parse_exceptions, parse_proxy

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?")
# Seconds in each unit a duration may carry; a bare number is seconds, as in the reference server's variables.
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d+)\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
# Bytes in each unit a size may carry: decimal for kB, binary for KiB, as the words are defined (IEC 80000-13).
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
# Of a page, in lower case: scheme, host (a name or an address, or all names below one), port.
_ORIGIN = re.compile(r"https?://((\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?")
# A schedule longer than this is a mistake: 50 attempts at the longest allowed distance already span four years.
_SCHEDULE_MAX = 50
# A name of a service that is longer helps nobody.
_WORD_MAX = 128
# TCP's own bound; 0 lets the system choose a free port.
_PORT_MAX = 65_535


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A way to write values: `name` for the reference, `allowed` for messages, `parse` from text."""

    name: str
    allowed: str
    parse: Callable[[str], T]
    secret: bool = False


class HostPort(msgspec.Struct, frozen=True):
    """Where to listen. `host` is a literal address without brackets, or a name; port 0 = any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Secret:
    """A value that never shows itself: not in a log, a message or a traceback. Only `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(****)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def parse_duration(text: str) -> timedelta:
    """`30`, `30s`, `250ms`, `5m`, `12h`, `90d`, `2w`. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("is not a duration")
    try:
        return timedelta(seconds=float(match[1]) * _SECONDS[match[2] or "s"])
    except OverflowError:
        raise ValueError("is longer than time itself") from None


def parse_size(text: str) -> int:
    """Bytes: `20000`, `64KiB`, `2MiB`, `1GB`. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("is not a size")
    return int(match[1]) * _BYTES[match[2] or "B"]


def split_list(text: str) -> list[str]:
    """The items of `a,b`, `[a, b]` or `["a", "b"]`; an empty text is an empty list."""
    inner = text.strip().removeprefix("[").removesuffix("]")
    return [item.strip().strip("\"'") for item in inner.split(",") if item.strip()]


def duration(least: str, most: str) -> Kind[timedelta]:
    """A length of time between two bounds, both allowed."""
    low, high = parse_duration(least), parse_duration(most)

    def parse(text: str) -> timedelta:
        value = parse_duration(text)
        if not low <= value <= high:
            raise ValueError("is too short" if value < low else "is too long")
        return value

    return Kind("duration", f"a duration such as 30s, 5m, 12h or 90d, from {least} to {most}", parse)


def size(least: str, most: str) -> Kind[int]:
    """A number of bytes between two bounds, both allowed."""
    low, high = parse_size(least), parse_size(most)

    def parse(text: str) -> int:
        value = parse_size(text)
        if not low <= value <= high:
            raise ValueError("is too small" if value < low else "is too large")
        return value

    return Kind("size", f"a size in bytes such as 20000, 64KiB or 2MiB, from {least} to {most}", parse)


def count(least: int, most: int) -> Kind[int]:
    """A whole number between two bounds, both allowed."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text):
            raise ValueError("is not a whole number")
        value = int(text)
        if not least <= value <= most:
            raise ValueError("is too small" if value < least else "is too large")
        return value

    return Kind("number", f"a whole number from {least} to {most}", parse)


def flag() -> Kind[bool]:
    """Yes or no."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

    def parse(text: str) -> bool:
        try:
            return words[text.lower()]
        except KeyError:
            raise ValueError("is neither true nor false") from None

    return Kind("true or false", "true or false", parse)


def choice(*values: str) -> Kind[str]:
    """One of a closed list of words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError("is not one of the choices")
        return text

    return Kind("choice", "one of " + ", ".join(values), parse)


def host_port() -> Kind[HostPort]:
    """An address to listen on."""

    def parse(text: str) -> HostPort:
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:\s]+)):(\d{1,5})", text)
        if match is None:
            hint = "; put IPv6 addresses in brackets: [::1]:8071" if text.count(":") > 1 else ""
            raise ValueError(f"is not an address and a port{hint}")
        if match[1]:
            _address(match[1])
        if int(match[3]) > _PORT_MAX:
            raise ValueError(f"names a port above {_PORT_MAX}")
        return HostPort(match[1] or match[2], int(match[3]))

    return Kind("address", "HOST:PORT or [IPV6]:PORT, for example 127.0.0.1:8071 or [::]:8071; port 0 = any free port", parse)


def _address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("holds no valid IPv6 address in its brackets") from None


def subnets() -> Kind[tuple[Network, ...]]:
    """A list of networks; a bare address is that address alone."""

    def parse(text: str) -> tuple[Network, ...]:
        return tuple(_network(item) for item in split_list(text))

    return Kind("list of networks", "networks in CIDR form with commas between, such as 127.0.0.1/32,fd00::/8", parse)


def _network(item: str) -> Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(item, strict=False)
    except ValueError:
        raise ValueError(f"holds {item!r}, which is no network") from None
    raise ValueError(f"holds {item!r}, which has bits set after its prefix; did you mean {meant}?")


def proxy() -> Kind[ProxyAddress]:
    """The URL of a proxy; a secret, since it may hold a password."""
    allowed = "http://, https:// or socks5://, then HOST:PORT, with USER:PASSWORD@ before it where the proxy wants that"
    return Kind("proxy URL", allowed, parse_proxy, secret=True)


def exceptions() -> Kind[Exceptions]:
    """What is reached past a proxy."""
    allowed = "names (and all below them), .suffixes, addresses and networks with commas between, each with :PORT or without, or *"
    return Kind("list of exceptions", allowed, lambda text: parse_exceptions(split_list(text)))


def origins() -> Kind[tuple[str, ...]]:
    """A list of origins of pages; a host may begin with `*.`."""

    def parse(text: str) -> tuple[str, ...]:
        items = tuple(item.lower().removesuffix("/") for item in split_list(text))
        for item in items:
            if _ORIGIN.fullmatch(item) is None:
                raise ValueError(f"holds {item!r}, which is no origin")
        return items

    return Kind("list of origins", "origins such as https://app.example.com with commas between", parse)


def schedule(most: str) -> Kind[tuple[timedelta, ...]]:
    """The waits after each failure; an empty list is one attempt only."""
    each = duration("0s", most)

    def parse(text: str) -> tuple[timedelta, ...]:
        items = split_list(text)
        if len(items) > _SCHEDULE_MAX:
            raise ValueError(f"has {len(items)} waits, more than {_SCHEDULE_MAX}")
        return tuple(_wait(each, item) for item in items)

    return Kind(
        "list of durations", f"at most {_SCHEDULE_MAX} durations of at most {most} with commas between; [] = one attempt only", parse
    )


def _wait(each: Kind[timedelta], item: str) -> timedelta:
    try:
        return each.parse(item)
    except ValueError as problem:
        raise ValueError(f"holds {item!r}, which {problem}") from None


def tables() -> Kind[tuple[dict[str, Any], ...]]:
    """A list of tables, which is JSON as a text; secret, since there may be secrets in it."""

    def parse(text: str) -> tuple[dict[str, Any], ...]:
        if not text:
            return ()
        try:
            return msgspec.json.decode(text, type=tuple[dict[str, Any], ...])
        except (ValueError, RecursionError):
            raise ValueError("is no list of tables") from None

    return Kind("list of tables", "tables [[sources]] in the file, or a JSON array of objects in the variable", parse, secret=True)


def directory() -> Kind[str]:
    """A path of a directory, which need not be there yet."""

    def parse(text: str) -> str:
        if "\0" in text:
            raise ValueError("names no directory")
        return text

    return Kind("directory", "a path of a directory", parse)


def secret(least: int) -> Kind[Secret]:
    """A text of at least so many characters that is never shown."""

    def parse(text: str) -> Secret:
        if len(text) < least:
            raise ValueError(f"has {len(text)} characters, too few to be safe")
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("has characters other than printable ASCII without blanks")
        return Secret(text)

    return Kind("secret", f"at least {least} printable ASCII characters without blanks", parse, secret=True)


def signing_key(least: int) -> Kind[Secret]:
    """As `secret`; or a key or certificate in PEM, which has lines and blanks."""
    plain = secret(least)

    def parse(text: str) -> Secret:
        if text.startswith("-----BEGIN ") and text.isascii() and all(line.isprintable() for line in text.splitlines()):
            return Secret(text)
        return plain.parse(text)

    return Kind("secret", f"{plain.allowed}; or a key or certificate in PEM, with its lines", parse, secret=True)


def web_url(*schemes: str) -> Kind[str]:
    """An absolute URL without user, query or fragment; a slash at its end is dropped."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
            valid = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            valid = False
        if not valid:
            raise ValueError("is not an absolute URL of an allowed scheme")
        if "@" in parts.netloc:
            raise ValueError("has a user or a password")
        if parts.query or parts.fragment:
            raise ValueError("has a query or a fragment")
        return text.rstrip("/")

    return Kind("URL", "a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes), parse)


def header_list() -> Kind[tuple[tuple[str, str], ...]]:
    """Headers as OTEL_EXPORTER_OTLP_HEADERS has them; a secret, since credentials are among them."""

    def parse(text: str) -> tuple[tuple[str, str], ...]:
        found = []
        for item in split_list(text):
            name, equals, value = item.partition("=")
            name, value = name.strip().lower(), unquote(value.strip())
            if not equals or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", name) or not value.isascii() or not value.isprintable():
                raise ValueError("holds what is no header")
            found.append((name, value))
        return tuple(found)

    return Kind("list of headers", "NAME=VALUE with commas between, values percent-encoded where they need it", parse, secret=True)


def word() -> Kind[str]:
    """A short text for people."""

    def parse(text: str) -> str:
        if not text or len(text) > _WORD_MAX or not text.isprintable():
            raise ValueError("is no such text")
        return text

    return Kind("text", f"1 to {_WORD_MAX} printable characters", parse)


def ratio() -> Kind[float]:
    """A share of a whole."""

    def parse(text: str) -> float:
        if not re.fullmatch(r"\d{0,3}\.?\d{1,18}(e-\d{1,2})?", text):
            raise ValueError("is not a decimal number")
        value = float(text)
        if value > 1:
            raise ValueError("is too large")
        return value

    return Kind("share", "a decimal number from 0 to 1, such as 0.01", parse)


def database() -> Kind[str]:
    """A `sqlite:///` URL, or a path, which becomes one."""
    allowed = "sqlite:///relative/path.db, sqlite:////absolute/path.db, or a plain path"

    def parse(text: str) -> str:
        if not text or "\0" in text:
            raise ValueError("names no file")
        if "://" not in text:
            return f"sqlite:///{quote(text)}"
        scheme, _, rest = text.partition("://")
        if scheme != "sqlite":
            raise ValueError(f"names {scheme}, a database that this version does not speak")
        if not rest.startswith("/") or len(rest) == 1:
            raise ValueError("names no file; three slashes begin a relative path, four an absolute one")
        return text

    return Kind("database URL", allowed, parse)
