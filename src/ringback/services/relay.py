"""Who listens, and what became of a request that was handed to a listener? One seat for each token, in memory: a relay lives as its socket.

Wire format: the HTTP contract, section 14. A listener is a stranger too: what it sends is bounded, and what cannot be read is skipped.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from ringback.errors import RingbackError
from ringback.model.quarantine import CapturedRequest
from ringback.policy.bins import Header, RelayAnswer, answer_headers, event_headers, has_body, is_final, relay_token

# The version of the wire format.
VERSION: Final = 1
# The reason that clients look for when their token is taken; they make another then.
IN_USE: Final = "This socket is already in use"
# Requests that may wait for one listener, and for all: each holds a connection of a stranger for up to 35 s.
WAITING_PER_SEAT: Final = 256
_WAITING: Final = 1_024
# Bytes of requests on their way to one listener that does not read: three of the largest.
_UNSENT_BYTES: Final = 8 * 1024 * 1024

_GONE: Final = ("relay_gone", "the listener went away before it answered")
# Decoding more base64 than this would hold the loop for half a millisecond.
_OFF_LOOP_CHARS: Final = 262_144

_Send = Callable[[str], Awaitable[None]]


class Timing(msgspec.Struct, frozen=True):
    """How long each side has, seconds. Source: the HTTP contract, section 14."""

    start_s: float = 10.0
    # The client gives its own server 30 s.
    answer_s: float = 35.0
    ping_s: float = 20.0
    # Two pings unanswered at most: 20 and 20 s are below the 45 in which a dead socket must free its token.
    pong_s: float = 20.0
    # What a client that ends its connection in order gets to say so.
    close_s: float = 5.0
    # How long requests may still be answered once the server is asked to end.
    drain_s: float = 5.0


class BadStart(RingbackError):
    """A first message that is none; the text goes back as the reason of the close."""


class NoAnswer(RingbackError):
    """A listener was asked and gave none; `status` is what the sender gets."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class _Started(msgspec.Struct, frozen=True):
    token: str


class _Frame(msgspec.Struct, frozen=True):
    """What every frame has. `data` is read once the type is known."""

    type: str
    version: int
    data: msgspec.Raw


class _StartFrame(msgspec.Struct, frozen=True):
    data: _Started
    type: Literal["start"] = "start"
    version: int = VERSION


class _Event(msgspec.Struct, frozen=True):
    id: str
    method: str
    headers: dict[str, str]
    body: str


class _EventFrame(msgspec.Struct, frozen=True):
    data: _Event
    type: Literal["event"] = "event"
    version: int = VERSION


class Relayed(msgspec.Struct, frozen=True):
    """An answer of a listener that may be sent on."""

    status: int
    headers: tuple[Header, ...]
    body: bytes


_frames: Final = msgspec.json.Decoder(_Frame)
_starts: Final = msgspec.json.Decoder(_Started)
_answers: Final = msgspec.json.Decoder(RelayAnswer)


def read_start(message: bytes | str) -> str:
    """The token that a first message asks for, as it will be given. Raises BadStart."""
    try:
        frame = _frames.decode(message)
    except (msgspec.DecodeError, RecursionError):
        raise BadStart("The first message must be a start message") from None
    if frame.type != "start":
        raise BadStart("The first message must be a start message")
    if frame.version != VERSION:
        raise BadStart(f"Version {VERSION} is spoken here")
    try:
        token = relay_token(_starts.decode(frame.data).token)
    except (msgspec.DecodeError, RecursionError):
        raise BadStart("The start message has no token") from None
    if token is None:
        raise BadStart("A token is c_ and 10 or more characters of 0-9 A-Z a-z")
    return token


def start_message(token: str) -> str:
    """What a listener is told once it has its token."""
    return msgspec.json.encode(_StartFrame(_Started(token))).decode()


def event_message(item_id: str, request: CapturedRequest) -> str:
    """A request as a listener gets it."""
    body = base64.b64encode(request.body or b"").decode()
    return msgspec.json.encode(_EventFrame(_Event(item_id, request.method, event_headers(request.headers), body))).decode()


def read_answer(message: bytes | str) -> RelayAnswer | None:
    """The answer in a message; None for everything else, which is skipped."""
    try:
        frame = _frames.decode(message)
        return _answers.decode(frame.data) if frame.type == "event" else None
    except (msgspec.DecodeError, RecursionError):
        return None


