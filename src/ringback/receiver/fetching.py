"""Where do keys come from that providers publish? Over HTTPS from the providers' own hosts, remembered for a while.

Which URLs may be asked is decided before, by `ringback.signing`: a request can name none that is not the provider's.
"""

from __future__ import annotations

import ssl
import threading
from http.client import HTTPException, HTTPResponse
from typing import Final, Protocol
from urllib.error import URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector

from ringback import __version__
from ringback.clock import Clock, SystemClock
from ringback.receiver.exchange import InTime, Left
from ringback.signing.fetched import KeyRef, KeySource, KeyUnavailable

# Providers rotate their keys weeks ahead, and revoke them in emergencies: ten minutes is how long a revoked one may be believed.
_FRESH_S: Final = 600.0
# A provider whose keys cannot be had is not asked with each request.
_FAILED_S: Final = 10.0
# A set that lacks a key is fetched anew, for the provider may have added it; but only so often, for anybody can name keys.
_AGAIN_S: Final = 30.0
# Seconds for a key, from the first try to connect to the last byte: under the tightest limit of a provider that is kept waiting for it.
_TIMEOUT_S: Final = 2.5
# Certificates and key sets have some kilobytes.
_MAX_BYTES: Final = 256 * 1024
# Bytes that are read at once.
_PIECE: Final = 16 * 1024
# Keys remembered: strangers can name addresses on the providers' hosts.
_REMEMBERED: Final = 100


class Fetcher(KeySource, Protocol):
    """Gets what providers publish. `fetch` and `visit` may block, or be coroutines."""

    def fetch(self, ref: KeyRef) -> object:
        """Get a key, so that `key` has it. Raises KeyUnavailable."""
        ...

    def visit(self, url: str) -> object:
        """GET a URL that a provider asked us to visit; true when it was answered 2xx."""
        ...


class _NoRedirects(HTTPRedirectHandler):
    """Refuses to be sent to other hosts."""

    def redirect_request(self, *args: object, **named: object) -> None:
        """No request follows: the redirect is the answer, and no 2xx."""


class HttpsFetcher:
    """A Fetcher over the standard library. Its methods but `key` block for some seconds at most."""

    def __init__(self, clock: Clock | None = None, context: ssl.SSLContext | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[bytes, float]] = {}
        self._failed: dict[str, float] = {}
        # Handlers of https:// alone: nothing else can be opened, whatever asks for it.
        self._opener = OpenerDirector()
        for handler in (InTime(context, self._deadline), _NoRedirects()):
            self._opener.add_handler(handler)

    def key(self, ref: KeyRef) -> bytes:
        """The key, if it was fetched lately. Raises KeyUnavailable."""
        body, fetched_s = self._kept.get(ref.url, (b"", 0.0))
        age_s = self._clock.monotonic_s() - fetched_s
        if not body or age_s >= _FRESH_S:
            raise KeyUnavailable(ref)
        # Whether the set really has the key is for the verifier to say.
        if ref.form == "jwks" and ref.key_id.encode("utf-8", "surrogatepass") not in body and age_s >= _AGAIN_S:
            raise KeyUnavailable(ref)
        return body

    def fetch(self, ref: KeyRef) -> None:
        """Get a key; one at a time. Raises KeyUnavailable."""
        # Strangers can name addresses that do not answer: nobody waits behind them for longer than for an answer.
        if not self._lock.acquire(timeout=_TIMEOUT_S):
            raise KeyUnavailable(ref)
        try:
            self._fetch(ref)
        finally:
            self._lock.release()

    def _fetch(self, ref: KeyRef) -> None:
        now_s = self._clock.monotonic_s()
        if self._failed.get(ref.url, 0.0) > now_s:
            raise KeyUnavailable(ref)
        try:
            self.key(ref)
            return
        except KeyUnavailable:
            pass  # nobody else has got it while this one waited
        body = self._get(ref.url)
        remembered: dict[str, float] | dict[str, tuple[bytes, float]] = self._failed if not body else self._kept
        if len(remembered) >= _REMEMBERED:
            remembered.pop(next(iter(remembered)))
        if not body:
            self._failed[ref.url] = now_s + _FAILED_S
            raise KeyUnavailable(ref)
        self._kept[ref.url] = (body, now_s)

    def visit(self, url: str) -> bool:
        """GET a URL; was it answered 2xx?"""
        return self._get(url) is not None

    def _deadline(self) -> Left:
        until_s = self._clock.monotonic_s() + _TIMEOUT_S

        def left() -> float:
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0:
                raise TimeoutError("the provider took too long")
            return left_s

        return left

    def _get(self, url: str) -> bytes | None:
        try:
            self._opener.addheaders = [("user-agent", f"ringback/{__version__}")]
            answer = self._opener.open(url)
            if answer is None:
                return None
            with answer:
                return self._body(answer) if 200 <= answer.status < 300 else None
        except (URLError, OSError, ValueError, HTTPException):
            return None

    def _body(self, answer: HTTPResponse) -> bytes | None:
        """All of an answer's body; None when it is too large, or broke off."""
        body = bytearray()
        while len(body) <= _MAX_BYTES and (piece := answer.read1(_PIECE)):
            body += piece
        return bytes(body) if len(body) <= _MAX_BYTES and not answer.length else None
