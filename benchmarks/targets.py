"""What is measured, and what should come out? The rows of the table and their targets."""

from __future__ import annotations

import dataclasses
import statistics
import typing

Samples = dict[str, list[float]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table. `scene` is what must be played to measure it; `limit` None: shown for comparison."""

    name: str
    scene: str
    what: str
    unit: str
    limit: float | None = None
    at_least: bool = False

    def target(self) -> str:
        """The target in words."""
        return "" if self.limit is None else f"{'at least' if self.at_least else 'at most'} {self.limit:g} {self.unit}"

    def met(self, samples: list[float]) -> bool | None:
        """Whether the median of the samples meets the target; None when there is no target."""
        if self.limit is None or not samples:
            return None
        median = statistics.median(samples)
        return median >= self.limit if self.at_least else median <= self.limit


# The order is that of the printed table. Limits are those of the project's speed goals; README and docs quote them from here.
ROWS: typing.Final = (
    Row("ceiling", "throughput", "load tool that costs next to nothing straight into the sink, 64 connections", "/s"),
    Row("ceiling-known", "throughput", "the same with autocannon, each message made anew", "/s"),
    Row("cpu", "throughput", "CPU of the server per delivery, closed loop, 64 connections", "us", 100),
    Row("floor", "throughput", "CPU of a server that only accepts, commits, signs, delivers and records", "us"),
    Row("cpu-floor", "throughput", "CPU of the server, compared with that floor", "x"),
    Row("cpu-key", "throughput", "the same with an idempotency-key on every request", "us", 110),
    Row("https", "throughput", "the same to an HTTPS endpoint, keep-alive", "us", 150),
    Row("rate", "throughput", "end to end deliveries", "/s"),
    Row("floor-rate", "throughput", "end to end deliveries of the floor", "/s"),
    Row("rate-known", "throughput", "end to end deliveries, published with autocannon", "/s"),
    Row("rate-share", "throughput", "the same, as a share of autocannon's own rate into the sink", "%", 20, at_least=True),
    Row("rate-share-least", "throughput", "end to end deliveries, as a share of the other load tool's own rate", "%"),
    Row("rate-key", "throughput", "end to end with idempotency-key", "/s"),
    Row("ack-p99", "throughput", "publish answered, closed loop, p99", "ms"),
    Row("fanout-rate", "throughput", "deliveries, each message to 10 endpoints", "/s"),
    Row("fanout", "throughput", "deliveries/s at 1 to 10, compared with 1 to 1", "x", 1.5, at_least=True),
    Row("rss-load", "throughput", "resident memory at full load, peak", "MB", 130),
    Row("ordered-base", "ordered", "end to end deliveries, an endpoint in no order, messages with 1,000 ordering keys", "/s"),
    Row("ordered-rate", "ordered", "the same to an endpoint in order by key", "/s"),
    Row("ordered", "ordered", "the same, as a share of those in no order", "%"),
    Row("ordered-cpu", "ordered", "CPU of the server per delivery in order by key", "us"),
    Row("latency-floor", "latency", "load tool straight into the sink, 100/s, p99", "ms"),
    Row("latency-sync", "latency", "fsync of 4 KiB alone, every 10 ms, p99, right before", "ms"),
    Row("latency-p50", "latency", "publish to arrival, 100/s, p50", "ms", 4),
    Row("latency-p99", "latency", "publish to arrival, 100/s, p99", "ms", 15),
    Row("latency-500-p50", "latency", "publish to arrival, 500/s, p50", "ms"),
    Row("latency-500-p99", "latency", "publish to arrival, 500/s, p99", "ms"),
    Row("rss-idle", "backlog", "resident memory, idle, empty database", "MB", 70),
    Row("start-empty", "backlog", "start to health, empty database", "s"),
    Row("start-parked", "backlog", "start to health, 1 M retries parked", "s", 3),
    Row("start-due", "backlog", "start to health, 1 M due behind a hung endpoint", "s", 3),
    Row("backlog-base", "backlog", "end to end deliveries, empty database", "/s"),
    Row("backlog-parked", "backlog", "slower with 1 M retries parked", "%", 10),
    Row("backlog-due", "backlog", "slower with 1 M due behind a hung endpoint", "%", 10),
    Row("rss-history", "backlog", "resident memory more with 1 M messages in the database, idle: its caches are full", "MB"),
    Row("rss-parked", "backlog", "resident memory more while 1 M are parked than when these are finished, idle", "MB", 5),
    Row("rss-due", "backlog", "resident memory more with 1 M due, peak at load", "MB", 10),
    Row("hung-base", "hung", "another endpoint's p99 at 200/s, nothing else queued", "ms"),
    Row("hung", "hung", "p99 moves when one endpoint hangs with 10,000 queued (share of the allowance)", "%", 100),
    Row("hung-move", "hung", "the same in milliseconds", "ms"),
    Row("dns-base", "dns", "another endpoint's p99 at 200/s, resolver silent, nothing queued", "ms"),
    Row("dns", "dns", "p99 moves when 1,000 names hang with 10,000 queued (share of the allowance)", "%", 100),
    Row("dns-move", "dns", "the same in milliseconds", "ms"),
)

# What a hung neighbour may move a p99 by: this share of it or these milliseconds, whichever is larger.
ALLOWED_SHARE = 0.20
ALLOWED_MS = 3.0


def allowance_ms(base_p99_ms: float) -> float:
    """By how much the p99 may move."""
    return max(base_p99_ms * ALLOWED_SHARE, ALLOWED_MS)
