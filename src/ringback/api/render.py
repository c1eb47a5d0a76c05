"""How do messages and attempts look in answers? Bytes ready to send; a payload is put in exactly as it was received.

The door that accepts messages and the ordinary routes both answer with these, so that they answer alike.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from ringback.clock import rfc3339
from ringback.model.messages import Message
from ringback.policy.paging import Page

T = TypeVar("T")

# What stands for a payload that was forgotten (contract, 3.4).
_EXPIRED: Final = b'{"expired":true}'
# At most so many bytes of a character of UTF-8 are missing where it is cut off.
_CHARACTER_REST: Final = 3

# Items rendered without a pause: 50 attempts with responses of 20 kB take 3 ms.
_AT_ONCE: Final = 50

_json: Final = msgspec.json.encode


_labels: Final = attrgetter("event_id", "channels", "tags", "deliver_at")
# What most messages are, and what they then look like.
_UNLABELLED: Final = (None, None, None, None)
_PLAIN: Final = b'{"id":"%b","eventType":%b,"payload":%b,"timestamp":"%b","eventId":null,"channels":null,"tags":null,"deliverAt":null}'


def render_message(message: Message, with_content: bool) -> bytes:
    """A MessageOut."""
    if not with_content:
        payload = b"{}"
    elif message.payload is None:
        payload = _EXPIRED
    elif message.raw:
        payload = shown_raw(message.payload)
    else:
        payload = message.payload
    m = message
    if _labels(m) == _UNLABELLED:
        return _PLAIN % (m.id.encode(), _json(m.event_type), payload, rfc3339(m.created_at).encode())
    return b"".join(
        (
            b'{"id":"',
            m.id.encode(),
            b'","eventType":',
            _json(m.event_type),
            b',"payload":',
            payload,
            b',"timestamp":"',
            rfc3339(m.created_at).encode(),
            b'","eventId":',
            b"null" if m.event_id is None else _json(m.event_id),
            b',"channels":',
            b"null" if m.channels is None else _json(m.channels),
            b',"tags":',
            b"null" if m.tags is None else _json(m.tags),
            b',"deliverAt":',
            b"null" if m.deliver_at is None else b'"' + rfc3339(m.deliver_at).encode() + b'"',
            b"}",
        )
    )


def shown_raw(payload: bytes) -> bytes:
    """A body that need not be JSON, as a JSON object: itself if it is one, else its text, or base64 where it is not UTF-8."""
    if payload.lstrip(b" \t\r\n").startswith(b"{"):
        try:
            payload.decode()
            msgspec.json.decode(payload, type=dict[str, Any])
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            return _wrapped(payload)
        return payload
    return _wrapped(payload)


def _wrapped(payload: bytes) -> bytes:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = base64.b64encode(payload).decode()
    return _json({"rawPayload": text})


def readable(body: bytes) -> str:
    """A response body as text: UTF-8 as it is, without a last character that was cut off; anything else as base64."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data" and len(body) - error.start <= _CHARACTER_REST:
            return body[: error.start].decode()
        return base64.b64encode(body).decode()


async def render_page(page: Page[T], key: Callable[[T], str], show: Callable[[T], bytes]) -> bytes:
    """A page of a list. An empty page of a walk that gave up early still says where to go on."""
    shown: list[bytes] = []
    for start in range(0, len(page.items), _AT_ONCE):
        if start:
            # Others on this event loop have their turn.
            await asyncio.sleep(0)
        shown += [show(item) for item in page.items[start : start + _AT_ONCE]]
    iterator = previous = page.stopped_at if not page.items else None
    if page.items:
        iterator, previous = key(page.items[-1]), key(page.items[0])
    return b"".join(
        (
            b'{"data":[',
            b",".join(shown),
            b'],"iterator":',
            _json(iterator),
            b',"prevIterator":',
            _json(None if previous is None else "-" + previous),
            b',"done":true}' if page.done else b',"done":false}',
        )
    )