def relayed(answer: RelayAnswer) -> Relayed:
    """An answer as it may be sent on. Raises NoAnswer (502) when it cannot be."""
    if not is_final(answer.status):
        raise NoAnswer(502, "relay_bad_answer", f"the listener answered with status {answer.status}, which is none")
    try:
        body = base64.b64decode(answer.body, validate=True)
        headers = answer_headers(answer.headers)
    except (binascii.Error, ValueError) as error:
        text = "has a body that is not base64" if isinstance(error, binascii.Error) else str(error)
        raise NoAnswer(502, "relay_bad_answer", f"the listener's answer {text}") from error
    return Relayed(answer.status, headers, body if has_body(answer.status) else b"")


class Seat:
    """A listener: its token, and the requests that wait for its answers."""

    __slots__ = ("_free", "_send", "_unsent_bytes", "leaving", "token", "waiting")

    def __init__(self, token: str, send: _Send) -> None:
        self.token = token
        self.leaving = False
        self.waiting: dict[str, asyncio.Future[RelayAnswer]] = {}
        self._send = send
        # One message at a time, so that what a slow listener has not read waits here, counted, and not in its connection.
        self._free = asyncio.Lock()
        self._unsent_bytes = 0

    def has_room(self, size: int) -> bool:
        """May a request of that many bytes be handed over?"""
        return len(self.waiting) < WAITING_PER_SEAT and self._unsent_bytes + size <= _UNSENT_BYTES

    async def say(self, message: str) -> None:
        """Send a message. Raises OSError when the connection is gone."""
        self._unsent_bytes += len(message)
        try:
            async with self._free:
                await self._send(message)
        finally:
            self._unsent_bytes -= len(message)

    def told(self, answer: RelayAnswer) -> None:
        """An answer came. One to a request that nobody waits for any more is skipped."""
        future = self.waiting.get(answer.id)
        if future is not None and not future.done():
            future.set_result(answer)

    def fail(self, code: str, detail: str) -> None:
        """No answer will come to what still waits."""
        for future in self.waiting.values():
            if not future.done():
                # One for each: an exception remembers every place that raised it.
                future.set_exception(NoAnswer(502, code, detail))


class Relay:
    """All seats of one server. Belongs to one event loop."""

    def __init__(self, timing: Timing | None = None) -> None:
        self.timing = timing or Timing()
        self._seats: dict[str, Seat] = {}
        self._waiting = 0

    def listens(self, token: str) -> bool:
        """Is there a listener for this token?"""
        return token in self._seats

    def sit(self, token: str, send: _Send) -> Seat | None:
        """A seat for this token; None when it is taken."""
        if token in self._seats:
            return None
        seat = self._seats[token] = Seat(token, send)
        return seat

    def leave(self, seat: Seat) -> None:
        """The listener is gone: its token is free, and nothing that waits for it will be answered."""
        if self._seats.get(seat.token) is seat:
            del self._seats[seat.token]
        seat.fail(*_GONE)

    async def ask(self, token: str, item_id: str, message: str) -> Relayed:
        """Hand a request to the listener of a token and wait for its answer. Raises NoAnswer."""
        seat = self._seats.get(token)
        if seat is None or seat.leaving:
            raise NoAnswer(502, "relay_not_connected", "nobody listens for this token; start svix listen and send it again")
        if not seat.has_room(len(message)) or self._waiting >= _WAITING:
            raise NoAnswer(429, "rate_limited", "too many requests wait for this listener; try again")
        future: asyncio.Future[RelayAnswer] = asyncio.get_running_loop().create_future()
        seat.waiting[item_id] = future
        self._waiting += 1
        try:
            async with asyncio.timeout(self.timing.answer_s):
                await seat.say(message)
                answer = await future
        except TimeoutError:
            raise NoAnswer(504, "relay_timeout", f"the listener gave no answer within {self.timing.answer_s:.0f} s") from None
        except OSError:
            raise NoAnswer(502, *_GONE) from None
        finally:
            self._waiting -= 1
            del seat.waiting[item_id]
            if future.done() and not future.cancelled():
                # Seen, or Python would complain about an error that nobody fetched.
                future.exception()
        if len(answer.body) > _OFF_LOOP_CHARS:
            return await asyncio.to_thread(relayed, answer)
        return relayed(answer)
