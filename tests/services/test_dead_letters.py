from __future__ import annotations

from ringback import ids
from ringback.clock import SECOND_US
from ringback.services.dead_letters import Picked, oldest_first

NOW_US = 1_790_000_000 * SECOND_US + 1_234


def test_what_died_in_this_very_instant_is_meant_and_what_dies_later_is_not():
    make_id = ids.IdMaker().make
    before, now, later = (make_id(ids.DEAD_LETTER, NOW_US + after_us) for after_us in (-SECOND_US, 0, SECOND_US))
    for picked in (Picked(), Picked(until_us=NOW_US + 60 * SECOND_US)):
        walk = oldest_first(picked, NOW_US)
        assert [walk.above < letter < walk.below for letter in (before, now, later)] == [True, True, False]
