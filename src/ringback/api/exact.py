"""What is a message byte for byte, with what a delivery of it would have for headers of its own? For programs that hand it on."""

from __future__ import annotations

import asyncio
from binascii import b2a_base64
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.api.render import render_message
from ringback.api.routing import Parameter
from ringback.model.messages import Message

EXACT: Final = Parameter(
    "exact", {"type": "boolean", "default": False}, "Also give each payload byte for byte, and the source that it came from"
)

# Bytes of a payload that become base64 in one call, some 0.2 ms: a multiple of 3, so that pieces can be put together.
_PIECE_BYTES: Final = 3 * 65_536
_PLAIN_TYPE: Final = "application/json"


def handed(message: Message, more: bytes = b"", *, content: bool = True) -> bytes:
    """A MessageOut with the `headers` of a delivery (null: plain JSON, or the payload is gone), and with `more` fields."""
    return b"".join((render_message(message, content)[:-1], b',"headers":', msgspec.json.encode(_headers(message)), more, b"}"))


def _headers(message: Message) -> dict[str, str] | None:
    lines = (message.headers or b"").decode("latin-1").split("\r\n")
    headers = {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    if message.payload is not None and (headers or message.content_type != _PLAIN_TYPE):
        headers.setdefault("content-type", message.content_type)
    return headers or None


def _one(message: Message) -> bytes:
    payload = message.payload
    body = b"null"
    if payload is not None:
        pieces = (b2a_base64(payload[start : start + _PIECE_BYTES], newline=False) for start in range(0, len(payload), _PIECE_BYTES))
        body = b'"%b"' % b"".join(pieces)
    source_id = None if message.origin is None else message.origin.source_id
    return b',"body":%b,"sourceId":%b' % (body, msgspec.json.encode(source_id))


async def exactly(messages: Sequence[Message]) -> list[bytes]:
    """The fields `body` (base64; null once it is gone) and `sourceId` of each, for the end of its JSON object."""

    def made() -> list[bytes]:
        return [_one(message) for message in messages]

    # A thread gives the interpreter away between two pieces.
    small = sum(len(message.payload or b"") for message in messages) <= _PIECE_BYTES
    return made() if small else await asyncio.to_thread(made)
