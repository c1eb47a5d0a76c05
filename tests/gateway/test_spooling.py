"""What becomes of an event that the database cannot take? It is acknowledged, comes in when there is room, as it was, and once."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from ringback.clock import rfc3339
from ringback.errors import RingbackError, StoreFailure
from ringback.model.arrivals import DUPLICATE, REJECTED, SPOOLED, SUPERSEDED
from ringback.services.arrivals import Came, Journal, JournalBounds
from ringback.services.endpoints import EndpointIn
from ringback.services.gateway import Ready
from ringback.services.health import Health
from ringback.services.intake import NewMessage
from ringback.services.pending import Pending
from ringback.services.spooling import Aside, Draining, Record, in_turn
from ringback.store.operations import arrivals
from ringback.store.spool import Spool
from tests.gateway.conftest import SPOOL_BYTES, WHO, Running, path_of
from tests.gateway.signing import NOW_S, event, signed

OPEN: dict[str, Any] = {"type": "custom", "verify": "none", "secrets": []}
ORDERED: dict[str, Any] = OPEN | {"orderingKeyAt": ["json:customer"]}
HOUR_S = 3_600


class Spooling(Running):
    """The real gateway, with a spool, over a database that a test can keep from being written."""

    def __init__(self, runner: asyncio.Runner, place: Path) -> None:
        super().__init__(runner, place)
        self.place = place / "spool"
        self._other = apsw.Connection(str(place / "ringback.db"))

    def fail(self) -> None:
        """Another program holds the database: nothing is committed."""
        self._other.execute("BEGIN IMMEDIATE")

    def mend(self) -> None:
        """It lets go."""
        self._other.execute("ROLLBACK")

    def close(self) -> None:
        self._other.close()
        super().close()

    def drain(self) -> None:
        self.run(self.draining.drain())

    def restart(self) -> None:
        """The spool is opened anew, with what is in its directory now."""
        self.run(self.spool.close())
        self.run(self._open_spool())

    async def _open_spool(self) -> None:
        self.spool = Spool.open(self.place, SPOOL_BYTES, self.vault)
        aside = Aside(self.spool, self.clock, self.metrics)
        self.draining = Draining(
            self.spool, aside, self.receiver, self.store, self.vault, self.directory, self.known, self.journal, self.metrics
        )

    def files(self) -> list[Path]:
        return sorted(self.place.glob("*.spool"))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Spooling]:
    with asyncio.Runner() as runner:
        opened = Spooling(runner, tmp_path)
        yield opened
        opened.close()


def payloads(running: Running) -> list[bytes]:
    return [message.payload or b"" for message in running.messages()]


def test_an_event_waits_in_the_spool_and_comes_in_as_it_came(running: Spooling) -> None:
    source = running.made(answer={"status": 202, "body": "ok"})
    running.clock.set(NOW_S)
    running.fail()
    answer = running.ask(path_of(source), event(1), signed(event(1)))
    assert (answer.status, answer.body) == (202, b"ok")
    assert running.messages() == []
    assert len(running.files()) == 1
    assert (running.metrics.spooled, running.metrics.spool_events["spooled"]) == (1, 1)
    with pytest.raises(StoreFailure):
        running.drain()
    assert len(running.files()) == 1
    running.mend()
    running.clock.set(NOW_S + HOUR_S)
    running.drain()
    (message,) = running.messages()
    assert (message.payload, message.event_type) == (event(1), "charge.succeeded")
    assert message.headers is not None and b"stripe-signature: " in message.headers
    origin = message.origin
    assert origin is not None
    assert (origin.event_id, origin.secret, origin.flags, origin.came_at) == ("evt_1", 0, ("spooled",), NOW_S * 1_000_000)
    (entry,) = running.arrived(source)
    assert (entry.outcome, entry.message_id, entry.came_at, entry.status) == (SPOOLED, message.id, NOW_S * 1_000_000, 200)
    assert "***" in entry.target
    assert running.files() == []
    assert (running.metrics.spooled, running.metrics.spooled_bytes, running.metrics.spool_events["drained"]) == (0, 0, 1)
    assert rfc3339(NOW_S * 1_000_000).startswith("2023-11-14T22:13:20")


def test_a_crash_after_the_commit_and_before_the_file_is_gone_makes_nothing_twice(running: Spooling, tmp_path: Path) -> None:
    named = running.made()
    unnamed = running.made(**OPEN)
    batch = running.made(type="azure-event-grid", secrets=["s"])
    items = json.dumps([{"id": "a", "eventType": "x"}, {"id": "b", "eventType": "x"}, {"eventType": "x"}]).encode()
    running.clock.set(NOW_S)
    running.fail()
    assert running.ask(path_of(named), event(1), signed(event(1))).status == 200
    for _ in range(2):
        assert running.ask(path_of(unnamed), b'{"same":1}').status == 200
    assert running.ask(path_of(batch), items, {"content-type": "application/json"}, query=b"secret=s").status == 200
    shutil.copytree(running.place, tmp_path / "before")
    running.mend()
    running.drain()
    assert len(payloads(running)) == 6
    running.clock.set(NOW_S + HOUR_S)
    for file in (tmp_path / "before").glob("*.spool"):
        shutil.copy(file, running.place)
    running.restart()
    running.drain()
    assert running.files() == []
    assert len(payloads(running)) == 6
    assert {entry.outcome for entry in running.arrived(named)} == {SPOOLED, DUPLICATE}


def test_what_is_sent_again_while_it_waits_is_one_event(running: Spooling) -> None:
    source = running.made()
    running.clock.set(NOW_S)
    running.fail()
    for _ in range(3):
        assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    running.mend()
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    running.drain()
    assert payloads(running) == [event(1)]
    assert [entry.outcome for entry in running.arrived(source)] == [DUPLICATE] * 3
    assert {entry.came_at for entry in running.arrived(source)} == {NOW_S * 1_000_000}


def test_what_is_in_order_is_not_overtaken_by_what_comes_after(running: Spooling) -> None:
    ordered, plain = running.made(**ORDERED), running.made(**OPEN)
    running.fail()
    for source in (ordered, plain):
        assert running.ask(path_of(source), b'{"customer":"c","n":1}').status == 200
    running.mend()
    for source in (ordered, plain):
        assert running.ask(path_of(source), b'{"customer":"c","n":2}').status == 200
    assert payloads(running) == [b'{"customer":"c","n":2}']
    running.drain()
    mine = [message.payload for message in running.messages() if message.origin and message.origin.source_id == ordered.id]
    assert mine == [b'{"customer":"c","n":1}', b'{"customer":"c","n":2}']
    assert running.ask(path_of(ordered), b'{"customer":"c","n":3}').status == 200
    assert len(payloads(running)) == 5


def test_many_of_one_key_come_in_in_their_order(running: Spooling) -> None:
    source = running.made(**ORDERED)
    running.fail()
    sent = [b'{"customer":"c%d","n":%d}' % (number % 3, number) for number in range(60)]
    for body in sent:
        assert running.ask(path_of(source), body).status == 200
    running.mend()
    running.drain()
    assert payloads(running) == sent


def test_what_can_never_be_brought_in_is_kept_by_itself_and_the_rest_of_its_file_comes_in(running: Spooling, tmp_path: Path) -> None:
    source = running.made(**ORDERED)

    def record(number: int, life_s: int = 90 * HOUR_S) -> bytes:
        event = NewMessage("invoice.paid", b'{"n":%d}' % number, life_s * 1_000_000, ordering_key="c")
        came = Came(b"POST", b"/", 7, None)
        return msgspec.msgpack.encode(Record(b"id%d" % number, source.id, source.app_id, NOW_S * 1_000_000, came, None, [event]))

    # The second one cannot be read, and the third is kept for longer than the database can say.
    contents = [record(1), b"\xc1", record(3, 1 << 44), record(4)]

    async def kept() -> None:
        await asyncio.gather(*(running.spool.append(content) for content in contents))

    running.run(kept())
    (file,) = running.files()
    shutil.copy(file, tmp_path / "before")
    running.drain()
    assert payloads(running) == [b'{"n":1}', b'{"n":4}']
    apart = sorted(path.name for path in running.place.glob("*.refused"))
    assert apart == [f"{file.stem}.{number}.spool.refused" for number in (1, 2)]
    assert not running.files() and not list(running.place.glob("*.damaged"))
    assert running.metrics.spool_events == {"spooled": 0, "drained": 2, "apart": 2, "refused": 0}
    assert running.spool.size_bytes == sum((running.place / name).stat().st_size for name in apart)

    # Killed before the file was gone, with the last of the two torn: nothing is lost, and nothing there twice.
    shutil.copy(tmp_path / "before", file)
    (running.place / apart[1]).write_bytes(b"RB")
    running.restart()
    running.drain()
    assert payloads(running) == [b'{"n":1}', b'{"n":4}']
    assert sorted(path.name for path in running.place.glob("*.refused")) == apart and not running.files()
    running.restart()
    assert running.spool.events == 0
    assert running.spool.size_bytes == sum((running.place / name).stat().st_size for name in apart)

    # A person gives one its name back, to have it tried again: it is told of again, and nothing else is touched.
    (running.place / apart[1]).rename(running.place / apart[1].removesuffix(".refused"))
    running.restart()
    assert running.spool.events == 1
    running.drain()
    assert [path.name for path in sorted(running.place.glob("*.refused"))] == [apart[0], f"{file.stem}.2.0.spool.refused"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_request_that_can_never_be_kept_whole_is_not_acknowledged_into_the_spool(running: Spooling, order: tuple[int, int]) -> None:
    failures = (RingbackError("a row that no database takes"), StoreFailure("the disk is full"))
    ready = Ready(running.made(**OPEN), running.clock.now_us())
    assert Aside.takes(ready, failures[1])

    async def failed() -> Exception | None:
        pending = Pending(2, asyncio.get_running_loop().create_future())
        for index in order:
            pending.failed(index, failures[index])
        return pending.failure

    assert not Aside.takes(ready, running.run(failed()))


def test_no_two_of_one_key_are_on_their_way_together_so_that_a_store_that_fails_in_between_swaps_none() -> None:
    def record(number: int, *keys: str | None) -> tuple[int, Record]:
        events = [NewMessage("a", b"{}", 1, ordering_key=key) for key in keys]
        return number, Record(b"", "src", "app", 0, Came(b"POST", b"/", 2, None), None, events)

    left = [record(0, "a", "b"), record(1, None), record(2, None), record(3, "c", "c"), record(4, "b"), record(5, "d")]
    assert [number for number, _ in in_turn(left)] == [0, 1, 2, 3]
    assert [number for number, _ in in_turn(left[4:])] == [4, 5]
    assert len(in_turn([record(number, None) for number in range(100)])) == 32


def test_an_old_event_that_waited_overwrites_nothing_newer(running: Spooling) -> None:
    source = running.made(**ORDERED, orderingVersionAt=["json:version"])
    assert running.ask(path_of(source), b'{"customer":"c","version":1}').status == 200
    running.fail()
    for version in (5, 4):
        assert running.ask(path_of(source), b'{"customer":"c","version":%d}' % version).status == 200
    running.mend()
    running.drain()
    assert payloads(running) == [b'{"customer":"c","version":1}', b'{"customer":"c","version":5}']
    (entry,) = running.arrived(source, SUPERSEDED)
    assert entry.message_id == running.messages()[1].id


def test_whoever_waits_for_an_endpoint_is_told_to_come_again(running: Spooling) -> None:
    endpoint = running.run(running.endpoints.create(WHO, running.app_id, EndpointIn(url="https://example.com/in")))
    source = running.made(processedBy=endpoint.endpoint.id)
    running.fail()
    running.clock.set(NOW_S)
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 503
    assert running.files() == []


def test_questions_are_answered_and_what_would_be_kept_in_quarantine_is_not_acknowledged(running: Spooling) -> None:
    asking = running.made(type="dropbox", secrets=["s"])
    strict = running.made(**OPEN, schema={"type": "object", "required": ["a"]}, schemaMode="quarantine")
    running.fail()
    asked = running.ask(path_of(asking), method="GET", query=b"challenge=c")
    assert (asked.status, asked.body) == (200, b"c")
    assert running.ask(path_of(strict), b'{"b":1}').status == 503
    assert running.ask(path_of(strict), b'{"a":1}').status == 200
    running.mend()
    running.drain()
    assert payloads(running) == [b'{"a":1}']


def test_a_full_spool_tells_providers_to_come_again(running: Spooling) -> None:
    source = running.made(**OPEN)
    running.fail()
    answers = [running.ask(path_of(source), b'{"n":%d,"text":"%b"}' % (number, b"x" * 4_000)).status for number in range(30)]
    kept = answers.count(200)
    assert answers == [200] * kept + [503] * (30 - kept)
    assert 0 < kept < 20
    assert running.metrics.spool_events == {"spooled": kept, "refused": 30 - kept, "drained": 0, "apart": 0}
    assert sum(file.stat().st_size for file in running.files()) <= SPOOL_BYTES
    running.mend()
    running.drain()
    assert len(payloads(running)) == kept


def test_a_spool_that_cannot_be_written_or_is_full_wants_no_requests_and_says_why(running: Spooling) -> None:
    source = running.made(**OPEN)
    assert running.ask(path_of(source), b"first").status == 200
    health = Health(running.store, running.clock, spool=running.draining)

    def stands() -> tuple[bool, bool | None, str | None]:
        running.clock.at_us += 1_000_000
        found = running.run(health.ready())
        return found.all, found.receiving, found.spool

    missing = "the spool cannot be written: No such file or directory"
    assert stands() == (True, True, None)
    shutil.move(running.place, running.place.with_name("away"))
    assert stands() == (True, True, missing)
    running.fail()
    assert stands() == (False, False, missing)
    # Nobody sends anything to a server that says so: it finds out by itself that it can again.
    shutil.move(running.place.with_name("away"), running.place)
    assert stands() == (False, True, None)
    while running.ask(path_of(source), b"x" * 3_000).status == 200:
        continue
    wanted, receiving, why = stands()
    assert (wanted, receiving) == (False, False) and why is not None and "spool_max_bytes is 65536" in why
    running.mend()
    running.drain()
    assert stands() == (True, True, None)
    assert sorted(path.name for path in running.place.iterdir()) == ["lock"]


def test_what_waited_comes_in_though_its_source_was_deleted_or_cannot_verify_any_more(running: Spooling) -> None:
    deleted, ending = running.made(**OPEN), running.made()
    running.clock.set(NOW_S)
    running.fail()
    assert running.ask(path_of(deleted), b'{"n":1}').status == 200
    assert running.ask(path_of(ending), event(1), signed(event(1))).status == 200
    running.mend()
    running.run(running.sources.delete(WHO, running.app_id, deleted.id))
    expiring = [{"text": "whsec_test", "expiresAt": rfc3339((NOW_S + 10) * 1_000_000)}]
    given = msgspec.json.encode({"name": "s", "type": "stripe", "secrets": expiring})
    from ringback.api.bodies import Body
    from ringback.services.sources import SourceIn

    running.run(running.sources.upsert(WHO, running.app_id, ending.id, Body(SourceIn).parse(given)))
    running.clock.set(NOW_S + HOUR_S)
    running.drain()
    assert payloads(running) == [b'{"n":1}', event(1)]


def test_what_waited_goes_with_its_application(running: Spooling) -> None:
    source = running.made(**OPEN)
    running.fail()
    assert running.ask(path_of(source), b'{"n":1}').status == 200
    running.mend()
    running.run(running.applications.delete(WHO, running.app_id))
    running.drain()
    assert payloads(running) == []
    assert running.files() == []


def test_what_the_journal_forgets_while_nothing_can_be_written_is_counted(running: Spooling) -> None:
    bounds = JournalBounds(noted=50, held=60, kept=100, in_all=120)
    journal = Journal(running.store, running.clock, running.make_id, running.metrics, bounds)
    sources, came = [running.made() for _ in range(2)], Came(b"POST", b"/x", 1, None)
    running.fail()
    for source in sources:
        for _ in range(40):
            journal.note(source, REJECTED, came, 405)
        with pytest.raises(StoreFailure):
            running.run(journal.write())
    running.mend()
    running.run(journal.write())
    assert (running.run(running.store.read(arrivals.count)), running.metrics.journal_dropped) == (
        60,
        {"sampled": 0, "unwritten": 20, "displaced": 0},
    )
