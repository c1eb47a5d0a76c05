"""How does an ASGI server reach a receiver? As an application, alone or mounted in another (Starlette, FastAPI, Litestar, Quart)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import msgspec

from ringback.receiver.body import Body, TooLargeError, length_of
from ringback.receiver.event import Reply
from ringback.receiver.receiving import Receiver
from ringback.receiver.work import Worker
from ringback.signing.headers import Headers

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

# Seconds for a body to arrive: one of the default limit takes 17 s at 1 Mbit/s.
BODY_TIMEOUT_S: Final = 30.0

# No receiver is at that path.
_NOT_FOUND: Final = Reply(404)


class ClientGoneError(Exception):
    """There is nobody to answer."""


class ReceiverApp:
    """An ASGI application: one receiver at every path that reaches it, or several, each at its own path; 404 elsewhere.

    Run by itself it starts `worker` with the server and stops it with it; mounted, the outer application has to.
    """

    def __init__(
        self, receivers: Receiver | Mapping[str, Receiver], *, worker: Worker | None = None, body_timeout_s: float = BODY_TIMEOUT_S
    ) -> None:
        self._alone = receivers if isinstance(receivers, Receiver) else None
        self._by_path = {} if isinstance(receivers, Receiver) else dict(receivers)
        self._worker = worker
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live as long as the server does."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            receiver = self._alone or self._by_path.get(_path(scope))
            try:
                reply = _NOT_FOUND if receiver is None else await answer(receiver, scope, receive, body_timeout_s=self._body_timeout_s)
            except ClientGoneError:
                return
            try:
                await _send(send, reply, without_body=scope["method"] == "HEAD")
            except OSError:
                pass  # the sender went away, as servers tell by this: what was done stays done
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        running: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._worker is not None:
                    running = asyncio.create_task(self._worker.run())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._worker is not None and running is not None:
                    self._worker.stop()
                    await running
                await send({"type": "lifespan.shutdown.complete"})
                return


async def answer(receiver: Receiver, scope: Scope, receive: Receive, *, body_timeout_s: float = BODY_TIMEOUT_S) -> Reply:
    """What to answer to an ASGI request. Raises ClientGoneError."""
    headers = Headers(scope["headers"], lowered=True)
    lengths = headers.all(b"content-length")
    early = receiver.refusal(scope["method"], length_of(lengths[0].decode("latin-1")) if lengths else None)
    if early is not None:
        return _closing(early)
    try:
        async with asyncio.timeout(body_timeout_s):
            body = await read(receive, receiver.max_body_bytes)
    except TooLargeError:
        return _closing(receiver.too_large())
    except TimeoutError:
        return _closing(receiver.too_slow())
    return await receiver.handle_async(receiver.request(headers, body, scope["method"], url_of(scope, headers)))


def _closing(reply: Reply) -> Reply:
    """A reply to a request whose body was not read to its end: nothing on the connection can be read after it."""
    return msgspec.structs.replace(reply, headers=(*reply.headers, ("connection", "close")))


async def read(receive: Receive, limit: int) -> bytes:
    """The body of a request. Raises TooLargeError, ClientGoneError."""
    body = Body(limit)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        body.add(message.get("body", b""))
        if not message.get("more_body", False):
            return body.whole()


def url_of(scope: Scope, headers: Headers) -> bytes:
    """The URL that was called, as far as the server knows: behind a proxy the receiver must be given the public one."""
    hosts = headers.all(b"host")
    raw: bytes | None = scope.get("raw_path")
    path = quote(str(scope["path"]), safe="/:;,=@!$&'()*+~", errors="surrogatepass").encode() if raw is None else raw.partition(b"?")[0]
    query = scope.get("query_string", b"")
    return b"".join((str(scope.get("scheme", "http")).encode(), b"://", hosts[0] if hosts else b"", path, b"?" if query else b"", query))


def _path(scope: Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(root) else path


def fields_of(reply: Reply) -> list[tuple[bytes, bytes]]:
    """The headers of a reply, as servers want them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in reply.fields()]


async def _send(send: Send, reply: Reply, *, without_body: bool) -> None:
    await send({"type": "http.response.start", "status": reply.status, "headers": fields_of(reply)})
    await send({"type": "http.response.body", "body": b"" if without_body else reply.body})
