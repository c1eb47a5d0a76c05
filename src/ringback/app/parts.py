"""What does every door share? The store and what works on it: accepting, delivering, remembering."""

from __future__ import annotations

import random
import secrets
from contextlib import AsyncExitStack
from pathlib import Path

from ringback.app.sealing import open_vault
from ringback.app.tracing import Traces, check
from ringback.app.transports import delivering
from ringback.clock import SECOND_US, SystemClock
from ringback.config import Settings
from ringback.delivery.scripting import Scripts, ScriptSettings
from ringback.delivery.tls import client_context
from ringback.engine.dispatcher import Dispatcher
from ringback.engine.feeder import Feeder, FeedPolicy
from ringback.engine.health import Health
from ringback.engine.limiter import Limiter
from ringback.engine.plans import planner
from ringback.engine.sink_requests import SinkStyle
from ringback.errors import StoreFailure
from ringback.ids import IdMaker
from ringback.policy.breaker import BreakerPolicy
from ringback.policy.retry import RetryPolicy
from ringback.services.directory import Directory
from ringback.services.feed import LiveFeed
from ringback.services.intake import Intake
from ringback.services.jwts import Jwts
from ringback.services.operational import Operational
from ringback.services.privacy import Privacy
from ringback.services.processing import Outcomes
from ringback.services.search import Search
from ringback.services.tasks import Tasks
from ringback.services.tokens import Tokens
from ringback.services.trends import Trends
from ringback.store.base import Record, SearchIndex
from ringback.store.opening import open_search, open_store
from ringback.store.operations import search_log
from ringback.store.spool import Spool
from ringback.store.sqlite.store import SqliteStore
from ringback.store.vault import Vault
from ringback.telemetry.events import SEARCH_FAILED
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics


class Parts:
    """The parts that doors and engine share; made once, in this order."""

    def __init__(
        self, settings: Settings, store: SqliteStore, vault: Vault, clock: SystemClock, metrics: Metrics, index: SearchIndex | None = None
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.metrics = metrics
        self.ids = make_id = IdMaker()
        self.vault = vault
        # Where events of providers wait that the database cannot take; None: they are refused.
        self.spool = Spool.open(Path(settings.spool_path), settings.spool_max_bytes, self.vault) if settings.spool_path else None
        self.directory = Directory(store, self.vault)
        # One for all that is sent: reading the system's authorities takes longer than opening the database.
        self.tls = client_context()
        self.traces = Traces(settings, clock, random.getrandbits)
        self.transport, in_flight = delivering(settings, self.tls, clock)
        self.scripts = Scripts(
            ScriptSettings(settings.transformation_workers, settings.transformation_timeout.total_seconds()), clock, metrics
        )
        self.outcomes = Outcomes(store, settings.response_body_max)
        self.feed = LiveFeed()
        self.operational = Operational(clock, make_id, metrics)
        retries = _retries(settings)
        disable_after_us = microseconds(settings.endpoint_failure_disable_after.total_seconds())
        self.dispatcher = Dispatcher(
            store=store,
            transport=self.transport,
            directory=self.directory,
            clock=clock,
            make_id=make_id,
            policy=retries,
            limiter=Limiter(in_flight, settings.endpoint_concurrency),
            health=Health(disable_after_us),
            draw=random.random,
            metrics=metrics,
            prepare=planner(
                settings.header_style,  # type: ignore[arg-type]  # config has checked that it is one of the three
                self.operational.teller,
                https_only=settings.endpoint_https_only,
            ),
            told=self._told if self.traces.tracing is None else self._told_and_traced,
            scripts=self.scripts,
            tracing=self.traces.tracing,
            breaker=_breaker(settings),
        )
        style = SinkStyle(settings.header_style, settings.endpoint_https_only)  # type: ignore[arg-type]  # as above
        feeding = FeedPolicy(retries, disable_after_us, style)
        self.feeder = Feeder(store, self.vault, self.transport, clock, make_id, feeding, random.random, metrics, self.scripts)
        secret = settings.jwt_secret
        jwts = None if secret is None else Jwts(secret.reveal(), settings.jwt_algorithm, self.vault.fingerprint)
        self.tokens = Tokens(store, clock, make_id, secrets.randbits, jwts)
        self.tasks = Tasks(store, clock, make_id, self.dispatcher, self.operational.task_ended)
        self.privacy = Privacy(store, self.vault, clock, make_id, self.tasks, store.empty_log, index, settings.search_size_max)
        self.trends = Trends(store, clock, self.dispatcher, metrics)
        self.index = index
        self.search = Search(store, index, clock, metrics)
        self.intake = Intake(store, clock, make_id, self.dispatcher, metrics, self.feed, self.traces.tracing)

    def _told(self, record: Record) -> None:
        self.outcomes.told(record)
        self.feed.attempted(record)

    def _told_and_traced(self, record: Record) -> None:
        self._told(record)
        self.traces.recorded(record)

    @classmethod
    async def open(cls, settings: Settings, stack: AsyncExitStack) -> Parts:
        """Open the database and make all parts. Raises OperatorError."""
        check(settings)
        clock = SystemClock()
        metrics = Metrics(clock.now_us())
        store = await open_store(
            settings.database_url,
            clock,
            min_free_disk=settings.min_free_disk,
            observe=lambda seconds, rows: metrics.commit_seconds.observe(seconds),
        )
        stack.push_async_callback(store.close)
        vault = await open_vault(settings, store)
        index = await _open_index(settings, store, stack)
        if index is not None:
            # Until its first step nothing is known to be indexed.
            metrics.search_lag = await store.read(search_log.newest)
        parts = cls(settings, store, vault, clock, metrics, index)
        if parts.spool is not None:
            stack.push_async_callback(parts.spool.close)
        return parts


async def _open_index(settings: Settings, store: SqliteStore, stack: AsyncExitStack) -> SearchIndex | None:
    """The index of searches; None: not wanted, or not now, which stops nobody else."""
    try:
        index = await open_search(settings.database_url, store, wanted=settings.search, key=secrets.token_hex(16))
    except (StoreFailure, OSError) as error:
        log(SEARCH_FAILED, error=str(error))
        return None
    if index is not None:
        stack.push_async_callback(index.close)
    return index


def _retries(settings: Settings) -> RetryPolicy:
    """How failures are retried."""
    return RetryPolicy(
        tuple(delay.total_seconds() for delay in settings.retry_schedule),
        settings.overload_min_delay.total_seconds(),
        settings.retry_after_max.total_seconds(),
    )


def _breaker(settings: Settings) -> BreakerPolicy | None:
    """When circuit breakers open; None: there are none."""
    if not settings.breaker_failure_ratio:
        return None
    window_us, rest_us = (microseconds(span.total_seconds()) for span in (settings.breaker_window, settings.breaker_rest))
    return BreakerPolicy(settings.breaker_failure_ratio, settings.breaker_min_attempts, window_us, rest_us)


def microseconds(seconds: float) -> int:
    """Whole microseconds."""
    return int(seconds * SECOND_US)
