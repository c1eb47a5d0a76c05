"""What is this thing called? Ids that sort by the time they were made.

An id is a prefix and 27 base62 characters: 20 bytes, big endian: 4 bytes of seconds since 1400000000, 1 byte of milliseconds within
the second divided by 4, 15 random bytes. Byte order of ids is creation order, which the cursors of every list rely on.
"""

from __future__ import annotations

import random
import secrets
import string
from collections.abc import Callable
from typing import Final

# The order of the digits must be ASCII order, or ids would not sort as bytes.
ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
# 62^27 is the first power of 62 above 2^160 (20 bytes).
LENGTH: Final = 27
# Seconds of the id count from here (13 May 2014), so that 4 bytes last until 2150.
EPOCH_S: Final = 1_400_000_000
# The last second that 4 bytes hold.
_LAST_S: Final = (1 << 32) - 1
# Bits of chance below the 40 bits of time.
RANDOM_BITS: Final = 120
_RANDOM_MASK: Final = (1 << RANDOM_BITS) - 1
# Ids made within one slot of 4 ms climb by a random step of so many bits: small enough that mostly only the last 4 of the 27 digits
# change, which is what `make` costs at full speed. Ids are names, not secrets: each slot starts at an unguessable place all the same.
_STEP_BITS: Final = 15

_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
# Powers by which a number is cut into pieces of 2, 4 and 9 digits: a piece of 9 fits a machine word.
_P2: Final = 62**2
_P4: Final = 62**4
_P9: Final = 62**9
_P18: Final = 62**18
_DIGITS: Final = {c: i for i, c in enumerate(ALPHABET)}
# An id tells time to 4 ms, since its byte of milliseconds counts in fours.
_SLOT_US: Final = 4_000

APPLICATION = "app_"
ENDPOINT = "ep_"
MESSAGE = "msg_"
ATTEMPT = "atmpt_"
EVENT_TYPE = "evtype_"
ORGANISATION = "org_"
DEAD_LETTER = "dead_"
TASK = "qtask_"
AUDIT_ENTRY = "audit_"
INTEGRATION = "integ_"
CONNECTOR = "trtmpl_"
AUTO_CONFIG = "autocfg_"
POLLING_ENDPOINT = "poll_"
ARRIVAL = "arr_"
QUARANTINED = "quar_"
STREAM = "strm_"
SINK = "sink_"
BATCH = "batch_"
SAVED_VIEW = "view_"

# Ids of some kinds are shorter (contract, 1.1): 22 digits hold 131 bits, so such an id keeps its 40 bits of time, and its order.
_SHORT_LENGTH: Final = 22
_SHORT_DROPPED_BITS: Final = 30


def _nine(value: int) -> str:
    high, d0 = divmod(value, 62)
    high, p1 = divmod(high, _P2)
    high, p2 = divmod(high, _P2)
    p4, p3 = divmod(high, _P2)
    return _PAIRS[p4] + _PAIRS[p3] + _PAIRS[p2] + _PAIRS[p1] + ALPHABET[d0]


def encode(value: int) -> str:
    """27 base62 digits of a number below 2^160."""
    high, rest = divmod(value, _P18)
    middle, low = divmod(rest, _P9)
    return _nine(high) + _nine(middle) + _nine(low)


