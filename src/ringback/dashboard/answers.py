"""How does a reply go over the wire? Headers that keep a page to itself, compression, files, and streams of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from starlette.types import Receive, Send

from ringback.dashboard.assets import Asset

Header = tuple[bytes, bytes]

# Nothing from elsewhere, nothing inline, no frame around it, no form that leads away. htmx is told to need no more (templates/page.html).
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
SAFE: Final[tuple[Header, ...]] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not `no-referrer`: with that, browsers send `Origin: null` with our own forms.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
# What a page shows is kept nowhere: not in a proxy, not on the disk of a shared computer.
NOT_KEPT: Final[Header] = (b"cache-control", b"no-store")
_KEPT: Final[Header] = (b"cache-control", b"public, max-age=31536000, immutable")
_HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")
# Seconds between two signs of life on a stream: proxies cut what is silent for a minute.
BEAT_S: Final = 15.0
BEAT: Final = b": here\n\n"


async def send_body(send: Send, status: int, headers: Sequence[Header], body: bytes, *, without_body: bool = False) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *SAFE]})
    await send({"type": "http.response.body", "body": b"" if without_body else body})


async def send_html(send: Send, status: int, html: bytes, packed: bytes | None, more: Sequence[Header], *, without_body: bool) -> None:
    """Send a page, compressed if `packed` is given."""
    headers = [_HTML, NOT_KEPT, (b"vary", b"accept-encoding, cookie, hx-request"), *more]
    if packed is not None:
        headers.append((b"content-encoding", b"gzip"))
    await send_body(send, status, headers, html if packed is None else packed, without_body=without_body)


async def send_asset(send: Send, asset: Asset, *, packed: bool, without_body: bool) -> None:
    """Send a file that never changes under its name."""
    headers: list[Header] = [(b"content-type", asset.content_type.encode()), _KEPT, (b"vary", b"accept-encoding")]
    if packed:
        headers.append((b"content-encoding", b"gzip"))
    await send_body(send, 200, headers, asset.packed if packed else asset.plain, without_body=without_body)


async def send_parts(send: Send, headers: Sequence[Header], parts: AsyncIterator[bytes]) -> None:
    """Send what comes in parts. What breaks them off is raised, and the answer has no end then."""
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, NOT_KEPT, *SAFE]})
    async for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def send_stream(send: Send, receive: Receive, events: AsyncIterator[bytes], *, without_body: bool = False) -> None:
    """Send events until they end or nobody listens any more. What breaks them off on our side is raised once the answer has an end."""
    headers = [(b"content-type", b"text/event-stream"), NOT_KEPT, (b"x-accel-buffering", b"no"), *SAFE]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if without_body:
        await send({"type": "http.response.body", "body": b""})
        return
    sending = asyncio.ensure_future(_pump(send, events))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if not sending.cancelled():
        sending.result()


def event_of(html: str) -> bytes:
    """A piece of HTML as one event."""
    return b"".join(b"data: %b\n" % line.encode() for line in html.splitlines()) + b"\n"


async def _pump(send: Send, events: AsyncIterator[bytes]) -> None:
    try:
        async for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
    finally:
        await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
