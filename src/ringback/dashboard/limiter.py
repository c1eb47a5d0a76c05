"""May this address try to log in again? Counts what failed, by address and in all, in a bounded memory."""

from __future__ import annotations

import ipaddress
import math
from typing import Final

# Failures that one address may have at once, and how many seconds bring one back: nobody mistypes a pasted token more often.
_BURST: Final = 10
_SECONDS_EACH: Final = 6.0
# The same for all addresses together: a token cannot be guessed at any rate, but each try costs a look into the database.
_BURST_IN_ALL: Final = 200
_SECONDS_EACH_IN_ALL: Final = 0.1
# Addresses remembered, some 100 bytes each; the one that was quiet the longest is forgotten first.
_REMEMBERED: Final = 10_000
# Seconds between two lines in the log about it.
_TELL_EVERY_S: Final = 60.0
# A provider gives one customer a whole /64 of IPv6: counted by single addresses, nobody would ever be counted twice.
_V6_PREFIX: Final = 64


class Limiter:
    """Failed logins. Times are monotonic seconds. Belongs to one event loop."""

    def __init__(self) -> None:
        # How many seconds' worth of failures each one has, and as of when.
        self._debts: dict[str, tuple[float, float]] = {}
        self._in_all = (0.0, 0.0)
        self._told_s = -_TELL_EVERY_S

    @property
    def remembered(self) -> int:
        """How many addresses are remembered."""
        return len(self._debts)

    def tells(self, now_s: float) -> bool:
        """Is it time to tell the log that somebody is being held up? Once a minute, whoever it is."""
        if now_s - self._told_s < _TELL_EVERY_S:
            return False
        self._told_s = now_s
        return True

    def wait_s(self, address: str, now_s: float) -> int:
        """For how many whole seconds this address must not try; 0 = it may."""
        own = _left(self._debts.get(_network(address), (0.0, 0.0)), now_s) - (_BURST - 1) * _SECONDS_EACH
        everybody = _left(self._in_all, now_s) - (_BURST_IN_ALL - 1) * _SECONDS_EACH_IN_ALL
        return max(0, math.ceil(max(own, everybody)))

    def began(self, address: str, now_s: float) -> None:
        """A login from this address begins; it counts as failed until `succeeded`, so that many at once are many."""
        self._add(_network(address), 1, now_s)

    def succeeded(self, address: str, now_s: float) -> None:
        """It was somebody who may log in."""
        self._add(_network(address), -1, now_s)

    def _add(self, key: str, failures: int, now_s: float) -> None:
        debt = _left(self._debts.pop(key, (0.0, 0.0)), now_s) + failures * _SECONDS_EACH
        if len(self._debts) >= _REMEMBERED:
            del self._debts[next(iter(self._debts))]
        self._debts[key] = (debt, now_s)
        self._in_all = (_left(self._in_all, now_s) + failures * _SECONDS_EACH_IN_ALL, now_s)


def _left(debt: tuple[float, float], now_s: float) -> float:
    return max(0.0, debt[0] - (now_s - debt[1]))


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, _V6_PREFIX), strict=False))
    return address