def _time_bits(at_us: int) -> int:
    seconds, us = divmod(at_us, 1_000_000)
    # Clients ask about times that no id can tell: before the first one, or after the last.
    return (min(max(seconds - EPOCH_S, 0), _LAST_S) << 8) | (us // _SLOT_US)


class IdMaker:
    """Makes ids that strictly increase, also within one slot of 4 ms and when the wall clock steps back.

    Not thread-safe: one per event loop.
    """

    __slots__ = ("_draw", "_head", "_high", "_low", "_slot", "_step")

    def __init__(self, draw: Callable[[int], int] = secrets.randbits, step: Callable[[int], int] = random.getrandbits) -> None:
        self._draw = draw
        self._step = step
        # The last number made, without and with only its low four digits, and the text of the high ones.
        self._high = self._low = 0
        self._head = ALPHABET[0] * (LENGTH - 4)
        self._slot = 0

    def make(self, prefix: str, now_us: int) -> str:
        """The next id, later than every id this maker has made."""
        step = self._step
        low = self._low + 1 + step(_STEP_BITS)
        if now_us // _SLOT_US == self._slot and low < _P4:
            self._low = low
        else:
            low = self._turn(now_us)
        return f"{prefix}{self._head}{_PAIRS[low // _P2]}{_PAIRS[low % _P2]}"

    def _turn(self, now_us: int) -> int:
        """Begin a slot, or go on in one whose low digits are used up; the new low digits."""
        value = _time_bits(now_us) << RANDOM_BITS
        last = self._high * _P4 + self._low
        if value > last:
            # The top bit of the random part starts at 0, so that a slot has room for its steps.
            value |= self._draw(RANDOM_BITS - 1)
        else:
            value = last + 1 + self._step(_STEP_BITS)
        self._slot = now_us // _SLOT_US
        return self._set(value)

    def _set(self, value: int) -> int:
        self._high, self._low = divmod(value, _P4)
        self._head = encode(value)[:-4]
        return self._low

    def after(self, newest: str) -> None:
        """Never again make an id at or below `newest` (the last one stored before a restart)."""
        value = decode(newest)
        if value > self._high * _P4 + self._low:
            self._set(value)
            # No slot is that of this value: the next id looks at the time.
            self._slot = -1


class ShortIdMaker:
    """Makes ids of 22 digits that strictly increase, from those of another maker."""

    __slots__ = ("_last", "_maker")

    def __init__(self, maker: IdMaker) -> None:
        self._maker = maker
        self._last = 0

    def make(self, prefix: str, now_us: int) -> str:
        """The next id, later than every id this maker has made."""
        # Ids of one moment differ in the bits that are dropped: the next number is the next id then.
        number = self._last = max(decode(self._maker.make(prefix, now_us)) >> _SHORT_DROPPED_BITS, self._last + 1)
        return prefix + encode(number)[LENGTH - _SHORT_LENGTH :]


def decode(identifier: str) -> int:
    """The number in an id. Raises ValueError when it is not shaped like one."""
    text = identifier[identifier.rfind("_") + 1 :]
    if len(text) != LENGTH:
        raise ValueError(f"{identifier!r} is not an id: {LENGTH} base62 characters must follow the prefix")
    value = 0
    try:
        for c in text:
            value = value * 62 + _DIGITS[c]
    except KeyError:
        raise ValueError(f"{identifier!r} is not an id: only 0-9, A-Z and a-z may follow the prefix") from None
    if value >> 160:
        raise ValueError(f"{identifier!r} is not an id: it is larger than 20 bytes")
    return value


def is_id(prefix: str, text: str) -> bool:
    """Is this text shaped like an id of that prefix?"""
    if not text.startswith(prefix) or len(text) != len(prefix) + LENGTH:
        return False
    return all(c in _DIGITS for c in text[len(prefix) :])


def is_short_id(prefix: str, text: str) -> bool:
    """Is this text shaped like a short id of that prefix?"""
    return text.startswith(prefix) and len(text) == len(prefix) + _SHORT_LENGTH and all(c in _DIGITS for c in text[len(prefix) :])


def created_us(identifier: str) -> int:
    """When the id was made, microseconds since 1970, to 4 ms. Raises ValueError when it is not an id."""
    bits = decode(identifier) >> RANDOM_BITS
    return ((bits >> 8) + EPOCH_S) * 1_000_000 + (bits & 0xFF) * _SLOT_US


def start_id(prefix: str, at_us: int) -> str:
    """The least id of that instant: time `at_us`, random part all zero."""
    return prefix + encode(_time_bits(at_us) << RANDOM_BITS)


def end_id(prefix: str, at_us: int) -> str:
    """The greatest id of that instant: time `at_us`, random part all ones."""
    return prefix + encode((_time_bits(at_us) << RANDOM_BITS) | _RANDOM_MASK)
