"""Which part of history does one request see? Cursors and times of the lists that show the newest first, as a walk over ids.

Source: HTTP contract, sections 1.6 and 1.7. Ids sort by the time they were made, so a window of time is a range of ids.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback import ids
from ringback.policy.paging import HIGHEST, LOWEST, Walk

# A list without a lower bound looks back this far (contract, 1.7): 90 days, the default retention of history.
LOOK_BACK_US: Final = 90 * 86_400 * 1_000_000
# Rows later than this after now are never shown (contract, 1.7): one hour, more than any clock should be off.
AHEAD_US: Final = 3_600 * 1_000_000
# Ids count their seconds in 32 bits: a time past this (the year 2150) has none.
_END_US: Final = (ids.EPOCH_S + (1 << 32)) * 1_000_000


class Ask(msgspec.Struct, frozen=True):
    """What a caller asked of a list: at most `limit` rows, from a cursor (an id; `backwards` = towards the newer), between two times.

    Times are microseconds since 1970.
    """

    limit: int
    cursor: str | None = None
    backwards: bool = False
    before_us: int | None = None
    after_us: int | None = None


def windowed(prefix: str, ask: Ask, now_us: int) -> Walk:
    """The walk that an asker gets along ids of this prefix, the newest first."""
    cursor, before_us, after_us = ask.cursor, ask.before_us, ask.after_us
    above = [_start(prefix, _oldest_us(ask, now_us))]
    below = [_start(prefix, now_us + AHEAD_US)]
    if after_us is not None:
        above.append(_start(prefix, after_us))
    if before_us is not None:
        below.append(_start(prefix, before_us))
    elif after_us is not None:
        below.append(_start(prefix, after_us + LOOK_BACK_US))
    if cursor is not None and ask.backwards:
        above.append(cursor)
        below.append(_start(prefix, ids.created_us(cursor) + LOOK_BACK_US))
    elif cursor is not None:
        below.append(cursor)
    from_old_end = ask.backwards or (after_us is not None and before_us is None and cursor is None)
    return Walk(ask.limit, True, from_old_end, max(above), min(below))


def between(prefix: str, walk: Walk, since_us: int | None, until_us: int | None) -> Walk:
    """The part of a walk whose ids were made in [since, until)."""
    above = walk.above if since_us is None else max(walk.above, _start(prefix, since_us))
    below = walk.below if until_us is None else min(walk.below, _start(prefix, until_us))
    return msgspec.structs.replace(walk, above=above, below=below)


def _oldest_us(ask: Ask, now_us: int) -> int:
    """Where the 90 days of look-back begin."""
    if ask.before_us is not None:
        return ask.before_us - LOOK_BACK_US
    if ask.after_us is not None:
        return ask.after_us
    return (now_us if ask.cursor is None else ids.created_us(ask.cursor)) - LOOK_BACK_US


def _start(prefix: str, at_us: int) -> str:
    return HIGHEST if at_us >= _END_US else LOWEST if at_us < 0 else ids.start_id(prefix, at_us)
