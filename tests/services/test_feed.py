"""What is happening right now? Watchers of the live feed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringback.errors import Unavailable
from ringback.model.attempts import Attempt, Phases
from ringback.model.deliveries import DeadLetter, Delivery
from ringback.model.messages import Message
from ringback.services.feed import KEPT, LiveFeed, Slice, Watched
from ringback.store.base import Record
from tests.waiting import DEADLINE_S, until


def message(number: int, app_id: str = "app_1", event_type: str = "order.created") -> Message:
    return Message(f"msg_{number:06}", app_id, event_type, b"{}", number, number, matched=1)


def record(number: int, status: int = 0, *, dead: bool = False) -> Record:
    made = Attempt("atmpt_1", "app_1", "ep_1", f"msg_{number:06}", "", 1, status, 0, 200, 0, 5, None, "", "", Phases(), b"", b"", b"", 1)
    letter = DeadLetter("dead_1", "org_1", "app_1", "ep_1", made.message_id, "order.created", "http_500", "", 1, 1, 0) if dead else None
    return Record(Delivery("ep_1", made.message_id, "app_1", 0, 1), made, dead=letter)


EVERYTHING = Watched("org_1", lambda app_id: app_id == "app_1")


class Watching:
    """Somebody who watches; `slices` grows with what comes."""

    def __init__(self, feed: LiveFeed, watched: Watched = EVERYTHING, beat_s: float = DEADLINE_S) -> None:
        self.slices: list[Slice | None] = []
        self.task = asyncio.ensure_future(self._watch(feed, watched, beat_s))

    async def _watch(self, feed: LiveFeed, watched: Watched, beat_s: float) -> None:
        async for piece in feed.watch(watched, beat_s):
            self.slices.append(piece)

    @property
    def shown(self) -> list[str]:
        return [f"{h.kind} {h.event_type}" for piece in self.slices if piece for h in piece.shown]


def run(scenario: Any) -> None:
    asyncio.run(scenario())


def test_messages_and_attempts_are_told_as_they_come() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        watching = Watching(feed)
        await asyncio.sleep(0)
        feed.accepted(message(1))
        await until(lambda: watching.shown == ["accepted order.created"])
        feed.attempted(record(1))
        feed.attempted(record(1, 2))
        feed.attempted(record(1, 2, dead=True))
        feed.attempted(record(1, 4))
        await until(lambda: len(watching.shown) == 5)
        assert watching.shown[1:] == [f"{kind} order.created" for kind in ("cancelled", "dead", "failed", "delivered")], "the newest first"
        feed.close()
        await watching.task

    run(scenario)


def test_what_comes_faster_than_anybody_reads_is_counted_and_not_kept() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        watching = Watching(feed)
        await asyncio.sleep(0)
        for number in range(10_000):
            feed.accepted(message(number))
        await until(lambda: watching.slices)
        (piece,) = watching.slices
        assert piece is not None and piece.seen == 10_000 and len(piece.shown) == KEPT
        assert piece.shown[0].message_id == "msg_009999"
        feed.close()
        await watching.task

    run(scenario)


def test_a_watcher_sees_only_what_was_asked_for() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        of_app = Watching(feed, Watched("org_1", lambda _: True, "app_2"))
        of_type = Watching(feed, Watched("org_1", lambda app_id: app_id == "app_1", None, ("ticket.updated",)))
        of_kind = Watching(feed, Watched("org_1", lambda app_id: app_id == "app_1", None, (), ("failed",)))
        await asyncio.sleep(0)
        feed.accepted(message(1, "app_2"))
        feed.accepted(message(2, event_type="ticket.updated"))
        feed.attempted(record(2, 2))
        await until(lambda: len(of_type.shown) == 2 and of_app.shown and of_kind.shown)
        assert of_app.shown == ["accepted order.created"]
        assert of_type.shown == ["failed ticket.updated", "accepted ticket.updated"]
        assert of_kind.shown == ["failed ticket.updated"]
        feed.close()
        await asyncio.gather(of_app.task, of_type.task, of_kind.task)

    run(scenario)


def test_nothing_is_remembered_while_nobody_watches() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        feed.accepted(message(1))
        watching = Watching(feed)
        await asyncio.sleep(0)
        feed.attempted(record(1))
        await until(lambda: watching.slices)
        assert watching.shown == ["delivered "], "its type came before anybody watched"
        feed.close()
        await watching.task
        assert feed.watchers == 0

    run(scenario)


def test_a_quiet_feed_gives_signs_of_life() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        watching = Watching(feed, beat_s=0.01)
        await until(lambda: len(watching.slices) >= 2)
        assert set(watching.slices) == {None}
        feed.close()
        await watching.task

    run(scenario)


def test_so_many_may_watch_and_no_more() -> None:
    async def scenario() -> None:
        feed = LiveFeed()
        many = [Watching(feed) for _ in range(25)]
        await until(lambda: feed.watchers == 25)
        with pytest.raises(Unavailable):
            feed.admit("org_1")
        others = [Watched(f"org_{2 + number % 3}", lambda _: True) for number in range(75)]
        many += [Watching(feed, watched) for watched in others]
        await until(lambda: feed.watchers == 100)
        with pytest.raises(Unavailable):
            feed.admit("org_9")
        with pytest.raises(Unavailable):
            await anext(feed.watch(EVERYTHING, 1.0))
        feed.close()
        await asyncio.gather(*(watching.task for watching in many))

    run(scenario)
