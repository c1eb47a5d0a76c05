"""Which requests say that a provider calls no more, and which only look so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.sources_signals import SIGNALS, Signal
from ringback.signing.headers import Headers
from ringback.signing.request import InboundRequest


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("aws-sns", b'{"Type": "UnsubscribeConfirmation", "TopicArn": "arn:x"}', Signal("UnsubscribeConfirmation", "TopicArn arn:x")),
        ("aws-sns", b'{"Type": "Notification", "Message": "UnsubscribeConfirmation"}', None),
        ("slack", b'{"type": "event_callback", "event": {"text": "app_rate_limited"}}', None),
        ("slack", b'{"type": "app_rate_limited"}', Signal("app_rate_limited")),
        ("slack", b"app_rate_limited", None),
        ("ms-graph", b'{"value": [{"changeType": "updated"}, {"lifecycleEvent": "missed"}]}', Signal("missed")),
        ("ms-graph", b'{"value": [{"lifecycleEvent": ["missed"]}, 7, {"lifecycleEvent": "other"}]}', None),
        ("ms-graph", b'{"value": {"lifecycleEvent": "missed"}}', None),
    ],
)
def test_only_the_providers_own_word_is_a_signal(kind: str, body: bytes, expected: Signal | None) -> None:
    assert SIGNALS[kind](InboundRequest(Headers([]), body)) == expected


@given(
    st.sampled_from(sorted(SIGNALS)),
    st.binary(max_size=100) | st.sampled_from([b"[" * 5_000 + b"lifecycleEvent", b'"app_rate_limited"', b"UnsubscribeConfirmation"]),
    st.sampled_from([[], [(b"twitch-eventsub-message-type", b"revocation")], [(b"twitch-eventsub-message-type", b"revocation")] * 2]),
)
def test_any_bytes_are_a_signal_or_none(kind: str, body: bytes, fields: list[tuple[bytes, bytes]]) -> None:
    found = SIGNALS[kind](InboundRequest(Headers(fields), body))
    assert found is None or isinstance(found, Signal)
