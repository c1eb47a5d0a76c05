"""What happened in a span of time? Counts of messages and attempts, how attempts were answered, and how fast."""

from __future__ import annotations

import msgspec


class Codes(msgspec.Struct, frozen=True):
    """Attempts by their answer: classes of HTTP status codes, and `none` for no HTTP answer.

    `too_many` are those of `client_error` that said 429; `timeout` are those of `none` that took too long.
    """

    none: int = 0
    informational: int = 0
    success: int = 0
    redirect: int = 0
    client_error: int = 0
    server_error: int = 0
    too_many: int = 0
    timeout: int = 0


class Latency(msgspec.Struct, frozen=True):
    """How long attempts took until they were answered or timed out, in microseconds: off by 15.5% at the most."""

    p50_us: int
    p95_us: int
    p99_us: int


class Cell(msgspec.Struct, frozen=True):
    """What happened in the span that begins at `at_us` (microseconds since 1970).

    Of an application or organisation: messages `accepted`, the `deliveries` that were made of them, and messages that were `unmatched`
    (no endpoint wanted them); 0 for an endpoint. Attempts by outcome: `success`, `fail`, `canceled`. `latency` is None when no attempt
    was answered or timed out.
    """

    at_us: int
    accepted: int
    deliveries: int
    unmatched: int
    success: int
    fail: int
    canceled: int
    codes: Codes
    latency: Latency | None

    @property
    def attempts(self) -> int:
        """How many attempts were made."""
        return self.success + self.fail + self.canceled

    @property
    def success_rate(self) -> float | None:
        """The share of attempts that succeeded, of those that succeeded or failed; None without any."""
        judged = self.success + self.fail
        return self.success / judged if judged else None


class Worst(msgspec.Struct, frozen=True):
    """An endpoint that had failures: how many attempts succeeded and failed.

    `took_last`: its newest attempt succeeded, where somebody asked for that.
    """

    endpoint_id: str
    endpoint_uid: str | None
    description: str
    disabled: bool
    app_id: str
    app_name: str
    success: int
    fail: int
    took_last: bool = False

    @property
    def success_rate(self) -> float:
        """The share of its attempts that succeeded."""
        return self.success / (self.success + self.fail)
