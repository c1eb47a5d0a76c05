"""An engine to look at: the real dispatcher, intake, directory and store; the transport does what the test says, or is the real one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ringback import ids
from ringback.clock import SystemClock
from ringback.delivery.transport import SealedRequest, Transport, Watcher
from ringback.engine.dispatcher import Dispatcher
from ringback.engine.health import Health
from ringback.engine.limiter import Limiter
from ringback.engine.plans import planner
from ringback.engine.transforming import Runs
from ringback.ids import IdMaker
from ringback.model.applications import Application
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.endpoints import Endpoint, EndpointSecret
from ringback.model.messages import Message
from ringback.model.transformations import Transformation
from ringback.policy.breaker import BreakerPolicy
from ringback.policy.heads import header_value
from ringback.policy.retry import RetryPolicy
from ringback.services.directory import Directory
from ringback.services.intake import Answers, Intake, NewMessage
from ringback.store.opening import open_store
from ringback.store.operations import applications, deliveries, directory, endpoints, transformations
from ringback.store.sqlite.store import SqliteStore
from ringback.store.vault import Vault
from ringback.telemetry.prometheus import Metrics
from tests.waiting import until, until_async

SECOND_US = 1_000_000
LIFE_US = 90 * 86_400 * SECOND_US
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OK = Exchange(200, head=b"HTTP/1.1 200 OK\r\n\r\n")
FAILED = Exchange(500, head=b"HTTP/1.1 500 No\r\n\r\n")
TIMEOUT = Exchange(0, error=ErrorClass.TIMEOUT, detail="no answer")


def answer(status: int, **headers: str) -> Exchange:
    """An exchange with these response headers (`retry_after` becomes `retry-after`)."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return Exchange(status, head="\r\n".join(lines).encode() + b"\r\n\r\n")


class SteppedClock(SystemClock):
    """The machine's clock; `step_s` sets the wall time forth or back, `later_s` is what has passed besides.

    `reads` counts how often it was asked for the wall time: every turn does.
    """

    def __init__(self) -> None:
        self.step_s = 0.0
        self.later_s = 0.0
        self.reads = 0

    def now_us(self) -> int:
        self.reads += 1
        return super().now_us() + int((self.step_s + self.later_s) * SECOND_US)

    def monotonic_s(self) -> float:  # type: ignore[override]  # the machine's has no self
        return super().monotonic_s() + self.later_s


class Sent:
    """One request as it was given to the transport. Answer it with `answers`."""

    def __init__(self, request: SealedRequest, done: Callable[[Exchange], None], at_us: int, watcher: Watcher | None) -> None:
        self.watcher = watcher
        self.request = request
        self.at_us = at_us
        self._done = done

    def header(self, name: str) -> str:
        return (header_value(self.request.head, name.encode()) or b"").decode()

    @property
    def message_id(self) -> str:
        return self.header("webhook-id")

    @property
    def sequence(self) -> int:
        return int(self.header("ringback-sequence"))

    @property
    def host(self) -> str:
        return self.request.origin.host

    def begins_to_answer(self, exchange: Exchange) -> None:
        """Status and headers are there; the body, and with it the end, is still to come."""
        assert self.watcher is not None
        self.watcher.decided(exchange)

    def answers(self, exchange: Exchange) -> None:
        self._done(exchange)


