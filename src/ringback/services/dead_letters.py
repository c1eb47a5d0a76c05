"""What can be done with deliveries that nobody will attempt again? They are listed, replayed by hand, and discarded.

Replaying gives a delivery one manual attempt. Its dead letter goes when that succeeds, and stays otherwise. Both replay and discard work in
short transactions, so that a hundred thousand letters hold up nobody; what a crash interrupts is done in part, and can be asked for again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound
from ringback.model.deliveries import DeadLetter
from ringback.policy.paging import Page, Walk
from ringback.policy.windows import between
from ringback.services.applications import find
from ringback.services.ports import Handoff
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import dead_letter_groups, dead_letters, endpoints
from ringback.store.operations.dead_letter_groups import Group as Group
from ringback.store.operations.dead_letters import Chosen, Scope, Step
from ringback.store.operations.dead_letters import Share as Share

# Letters in one transaction: 200 take 2 to 4 ms, on the event loop.
STEP: Final = 200
# Letters counted in one query: 10,000 take some 30 ms of a reader.
COUNT_STEP: Final = 10_000
# Letters in one request: 100,000 take some seconds, which a client waits; the answer says how to go on.
MAX_LETTERS: Final = 100_000


class Picked(msgspec.Struct, frozen=True):
    """Which dead letters are meant: those that fit all that is given. `after` is the id of a letter behind which to go on.

    `endpoint_id` is that of an endpoint, deleted or not; of one application it may be the uid of a live one.
    """

    endpoint_id: str | None = None
    event_types: tuple[str, ...] = ()
    since_us: int | None = None
    until_us: int | None = None
    cause: str | None = None
    ids: tuple[str, ...] | None = None
    after: str | None = None


class Done(msgspec.Struct, frozen=True):
    """What a bulk action did: letters acted on, letters that cannot be replayed now, and letters left, to go on with after `iterator`."""

    count: int
    skipped: int
    remaining: int
    iterator: str | None


class DeadLetters:
    """The dead letters of every organisation; one request acts on `most` at the most.

    `app` is the id or uid of an application, None = the whole organisation of the caller.
    """

    def __init__(self, store: Store, clock: Clock, handoff: Handoff, most: int = MAX_LETTERS) -> None:
        self._most = most
        self._store = store
        self._clock = clock
        self._handoff = handoff

    async def page(self, who: Principal, app: str | None, walk: Walk, picked: Picked) -> Page[DeadLetter]:
        """One page of dead letters, the newest first. Raises NotFound."""
        walk = between(ids.DEAD_LETTER, walk, picked.since_us, picked.until_us)
        return await self._store.read(lambda tx: dead_letters.listed(tx, scope_of(tx, who, app, picked), walk, chosen_of(picked)))

    async def get(self, who: Principal, app: str | None, dead_letter_id: str) -> DeadLetter:
        """One dead letter. Raises NotFound."""

        def query(tx: Transaction) -> DeadLetter:
            app_id = None if app is None else find(tx, who, app).id
            letter = dead_letters.get(tx, dead_letter_id)
            if letter is None or letter.org_id != who.org_id or app_id not in (None, letter.app_id):
                raise NotFound
            return letter

        return await self._store.read(query)

    async def groups(self, who: Principal, app: str | None) -> list[Group]:
        """How many there are, by endpoint and cause, the most first. Costs nothing, however many there are. Raises NotFound."""

        def query(tx: Transaction) -> list[Group]:
            return dead_letter_groups.of_organisation(tx, who.org_id, None if app is None else find(tx, who, app).id)

        return await self._store.read(query)

    async def spread(self, who: Principal, app: str | None, picked: Picked) -> list[Share]:
        """Of which endpoints the picked letters are, the most first. Raises NotFound."""
        scope, chosen = await self._prepared(who, app, picked)
        now_us = self._clock.now_us()
        rest: Walk | None = msgspec.structs.replace(oldest_first(picked, now_us), limit=COUNT_STEP)
        found: dict[str, Share] = {}
        while rest is not None:
            shares, rest = await self._store.read(lambda tx, at=rest: dead_letters.spread(tx, scope, at, chosen, now_us))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            for share in shares:
                former = found.get(share.endpoint_id, Share(share.endpoint_id, share.app_id, 0, 0))
                found[share.endpoint_id] = Share(
                    share.endpoint_id, share.app_id, former.letters + share.letters, former.replayable + share.replayable
                )
        return sorted(found.values(), key=lambda share: -share.letters)

    async def replay(self, who: Principal, app: str | None, picked: Picked, *, dry_run: bool) -> Done:
        """Give each picked letter one manual attempt, the oldest first; letters of disabled endpoints and without payload are skipped.

        Raises NotFound, and StoreFailure when it could not go on.
        """
        scope, chosen = await self._prepared(who, app, picked)
        now_us = self._clock.now_us()
        walk = oldest_first(picked, now_us)
        if dry_run:
            return await self._walk(
                walk, COUNT_STEP, None, lambda w: self._store.read(lambda tx: dead_letters.try_replay(tx, scope, w, chosen, now_us))
            )

        async def step(walk: Walk) -> Step:
            due_us = self._clock.now_us()
            done = await self._store.write(lambda tx: dead_letters.replay(tx, scope, walk, chosen, due_us))
            for endpoint_id, app_id in done.woken:
                self._handoff.wake(endpoint_id, app_id, due_us)
            return done

        return await self._counted(scope, chosen, await self._walk(walk, STEP, self._most, step), walk)

    async def discard(self, who: Principal, app: str | None, picked: Picked, *, dry_run: bool) -> Done:
        """Take the picked letters off the lists for good; lanes that they blocked go on.

        Raises NotFound, and StoreFailure when it could not go on.
        """
        scope, chosen = await self._prepared(who, app, picked)
        walk = oldest_first(picked, self._clock.now_us())
        if dry_run:
            return Done(await self._store.read(lambda tx: dead_letters.count(tx, scope, walk, chosen)), 0, 0, None)

        async def step(walk: Walk) -> Step:
            done = await self._store.write(lambda tx: dead_letters.discard(tx, scope, walk, chosen))
            for endpoint_id, app_id in done.woken:
                self._handoff.wake(endpoint_id, app_id, self._clock.now_us())
            return done

        return await self._counted(scope, chosen, await self._walk(walk, STEP, self._most, step), walk)

    async def _prepared(self, who: Principal, app: str | None, picked: Picked) -> tuple[Scope, Chosen]:
        return await self._store.read(lambda tx: scope_of(tx, who, app, picked)), chosen_of(picked)

    @staticmethod
    async def _walk(walk: Walk, size: int, most: int | None, step: Callable[[Walk], Awaitable[Step]]) -> Done:
        """Step through a walk until it ends, or has met `most` letters."""
        rest: Walk | None = msgspec.structs.replace(walk, limit=size)
        count = skipped = 0
        while rest is not None and (most is None or count + skipped < most):
            done = await step(rest)
            count += done.count
            skipped += done.skipped
            rest = done.rest
        return Done(count, skipped, 0, None if rest is None else rest.above)

    async def _counted(self, scope: Scope, chosen: Chosen, done: Done, walk: Walk) -> Done:
        """The same, with the number of letters that are left."""
        if done.iterator is None:
            return done
        rest = msgspec.structs.replace(walk, above=done.iterator)
        remaining = await self._store.read(lambda tx: dead_letters.count(tx, scope, rest, chosen))
        return msgspec.structs.replace(done, remaining=remaining, iterator=done.iterator if remaining else None)


def scope_of(tx: Transaction, who: Principal, app: str | None, picked: Picked) -> Scope:
    """The narrowest scope of what is asked for, within what the caller may reach. Raises NotFound."""
    app_id = None if app is None else find(tx, who, app).id
    if picked.endpoint_id is not None:
        endpoint_id = picked.endpoint_id
        if app_id is not None:
            endpoint_id = endpoints.id_of_uid(tx, app_id, endpoint_id) or endpoint_id
        owner = dead_letters.owner(tx, endpoint_id)
        if owner is None or owner[0] != who.org_id or app_id not in (None, owner[1]):
            raise NotFound
        return Scope("endpoint_id", endpoint_id)
    return Scope("org_id", who.org_id) if app_id is None else Scope("app_id", app_id)


def chosen_of(picked: Picked) -> Chosen:
    """Which letters of a scope are meant."""
    return Chosen(picked.event_types, picked.cause, picked.ids)


def oldest_first(picked: Picked, now_us: int) -> Walk:
    """The walk along all that is meant. Letters that die from now on are not."""
    walk = Walk(STEP, descending=False) if picked.after is None else Walk(STEP, descending=False, above=picked.after)
    walk = between(ids.DEAD_LETTER, walk, picked.since_us, picked.until_us)
    # Ids tell time to some milliseconds: one that died a moment ago, as its caller may know, is among those of this instant.
    return msgspec.structs.replace(walk, below=min(walk.below, ids.end_id(ids.DEAD_LETTER, now_us)))
