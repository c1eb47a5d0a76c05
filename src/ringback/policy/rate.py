"""May another attempt be made now? A token bucket: so many attempts a second, and as many at once after a rest. Source: contract, 6.6.

All numbers are whole, so that nothing is lost to rounding however often a bucket is looked at: time in microseconds, and contents in
millionths of a token, of which a bucket gains `rate` each microsecond.
"""

from __future__ import annotations

from typing import Final

import msgspec

# Contents of a bucket that are one token; being equal to the microseconds of a second makes the rate one of tokens per second.
_TOKEN: Final = 1_000_000


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """What was in a bucket at `at_us`; it fills at `rate` tokens a second (1 or more), and holds as many."""

    rate: int
    contents: int
    at_us: int


def full(rate: int, now_us: int) -> Bucket:
    """A bucket of something that rested."""
    return Bucket(rate, rate * _TOKEN, now_us)


def filled(bucket: Bucket, now_us: int) -> Bucket:
    """The same bucket now. A clock that went back adds nothing, and takes nothing away."""
    gained = bucket.rate * max(now_us - bucket.at_us, 0)
    return Bucket(bucket.rate, min(bucket.contents + gained, bucket.rate * _TOKEN), now_us)


def at_rate(bucket: Bucket, rate: int, now_us: int) -> Bucket:
    """The bucket from now on at another rate: what it holds stays, as far as it has room, so that a change is no reason for a burst."""
    return Bucket(rate, min(filled(bucket, now_us).contents, rate * _TOKEN), now_us)


def wait_us(bucket: Bucket, now_us: int) -> int:
    """How long until the bucket holds a token, microseconds; 0 = it does."""
    lacking = _TOKEN - filled(bucket, now_us).contents
    return -(-lacking // bucket.rate) if lacking > 0 else 0


def is_full(bucket: Bucket, now_us: int) -> bool:
    """Has the bucket gained all that it can? Then it need not be remembered."""
    return filled(bucket, now_us).contents == bucket.rate * _TOKEN


def taken(bucket: Bucket, now_us: int) -> Bucket:
    """The bucket less one token. It must hold one."""
    now = filled(bucket, now_us)
    assert now.contents >= _TOKEN, "a token was taken from a bucket that held none"
    return Bucket(now.rate, now.contents - _TOKEN, now.at_us)
