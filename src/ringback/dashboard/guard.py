"""Is this request a person's own? Cookies, the tokens of forms, and where a request comes from.

A form holds a token that is made from what the browser holds in its cookie: another site can neither read nor guess it. It is masked
anew for each page, so that a compressed page gives nothing away about it (BREACH). Besides, browsers say where a POST comes from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

from ringback.dashboard.components import BASE
from ringback.policy.addresses import Network
from ringback.policy.sources_arrival import called, remote_address

# What the browser of somebody who is logged in holds, and before that what binds a login form to the browser that asked for it.
SESSION_COOKIE: Final = "ringback_session"
VISITOR_COOKIE: Final = "ringback_visitor"
# Bytes of chance in the mask and of the token: a SHA-256 each.
_TOKEN_BYTES: Final = 32
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


def cookies_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The cookies of a request; of two with one name the first, which has the longer path (RFC 6265, 5.4)."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, mark, content = pair.strip().partition("=")
                if mark:
                    found.setdefault(key, content.strip('"'))
    return found


def cookie(name: str, value: str, *, secure: bool, life_s: int | None, script: bool = False) -> str:
    """A Set-Cookie value for the dashboard alone; `life_s` None: until the browser is closed, 0: forget it.

    SameSite is Lax, not Strict: with Strict a link in a chat or an alert would lead to the login form although one is logged in. Lax sends
    the cookie along with such a GET only, which changes nothing here; `script`: scripts may read and set it.
    """
    parts = [f"{name}={value}", f"Path={BASE}", "SameSite=Lax"]
    if life_s is not None:
        parts.append(f"Max-Age={life_s}")
    if not script:
        parts.append("HttpOnly")
    if secure:
        parts.append("Secure")
    return "; ".join(parts)


def form_token(held: str, draw: Callable[[int], bytes]) -> str:
    """The token of a form for the browser that holds `held`, masked by chance."""
    mask = draw(_TOKEN_BYTES)
    masked = bytes(a ^ b for a, b in zip(_secret(held), mask, strict=True))
    return base64.urlsafe_b64encode(mask + masked).decode()


def is_form_token(held: str, token: str) -> bool:
    """Is this the token of a form that was made for the browser that holds `held`?"""
    try:
        raw = base64.urlsafe_b64decode(token.encode("ascii"))
    except (ValueError, binascii.Error):
        return False
    if not held or len(raw) != 2 * _TOKEN_BYTES:
        return False
    given = bytes(a ^ b for a, b in zip(raw[:_TOKEN_BYTES], raw[_TOKEN_BYTES:], strict=True))
    return hmac.compare_digest(given, _secret(held))


def _secret(held: str) -> bytes:
    return hmac.digest(held.encode("utf-8", "surrogatepass"), b"ringback dashboard form", hashlib.sha256)


def comes_from_here(headers: Mapping[bytes, bytes], hosts: Sequence[str]) -> bool:
    """Does a POST come from a page of ours? `hosts` are the names and ports that we are reached under (`host:port`)."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        return False
    origin = headers.get(b"origin")
    # Every browser sends it with a form's POST; without it somebody has left it out.
    return origin is not None and host_of(origin.decode("latin-1")) in hosts


def came_from(headers: Mapping[bytes, bytes], hosts: Sequence[str]) -> str:
    """The page of ours that a request was made on, with its query; "" when the browser does not say."""
    page = headers.get(b"referer", b"").decode("latin-1")
    if host_of(page) not in hosts:
        return ""
    parts = urlsplit(page)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def host_of(url: str) -> str | None:
    """`host:port` of a URL, None when it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return None if not parts.hostname or port is None else f"{parts.hostname}:{port}"


class Arrival:
    """Where requests come from: the server's public URL, and the proxies whose word counts."""

    def __init__(self, public_url: str | None = None, trusted: Sequence[Network] = ()) -> None:
        self._public_url = public_url
        self._trusted = tuple(trusted)

    def address(self, peer: str, forwarded: Sequence[bytes]) -> str:
        """The address of the person's browser, as far as it can be known."""
        found = remote_address(peer, forwarded, self._trusted)
        return peer if found is None else str(found)

    def reached(self, scheme: str, headers: Mapping[bytes, bytes], peer: str) -> tuple[str, list[str]]:
        """By which scheme we are reached, and under which names (`host:port`)."""
        scheme, host = (text.decode("latin-1") for text in called(scheme.encode(), headers, peer, self._trusted))
        found = [host_of(f"http://{host}"), host_of(f"https://{host}")]
        names = [name for name in found if name is not None]
        if self._public_url is not None and (public := host_of(self._public_url)) is not None:
            if public in names and self._public_url.startswith("https:"):
                # TLS ends at a proxy that nobody named: our public URL says so.
                scheme = "https"
            names.append(public)
        return scheme, names


def local_path(text: str) -> str:
    """Where to go after the login: a page of the dashboard, whatever somebody wrote into the address."""
    inside = text == BASE or text.startswith((f"{BASE}/", f"{BASE}?"))
    plain = "//" not in text.partition("?")[0] and "\\" not in text and text.isprintable() and text.isascii()
    return text if inside and plain and not text.startswith(f"{BASE}/login") else f"{BASE}/"
