"""How do the parts become a server? The composition root: the only module that sees everything.

Order of life: open the store, make the services, start the engine, open the doors; and backwards at the end, within the drain timeout:
close the doors, let attempts land, close the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import resource
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import uvicorn

from ringback import __version__
from ringback.api import attempts as attempts_api
from ringback.api import authentication, operator, publish
from ringback.api import dead_letters as dead_letters_api
from ringback.api import ingest as ingest_api
from ringback.api import messages as messages_api
from ringback.api import portal as portal_api
from ringback.api import quarantine as quarantine_api
from ringback.api import sources as sources_api
from ringback.api import tasks as tasks_api
from ringback.api.app import Services, build
from ringback.api.app import Settings as ApiSettings
from ringback.api.door import Doorway, Sweeper, protocol_class
from ringback.api.intake import BodyReader
from ringback.api.publish import Publisher
from ringback.clock import SECOND_US, SystemClock
from ringback.config import Settings
from ringback.config.running import RunningServer, announce, withdraw
from ringback.config.values import HostPort
from ringback.delivery.http import ResponseLimits
from ringback.delivery.pool import HttpSettings, HttpTransport
from ringback.engine import sweeper
from ringback.engine.dispatcher import LEASE_US, Dispatcher
from ringback.engine.limiter import Limiter
from ringback.engine.plans import planner
from ringback.engine.tasks import TaskRunner
from ringback.errors import OperatorError
from ringback.gateway.app import Gateway, Place
from ringback.gateway.hot import Inbound, inbound_class
from ringback.gateway.keys import FetchedKeys
from ringback.gateway.upkeep import Upkeep
from ringback.ids import IdMaker
from ringback.policy.addresses import AddressPolicy
from ringback.policy.retry import RetryPolicy
from ringback.services.applications import Applications
from ringback.services.attempts import Attempts
from ringback.services.dead_letters import DeadLetters
from ringback.services.directory import Directory
from ringback.services.endpoints import Endpoints
from ringback.services.event_types import EventTypes
from ringback.services.gateway import SourceDirectory
from ringback.services.health import Health
from ringback.services.idempotency import Idempotency
from ringback.services.intake import Intake
from ringback.services.jwts import Jwts
from ringback.services.messages import Messages
from ringback.services.portal import Portal
from ringback.services.processing import Outcomes, Requeue
from ringback.services.quarantine import Quarantine
from ringback.services.receiving import Receiver
from ringback.services.releasing import Releases
from ringback.services.sources import Sources
from ringback.services.tasks import Tasks
from ringback.services.tokens import Tokens
from ringback.store.opening import database_path, open_store
from ringback.store.operations import directory as directory_operations
from ringback.store.sqlite.store import SqliteStore
from ringback.store.vault import Vault, key_from_file, key_from_text
from ringback.telemetry.events import SERVER_STARTED, SERVER_STOPPED, SERVER_STOPPING, TASK_FAILED
from ringback.telemetry.log import configure_logging, log
from ringback.telemetry.loop_lag import watch_loop
from ringback.telemetry.prometheus import Exposition, Metrics

# Connections of clients and to endpoints (at most 4,096 of these), and some files.
_FILES: Final = 16_384
# Connections that may wait to be accepted: a burst of clients that all reconnect at once.
_BACKLOG: Final = 2_048
# New objects before the collector looks at the young ones, and how many such looks before it looks at older ones.
_GC_THRESHOLDS: Final = (50_000, 20, 20)
# Seconds between two looks at numbers that nobody counts along the way.
_GAUGES_EVERY_S: Final = 1.0
# A provider's key comes within so many seconds, or its request is answered 503: the provider's own patience is between 1 and 30 s.
_FETCH_S: Final = 5.0
# The largest key set that is known (Microsoft's) has some 30 kB.
_KEYS_MAX_BYTES: Final = 256 * 1024
# Seconds of the drain that are kept for recording and closing, after the doors and the attempts had theirs.
_CLOSING_S: Final = 1.0


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises OperatorError when the server cannot start as it is set up."""
    configure_logging(settings.log_level, settings.log_format)
    # What is imported stays for good, and what a request leaves behind is hardly ever cyclic: look rarely, and only at what is new.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    _allow_files()
    with asyncio.Runner(loop_factory=_loop_factory(settings.uvloop)) as runner:
        return runner.run(_serve(settings))


