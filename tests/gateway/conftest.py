from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringback.api.bodies import Body
from ringback.gateway.app import Gateway, Place
from ringback.ids import IdMaker
from ringback.model.applications import TokenKind
from ringback.model.arrivals import Arrival
from ringback.model.deliveries import Delivery
from ringback.model.messages import Message
from ringback.model.quarantine import Quarantined
from ringback.model.sources import Source
from ringback.policy.addresses import parse_networks
from ringback.policy.paging import Walk
from ringback.services.address_lists import AddressLists
from ringback.services.applications import ApplicationIn, Applications
from ringback.services.arrivals import Arrivals, Journal
from ringback.services.comparing import Comparing
from ringback.services.directory import Directory
from ringback.services.endpoints import Endpoints
from ringback.services.gateway import SourceDirectory
from ringback.services.intake import Intake
from ringback.services.operational import Operational
from ringback.services.processing import Outcomes
from ringback.services.published import Published
from ringback.services.quarantine import Quarantine
from ringback.services.received import ReceivedEvents
from ringback.services.receiving import Receiver
from ringback.services.releasing import Releases
from ringback.services.signals import Signals
from ringback.services.sources import SourceIn, Sources
from ringback.services.spooling import Aside, Draining
from ringback.services.tokens import DEFAULT_ORG_ID, Principal, Tokens
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.store.base import Transaction
from ringback.store.opening import open_store
from ringback.store.spool import Spool
from ringback.store.vault import Vault
from ringback.telemetry.prometheus import Metrics
from tests.fresh import laid

BASE = "https://hooks.example.com"
WHO = Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_test")
# Room for a dozen events of some kilobytes.
SPOOL_BYTES = 64 * 1024
NEWEST = Walk(250, descending=True)


class Hands:
    """A handoff that takes nothing in memory: everything stays in the database."""

    def reserve(self, endpoint_id: str, app_id: str, size: int) -> bool:
        return False

    def hand_over(self, message: Message, deliveries: Sequence[Delivery]) -> None:
        raise AssertionError("nothing was reserved")

    def unreserve(self, endpoint_id: str, size: int) -> None:
        raise AssertionError("nothing was reserved")

    def spilled(self, endpoint_id: str) -> None:
        pass

    def wake(self, endpoint_id: str, app_id: str, due_at: int) -> None:
        pass

    def hurry(self, delivery: Delivery) -> None:
        pass

    def defer(self, app_id: str, deliver_at: int) -> None:
        pass

    def in_flight(self, endpoint_id: str) -> int:
        return 0


class Hand:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.at_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.at_us

    def monotonic_s(self) -> float:
        return self.at_us / 1_000_000

    def set(self, at_s: float) -> None:
        self.at_us = int(at_s * 1_000_000)


