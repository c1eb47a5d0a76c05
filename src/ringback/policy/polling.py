"""Where does a reader of an application's messages stand? Positions, which sort as text, and the iterators that show them to clients.

A message stands at its own id: ids are given in the order of commits. One that waited for its time stands where it became due: behind an id
that was there then, by a number (`msg_….0000000001`). Whatever is committed later stands behind every position that a reader has seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Final

from ringback import ids

# Digits of the number behind an id: more messages than can become due while no other comes.
_DIGITS: Final = 10
_NUMBER_BYTES: Final = 5
_ID_BYTES: Final = 20
# Enough that nobody takes the iterator of one endpoint for that of another by accident; they are no secrets.
_CHECK_BYTES: Final = 6
# The first byte of an iterator, so that another shape can follow one day.
_VERSION: Final = b"\x01"
_PLACE_BYTES: Final = 1 + _ID_BYTES + _NUMBER_BYTES


def behind(position: str, last_release: str | None) -> str:
    """The next place behind `position`, and behind the last place that was given this way."""
    if last_release is not None and last_release > position:
        position = last_release
    anchor, _, number = position.partition(".")
    return f"{anchor}.{int(number or 0) + 1:0{_DIGITS}}"


def start_position(at_us: int) -> str:
    """Behind this stands what was accepted at that time, microseconds since 1970, or later."""
    return ids.start_id(ids.MESSAGE, at_us)


def position_time_us(position: str) -> int:
    """About when something at this position was accepted or became due: to a minute, microseconds since 1970."""
    return ids.created_us(position.partition(".")[0])


def iterator_of(endpoint_id: str, position: str) -> str:
    """A position as clients of this endpoint see it."""
    anchor, _, number = position.partition(".")
    return sealed(endpoint_id, _VERSION + ids.decode(anchor).to_bytes(_ID_BYTES) + int(number or 0).to_bytes(_NUMBER_BYTES))


def position_of(endpoint_id: str, iterator: str) -> str | None:
    """The position in an iterator of this endpoint; None for anything else."""
    place = opened(endpoint_id, iterator)
    if place is None or len(place) != _PLACE_BYTES or place[:1] != _VERSION:
        return None
    anchor = ids.MESSAGE + ids.encode(int.from_bytes(place[1 : 1 + _ID_BYTES]))
    number = int.from_bytes(place[1 + _ID_BYTES :])
    return f"{anchor}.{number:0{_DIGITS}}" if number else anchor


def sealed(owner_id: str, place: bytes) -> str:
    """A place in something of that owner, as text for clients that is not taken for a place of another owner."""
    return base64.urlsafe_b64encode(place + _check(owner_id, place)).decode().rstrip("=")


def opened(owner_id: str, iterator: str) -> bytes | None:
    """The place in a text that `sealed` made for this owner; None for anything else."""
    try:
        raw = base64.b64decode(iterator.encode("ascii") + b"=" * (-len(iterator) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    place, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    return place if check == _check(owner_id, place) else None


def _check(endpoint_id: str, place: bytes) -> bytes:
    return hashlib.sha256(endpoint_id.encode() + place).digest()[:_CHECK_BYTES]
