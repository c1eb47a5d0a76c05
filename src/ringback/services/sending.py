"""How does a person send a message by hand? One message, compared with its schema like any other, and awaited until it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from ringback.clock import SECOND_US
from ringback.model.messages import Message
from ringback.services.directory import Directory
from ringback.services.intake import Answers, Intake, NewMessage
from ringback.services.payloads import Payloads
from ringback.services.tokens import Principal

# As long as a message of the API that says nothing else (contract, 3.4).
_LIFE_US: Final = 90 * 86_400 * SECOND_US
# A commit takes milliseconds; a disk that takes longer than this is of no use to anybody.
_DEADLINE_S: Final = 10.0


class Sending:
    """Sends messages in the name of a person."""

    def __init__(self, intake: Intake, directory: Directory, payloads: Payloads) -> None:
        self._intake = intake
        self._directory = directory
        self._payloads = payloads

    async def send(self, who: Principal, app: str, event_type: str, payload: bytes, only: Sequence[str] | None = None) -> Message:
        """Send a message to all endpoints that want it, or to those of `only` whatever they want.

        `event_type` and `payload` (a JSON object) must have been checked. Raises NotFound, InvalidField (the schema), Unavailable.
        """
        entry = await self._directory.find(who.org_id, app)
        if (who.org_id, event_type) in self._payloads.watched:
            await self._payloads.check(who.org_id, event_type, payload)
        done: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

        def accepted(message: Message) -> None:
            if not done.done():
                done.set_result(message)

        def refused(error: Exception) -> None:
            if not done.done():
                done.set_exception(error)

        self._intake.accept(entry, NewMessage(event_type, payload, _LIFE_US), None, Answers(accepted, lambda _: None, refused), only)
        async with asyncio.timeout(_DEADLINE_S):
            return await done