class ScriptedTransport:
    """A `Transport` without a network: `decide` says how a request ends; None = the test will say, or never."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self.sent: list[Sent] = []
        self.flying: list[Sent] = []
        self.decide: Callable[[Sent], Exchange | None] = lambda sent: OK

    def send(self, request: SealedRequest, done: Callable[[Exchange], None], watcher: Watcher | None = None) -> None:
        sent = Sent(request, done, self._clock.now_us(), watcher)
        self.sent.append(sent)
        exchange = self.decide(sent)
        if exchange is None:
            self.flying.append(sent)
        else:
            asyncio.get_running_loop().call_soon(sent.answers, exchange)

    async def close(self) -> None:
        for sent in self.flying:
            sent.answers(Exchange(0, error=ErrorClass.RESET, detail="closed"))
        self.flying.clear()

    def to(self, host: str) -> list[Sent]:
        return [sent for sent in self.sent if sent.host == host]

    def land(self, exchange: Exchange) -> None:
        """End all that is on the wire."""
        flying, self.flying = self.flying, []
        for sent in flying:
            sent.answers(exchange)


class World:
    """One organisation with one application `app`; endpoints are added by the test."""

    def __init__(self, url: str, clock: SteppedClock, vault: Vault, schedule_s: tuple[float, ...]) -> None:
        self.url = url
        self.clock = clock
        self.vault = vault
        self.schedule_s = schedule_s
        self.retry_after_max_s = 3600.0
        self.total = 2048
        self.per_endpoint = 64
        self.disable_after_us = 120 * 3_600 * SECOND_US
        self.make_id = IdMaker()
        self.app_id = self.make_id.make(ids.APPLICATION, clock.now_us())
        self.endpoint_ids: dict[str, str] = {}
        self.draw: Callable[[], float] = lambda: 0.0
        self.scripts: Runs | None = None
        self.breaker: BreakerPolicy | None = None
        self.store: SqliteStore
        self.metrics: Metrics
        self.directory: Directory
        self.transport: Any
        self.dispatcher: Dispatcher
        self.intake: Intake

    async def begin(self, transport: Transport | None = None, decide: Callable[[Sent], Exchange | None] | None = None) -> None:
        """Open the store and start the engine, with what an earlier run left."""
        self.store = await open_store(self.url, self.clock)
        self.metrics = Metrics(self.clock.now_us())
        self.directory = Directory(self.store, self.vault)
        self.transport = transport or ScriptedTransport(self.clock)
        if decide is not None:
            self.transport.decide = decide
        self.dispatcher = Dispatcher(
            store=self.store,
            transport=self.transport,
            directory=self.directory,
            clock=self.clock,
            make_id=self.make_id,
            policy=RetryPolicy(self.schedule_s, overload_min_s=0.0, retry_after_max_s=self.retry_after_max_s),
            limiter=Limiter(self.total, self.per_endpoint),
            health=Health(self.disable_after_us),
            draw=self.draw,
            metrics=self.metrics,
            prepare=planner("standard"),
            scripts=self.scripts,
            breaker=self.breaker,
        )
        self.intake = Intake(self.store, self.clock, self.make_id, self.dispatcher, self.metrics)
        self.dispatcher.start(await self.store.read(directory.unfinished))

    async def end(self, drain_s: float = 0.0) -> None:
        """Stop as the server does."""
        self.intake.closed = True
        await self.dispatcher.drain(drain_s)
        await self.transport.close()
        await self.store.close()

    async def make_app(self) -> None:
        now_us = self.clock.now_us()
        app = Application(self.app_id, "org_1", "App", None, None, {}, now_us, now_us)
        await self.store.write(lambda tx: applications.insert(tx, app))

    async def endpoint(self, name: str, **more: Any) -> str:
        """Add an endpoint under the URL http://{name}/ that hears of the event type of its name."""
        now_us = self.clock.now_us()
        url = more.pop("url", f"http://{name}/")
        endpoint = Endpoint(
            id=self.make_id.make(ids.ENDPOINT, now_us), app_id=self.app_id, url=url, description="", uid=name, disabled=False,
            event_types=(name, "all"), channels=None, metadata={}, throttle_rate=None, version=1, headers={},
            secrets=(EndpointSecret(SECRET),), created_at=now_us, updated_at=now_us,
        )  # fmt: skip
        await self.store.write(lambda tx: endpoints.insert(tx, self.vault, endpoint))
        self.endpoint_ids[name] = endpoint.id
        if more:
            await self.change(name, **more)
        self.directory.changed(self.app_id)
        return endpoint.id

    async def change(self, name: str, **fields: Any) -> None:
        """Change an endpoint, as the API does."""
        endpoint_id = self.endpoint_ids[name]

        def operation(tx: Any) -> None:
            (old,) = (e for e in endpoints.all_of(tx, self.vault, self.app_id) if e.id == endpoint_id)
            parts = {field: getattr(old, field) for field in old.__struct_fields__} | fields
            endpoints.replace(tx, self.vault, Endpoint(**parts))

        await self.store.write(operation)
        self.directory.changed(self.app_id)

    async def transform(self, name: str, code: str) -> None:
        """Give an endpoint a transformation that is on."""
        endpoint_id, now_us = self.endpoint_ids[name], self.clock.now_us()
        wanted = Transformation(code, True, None, now_us)
        await self.store.write(lambda tx: transformations.put(tx, self.vault, endpoint_id, wanted))
        self.directory.changed(self.app_id)

    async def limit(self, rate: int | None) -> None:
        """Give the application a rate, as the API does."""

        def operation(tx: Any) -> None:
            app = applications.by_ref(tx, "org_1", self.app_id)
            assert app is not None
            parts = {field: getattr(app, field) for field in app.__struct_fields__} | {"throttle_rate": rate}
            applications.replace(tx, Application(**parts))

        await self.store.write(operation)
        self.directory.changed(self.app_id)

    async def resend(self, name: str, message: Message) -> None:
        """One attempt by hand, now."""
        endpoint_id, now_us = self.endpoint_ids[name], self.clock.now_us()
        self.dispatcher.hurry(await self.store.write(lambda tx: deliveries.add_manual(tx, endpoint_id, message, now_us)))

    def post(self, event_type: str, payload: bytes = b'{"a":1}', **more: Any) -> asyncio.Future[Message]:
        """Publish; the message once it is durable."""
        entry = self.directory.known_by_id(self.app_id)
        assert entry is not None, "await `ready` first"
        done: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        new = NewMessage(event_type, payload, LIFE_US, **more)
        self.intake.accept(entry, new, None, Answers(done.set_result, lambda message_id: None, done.set_exception))
        return done

    async def ready(self) -> None:
        """Have the application in the directory."""
        await self.directory.find_by_id(self.app_id)

    async def publish(self, event_type: str, payload: bytes = b'{"a":1}', **more: Any) -> Message:
        await self.ready()
        return await self.post(event_type, payload, **more)

    async def rows(self, sql: str, *parameters: Any) -> list[Any]:
        return await self.store.read(lambda tx: tx.rows(sql, parameters))

    async def count(self, sql: str, *parameters: Any) -> int:
        return int((await self.rows(sql, *parameters))[0][0])

    async def settled(self, within_s: float = 20.0) -> None:
        """Nothing is unfinished, in memory or in the database."""

        async def nothing() -> bool:
            return not self.dispatcher.flying and not await self.count("SELECT COUNT(*) FROM delivery")

        await until_async(nothing, within_s, "nothing unfinished")

    async def settled_with_deferred(self, within_s: float = 20.0) -> None:
        """Nothing waits for its time, and nothing is unfinished."""

        async def nothing() -> bool:
            return not await self.count("SELECT COUNT(*) FROM deferred_message")

        await until_async(nothing, within_s, "nothing that waits for its time")
        await self.settled(within_s)

    async def sent(self, number: int, within_s: float = 20.0) -> list[Sent]:
        """At least so many requests."""
        await until(lambda: len(self.transport.sent) >= number, within_s, f"{number} requests")
        return list(self.transport.sent)


def in_world(
    story: Callable[[World], Awaitable[None]],
    *,
    url: str = "sqlite:///:memory:",
    schedule_s: tuple[float, ...] = (0.02, 0.03, 0.05),
    begin: bool = True,
    **settings: Any,
) -> None:
    """Run a story in a new world, and end it after."""

    async def run() -> None:
        world = World(url, SteppedClock(), Vault(secrets.token_bytes(32)), schedule_s)
        for name, value in settings.items():
            setattr(world, name, value)
        if not begin:
            await story(world)
            return
        await world.begin()
        await world.make_app()
        try:
            await story(world)
        finally:
            await world.end()

    asyncio.run(run())


Story = Callable[[World], Coroutine[Any, Any, None]]