def _allow_files() -> None:
    """Take as many file descriptors as the system gives: each connection is one, and many systems start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _FILES) if hard != resource.RLIM_INFINITY else _FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not wanted:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings) -> int:
    sock = _listen(settings.listen_address)
    url = _url(sock)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sock.close)
        server = await Server.open(settings, stack)
        first = await server.tokens.ensure_first(settings.token.reveal() if settings.token else None)
        path = database_path(settings.database_url)
        if path != ":memory:":
            announce(path, RunningServer(url, server.operator_token))
            stack.callback(withdraw, path)
        _greet(url, first)
        log(SERVER_STARTED, url=url, database=settings.database_url, version=__version__, pid=os.getpid())
        return await server.run(sock)


def _greet(url: str, token: str | None) -> None:
    lines = [f"ringback {__version__} serves {url}"]
    if token is not None:
        lines.append(f"org token (shown this once): {token}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _listen(address: HostPort) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        raise OperatorError(f"cannot listen on {address}: {error.strerror}; choose another listen_address, or end what has it") from error
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def vault_of(settings: Settings) -> Vault:
    """The vault that the settings name: by `main_secret`, else by the key file beside the database."""
    if settings.main_secret is not None:
        return Vault(key_from_text(settings.main_secret.reveal()))
    path = database_path(settings.database_url)
    return Vault(secrets.token_bytes(32) if path == ":memory:" else key_from_file(Path(f"{path}.key")))


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own handling of signals: the doors are only a part of what must end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class Server:
    """All parts of one running server."""

    def __init__(self, settings: Settings, store: SqliteStore, clock: SystemClock, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._cause = ""
        self.operator_token = f"op_{secrets.token_urlsafe(32)}"
        make_id = IdMaker()
        self._ids = make_id
        vault = vault_of(settings)
        self._directory = Directory(store, vault)
        self._transport = HttpTransport(
            policy=AddressPolicy(settings.whitelist_subnets),
            settings=HttpSettings(
                request_timeout_s=settings.request_timeout.total_seconds(),
                response=ResponseLimits(body_max_bytes=settings.response_body_max, body_time_s=settings.response_body_time.total_seconds()),
            ),
            clock=clock,
        )
        self._fetching = HttpTransport(
            policy=AddressPolicy(settings.whitelist_subnets),
            settings=HttpSettings(
                request_timeout_s=_FETCH_S, response=ResponseLimits(body_max_bytes=_KEYS_MAX_BYTES, body_time_s=_FETCH_S)
            ),
            clock=clock,
        )
        self._outcomes = Outcomes(store)
        self._dispatcher = Dispatcher(
            store=store,
            transport=self._transport,
            directory=self._directory,
            clock=clock,
            make_id=make_id,
            policy=RetryPolicy(
                tuple(delay.total_seconds() for delay in settings.retry_schedule),
                settings.overload_min_delay.total_seconds(),
                settings.retry_after_max.total_seconds(),
            ),
            limiter=Limiter(settings.max_in_flight, settings.endpoint_concurrency),
            draw=random.random,
            metrics=metrics,
            prepare=planner(settings.header_style),  # type: ignore[arg-type]  # config has checked that it is one of the three
            retry_after_max_s=settings.retry_after_max.total_seconds(),
            told=self._outcomes.told,
        )
        jwts = None if settings.jwt_secret is None else Jwts(settings.jwt_secret.reveal(), settings.jwt_algorithm)
        self.tokens = Tokens(store, clock, make_id, secrets.randbits, jwts)
        self._tasks = Tasks(store, clock, make_id, self._dispatcher)
        self._runner = TaskRunner(self._tasks, clock, _us(settings.history_retention.total_seconds()))
        self._intake = Intake(store, clock, make_id, self._dispatcher, metrics)
        self._doorway = self._doors(vault)

    @classmethod
    async def open(cls, settings: Settings, stack: contextlib.AsyncExitStack) -> Server:
        """Open the database and make all parts. Raises OperatorError."""
        clock = SystemClock()
        metrics = Metrics(clock.now_us())
        store = await open_store(
            settings.database_url,
            clock,
            min_free_disk=settings.min_free_disk,
            observe=lambda seconds, rows: metrics.commit_seconds.observe(seconds),
        )
        stack.push_async_callback(store.close)
        return cls(settings, store, clock, metrics)

    def _doors(self, vault: Vault) -> Doorway:
        settings, store, clock, make_id = self._settings, self._store, self._clock, self._ids
        idempotency = Idempotency(store, vault, clock, _us(settings.idempotency_ttl.total_seconds()))
        applications = Applications(store, clock, make_id, self._directory, self.tokens)
        messages = Messages(store, clock)
        publisher = Publisher(self._intake, self._directory, applications, messages, clock, _us(settings.idempotency_ttl.total_seconds()))
        services = Services(
            tokens=self.tokens,
            idempotency=idempotency,
            health=Health(store, dispatching=lambda: self._dispatcher.running, ready=lambda: not self._stopping.is_set()),
            applications=applications,
            endpoints=Endpoints(
                store,
                vault,
                clock,
                make_id,
                self._directory,
                secrets.token_bytes,
                secret_kind=settings.default_signature_type,  # type: ignore[arg-type]  # config has checked that it is one of the two
                https_only=settings.endpoint_https_only,
            ),
            event_types=EventTypes(store, clock),
        )
        reader = BodyReader(settings.max_body_bytes, settings.body_memory_max)
        exposition = Exposition(self._metrics)
        wait_s = settings.idempotency_wait.total_seconds()
        self._sources = SourceDirectory(store, vault, clock, self._directory)
        sources = Sources(store, vault, clock, make_id, self._sources, self._directory, secrets.randbits)
        quarantine = Quarantine(store, vault, clock, make_id, sources)
        keys, requeue = FetchedKeys(self._fetching, clock), Requeue(store, clock, self._dispatcher)
        receiver = Receiver(self._intake, self._directory, quarantine, sources, keys, clock, self._outcomes, requeue)
        self._urls = sources_api.Urls(settings.public_url)
        api = build(
            services,
            reader,
            ApiSettings(max_body_bytes=settings.max_body_bytes, idempotency_wait_s=wait_s, metrics_access=settings.metrics_access),
            metrics=lambda: exposition.render(clock.now_us()),
            more=[
                *publish.routes(publisher),
                *messages_api.routes(messages),
                *attempts_api.routes(Attempts(store, clock, vault, self._dispatcher)),
                *dead_letters_api.routes(DeadLetters(store, clock, self._dispatcher)),
                *operator.routes(self.tokens, self.operator_token),
                *sources_api.routes(sources, self._urls),
                *authentication.routes(Portal(store, clock, self.tokens), applications, self._urls.portal),
                *portal_api.routes(settings.portal_frame_ancestors),
                *tasks_api.routes(self._tasks),
                *ingest_api.routes(sources, services.endpoints, self._urls),
                *quarantine_api.routes(sources, quarantine, Releases(sources, quarantine, receiver, clock)),
            ],
        )
        place = Place(settings.trusted_proxies, settings.public_url)
        self._api = Gateway(receiver, self._sources, reader, clock, api, place)
        self._inbound = Inbound(receiver, self._sources, reader, place)
        return Doorway(publisher, self.tokens, idempotency, reader, wait_s, random.getrandbits)

    async def run(self, sock: socket.socket) -> int:
        """Dispatch and answer until a signal, then drain. 0 = nothing was cut."""
        loop = asyncio.get_running_loop()
        self._urls.listening(_url(sock))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number.name)
        for newest in await self._store.read(directory_operations.newest_ids):
            self._ids.after(newest)
        tasks = [
            loop.create_task(self._watched("loop lag", watch_loop(self._metrics, self._clock))),
            loop.create_task(self._watched("gauges", self._gauges())),
            loop.create_task(self._watched("leases", self._tidy())),
            loop.create_task(self._watched("background tasks", self._runner.run())),
            loop.create_task(self._watched("sources", Upkeep(self._sources).run())),
            loop.create_task(
                self._watched(
                    "retention", sweeper.Sweeper(self._store, self._clock, _us(self._settings.history_retention.total_seconds())).run()
                )
            ),
        ]
        self._dispatcher.start(await self._store.read(directory_operations.unfinished))
        config = uvicorn.Config(
            self._api,
            http=inbound_class(protocol_class(self._doorway), self._inbound),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, int(self._settings.drain_timeout.total_seconds() - _CLOSING_S)),
        )
        doors = _Uvicorn(config)
        serving = loop.create_task(doors.serve([sock]))
        deadlines = Sweeper(doors.server_state.connections)
        stop = loop.create_task(self._stopping.wait())
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        log(SERVER_STOPPING, cause=self._cause, in_flight=self._dispatcher.flying, within_s=self._settings.drain_timeout.total_seconds())
        started_s = self._clock.monotonic_s()
        doors.should_exit = True
        await serving
        deadlines.stop()
        left_s = self._settings.drain_timeout.total_seconds() - _CLOSING_S - (self._clock.monotonic_s() - started_s)
        await self._dispatcher.drain(max(left_s, 0.0))
        cut = self._dispatcher.flying
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.gather(*tasks, stop, return_exceptions=True)
        await self._transport.close()
        await self._fetching.close()
        log(SERVER_STOPPED, clean=cut == 0, cut=cut)
        return 0

    def _stop(self, cause: str) -> None:
        self._cause = cause
        self._intake.closed = True
        self._stopping.set()

    async def _watched(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            log(TASK_FAILED, failure=error, task=name, error=str(error))

    async def _gauges(self) -> None:
        metrics = self._metrics
        metrics.backlog += await self._store.read(directory_operations.count_unfinished)
        path = database_path(self._settings.database_url)
        while True:
            metrics.in_flight = self._dispatcher.flying
            metrics.oldest_due_us = self._dispatcher.oldest_due()
            metrics.wal_bytes = self._store.wal_bytes
            if path != ":memory:":
                metrics.store_bytes = os.stat(path).st_size
                disk = os.statvfs(path)
                metrics.disk_free_bytes = disk.f_bavail * disk.f_frsize
            await asyncio.sleep(_GAUGES_EVERY_S)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(LEASE_US / 3 / SECOND_US)
            self._dispatcher.tidy()


def _us(seconds: float) -> int:
    return int(seconds * SECOND_US)
