"""Who waits for this event: looked up by what is asked for, within the time that counts."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.model.expectations import OPEN, Expectation, Match
from ringback.model.messages import Origin
from ringback.policy.expectations import Waiting
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest

SINCE_US, DEADLINE_US = 1_000, 2_000
ORIGIN = Origin("src_1", "evt_1", "orders/create")
REQUEST = InboundRequest(Headers([(b"x-order", b"7")], lowered=True), b'{"order":{"id":7,"paid":true}}', b"POST", b"")


def expectation(name: str, **wanted: str) -> Expectation:
    return Expectation(
        id=name,
        source_id="src_1",
        org_id="org_1",
        uid=None,
        state=OPEN,
        wanted=Match(**wanted),
        since=SINCE_US,
        deadline=DEADLINE_US,
        created_at=SINCE_US,
    )


def served(*waiting: Expectation, at_us: int = SINCE_US, request: InboundRequest | None = REQUEST) -> list[str]:
    return sorted(item.id for item in Waiting(waiting).met_by("orders.create", ORIGIN, at_us, request))


@pytest.mark.parametrize(
    ("wanted", "serves"),
    [
        ({"event_id": "evt_1"}, True),
        ({"event_id": "evt_2"}, False),
        ({"event_type": "orders.create"}, True),
        ({"event_type": "orders/create"}, True),
        ({"event_type": "orders"}, False),
        ({"at": "json:order.id", "equals": "7"}, True),
        ({"at": "json:order.id", "equals": "8"}, False),
        ({"at": "json:order.paid", "equals": "true"}, True),
        ({"at": "header:X-Order", "equals": "7"}, True),
        ({"at": "json:order.missing", "equals": ""}, False),
        ({"at": "json:order.id", "equals": "7", "event_id": "evt_2"}, False),
        ({"at": "json:order.id", "equals": "7", "event_id": "evt_1", "event_type": "orders.create"}, True),
    ],
)
def test_all_that_is_asked_for_must_be_there(wanted: dict[str, str], serves: bool) -> None:
    assert served(expectation("exp_1", **wanted)) == (["exp_1"] if serves else [])


def test_only_what_came_between_since_and_deadline_counts() -> None:
    item = expectation("exp_1", event_id="evt_1")
    assert [served(item, at_us=at_us) for at_us in (SINCE_US - 1, SINCE_US, DEADLINE_US, DEADLINE_US + 1)] == [[], ["exp_1"], ["exp_1"], []]


def test_an_event_whose_payload_is_gone_meets_what_asks_for_no_place() -> None:
    both = (expectation("exp_1", event_id="evt_1"), expectation("exp_2", at="json:order.id", equals="7"))
    assert served(*both, request=None) == ["exp_1"]


_MATCHES = st.sampled_from(
    [{"event_id": "evt_1"}, {"event_type": "orders.create"}, {"at": "json:order.id", "equals": "7"}, {"at": "json:order.id", "equals": "8"}]
)


@given(st.lists(_MATCHES, max_size=8), st.data())
def test_those_that_are_removed_are_met_no_more_and_leave_nothing(wanted: list[dict[str, str]], data: st.DataObject) -> None:
    items = [expectation(f"exp_{number}", **typing.cast(typing.Any, match)) for number, match in enumerate(wanted)]
    waiting = Waiting(items)
    gone = {item.id for item in items if data.draw(st.booleans())}
    for name in gone:
        waiting.remove(name)
    left = [item for item in items if item.id not in gone]
    assert sorted(item.id for item in waiting.met_by("orders.create", ORIGIN, SINCE_US, REQUEST)) == served(*left)
    for item in left:
        waiting.remove(item.id)
    assert (waiting.open, waiting.places(), waiting.needs_payload()) == ({}, set(), False)
