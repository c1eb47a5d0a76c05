"""How is it going, in numbers? Counters that cost the hot path an addition each, turned into Prometheus' text only when somebody asks.

`Metrics` belongs to one server and is used on its event loop only. Whoever knows a number writes it to the attribute of its name;
`render` reads them all. `docs/reference/metrics.md` is made from `CATALOGUE`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ringback.clock import SECOND_US
from ringback.model.attempts import ErrorClass

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# The value of `outcome` for an answer that counts as success.
DELIVERED = "delivered"
# The first digit of an HTTP status that is no success, to the value of `outcome`. 1xx never ends an attempt.
_BY_HUNDRED = {2: DELIVERED, 3: "http_3xx", 4: "http_4xx", 5: "http_5xx"}
OUTCOMES = (*_BY_HUNDRED.values(), *(error.value for error in ErrorClass))
# Seconds. A commit takes 0.1 to 4 ms on the disks that were measured; the upper buckets show a disk that stalls.
COMMIT_BUCKETS_S = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096)
# Seconds. Publish to success takes milliseconds when all is well and days when it is not; each bucket is about four times the last.
DELIVERY_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.064, 0.256, 1.0, 4.0, 16.0, 60.0, 300.0, 3_600.0, 86_400.0)


# Seconds. Providers wait between 1.25 s and 30 s; what takes longer than some milliseconds waited for the disk, or for an endpoint.
ACK_BUCKETS_S = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 1.0, 2.5, 5.0, 10.0, 30.0)
# Seconds, below zero where the provider's clock is ahead. Most signatures hold for 300 s.
SKEW_BUCKETS_S = (-300.0, -60.0, -10.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 60.0, 300.0)
# What becomes of a provider's request; `services.gateway` counts in this order.
SOURCE_OUTCOMES = ("accepted", "duplicate", "rejected", "ignored", "handshake", "superseded")

# What becomes of events that a provider lists, of comparisons with such lists, and of expectations.
RECONCILIATION_EVENTS = ("looked_at", "missing", "added", "asked", "skipped")
RECONCILIATION_RUNS = ("completed", "cut", "failed")
EXPECTATION_OUTCOMES = ("met", "missed")
RENEWAL_OUTCOMES = ("renewed", "failed")
SINK_OUTCOMES = ("accepted", "failed", "cancelled")
# Why something that made no message has no entry in its source's journal, or none any more.
JOURNAL_DROPS = ("sampled", "unwritten", "displaced")
SPOOL_OUTCOMES = ("spooled", "drained", "apart", "refused")
# What circuit breakers of endpoints did: opened, opened once more because the attempt after the rest failed, closed.
BREAKER_CHANGES = ("opened", "reopened", "closed")
# What becomes of a call of a transformation's JavaScript: it returned, threw, returned what cannot be used, was stopped for its time or its
# memory, brought its process down, or could not be run at all.
SCRIPT_OUTCOMES = ("returned", "threw", "unusable", "time", "memory", "lost", "unavailable")
# Seconds of CPU. Most take some 25 us; a second is what they may take.
SCRIPT_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)


class Described(msgspec.Struct, frozen=True):
    """One metric for the reference and for the `HELP` line."""

    name: str
    type: str
    meaning: str
    labels: tuple[str, ...] = ()


CATALOGUE = (
    Described("ringback_messages_accepted_total", "counter", "Messages committed and acknowledged since the start."),
    Described(
        "ringback_attempts_total",
        "counter",
        "Attempts that ended since the start. `outcome` is `delivered`, `http_3xx`, `http_4xx`, `http_5xx`, or the error class.",
        ("outcome",),
    ),
    Described("ringback_dead_letters_total", "counter", "Deliveries that ran out of attempts since the start."),
    Described(
        "ringback_breaker_changes_total",
        "counter",
        "What circuit breakers of endpoints did since the start. `change` is `opened`, `reopened` (the attempt after the rest failed) or "
        "`closed`.",
        ("change",),
    ),
    Described(
        "ringback_breakers_half_open", "gauge", "Those of `ringback_breakers_open` that have rested: the next attempt decides about each."
    ),
    Described("ringback_breakers_open", "gauge", "Endpoints whose circuit breaker is not closed now: at rest, or about to be tried."),
    Described(
        "ringback_payload_misfits_total",
        "counter",
        "Published payloads that did not fit the schema of their event type. `mode`: `warn` = accepted all the same, `reject` = refused.",
        ("mode",),
    ),
    Described(
        "ringback_transformations_total",
        "counter",
        "Calls of transformations' code since the start, tries included. `outcome` is `returned`, `threw`, `unusable` (what it returned is "
        "no object, or too large), `time`, `memory`, `lost` (its process ended) or `unavailable` (no engine).",
        ("outcome",),
    ),
    Described(
        "ringback_transformation_seconds",
        "histogram",
        "CPU time of calls of transformations' code, of those that were stopped their limit.",
    ),
    Described("ringback_transformation_workers", "gauge", "Processes that run transformations; 0 = none is needed."),
    Described("ringback_blocked_lanes", "gauge", "Lanes of ordered endpoints that wait for somebody to replay or discard their dead head."),
    Described("ringback_backlog", "gauge", "Deliveries that are not finished: waiting, in flight or between retries."),
    Described("ringback_oldest_due_seconds", "gauge", "How long the delivery that is most overdue has been due; 0 = none is."),
    Described("ringback_in_flight", "gauge", "Attempts on the wire now."),
    Described("ringback_loop_lag_seconds", "gauge", "The longest time within the last 10 s that the event loop was held by one callback."),
    Described("ringback_commit_seconds", "histogram", "How long a group commit took, fsync included."),
    Described("ringback_delivery_seconds", "histogram", "From when an attempt was due (at acceptance, or after its wait) to its success."),
    Described("ringback_store_wal_bytes", "gauge", "The size of SQLite's write-ahead log."),
    Described("ringback_search_lag_messages", "gauge", "Messages that are not indexed for searches yet."),
    Described("ringback_search_bytes", "gauge", "The size of the index of searches; 0 = there is none."),
    Described("ringback_store_bytes", "gauge", "The size of the database file."),
    Described("ringback_disk_free_bytes", "gauge", "Free space on the database's disk."),
    Described(
        "ringback_source_requests_total",
        "counter",
        "Requests of providers since the start, to within five seconds. `outcome` is `accepted` (events), `duplicate`, `rejected`, "
        "`ignored` (of a type that the source does not take, or an empty batch), `handshake` or `superseded` (events older than what was "
        "accepted).",
        ("outcome",),
    ),
    Described(
        "ringback_source_body_bytes_total",
        "counter",
        "Bytes of the bodies of providers' requests since the start, as they came, to within five seconds; `outcome` is as above. A batch "
        "counts as `accepted` if any of its events was new. What was broken off, as too large or too slow, counts for nothing.",
        ("outcome",),
    ),
    Described(
        "ringback_source_rejections_total",
        "counter",
        "Requests of providers that were not taken, since the start, to within five seconds. `reason` is that of the quarantine, "
        "`method_not_allowed`, `rate_limited`, `too_large` or `too_slow`.",
        ("reason",),
    ),
    Described(
        "ringback_source_ack_seconds",
        "histogram",
        "From the head of a provider's request to its answer, where that was a success: an event that was taken, a duplicate, a handshake.",
    ),
    Described(
        "ringback_source_deadlines_passed_total",
        "counter",
        "Requests of providers that were answered 503 since the start because the awaited endpoint had not taken the event in time.",
    ),
    Described(
        "ringback_source_clock_skew_seconds",
        "histogram",
        "Our time less the time that a provider signed, of requests that were believed: the way here, and how far the clocks are apart.",
    ),
    Described(
        "ringback_reconciliation_events_total",
        "counter",
        "Events that providers list, since the start. `kind`: `looked_at` all of them, `missing` those that had not come, and of these "
        "`added` from the list, `asked` the provider is to send again, `skipped` cannot be compared or do not fit the source.",
        ("kind",),
    ),
    Described(
        "ringback_reconciliation_runs_total",
        "counter",
        "Comparisons of sources with their providers' lists, since the start. `outcome` is `completed`, `cut` (too many pages) or `failed` "
        "(one request, which is made again).",
        ("outcome",),
    ),
    Described("ringback_reconciliations_failing", "gauge", "Sources whose comparison with their provider fails now, to within a minute."),
    Described(
        "ringback_reconciliation_lag_seconds",
        "gauge",
        "How far back the source lies that was compared with its provider the longest ago; 0 = none is compared, or one never was.",
    ),
    Described(
        "ringback_expectations_total",
        "counter",
        "Expectations that ended since the start. `outcome` is `met` or `missed`.",
        ("outcome",),
    ),
    Described(
        "ringback_subscription_renewals_total",
        "counter",
        "Renewals of sources' subscriptions at their providers since the start. `outcome` is `renewed` or `failed`.",
        ("outcome",),
    ),
    Described("ringback_subscriptions_failing", "gauge", "Sources whose subscription cannot be renewed now, to within a minute."),
    Described(
        "ringback_sink_batches_total",
        "counter",
        "Attempts to bring a batch of events to a sink since the start. `outcome` is `accepted`, `failed`, or `cancelled` (by its code).",
        ("outcome",),
    ),
    Described("ringback_sink_events_total", "counter", "Events that sinks have accepted since the start."),
    Described("ringback_spooled_events", "gauge", "Requests of providers that wait in the spool for the database."),
    Described("ringback_spooled_bytes", "gauge", "The size of the spool's files."),
    Described(
        "ringback_spool_events_total",
        "counter",
        "Requests of providers that the database could not take, since the start. `outcome` is `spooled` (kept and acknowledged), "
        "`drained` (brought in later), `apart` (can never be brought in, and is kept by itself) or `refused` (the spool was full or "
        "failed: answered 503).",
        ("outcome",),
    ),
    Described(
        "ringback_journal_dropped_total",
        "counter",
        "What made no message and has no entry in its source's journal, or none any more, since the start. `reason` is `sampled` (of a "
        "flood; the entry beside it counts it as `unkept`), `unwritten` (noted while the database could not be written, until there was no "
        "room) or `displaced` (written, and pushed out by newer entries).",
        ("reason",),
    ),
    Described("ringback_start_time_seconds", "gauge", "When the server started, seconds since 1970."),
)


class Histogram:
    """Counts of values per bucket. `observe` costs a binary search and three additions."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value, in the unit of the bounds."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self._counts)

    def below(self, share: float) -> float | None:
        """The bound that this share of the values stays within; infinity beyond the last one, None without any value."""
        wanted, seen = share * self.count, 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            seen += count
            if seen and seen >= wanted:
                return bound
        return None

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated counts as Prometheus wants them, the last bucket `+Inf`."""
        bounds = [str(bound) for bound in self._bounds] + ["+Inf"]
        return list(zip(bounds, accumulate(float(count) for count in self._counts), strict=True))


class Metrics:
    """The numbers of one server. Plain attributes: assign gauges, add to counters. `oldest_due_us` 0 = nothing is due."""

    __slots__ = (
        "attempts",
        "backlog",
        "blocked_lanes",
        "breaker_changes",
        "breakers_half_open",
        "breakers_open",
        "clock_skew_seconds",
        "commit_seconds",
        "dead_letters",
        "delivery_seconds",
        "disk_free_bytes",
        "expectations",
        "in_flight",
        "journal_dropped",
        "loop_lag_s",
        "messages_accepted",
        "oldest_due_us",
        "payloads_refused",
        "payloads_warned",
        "reconciled_until_us",
        "reconciliation_events",
        "reconciliation_runs",
        "reconciliations_failing",
        "script_seconds",
        "script_workers",
        "scripts",
        "search_behind_since_us",
        "search_bytes",
        "search_lag",
        "sink_batches",
        "sink_events",
        "source_ack_seconds",
        "source_bytes",
        "source_deadlines_passed",
        "source_rejections",
        "source_requests",
        "spool_events",
        "spooled",
        "spooled_bytes",
        "started_us",
        "store_bytes",
        "subscription_renewals",
        "subscriptions_failing",
        "wal_bytes",
    )  # fmt: skip

    def __init__(self, started_us: int) -> None:
        self.started_us = started_us
        self.messages_accepted = 0
        self.attempts = dict.fromkeys(OUTCOMES, 0)
        self.dead_letters = 0
        self.breaker_changes = dict.fromkeys(BREAKER_CHANGES, 0)
        self.breakers_open = 0
        self.breakers_half_open = 0
        self.payloads_refused = 0
        self.payloads_warned = 0
        self.source_requests = dict.fromkeys(SOURCE_OUTCOMES, 0)
        # By outcome; of a batch it is that of its newest event.
        self.source_bytes = dict.fromkeys(SOURCE_OUTCOMES, 0)
        self.source_rejections: dict[str, int] = {}
        self.source_deadlines_passed = 0
        self.reconciliation_events = dict.fromkeys(RECONCILIATION_EVENTS, 0)
        self.reconciliation_runs = dict.fromkeys(RECONCILIATION_RUNS, 0)
        self.reconciliations_failing = 0
        # The earliest time that a source is compared up to, microseconds since 1970; 0 = there is none.
        self.reconciled_until_us = 0
        self.expectations = dict.fromkeys(EXPECTATION_OUTCOMES, 0)
        self.subscription_renewals = dict.fromkeys(RENEWAL_OUTCOMES, 0)
        self.subscriptions_failing = 0
        self.sink_batches = dict.fromkeys(SINK_OUTCOMES, 0)
        self.sink_events = 0
        self.journal_dropped = dict.fromkeys(JOURNAL_DROPS, 0)
        self.spool_events = dict.fromkeys(SPOOL_OUTCOMES, 0)
        self.spooled = 0
        self.spooled_bytes = 0
        self.scripts = dict.fromkeys(SCRIPT_OUTCOMES, 0)
        self.script_seconds = Histogram(SCRIPT_BUCKETS_S)
        self.script_workers = 0
        self.backlog = 0
        self.blocked_lanes = 0
        self.oldest_due_us = 0
        self.in_flight = 0
        self.loop_lag_s = 0.0
        self.wal_bytes = 0
        # When the oldest message that is not indexed was accepted, microseconds since 1970; 0 = all are.
        self.search_behind_since_us = 0
        self.search_lag = 0
        self.search_bytes = 0
        self.store_bytes = 0
        self.disk_free_bytes = 0
        self.commit_seconds = Histogram(COMMIT_BUCKETS_S)
        self.delivery_seconds = Histogram(DELIVERY_BUCKETS_S)
        self.source_ack_seconds = Histogram(ACK_BUCKETS_S)
        self.clock_skew_seconds = Histogram(SKEW_BUCKETS_S)

    def count_attempt(self, status: int, error: str | None) -> None:
        """One attempt ended: with an HTTP `status`, or with 0 and the error class."""
        self.attempts[_BY_HUNDRED.get(status // 100, "protocol") if status else error or "internal"] += 1


class Exposition(Collector):
    """Turns `Metrics` into what a Prometheus server reads."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._now_us = metrics.started_us
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, now_us: int) -> bytes:
        """The body of an answer of type `CONTENT_TYPE`."""
        self._now_us = now_us
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: the names are our own and do not clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One family per entry of `CATALOGUE`."""
        numbers = self._numbers()
        for described in CATALOGUE:
            value = numbers[described.name]
            if isinstance(value, Histogram):
                yield HistogramMetricFamily(described.name, described.meaning, buckets=value.buckets(), sum_value=value.sum)
            elif isinstance(value, dict):
                family = CounterMetricFamily(described.name, described.meaning, labels=described.labels)
                for label, count in value.items():
                    family.add_metric([label], count)
                yield family
            elif described.type == "counter":
                yield CounterMetricFamily(described.name, described.meaning, value=value)
            else:
                yield GaugeMetricFamily(described.name, described.meaning, value=value)

    def _numbers(self) -> dict[str, int | float | dict[str, int] | Histogram]:
        metrics = self._metrics
        overdue_us = self._now_us - metrics.oldest_due_us if metrics.oldest_due_us else 0
        lag_us = self._now_us - metrics.reconciled_until_us if metrics.reconciled_until_us else 0
        return {
            "ringback_messages_accepted_total": metrics.messages_accepted,
            "ringback_attempts_total": metrics.attempts,
            "ringback_dead_letters_total": metrics.dead_letters,
            "ringback_breaker_changes_total": metrics.breaker_changes,
            "ringback_breakers_half_open": metrics.breakers_half_open,
            "ringback_breakers_open": metrics.breakers_open,
            "ringback_payload_misfits_total": {"warn": metrics.payloads_warned, "reject": metrics.payloads_refused},
            "ringback_source_requests_total": metrics.source_requests,
            "ringback_source_body_bytes_total": metrics.source_bytes,
            "ringback_source_rejections_total": metrics.source_rejections,
            "ringback_source_ack_seconds": metrics.source_ack_seconds,
            "ringback_source_deadlines_passed_total": metrics.source_deadlines_passed,
            "ringback_source_clock_skew_seconds": metrics.clock_skew_seconds,
            "ringback_reconciliation_events_total": metrics.reconciliation_events,
            "ringback_reconciliation_runs_total": metrics.reconciliation_runs,
            "ringback_reconciliations_failing": metrics.reconciliations_failing,
            "ringback_reconciliation_lag_seconds": max(lag_us, 0) / SECOND_US,
            "ringback_expectations_total": metrics.expectations,
            "ringback_transformations_total": metrics.scripts,
            "ringback_transformation_seconds": metrics.script_seconds,
            "ringback_transformation_workers": metrics.script_workers,
            "ringback_blocked_lanes": metrics.blocked_lanes,
            "ringback_backlog": metrics.backlog,
            "ringback_oldest_due_seconds": max(overdue_us, 0) / SECOND_US,
            "ringback_subscription_renewals_total": metrics.subscription_renewals,
            "ringback_subscriptions_failing": metrics.subscriptions_failing,
            "ringback_sink_batches_total": metrics.sink_batches,
            "ringback_sink_events_total": metrics.sink_events,
            "ringback_spooled_events": metrics.spooled,
            "ringback_spooled_bytes": metrics.spooled_bytes,
            "ringback_spool_events_total": metrics.spool_events,
            "ringback_journal_dropped_total": metrics.journal_dropped,
            "ringback_in_flight": metrics.in_flight,
            "ringback_loop_lag_seconds": metrics.loop_lag_s,
            "ringback_commit_seconds": metrics.commit_seconds,
            "ringback_delivery_seconds": metrics.delivery_seconds,
            "ringback_store_wal_bytes": metrics.wal_bytes,
            "ringback_search_lag_messages": metrics.search_lag,
            "ringback_search_bytes": metrics.search_bytes,
            "ringback_store_bytes": metrics.store_bytes,
            "ringback_disk_free_bytes": metrics.disk_free_bytes,
            "ringback_start_time_seconds": metrics.started_us / SECOND_US,
        }
