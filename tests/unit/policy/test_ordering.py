from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.ordering import Ordered, Ordering, WhenHeadDies
from ringback.policy.ordering import (
    MAX_KEY_CHARS,
    WHOLE,
    Document,
    blocks,
    gives_up,
    key_of,
    lane_of,
    lane_of_key,
    path_problems,
    same_lanes,
    unblocks,
)

BY_KEY = Ordering(Ordered.KEY)
BY_PATH = Ordering(Ordered.KEY, key_path="customer.id")
SKIP = Ordering(Ordered.KEY, when_head_dies=WhenHeadDies.SKIP, skip_after=3)


@pytest.mark.parametrize(
    ("ordering", "key", "payload", "lane"),
    [
        (None, "k", b"{}", None),
        (Ordering(Ordered.NONE), "k", b"{}", None),
        (Ordering(Ordered.ENDPOINT), "k", b"{}", WHOLE),
        (Ordering(Ordered.ENDPOINT), None, b"not json", WHOLE),
        (BY_KEY, "k", b"{}", "=k"),
        (BY_KEY, None, b'{"customer":{"id":"c"}}', None),
        (BY_PATH, None, b'{"customer":{"id":"c"}}', "=c"),
        (BY_PATH, None, b'{"customer":{"id":7}}', "=7"),
        (BY_PATH, "k", b'{"customer":{"id":"c"}}', "=k"),
        (BY_PATH, None, b'{"customer":{"id":null}}', None),
        (BY_PATH, None, b'{"customer":{"id":{"a":1}}}', None),
        (BY_PATH, None, b'{"customer":{"id":""}}', None),
        (BY_PATH, None, b'{"customer":[]}', None),
        (BY_PATH, None, b"not json", None),
        (BY_PATH, None, b"", None),
    ],
)
def test_the_lane_is_the_endpoint_or_the_key_that_is_named_or_found(ordering, key, payload, lane):
    assert lane_of(ordering, key, Document(payload)) == lane


def test_what_is_no_json_has_no_key():
    assert lane_of(BY_PATH, None, None) is None
    assert lane_of(BY_PATH, "k", None) == "=k"


@given(st.text(min_size=1, max_size=600), st.text(min_size=1, max_size=600))
def test_two_keys_have_two_lanes_of_bounded_length_and_never_that_of_the_endpoint(one, other):
    lanes = {lane_of_key(one), lane_of_key(other)}
    assert (len(lanes) == 1) == (one == other) or {c for c in one + other if 0xD800 <= ord(c) < 0xE000}
    assert WHOLE not in lanes
    assert all(len(lane) <= MAX_KEY_CHARS + 1 for lane in lanes)


def test_a_lane_says_its_key():
    assert (key_of(lane_of_key("k")), key_of(WHOLE)) == ("k", None)


def test_a_head_is_given_up_early_only_where_its_lane_skips():
    assert [gives_up(SKIP, n) for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert not gives_up(msgspec.structs.replace(SKIP, skip_after=None), 99)
    assert not gives_up(Ordering(Ordered.KEY), 99)
    assert not gives_up(None, 99)


def test_what_is_sorted_anew_is_what_changes_lanes():
    assert same_lanes(None, Ordering(Ordered.NONE))
    assert same_lanes(BY_KEY, SKIP)
    assert not same_lanes(BY_KEY, BY_PATH)
    assert not same_lanes(None, BY_KEY)
    assert not same_lanes(BY_KEY, Ordering(Ordered.ENDPOINT))


def test_lanes_go_on_when_dead_heads_block_no_more():
    assert unblocks(BY_KEY, SKIP) and unblocks(BY_KEY, None)
    assert not unblocks(SKIP, BY_KEY) and not unblocks(None, SKIP)
    assert not blocks(None) and not blocks(Ordering(Ordered.NONE))


@pytest.mark.parametrize("path", ["customer.id", "id", "a.b.c", "Kunden-Nr"])
def test_a_path_is_names_with_dots_between(path):
    assert path_problems(path) == []


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a[0]", "a\n", " a", "$.a", "$"])
def test_what_is_no_path_is_said_so(path):
    assert path_problems(path)
