"""Which events does a request hold? Names, ids and the pieces of batches, read from bytes that were believed."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.model.sources import Rules
from ringback.signing.documents import form_fields, parse_json
from ringback.signing.headers import Headers
from ringback.signing.places import first_text
from ringback.signing.provider import Provider
from ringback.signing.request import InboundRequest

# SendGrid's and Graph's largest batches have some thousand items; more stays together.
MAX_CHILDREN: Final = 2_000
# What a compressed body may become, as a multiple of itself (text shrinks to a twentieth at best), and in bytes.
MAX_RATIO: Final = 100
MAX_INFLATED_BYTES: Final = 32 * 1024 * 1024
# The contract's longest event type.
_MAX_NAME: Final = 256
# Text that needs no further look: far below the longest name that is taken for one.
_SHORT: Final = 128
# zlib: the window size, and 32 for "gzip or zlib, whichever the header says".
_ANY_WRAPPING: Final = 15 + 32

_FOREIGN: Final = re.compile(r"[^A-Za-z0-9\-_.]+")
# Stands for a body that is no JSON: nothing is found in it.
_NO_DOCUMENT: Final = object()


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened: the name we use, the provider's own, the texts that identify it (None: nothing does), and its bytes."""

    name: str
    original: str | None
    identity: str | None
    payload: bytes


class BombError(ValueError):
    """A body that becomes too large when it is unpacked."""


def inflated(body: bytes, coding: bytes) -> bytes:
    """The body without its content coding (gzip, deflate, none). Raises BombError, and ValueError for what cannot be read."""
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise LookupError(f"the content coding {coding.decode('latin-1')!r} is not known; send gzip, deflate or none")
    most = min(MAX_INFLATED_BYTES, max(len(body), 1_024) * MAX_RATIO)
    engine = zlib.decompressobj(_ANY_WRAPPING)
    try:
        plain = engine.decompress(body, most)
    except zlib.error as error:
        raise ValueError(f"the body is not {coding.decode()}: {error}") from None
    if engine.unconsumed_tail:
        raise BombError(f"the body unpacks to more than {most} bytes")
    if not engine.eof:
        raise ValueError(f"the body is not all of its {coding.decode()}")
    return plain


def events_of(row: Provider | None, rules: Rules, fallback: str, request: InboundRequest) -> list[Event]:
    """The events of a believed request, in order; one, unless the provider sends batches. Never raises for what strangers send."""
    children = _children(row, request.body) if row is not None and row.batch and rules.split else []
    if not children:
        return [_event(row, rules, fallback, request, request.body, None)]
    return [_event(row, rules, fallback, request, child, _document(child)) for child in children]


def _event(row: Provider | None, rules: Rules, fallback: str, request: InboundRequest, payload: bytes, item: object) -> Event:
    ids = row.event_id if row is not None else ()
    types = row.event_type if row is not None else ()
    if rules.event_type_at:
        types = rules.event_type_at
    document = item
    if document is None and any(place.startswith("json:") for place in (*ids, *types, *(rules.deduplication.by or ()))):
        document = _document(request.body)
    original = _text(types, request, document)
    return Event(mapped(original, fallback), original, _identity(ids, rules, request, payload, document), payload)


def _text(places: Sequence[str], request: InboundRequest, document: object) -> str | None:
    """What stands at the first of the places that has anything."""
    if not places:
        return None
    kind, _, name = places[0].partition(":")
    if kind == "json" and type(document) is dict:
        # Nearly every provider has these at the top of its JSON, as short text.
        value = document.get(name)
        if type(value) is str and 0 < len(value) <= _SHORT and value.isascii():
            return value
    return first_text(places, request, document)


def _document(body: bytes) -> object:
    try:
        return parse_json(body)
    except VerificationError:
        return _NO_DOCUMENT


def _identity(ids: Sequence[str], rules: Rules, request: InboundRequest, payload: bytes, document: object) -> str | None:
    by = rules.deduplication.by
    if by is None:
        return _text(ids, request, document)
    texts = [_digest(payload) if place == "body" else first_text((place,), request, document) or "" for place in by]
    return "\x00".join(texts) if any(texts) else None


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def mapped(original: str | None, fallback: str) -> str:
    """An event type within our alphabet: `orders/create` becomes `orders.create`; `fallback` when nothing is left."""
    if original is None:
        return fallback
    return _FOREIGN.sub(".", original).strip(".")[:_MAX_NAME] or fallback


def _children(row: Provider | None, body: bytes) -> list[bytes]:
    path = "" if row is None else row.batch
    try:
        if path.startswith("form:"):
            name = path.removeprefix("form:").encode()
            body = next((value for field, value in form_fields(body) if field == name), b"")
            path = "[]"
        found = _slices(msgspec.Raw(body), path)
    except (ValueError, RecursionError, VerificationError):
        return []
    return found if len(found) <= MAX_CHILDREN else []


def _slices(raw: msgspec.Raw, path: str) -> list[bytes]:
    name, _, rest = path.partition(".")
    bare = name.removesuffix("[]")
    if bare:
        raw = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).get(bare, msgspec.Raw(b"[]" if name != bare else b"null"))
    items = msgspec.json.decode(raw, type=list[msgspec.Raw]) if name != bare else [raw]
    if not rest:
        return [bytes(item) for item in items]
    return [child for item in items for child in _slices(item, rest)]


def passed_on(headers: Headers, dropped: frozenset[bytes]) -> bytes:
    """The headers that go with the payload, as lines."""
    named = dict(headers.fields).get(b"connection")
    also = frozenset() if named is None else frozenset(name.strip().lower() for name in named.split(b","))
    return b"".join([b"%b: %b\r\n" % field for field in headers.fields if field[0] not in dropped and field[0] not in also])
