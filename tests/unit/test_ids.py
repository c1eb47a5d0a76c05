from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback import ids
from ringback.clock import to_us
from ringback.ids import ALPHABET, IdMaker

NOW_US = 1_700_000_000_123_456
times = st.integers(ids.EPOCH_S * 1_000_000, (ids.EPOCH_S + (1 << 32) - 1) * 1_000_000)


def test_an_id_is_its_prefix_and_27_base62_characters_in_ascii_order():
    made = IdMaker().make(ids.MESSAGE, NOW_US)
    assert made.startswith("msg_")
    assert len(made) == 4 + 27
    assert set(made[4:]) <= set(ALPHABET)
    assert list(ALPHABET) == sorted(ALPHABET)
    assert len(ALPHABET) == 62


def test_the_bytes_of_an_id_are_seconds_quarters_of_milliseconds_and_chance():
    value = ids.decode(IdMaker().make(ids.MESSAGE, NOW_US)).to_bytes(20, "big")
    assert int.from_bytes(value[:4], "big") == 1_700_000_000 - 1_400_000_000
    assert value[4] == 123 // 4
    assert ids.decode(ids.start_id("x_", NOW_US)).to_bytes(20, "big")[5:] == bytes(15)
    assert ids.decode(ids.end_id("x_", NOW_US)).to_bytes(20, "big")[5:] == b"\xff" * 15


def test_ids_of_one_instant_strictly_increase():
    maker = IdMaker()
    made = [maker.make(ids.MESSAGE, NOW_US) for _ in range(10_000)]
    assert made == sorted(set(made))
    assert all(ids.start_id(ids.MESSAGE, NOW_US) < one <= ids.end_id(ids.MESSAGE, NOW_US) for one in made)


@given(st.lists(times, min_size=1, max_size=30))
def test_ids_strictly_increase_also_when_the_clock_steps_back(at):
    maker = IdMaker()
    made = [maker.make("", at_us) for at_us in at]
    assert made == sorted(set(made))


def test_ids_go_on_above_the_last_one_of_an_earlier_run():
    newest = ids.end_id(ids.MESSAGE, NOW_US)
    maker = IdMaker()
    maker.after(newest)
    assert maker.make(ids.MESSAGE, NOW_US - 5_000_000) > newest
    maker.after(ids.start_id(ids.MESSAGE, 0))
    assert maker.make(ids.MESSAGE, NOW_US - 5_000_000) > newest


@given(times)
def test_the_bounds_of_an_instant_hold_its_ids_and_no_others(at_us):
    start, end = ids.start_id("e_", at_us), ids.end_id("e_", at_us)
    made = IdMaker().make("e_", at_us)
    assert start <= made <= end
    slot_us = at_us // 1_000_000 * 1_000_000 + at_us % 1_000_000 // 4_000 * 4_000
    assert ids.created_us(made) == ids.created_us(start) == ids.created_us(end) == slot_us
    later = IdMaker().make("e_", slot_us + 4_000) if at_us + 4_000 < (ids.EPOCH_S + (1 << 32)) * 1_000_000 else "f"
    assert later > end


@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_the_bounds_of_any_instant_of_the_calendar_are_ids(at):
    for bound in (ids.start_id("e_", to_us(at)), ids.end_id("e_", to_us(at))):
        assert ids.is_id("e_", bound)
        assert ids.decode(bound) >> 160 == 0


@given(st.integers(0, (1 << 160) - 1))
def test_a_number_and_its_digits_are_the_same(value):
    text = ids.encode(value)
    assert len(text) == 27
    assert ids.decode(text) == ids.decode(f"msg_{text}") == value


@given(st.integers(0, (1 << 160) - 1), st.integers(0, (1 << 160) - 1))
def test_digits_sort_as_their_numbers(one, other):
    assert (ids.encode(one) < ids.encode(other)) == (one < other)


@pytest.mark.parametrize(
    "text", ["", "msg_", "msg_short", "msg_" + "0" * 26, "msg_" + "0" * 28, "msg_" + "-" * 27, "msg_" + "é" * 27, "z" * 27]
)
def test_what_is_no_id_cannot_be_decoded(text):
    with pytest.raises(ValueError, match="is not an id"):
        ids.decode(text)


def test_the_shape_of_an_id_is_its_prefix_length_and_digits():
    made = IdMaker().make(ids.ENDPOINT, NOW_US)
    assert ids.is_id(ids.ENDPOINT, made)
    for text in (made[:-1], made + "0", "msg" + made[2:], made[:-1] + "-", made[3:], "", made.replace("_", "-")):
        assert not ids.is_id(ids.ENDPOINT, text)


def test_two_makers_do_not_make_the_same_ids():
    assert len({IdMaker().make("", NOW_US) for _ in range(1_000)}) == 1_000


@given(st.lists(times, min_size=1, max_size=20))
def test_short_ids_have_22_characters_and_increase_whatever_the_clock_does(moments):
    maker = ids.ShortIdMaker(IdMaker())
    made = [maker.make(ids.STREAM, moment) for moment in moments for _ in range(3)]
    assert made == sorted(set(made))
    assert all(ids.is_short_id(ids.STREAM, one) and not ids.is_short_id(ids.SINK, one) for one in made)


def test_short_ids_tell_the_order_of_makers_too():
    early, late = (ids.ShortIdMaker(IdMaker()).make(ids.SINK, moment) for moment in (NOW_US, NOW_US + 4_000))
    assert early < late