class Publishing:
    """Keys as providers publish them: nothing, until a test says so."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.visited: list[str] = []
        self.answers = True
        # The threads that asked for a key.
        self.asked_by: set[int] = set()

    def key(self, ref: KeyRef) -> bytes:
        self.asked_by.add(threading.get_ident())
        if ref.url not in self.fetched or ref.url not in self.bodies:
            raise KeyUnavailable(ref)
        return self.bodies[ref.url]

    async def fetch(self, ref: KeyRef) -> None:
        self.fetched.append(ref.url)
        if ref.url not in self.bodies:
            raise KeyUnavailable(ref)

    async def document(self, url: str) -> bytes | None:
        self.fetched.append(url)
        return self.bodies.get(url)

    async def visit(self, url: str) -> bool:
        self.visited.append(url)
        return self.answers


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Running:
    """The real gateway over a real store, called as a server calls it; plain functions, so that a test reads from top to bottom."""

    def __init__(self, runner: asyncio.Runner, place: Path | None = None) -> None:
        """`place`: a directory where database and spool are; without one the database is in memory, and there is no spool."""
        self._runner = runner
        self._place = place
        self.clock = Hand()
        self.run(self._open())

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self._runner.run(awaited())

    async def _open(self) -> None:
        clock, make_id = self.clock, IdMaker()
        self.make_id = make_id
        self.metrics = Metrics(0)
        self.vault = Vault(secrets.token_bytes(32))
        database = ":memory:" if self._place is None else str(laid(self._place / "ringback.db"))
        self.store = await open_store(f"sqlite:///{database}", clock)
        self.directory = Directory(self.store, self.vault)
        tokens = Tokens(self.store, clock, make_id, secrets.randbits)
        await tokens.ensure_first("sk_test_token")
        self.applications = Applications(self.store, clock, make_id, self.directory, tokens)
        self.known = SourceDirectory(self.store, self.vault, clock, self.directory, self.metrics)
        self.sources = Sources(self.store, self.vault, clock, make_id, self.known, self.directory, secrets.randbits)
        self.quarantine = Quarantine(self.store, self.vault, clock, make_id, self.sources)
        self.outcomes = Outcomes(self.store)
        self.intake = Intake(self.store, clock, make_id, Hands(), self.metrics)
        self.published = Publishing()
        # What to call when a source was called, by its id.
        self.called: dict[str, Callable[[], None]] = {}
        self.comparing = Comparing(clock)
        self.journal = Journal(self.store, clock, make_id, self.metrics)
        self.arrivals = Arrivals(self.store, self.sources)
        aside = None
        if self._place is not None:
            self.spool = Spool.open(self._place / "spool", SPOOL_BYTES, self.vault)
            aside = Aside(self.spool, clock, self.metrics)
        self.receiver = Receiver(
            self.intake,
            self.directory,
            self.quarantine,
            self.sources,
            self.published,
            clock,
            self.outcomes,
            self.comparing,
            self.journal,
            Signals(self.store, clock, Operational(clock, make_id, self.metrics), self.metrics),
            called=self.called,
            aside=aside,
        )
        if aside is not None:
            self.draining = Draining(
                self.spool, aside, self.receiver, self.store, self.vault, self.directory, self.known, self.journal, self.metrics
            )
        self.received = ReceivedEvents(self.store, self.vault, clock, self.sources)
        self.releases = Releases(self.sources, self.quarantine, self.receiver, clock)
        self.endpoints = Endpoints(self.store, self.vault, clock, make_id, self.directory, secrets.token_bytes)
        self.app_id = (await self.applications.create(WHO, ApplicationIn(name="a"))).application.id
        self.kept = Published(self.store, self.vault, clock)
        self.lists = AddressLists(self.published, clock, self.kept)
        self.gateway = Gateway(
            self.receiver,
            self.known,
            self,
            clock,
            self._behind,
            Place(parse_networks("10.0.0.0/8"), BASE),
            self.lists,
            self.metrics,
        )

    async def _behind(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"behind"})

    def take(self, size: int) -> None:
        pass

    def give_back(self, size: int) -> None:
        pass

    def forget_sources(self) -> None:
        """What is in memory about sources is gone, as after a restart."""
        self.known = SourceDirectory(self.store, self.vault, self.clock, self.directory, self.metrics)

    def made(self, **wanted: Any) -> Source:
        """A source of the application."""
        given = {"name": "s", "type": "stripe", "secrets": ["whsec_test"], **wanted}
        made: Source = self.run(self.sources.create(WHO, self.app_id, Body(SourceIn).parse(msgspec.json.encode(given))))
        return made

    def changed(self, source: Source, **wanted: Any) -> Source:
        given = {"name": "s", "type": source.type, **wanted}
        return self.run(self.sources.upsert(WHO, self.app_id, source.id, SourceIn(**given))).source

    async def asked(
        self,
        path: str,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        method: str = "POST",
        query: bytes = b"",
        peer: str = "203.0.113.9",
        pieces: Sequence[bytes] | None = None,
    ) -> Answer:
        chunks = list(pieces) if pieces is not None else [body]
        sent: list[Any] = []

        async def receive() -> Any:
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in headers],
            "client": (peer, 1234),
            "scheme": "http",
        }
        await self.gateway(scope, receive, send)
        head = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], head, sent[1]["body"])

    def ask(self, path: str, body: bytes = b"", headers: Any = (), **parts: Any) -> Answer:
        given = (
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()] if isinstance(headers, dict) else headers
        )
        answer: Answer = self.run(self.asked(path, body, given, **parts))
        return answer

    def messages(self, source: Source | None = None) -> list[Message]:
        """What was stored, the oldest first."""

        def query(tx: Transaction) -> Any:
            return tx.rows("SELECT id, app_id, event_type, payload, content_type, origin, headers FROM message ORDER BY seq")

        from ringback.model.messages import Origin

        found = []
        for message_id, app_id, event_type, payload, content_type, origin, headers in self.run(self.store.read(query)):
            decoded = None if origin is None else msgspec.json.decode(origin, type=Origin)
            found.append(Message(message_id, app_id, event_type, payload, 0, 0, content_type, origin=decoded, headers=headers))
        return found

    def quarantined(self, source: Source) -> list[Quarantined]:
        """What is in quarantine, the newest first."""
        return list(self.run(self.quarantine.page(WHO, self.app_id, source.id, NEWEST, None)).items)

    def arrived(self, source: Source, outcome: str | None = None) -> list[Arrival]:
        """What the journal has of a source, the newest first."""
        self.run(self.journal.write())
        return list(self.run(self.arrivals.page(WHO, self.app_id, source.id, NEWEST, outcome)).items)

    def close(self) -> None:
        self.run(self.comparing.close())
        if self._place is not None:
            self.run(self.spool.close())
        self.run(self.store.close())


def path_of(source: Source) -> str:
    return f"/ingest/api/v1/source/{source.id}/in/{source.tokens[0].text}"


@pytest.fixture
def running() -> Iterator[Running]:
    with asyncio.Runner() as runner:
        opened = Running(runner)
        yield opened
        opened.close()


@pytest.fixture
def compare(running: Running) -> Iterator[Callable[..., Any]]:
    """Makes a source that is compared with a provider whose API answers so."""
    from tests.gateway.comparing import Compared

    made: list[Compared] = []

    def start(answer: Any) -> Compared:
        made.append(Compared(running, answer))
        return made[-1]

    yield start
    for compared in made:
        compared.close()
