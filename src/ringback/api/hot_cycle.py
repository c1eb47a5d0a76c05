"""One hot request, from its head to its answer: the publishing of a message without a task of its own."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from ringback.api.doorway import Doorway, Route
from ringback.api.problems import Problem, render
from ringback.api.publish import NOTHING, new_message
from ringback.api.render import render_message
from ringback.errors import InvalidField, RingbackError, Unavailable
from ringback.model.messages import Message
from ringback.services.directory import Entry
from ringback.services.idempotency import StoredAnswer
from ringback.services.intake import NewMessage
from ringback.services.tokens import Principal


class Door(Protocol):
    """The connection that a request came on."""

    loop: asyncio.AbstractEventLoop
    way: Doorway

    def answer(self, cycle: HotCycle, status: int, body: bytes, problem: Problem | None) -> None:
        """Write the answer of a hot request."""
        ...


class _NoEvent:
    """Nobody waits for a hot request's body: it is taken as it comes."""

    __slots__ = ()

    def set(self) -> None:
        """Nothing."""


_NO_EVENT: Final = _NoEvent()


class HotCycle:
    """One hot request: its body while it arrives, its answer when that is known. Has what uvicorn expects of a cycle."""

    __slots__ = (
        "answered",
        "chunks",
        "disconnected",
        "door",
        "entry",
        "keep_alive",
        "key",
        "principal",
        "request_id",
        "response_complete",
        "route",
        "running",
        "size",
        "timer",
        "waiter",
    )
    message_event = _NO_EVENT

    def __init__(
        self, door: Door, route: Route, principal: Principal, entry: Entry, key: bytes | None, request_id: bytes, keep_alive: bool
    ) -> None:
        self.door = door
        self.route = route
        self.principal = principal
        self.entry = entry
        self.key = key
        self.request_id = request_id
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.size = 0
        self.answered = self.running = self.disconnected = self.response_complete = False
        self.timer: asyncio.TimerHandle | None = None
        self.waiter: Any = None

    def run(self) -> None:
        """The body is complete: publish it."""
        self.running = True
        if self.key is None:
            self._publish()
            return
        flights = self.door.way.idempotency.flights
        if flights.begin(self.key):
            self._publish()
            return
        self.waiter = self._told
        if self.timer is None:
            self.timer = self.door.loop.call_later(self.door.way.wait_s, self._waited_enough)
        flights.wait(self.key, self.waiter)

    def _told(self, stored: StoredAnswer | None) -> None:
        self.waiter = None
        if self.answered:
            return
        if stored is None:
            self.run()
        else:
            self._answer(stored.status, stored.body)

    def _waited_enough(self) -> None:
        self.timer = None
        if self.waiter is not None and self.key is not None:
            self.door.way.idempotency.flights.leave(self.key, self.waiter)
            self.waiter = None
            text = "a request with this idempotency-key is still running; try again"
            self.refuse(Unavailable(text, code="idempotency_in_progress", retry_after_s=1))

    def _publish(self) -> None:
        publisher = self.door.way.publisher
        try:
            body = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
            new, _ = new_message(body, publisher.clock.now_us())
            if self.entry.stale or publisher.is_watched(self.principal.org_id, new):
                self.door.loop.create_task(self._publish_later(new))
                return
            publisher.intake.accept(self.entry, new, publisher.mark(self.key), self)
        except InvalidField as error:
            self._refuse_unless_repeated(error)
        except RingbackError as error:
            self.refused(error)

    def _refuse_unless_repeated(self, error: InvalidField) -> None:
        # A key that made a message before has its answer, whatever comes with it now.
        publisher = self.door.way.publisher
        try:
            publisher.intake.accept(self.entry, NOTHING, publisher.mark(self.key), self, refusal=error)
        except RingbackError as refusal:
            self.refused(refusal)

    async def _publish_later(self, new: NewMessage) -> None:
        # The application was changed between the head and the body of this request, or the payload must be compared with its schema.
        publisher, org_id = self.door.way.publisher, self.principal.org_id
        try:
            refusal = await publisher.refusal(org_id, new) if publisher.is_watched(org_id, new) else None
            entry = await publisher.directory.find(org_id, self.route.app_ref)
            publisher.intake.accept(entry, new, publisher.mark(self.key), self, refusal=refusal)
        except RingbackError as error:
            self.refused(error)

    def accepted(self, message: Message) -> None:
        """The message is durable."""
        body = render_message(message, self.route.with_content)
        if self.key is not None:
            self.door.way.idempotency.flights.finish(self.key, StoredAnswer(202, body))
        self._answer(202, body)

    def repeated(self, message_id: str) -> None:
        """The key made this message before."""
        self.door.loop.create_task(self._repeat(message_id))

    async def _repeat(self, message_id: str) -> None:
        try:
            message = await self.door.way.publisher.messages.get(self.principal, self.route.app_ref, message_id, content=True)
        except RingbackError as error:
            self.refused(error)
        else:
            self.accepted(message)

    def refused(self, error: Exception) -> None:
        """Nothing was kept."""
        if self.key is not None:
            self.door.way.idempotency.flights.finish(self.key, None)
        self.refuse(error if isinstance(error, RingbackError) else Unavailable("the message could not be stored; try again"))

    def refuse(self, error: RingbackError) -> None:
        """Answer with an error."""
        problem = render(error, self.request_id.decode("latin-1"))
        self._answer(problem.status, problem.body, problem)

    def _answer(self, status: int, body: bytes, problem: Problem | None = None) -> None:
        self.answered = True
        if self.timer is not None:
            self.timer.cancel()
        self.door.way.reader.give_back(self.size)
        self.chunks.clear()
        if not self.disconnected:
            self.door.answer(self, status, body, problem)
