"""How does a request get out of quarantine? A person mends the source and lets it in, one or many."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.errors import Conflict, Refused
from ringback.ids import end_id, start_id
from ringback.model.quarantine import Quarantined
from ringback.model.sources import Source, SourceSecret
from ringback.policy import sources as rules_of
from ringback.policy.paging import Page, Walk
from ringback.services.gateway import Ready
from ringback.services.judging import Refusal
from ringback.services.quarantine import PREFIX, Quarantine
from ringback.services.receiving import Receiver
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.signing.diagnosis import likely_causes
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.verdict import SIGNATURE_MISMATCH

# Requests looked at in one call: some hundred milliseconds of verifying and storing.
MAX_ITEMS: Final = 200


class Chosen(msgspec.Struct, frozen=True):
    """Which requests to let out: of this reason, received in this time (microseconds), after this one; None = any."""

    reason: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    after: str | None = None


class Left(msgspec.Struct, frozen=True):
    """What became of them. `refused` counts by reason; `iterator` is where to go on, None at the end."""

    released: int
    refused: dict[str, int]
    iterator: str | None


class Releases:
    """Lets requests out of quarantine."""

    def __init__(self, sources: Sources, quarantine: Quarantine, receiver: Receiver, clock: Clock) -> None:
        self._sources = sources
        self._quarantine = quarantine
        self._receiver = receiver
        self._clock = clock

    async def one(self, who: Principal, app_ref: str | None, source_ref: str, item_id: str, *, believe: bool) -> list[str]:
        """Let one out: the ids of its messages. Raises NotFound, and Refused with the reason when it is still not believed."""
        source = await self._sources.get(who, app_ref, source_ref)
        item = await self._quarantine.get(who, app_ref, source_ref, item_id)
        outcome = await self._receiver.release(self._ready(source), item, believe=believe)
        if isinstance(outcome, Refusal):
            raise Refused("still_refused", f"{outcome.reason}: {outcome.detail}", 409)
        return outcome

    async def many(self, who: Principal, app_ref: str | None, source_ref: str, chosen: Chosen, *, believe: bool) -> Left:
        """Let out those that can be believed now, the oldest first. Raises NotFound, and Unavailable when it could not go on."""
        source = await self._sources.get(who, app_ref, source_ref)
        ready = self._ready(source)
        page = await self._page(who, app_ref, source_ref, chosen)
        released, refused = 0, dict[str, int]()
        for item in page.items:
            reason = await self._let_out(ready, item, believe)
            if reason is None:
                released += 1
            else:
                refused[reason] = refused.get(reason, 0) + 1
        return Left(released, refused, None if page.done else page.items[-1].id)

    async def preview(self, who: Principal, app_ref: str | None, source_ref: str, chosen: Chosen, *, believe: bool) -> Left:
        """What `many` would do, as far as it goes in one call; nothing is changed. Raises NotFound, and Unavailable."""
        source = await self._sources.get(who, app_ref, source_ref)
        ready = self._ready(source)
        page = await self._page(who, app_ref, source_ref, chosen)
        released, refused = 0, dict[str, int]()
        for item in page.items:
            decision = await self._receiver.would_release(ready, item, believe=believe)
            if isinstance(decision, Refusal):
                refused[decision.reason] = refused.get(decision.reason, 0) + 1
            else:
                released += 1
            # Others have their turn between two signatures.
            await asyncio.sleep(0)
        return Left(released, refused, None if page.done else page.items[-1].id)

    async def _page(self, who: Principal, app_ref: str | None, source_ref: str, chosen: Chosen) -> Page[Quarantined]:
        above = chosen.after or (start_id(PREFIX, chosen.since_us) if chosen.since_us is not None else "")
        # What comes in from now on is not meant.
        below = end_id(PREFIX, self._clock.now_us() if chosen.until_us is None else chosen.until_us)
        walk = Walk(MAX_ITEMS, descending=False, above=above, below=below)
        return await self._quarantine.page(who, app_ref, source_ref, walk, chosen.reason)

    async def causes(self, source: Source, item: Quarantined) -> list[str]:
        """The usual mistakes that would explain why the signature does not match; empty when none does, or nothing was signed."""
        captured, verification, now_us = item.request, source.verification, self._clock.now_us()
        if item.reason != SIGNATURE_MISMATCH or captured.body is None:
            return []
        request = InboundRequest(Headers(captured.headers, lowered=True), captured.body, captured.method.encode("latin-1"), captured.url)

        def prepare(secrets: Sequence[Secret]) -> Verifier:
            given = tuple(SourceSecret(secret.text, secret.encoding) for secret in secrets)
            changed = msgspec.structs.replace(verification, verify="signature", secrets=given, tolerance_s=math.inf)
            verifier = rules_of.make_verifier(source.type, changed, now_us)
            if verifier is None:
                raise ValueError("nothing is verified")
            return verifier

        secrets = [Secret(secret.text, secret.encoding) for secret in rules_of.active(verification.secrets, now_us)]
        # Some twenty verifications of up to a megabyte: too long for the loop.
        return await asyncio.to_thread(likely_causes, prepare, secrets, request, now_s=0)

    async def _let_out(self, ready: Ready, item: Quarantined, believe: bool) -> str | None:
        outcome = await self._receiver.release(ready, item, believe=believe)
        return outcome.reason if isinstance(outcome, Refusal) else None

    def _ready(self, source: Source) -> Ready:
        try:
            return Ready(source, self._clock.now_us())
        except ValueError as error:
            raise Conflict(f"the source cannot verify anything: {error}") from None
