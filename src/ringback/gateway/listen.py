"""How does a program on somebody's own machine get what comes to its token? A socket on which requests go out and answers come back.

Contract, section 14. The socket needs no token of the API: what it gets is only what was sent to a URL that its owner chose.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from ringback.services.relay import IN_USE, BadStart, Relay, Seat, Timing, read_answer, read_start, start_message

# The path of the socket; clients write the slash.
PATHS: Final = frozenset((b"/api/v1/listen", b"/api/v1/listen/"))
# Asks the listener's coroutine to end once nothing waits for it; sent by `gateway.sockets` when the server ends.
DRAIN: Final = "relay.drain"
# Codes of RFC 6455, 7.4.1: what the other side did wrong, and that this side restarts.
_POLICY, _RESTART = 1008, 1012
# Reading a larger message takes more of the loop's time than handing it to a thread.
_OFF_LOOP_BYTES: Final = 131_072


class Sockets(msgspec.Struct):
    """What the sockets of one server share: how long each side has, and how many are open."""

    timing: Timing
    open: int = 0


class _Closed(Exception):
    """The other side has gone."""


class Listening:
    """The ASGI application of the socket."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one socket until it ends."""
        await receive()
        try:
            await send({"type": "websocket.accept"})
            async with asyncio.timeout(self._relay.timing.start_s):
                token = read_start(await _message(receive))
            seat = self._relay.sit(token, _sender(send))
            if seat is None:
                raise BadStart(IN_USE)
        except TimeoutError:
            await _close(send, _POLICY, "The start message did not come in time")
        except BadStart as error:
            await _close(send, _POLICY, str(error))
        except (_Closed, OSError):
            return
        else:
            await self._serve(seat, receive, send)

    async def _serve(self, seat: Seat, receive: Receive, send: Send) -> None:
        try:
            await seat.say(start_message(seat.token))
            while not seat.leaving:
                await self._one(seat, receive)
            async with asyncio.timeout(self._relay.timing.drain_s):
                while seat.waiting:
                    await self._one(seat, receive)
        except TimeoutError:
            # Told apart from a listener that left. First, because it is an OSError as well.
            seat.fail("relay_gone", "the server is ending; send it again")
        except (_Closed, OSError):
            return
        finally:
            self._relay.leave(seat)
        await _close(send, _RESTART, "The server is ending")

    async def _one(self, seat: Seat, receive: Receive) -> None:
        """Take one message of the listener."""
        message = await receive()
        if message["type"] == DRAIN:
            seat.leaving = True
            return
        data = _data(message)
        answer = await asyncio.to_thread(read_answer, data) if len(data) > _OFF_LOOP_BYTES else read_answer(data)
        if answer is not None:
            seat.told(answer)
            # The request that waited for it takes itself off the list in its own turn.
            await asyncio.sleep(0)


def _sender(send: Send) -> Any:
    async def say(text: str) -> None:
        try:
            await send({"type": "websocket.send", "text": text})
        except RuntimeError as error:
            # What uvicorn raises when the socket is being closed.
            raise ConnectionResetError(str(error)) from error

    return say


async def _message(receive: Receive) -> bytes | str:
    message = await receive()
    if message["type"] == DRAIN:
        raise BadStart("The server is ending")
    return _data(message)


def _data(message: Any) -> bytes | str:
    if message["type"] != "websocket.receive":
        raise _Closed
    text: str | None = message.get("text")
    return text if text is not None else bytes(message.get("bytes") or b"")


async def _close(send: Send, code: int, reason: str) -> None:
    # A socket that is already gone has heard enough.
    with contextlib.suppress(OSError, RuntimeError):
        await send({"type": "websocket.close", "code": code, "reason": reason})
