"""How does a FastAPI application take webhooks? By a router around a receiver, or by a dependency of a route that handles events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, HTTPException, Request, Response

from ringback.errors import Unavailable, VerificationError
from ringback.receiver import asgi
from ringback.receiver.body import Body, TooLargeError
from ringback.receiver.event import Event
from ringback.receiver.receiving import Receiver
from ringback.signing.headers import Headers

# Handshakes ask with the others.
METHODS = ["GET", "HEAD", "OPTIONS", "POST"]


def router(receiver: Receiver, path: str, *, include_in_schema: bool = False) -> APIRouter:
    """A router with the receiver at a path: `app.include_router(router(stripe, "/webhooks/stripe"))`."""
    made = APIRouter()

    async def receive(request: Request) -> Response:
        try:
            reply = await asgi.answer(receiver, request.scope, request.receive)
        except asgi.ClientGoneError:
            return Response(status_code=400)
        response = Response(reply.body, reply.status)
        # As they are: a header may come twice, and a text has its charset already.
        response.raw_headers = asgi.fields_of(reply)
        return response

    made.add_api_route(path, receive, methods=METHODS, include_in_schema=include_in_schema, name=f"receive {receiver.name}")
    return made


def verified(receiver: Receiver) -> Callable[[Request], Awaitable[Event]]:
    """A dependency that gives the verified event: `event: Annotated[Event, Depends(verified(stripe))]`.

    It answers 401, 408 and 413 itself, and 503 where the provider's key cannot be had. Handshakes, handlers, the inbox and the queue are
    the router's: the route does all else.
    """

    async def dependency(request: Request) -> Event:
        body = Body(receiver.max_body_bytes)
        try:
            async with asyncio.timeout(asgi.BODY_TIMEOUT_S):
                async for piece in request.stream():
                    body.add(piece)
        except TooLargeError:
            raise HTTPException(receiver.too_large().status) from None
        except TimeoutError:
            raise HTTPException(receiver.too_slow().status) from None
        except Exception:
            if not await request.is_disconnected():
                raise
            # There is nobody to answer.
            raise HTTPException(400) from None
        try:
            headers = Headers(request.headers.raw, lowered=True)
            url = asgi.url_of(request.scope, headers).decode("latin-1")
            return await receiver.verify_async(headers, body.whole(), request.method, url)
        except VerificationError:
            raise HTTPException(401) from None
        except Unavailable as error:
            raise HTTPException(503, headers={"retry-after": str(error.retry_after_s)}) from None

    return dependency
