"""What does a program answer to one request? Sends it as it is, to any http or https URL, and gives back what came."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from ringback.errors import OperatorError

# Bytes of an answer that are read; more is nothing that anybody looks at.
_READ_MAX = 65_536


class Answered(msgspec.Struct, frozen=True):
    """An answer: at most the first 64 KiB of its body, and how long it took, from the first byte sent to the last one read."""

    status: int
    content_type: str
    body: bytes
    took_s: float

    @property
    def accepted(self) -> bool:
        """Is it a 2xx?"""
        return 200 <= self.status < 300


def checked(url: str) -> str:
    """The URL, if requests can be sent there. Raises OperatorError."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise OperatorError(f"{url!r} is no URL of a program; write it like http://localhost:3000/webhooks")
    return url


def send(method: str, url: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Answered:
    """Send one request on a connection of its own; redirects are answers as others. Blocks; raises OSError when there is no answer."""
    parts = urlsplit(url)
    speaks = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = speaks(parts.hostname or "", parts.port, timeout=timeout_s)
    began_s = time.monotonic()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in {**headers, "content-length": str(len(body)), "connection": "close"}.items():
            connection.putheader(name, value.encode("latin-1", "replace"))
        connection.endheaders(body)
        answer = connection.getresponse()
        got = answer.read(_READ_MAX)
        return Answered(answer.status, answer.headers.get("content-type", ""), got, time.monotonic() - began_s)
    except http.client.HTTPException as error:
        raise ConnectionError(f"it does not speak HTTP, or stopped in the middle: {error!r}") from error
    finally:
        connection.close()


def reason(error: OSError) -> str:
    """Why there was no answer, in words for one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error) or type(error).__name__
