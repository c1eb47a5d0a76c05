"""What time is it? As a test says."""

from __future__ import annotations

NOW_S = 1_700_000_000


class StandingClock:
    """Stands still until it is moved."""

    def __init__(self, now_s: float = NOW_S) -> None:
        self.now_s = now_s

    def now_us(self) -> int:
        return int(self.now_s * 1_000_000)

    def monotonic_s(self) -> float:
        return self.now_s
