"""What can be done with stored messages? They are read, listed, and their content is forgotten; `services.intake` accepts new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound
from ringback.model.messages import Message
from ringback.policy.paging import Page
from ringback.policy.windows import Ask, windowed
from ringback.services.applications import find
from ringback.services.masking import shown, shown_to
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import messages
from ringback.store.operations.messages import MessageFilter as MessageFilter

# Payloads forgotten in one transaction: some milliseconds, so that publishers do not wait for all of them.
_AT_ONCE: Final = 50


def find_message(tx: Transaction, app_id: str, reference: str, now_us: int, *, content: bool) -> Message:
    """The message of that id or eventId; without content its payload is empty, or None when it is gone. Raises NotFound."""
    message = messages.find(tx, app_id, reference, now_us, content=content)
    if message is None:
        raise NotFound
    return message


class Messages:
    """The messages of every application; each verb sees those that its caller may reach."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, who: Principal, app: str, ask: Ask, chosen: MessageFilter, *, content: bool) -> Page[Message]:
        """One page of an application's messages, the newest first. Raises NotFound."""
        now_us = self._clock.now_us()
        walk = windowed(ids.MESSAGE, ask, now_us)

        def query(tx: Transaction) -> Page[Message]:
            page = messages.listed(tx, find(tx, who, app).id, walk, chosen, now_us, content=content)
            return Page([shown_to(who, message) for message in page.items], page.done, page.stopped_at) if content else page

        return await self._store.read(query)

    async def get(self, who: Principal, app: str, reference: str, *, content: bool) -> Message:
        """One message. Raises NotFound."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: shown_to(who, find_message(tx, find(tx, who, app).id, reference, now_us, content=content)))

    async def whole(self, who: Principal, app: str, reference: str) -> Message:
        """One message as a delivery has it, with the headers that it was received with and where it came from. Raises NotFound."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Message:
            found = find_message(tx, find(tx, who, app).id, reference, now_us, content=False)
            (message,) = messages.whole(tx, found.app_id, (found.id,), now_us)
            return shown_to(who, message)

        return await self._store.read(query)

    async def seen(self, who: Principal, app: str, reference: str) -> Message:
        """One message as people see it: with its sensitive fields masked, whoever asks. Raises NotFound."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: shown(find_message(tx, find(tx, who, app).id, reference, now_us, content=True)))

    async def expunge(self, who: Principal, app: str, reference: str) -> None:
        """Forget what a message said; attempts that are still to be made will fail for it. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> None:
            message = find_message(tx, find(tx, who, app).id, reference, now_us, content=False)
            messages.expunge(tx, message.app_id, message.id)

        await self._store.write(operation)

    async def expunge_many(self, who: Principal, app: str, references: Sequence[str]) -> dict[str, bool]:
        """Forget what these messages said, as `expunge` does; whether each was found. Raises NotFound for the application."""
        await self._store.read(lambda tx: find(tx, who, app))
        found: dict[str, bool] = {}
        for start in range(0, len(references), _AT_ONCE):
            some = references[start : start + _AT_ONCE]
            found.update(await self._store.write(lambda tx, some=some: self._expunged(tx, who, app, some)))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        return found

    def _expunged(self, tx: Transaction, who: Principal, app: str, references: Sequence[str]) -> dict[str, bool]:
        app_id, now_us = find(tx, who, app).id, self._clock.now_us()
        found: dict[str, bool] = {}
        for reference in references:
            message = messages.find(tx, app_id, reference, now_us, content=False)
            if message is not None:
                messages.expunge(tx, app_id, message.id)
            found[reference] = message is not None
        return found
