from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from ringback.api.render import readable, render_message, shown_raw
from ringback.clock import rfc3339
from ringback.model.messages import Message

texts = st.text(max_size=20)


@given(texts, st.none() | texts, st.none() | st.lists(texts, max_size=3), st.none() | st.integers(0, 4 * 10**15), st.booleans())
def test_a_rendered_message_is_json_whatever_its_texts(event_type, event_id, names, deliver_at, content):
    labels = None if names is None else tuple(names)
    message = Message(
        "msg_x", "app_x", event_type, b'{"k": 1.0}', 1, 2, event_id=event_id, channels=labels, tags=labels, deliver_at=deliver_at
    )
    assert json.loads(render_message(message, content)) == {
        "id": "msg_x",
        "eventType": event_type,
        "payload": {"k": 1.0} if content else {},
        "timestamp": "1970-01-01T00:00:00.000001Z",
        "eventId": event_id,
        "channels": names,
        "tags": names,
        "deliverAt": None if deliver_at is None else rfc3339(deliver_at),
    }


@given(st.binary(max_size=50) | st.binary(max_size=50).map(lambda rest: b"{" + rest) | st.text(max_size=20).map(str.encode))
def test_any_raw_body_is_shown_as_a_json_object_from_which_it_can_be_had_back(body):
    shown = json.loads(shown_raw(body))
    assert isinstance(shown, dict)
    if shown_raw(body) != body:
        text = shown["rawPayload"]
        assert text.encode() == body or base64.b64decode(text) == body


@given(st.text(max_size=20), st.integers(0, 3))
def test_text_that_was_cut_inside_a_character_is_still_text(text, cut):
    body = text.encode()[: len(text.encode()) - cut]
    assert text.startswith(readable(body))


@given(st.binary(max_size=40))
def test_any_response_is_shown_as_its_text_or_as_base64(body):
    shown = readable(body)
    assert body.startswith(shown.encode()) or base64.b64decode(shown) == body
