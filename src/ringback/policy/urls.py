"""Is this a URL that we can deliver to, and what are its parts? Pure text work: nothing is looked up."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote, unquote_to_bytes, urlsplit

import msgspec

from ringback.policy.addresses import parse_literal

# The longest URL that an endpoint may have, characters.
MAX_URL_CHARS = 65_536
# The port that a URL without one means; it is not written out.
DEFAULT_PORTS = {"http": 80, "https": 443}
# What may stand in a target as it is (RFC 3986): all else is percent-encoded as UTF-8. "%" too, since encoded text comes encoded.
_TARGET_SAFE = "/?:@!$&'()*+,;=-._~%[]|^`{}\"<>"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_MAX_PORT = 65_535


class UrlParts(msgspec.Struct, frozen=True):
    """An endpoint URL taken apart.

    `host` is lower case, ASCII, without brackets, and a literal address in its usual spelling. `target` is path and query as on the wire.
    `basic` is the value for an Authorization header that `user:pass@` asks for, "" without one.
    """

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str = ""
    basic: str = ""

    @property
    def tls(self) -> bool:
        """Does this URL ask for TLS?"""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """What belongs in a Host header: the host, and the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def split_url(text: str) -> UrlParts:
    """The parts of an absolute http or https URL. Raises ValueError with a sentence for anything else."""
    if len(text) > MAX_URL_CHARS:
        raise ValueError(f"the URL has {len(text)} characters; at most {MAX_URL_CHARS} are allowed")
    bad = _FORBIDDEN.search(text)
    if bad is not None:
        raise ValueError(
            f"the URL holds {bad.group()!r} at position {bad.start()}; percent-encode blanks, control characters and backslashes"
        )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as exc:
        raise ValueError(f"the URL cannot be read: {exc}") from exc
    scheme = url.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise ValueError("the URL must start with http:// or https://")
    userinfo, _, _ = url.netloc.rpartition("@")
    if not url.hostname:
        raise ValueError("the URL has no host; write it as https://example.com/path")
    if port == 0:
        raise ValueError(f"port 0 cannot be connected to; use 1 to {_MAX_PORT}")
    target = quote(url.path or "/", safe=_TARGET_SAFE)
    if url.query:
        target += "?" + quote(url.query, safe=_TARGET_SAFE)
    return UrlParts(
        scheme=scheme,
        host=_host(url.hostname, bracketed="[" in url.netloc),
        port=port if port is not None else DEFAULT_PORTS[scheme],
        target=target,
        userinfo=userinfo,
        basic=_basic(userinfo),
    )


def normalise_url(text: str) -> str:
    """The one spelling of a URL: host in lower-case ASCII, no default port, no fragment, a path. Raises ValueError as `split_url`."""
    parts = split_url(text)
    userinfo = quote(parts.userinfo, safe=":%!$&'()*+,;=-._~") + "@" if parts.userinfo else ""
    return f"{parts.scheme}://{userinfo}{parts.authority}{parts.target}"


def _host(host: str, *, bracketed: bool) -> str:
    literal = parse_literal(host)
    if bracketed and (literal is None or ":" not in host):
        raise ValueError(f"the host [{host}] is not an IPv6 address")
    if literal is not None:
        return str(literal)
    if not host.isascii():
        # Loaded only where a name needs it: the receiver library comes by here, and a plain install does not have the package.
        import idna

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError as exc:
            raise ValueError(f"the host {host!r} is not a name that DNS can hold: {exc}") from exc
        # Full-width digits become plain ones only here, so the literal is looked for again.
        literal = parse_literal(host)
        if literal is not None:
            return str(literal)
    host = host.lower()
    if not _NAME.fullmatch(host):
        raise ValueError(f"the host {host!r} is not a name that DNS can hold: labels of 1 to 63 letters, digits, - and _ separated by dots")
    return host


def _basic(userinfo: str) -> str:
    if not userinfo:
        return ""
    user, _, password = userinfo.partition(":")
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(pair).decode("ascii")
