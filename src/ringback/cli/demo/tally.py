"""How does the server fare? Counts what was sent and what arrived; knows nothing of sockets or screens."""

from __future__ import annotations

from collections import deque

# Latencies kept for the percentiles: the last minute or so at the demo's rate.
_WINDOW = 2_000


class Tally:
    """What one demo has seen. Times are seconds on a monotonic clock."""

    def __init__(self) -> None:
        self.sent = 0
        self.refused = 0
        self.delivered = 0
        self.retried = 0
        self.duplicates = 0
        self.bad_signatures = 0
        self._sent_at_s: dict[int, float] = {}
        self._failures: dict[int, int] = {}
        self._latencies_s: deque[float] = deque(maxlen=_WINDOW)

    @property
    def waiting(self) -> int:
        """Events that were sent and have not been taken by the receiver yet. One may arrive before its acknowledgement is read."""
        return max(self.sent - self.delivered, 0)

    def sending(self, sequence: int, at_s: float) -> None:
        """About to be sent: it may arrive before the server has answered."""
        self._sent_at_s[sequence] = at_s

    def accepted(self) -> None:
        """The server acknowledged an event."""
        self.sent += 1

    def not_accepted(self, sequence: int) -> None:
        """The server refused an event, or did not answer; if it arrives all the same, it counts as a duplicate."""
        self.refused += 1
        self._sent_at_s.pop(sequence, None)

    def arrived(self, sequence: int, at_s: float) -> int:
        """A verified attempt; how many attempts of this event failed before it. Its first arrival is what latency is measured by."""
        failures = self._failures.get(sequence, 0)
        if failures:
            self.retried += 1
        elif sequence in self._sent_at_s:
            self._latencies_s.append(at_s - self._sent_at_s[sequence])
        return failures

    def taken(self, sequence: int) -> None:
        """The receiver answers with success."""
        self._failures.pop(sequence, None)
        if self._sent_at_s.pop(sequence, None) is None:
            self.duplicates += 1
        else:
            self.delivered += 1

    def failed(self, sequence: int) -> None:
        """The receiver answers with an error, or not at all."""
        self._failures[sequence] = self._failures.get(sequence, 0) + 1

    def percentile_ms(self, share: float) -> float:
        """The latency, in milliseconds, that this share (0 to 1) of first arrivals did not exceed; 0 before any arrived."""
        ordered = sorted(self._latencies_s)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else 0.0

    def line(self) -> str:
        """All of it in one line."""
        return (
            f"sent {self.sent}  delivered {self.delivered}  waiting {self.waiting}  retried {self.retried}  "
            f"p50 {self.percentile_ms(0.5):.1f} ms  p99 {self.percentile_ms(0.99):.1f} ms  bad signatures {self.bad_signatures}"
        )
