from __future__ import annotations

import pytest

from ringback.model.endpoints import Endpoint
from ringback.policy.fanout import WhyNot, matched, wants, why_not


def endpoint(**fields) -> Endpoint:
    parts = {
        "id": "ep_1", "app_id": "app_1", "url": "http://x/", "description": "", "uid": None, "disabled": False, "event_types": None,
        "channels": None, "metadata": {}, "throttle_rate": None, "version": 1, "headers": {}, "secrets": (),
        "created_at": 1, "updated_at": 1,
    }  # fmt: skip
    return Endpoint(**(parts | fields))


@pytest.mark.parametrize(
    ("fields", "channels", "receives"),
    [
        ({}, None, True),
        ({}, ("a",), True),
        ({"disabled": True}, None, False),
        ({"event_types": ("t",)}, None, True),
        ({"event_types": ("u", "t")}, None, True),
        ({"event_types": ("u",)}, None, False),
        ({"event_types": ()}, None, False),
        ({"event_types": ("t.x",)}, None, False),
        ({"channels": ("a",)}, None, False),
        ({"channels": ("a",)}, (), False),
        ({"channels": ("a",)}, ("a",), True),
        ({"channels": ("a", "b")}, ("b", "c"), True),
        ({"channels": ("a", "b")}, ("c",), False),
        ({"channels": ("a",), "event_types": ("u",)}, ("a",), False),
        ({"channels": ("a",), "event_types": ("t",)}, ("a",), True),
        ({"channels": ("a",), "event_types": ("t",), "disabled": True}, ("a",), False),
    ],
)
def test_who_gets_a_message(fields, channels, receives):
    assert wants(endpoint(**fields), "t", channels) is receives


def test_each_endpoint_that_wants_a_message_gets_it_once_in_their_order():
    found = matched([endpoint(id="ep_1"), endpoint(id="ep_2", disabled=True), endpoint(id="ep_3", channels=("a", "b"))], "t", ("a", "b"))
    assert found == ("ep_1", "ep_3")


@pytest.mark.parametrize(
    ("changes", "event_type", "channels", "expected"),
    [
        ({}, "a", None, None),
        ({"disabled": True, "event_types": ("b",)}, "a", None, WhyNot.DISABLED),
        ({"event_types": ("b",)}, "a", None, WhyNot.EVENT_TYPE),
        ({"event_types": ("b",), "channels": ("c",)}, "a", ("d",), WhyNot.EVENT_TYPE),
        ({"channels": ("c",)}, "a", ("d",), WhyNot.CHANNEL),
        ({"channels": ("c",)}, "a", None, WhyNot.CHANNEL),
    ],
)
def test_the_reason_why_a_message_does_not_reach_an_endpoint_is_the_first_that_holds(changes, event_type, channels, expected) -> None:
    assert why_not(endpoint(**changes), event_type, channels) is expected
