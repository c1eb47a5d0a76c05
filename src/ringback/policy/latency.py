"""How fast do endpoints answer? Times fall into fixed buckets, so that counts of any minutes add up, and percentiles follow from the sums.

Each bucket's bound is 4/3 of the last one's, from 1 ms to 56 s. A percentile is told as the geometric middle of its bucket: it is off by
15.5% at the most, whatever the times were.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

# A third more from bound to bound: the widest step whose middle is off by no more than about 15%.
RATIO: Final = 4 / 3
# Below 1 ms nobody looks: a connection on the same machine takes a tenth of that.
FIRST_US: Final = 1_000
# 39 bounds reach 56 s, past the longest attempt of the default settings (30 s and 5 s for the body); one more takes the rest.
BUCKETS: Final = 40
# The highest time of each bucket but the last, microseconds.
BOUNDS_US: Final = tuple(round(FIRST_US * RATIO**n) for n in range(BUCKETS - 1))
_MIDDLES_US: Final = tuple(round(FIRST_US * RATIO ** (n - 0.5)) for n in range(BUCKETS))


def percentiles_us(counts: Sequence[int], shares: Sequence[float]) -> list[int]:
    """The times in microseconds that these shares (0 to 1, rising) of the counted times do not exceed.

    `counts` has a number for each bucket, one of them at least above 0.
    """
    reached = list(accumulate(counts))
    return [_MIDDLES_US[bisect_left(reached, max(share * reached[-1], 1))] for share in shares]
