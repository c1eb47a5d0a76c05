"""What is the sender told? The answers of the door for providers, which tell strangers nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.errors import RingbackError, Unavailable
from ringback.model.sources import CannedAnswer
from ringback.policy.sources import queried
from ringback.services.gateway import Ready

Header = tuple[bytes, bytes]

_JSON: Final = (b"content-type", b"application/json")
_CLOSE: Final = (b"connection", b"close")
_CACHED: Final = b"cache-control"
# Answers that have no body (RFC 9110, 15.3.5 and 15.3.6).
_WITHOUT_BODY: Final = (204, 205)


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What goes back to the sender."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes = b""


# All that a stranger learns of a request that was not believed.
DENIED: Final = Reply(401)
OK: Final = Reply(200, (_JSON,), b"{}")
UNKNOWN: Final = Reply(404, (_JSON,), b'{"code":"not_found","detail":"Entity not found"}')
TOO_LARGE: Final = Reply(413, (_JSON, _CLOSE), b'{"code":"payload_too_large","detail":"The body is larger than this source takes"}')
TOO_SLOW: Final = Reply(408, (_JSON, _CLOSE), b'{"code":"request_timeout","detail":"The body did not arrive in time"}')
FAILED: Final = Reply(500, (_JSON,), b'{"code":"server_error","detail":"The server failed to answer; its log says why"}')


def unavailable(error: RingbackError) -> Reply:
    """The answer when nothing was kept: the provider shall send it again."""
    retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else 1
    retry = (b"retry-after", str(retry_after_s).encode())
    return Reply(503, (_JSON, retry), b'{"code":"unavailable","detail":"Not kept; send it again"}')


def canned(ready: Ready) -> Reply:
    """What the source answers to what it takes; `OK` itself unless the source says otherwise. Made once for a source."""
    reply: Reply | None = ready.reply
    if reply is None:
        reply = ready.reply = private(ready, OK if ready.answer is None else _made(ready.answer))
    return reply


def private(ready: Ready, reply: Reply) -> Reply:
    """The answer, for its sender alone where the secret may stand in the URL (CloudEvents HTTP webhook, 3.2)."""
    if reply.status >= 300 or not queried(ready.source) or any(name == _CACHED for name, _ in reply.headers):
        return reply
    return Reply(reply.status, (*reply.headers, (_CACHED, b"private")), reply.body)


def _made(answer: CannedAnswer) -> Reply:
    more = tuple((name.lower().encode(), value.encode()) for name, value in answer.headers.items())
    return framed(answer.status, answer.content_type, more, answer.body.encode())


def framed(status: int, content_type: str, more: tuple[Header, ...], body: bytes) -> Reply:
    """An answer with a body, where its status lets it have one."""
    if status in _WITHOUT_BODY:
        # A body after such a head would be read as the next answer.
        return Reply(status, more)
    headers: tuple[Header, ...] = ((b"content-type", content_type.encode()),) if content_type else ()
    return Reply(status, headers + more, body)
