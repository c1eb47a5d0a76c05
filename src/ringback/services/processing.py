"""What did the endpoint say to this event? Waiting for the answer of one delivery, and giving failed ones another try."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import RingbackError
from ringback.model.deliveries import AttemptStatus
from ringback.policy.heads import HEAD_END, header_fields
from ringback.policy.paging import Walk
from ringback.services.directory import Entry
from ringback.services.ports import Handoff
from ringback.store.base import Record, Store, Transaction
from ringback.store.operations import dead_letters, deliveries, messages, processing
from ringback.store.operations.dead_letters import Chosen, Scope, Step
from ringback.telemetry.events import SOURCE_ANSWER_CUT
from ringback.telemetry.log import log

# Endpoints of one application whose dead letters of one message are looked for; applications have a few.
_ENDPOINTS_MAX: Final = 100

# Headers of an endpoint's answer that are not given on: those of the connection, and those that the server writes itself.
_NOT_GIVEN_ON: Final = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "set-cookie", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Pair(msgspec.Struct, frozen=True, gc=False):
    """One message of an application on its way to one of its endpoints."""

    app_id: str
    endpoint_id: str
    message_id: str


class Spoken(msgspec.Struct, frozen=True, gc=False):
    """The answer of an endpoint that took a message: to be given to the provider as it is. `status` 0: none is to be expected any more."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


_NOTHING_MORE: Final = Spoken(0)
# Only a part of it was kept, which would be read as something else.
_CUT: Final = Spoken(0, body=b"cut")


class Outcomes:
    """Who waits for which delivery. Belongs to one event loop; implements what the engine tells (`told`)."""

    def __init__(self, store: Store, body_max: int = 20_000) -> None:
        """`body_max`: bytes of an answer that are kept, as deliveries have it."""
        self._store = store
        self._body_max = body_max
        self._waiting: dict[tuple[str, str], list[asyncio.Future[Spoken | None]]] = {}

    def told(self, record: Record) -> None:
        """An attempt was recorded."""
        if self._waiting:
            attempt = record.attempt
            spoken = None
            if attempt.status == AttemptStatus.SUCCESS:
                spoken = _spoken(attempt.code, attempt.response_head, attempt.response, self._body_max)
            elif attempt.status == AttemptStatus.CANCELED:
                # Its transformation wants it not sent: whoever waits need not send it again.
                spoken = _NOTHING_MORE
            for future in self._waiting.pop((attempt.endpoint_id, attempt.message_id), ()):
                if not future.done():
                    future.set_result(spoken)

    async def wait(self, pair: Pair, deadline_s: float) -> Spoken | None:
        """What the endpoint answered, once it has taken the message; None when it fails, or past the deadline. Raises StoreFailure."""
        future: asyncio.Future[Spoken | None] = asyncio.get_running_loop().create_future()
        key = (pair.endpoint_id, pair.message_id)
        self._waiting.setdefault(key, []).append(future)
        try:
            # Looked for after the registration: what is recorded in between is not missed.
            spoken = await self._store.read(lambda tx: _standing(tx, pair, self._body_max))
            if spoken is None:
                async with asyncio.timeout(deadline_s):
                    spoken = await future
            if spoken is _CUT:
                log(SOURCE_ANSWER_CUT, endpoint_id=pair.endpoint_id, message_id=pair.message_id)
            return spoken
        except TimeoutError:
            return None
        finally:
            others = self._waiting.get(key)
            if others is not None and future in others:
                others.remove(future)
                if not others:
                    del self._waiting[key]


class Requeue:
    """Gives a message another try when the provider sends its event again.

    What it tries: its dead letters, and at the endpoint whose answer is awaited also what rests between two attempts.
    """

    def __init__(self, store: Store, clock: Clock, handoff: Handoff) -> None:
        self._store = store
        self._clock = clock
        self._handoff = handoff
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, entry: Entry, message_id: str, awaited: str | None) -> None:
        """Begin; the sender is not kept waiting for it. `awaited` is the id or uid of the endpoint whose answer it waits for, if any."""
        task = asyncio.get_running_loop().create_task(self._again(entry, message_id, awaited))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, entry: Entry, message_id: str, awaited: str | None) -> None:
        try:
            await self._requeue(entry, message_id)
            for endpoint in entry.endpoints.values():
                if awaited is not None and awaited in (endpoint.id, endpoint.uid):
                    await self._hasten(Pair(entry.application.id, endpoint.id, message_id))
        except RingbackError:
            # The store has told the log; the provider will send the event again.
            return

    async def _requeue(self, entry: Entry, message_id: str) -> None:
        app_id, endpoint_ids = entry.application.id, list(entry.endpoints)[:_ENDPOINTS_MAX]
        letters = await self._store.read(lambda tx: processing.letters_of(tx, endpoint_ids, message_id))
        if not letters:
            return
        now_us = self._clock.now_us()

        def again(tx: Transaction) -> Step:
            walk = Walk(len(letters), descending=False)
            return dead_letters.replay(tx, Scope("app_id", app_id), walk, Chosen(ids=letters), now_us)

        step = await self._store.write(again)
        for endpoint_id, owner_id in step.woken:
            self._handoff.wake(endpoint_id, owner_id, now_us)

    async def _hasten(self, pair: Pair) -> None:
        """One attempt now, beside the schedule, of what failed and waits for its next one: the provider is on the line."""
        now_us = self._clock.now_us()

        def add(tx: Transaction) -> int | None:
            message = messages.find(tx, pair.app_id, pair.message_id, now_us, content=False)
            if message is None or message.payload is None or not processing.is_resting(tx, pair.endpoint_id, pair.message_id, now_us):
                return None
            return deliveries.add_manual(tx, pair.endpoint_id, message, now_us).due_at

        if await self._store.read(lambda tx: processing.is_resting(tx, pair.endpoint_id, pair.message_id, now_us)):
            due_at = await self._store.write(add)
            if due_at is not None:
                self._handoff.wake(pair.endpoint_id, pair.app_id, due_at)


def _standing(tx: Transaction, pair: Pair, body_max: int) -> Spoken | None:
    """What has been answered already; None while an answer is still to be expected."""
    row = processing.taken_by(tx, pair.endpoint_id, pair.message_id)
    if row is not None:
        return _spoken(row[0], row[1], row[2], body_max)
    if processing.is_unfinished(tx, pair.app_id, pair.endpoint_id, pair.message_id):
        return None
    # A person discarded it, or the endpoint was not there when it came.
    return _NOTHING_MORE


def _spoken(status: int, head: bytes, body: bytes | None, body_max: int) -> Spoken:
    body = body or b""
    if not head.endswith(HEAD_END):
        # It is longer than what is kept of it: its last line may be half of one.
        head = head.rpartition(b"\r\n")[0]
    fields = [(name.lower(), value) for name, value in header_fields(head)]
    length = next((value for name, value in fields if name == "content-length"), None)
    if str(len(body)) != length if length is not None else body and len(body) >= body_max:
        return _CUT
    headers = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in fields if name not in _NOT_GIVEN_ON)
    return Spoken(status, headers, body)
