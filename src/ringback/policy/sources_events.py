"""Which events does a request hold? Names, ids and the pieces of batches, read from bytes that were believed."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ringback.errors import VerificationError
from ringback.model.sources import Rules
from ringback.policy.versions import Version, version_of
from ringback.signing.documents import form_fields, read_json, without_mark
from ringback.signing.headers import Headers
from ringback.signing.large_documents import MAX_ITEMS, items, member
from ringback.signing.places import MAX_BYTES, first_text
from ringback.signing.provider import Provider
from ringback.signing.request import InboundRequest
from ringback.signing.verdict import Verdict

# SendGrid's and Graph's largest batches have some thousand items; more stays together.
MAX_CHILDREN: Final = MAX_ITEMS
# What a compressed body may become, as a multiple of itself (text shrinks to a twentieth at best), and in bytes.
MAX_RATIO: Final = 100
MAX_INFLATED_BYTES: Final = 32 * 1024 * 1024
# The contract's longest event type.
_MAX_NAME: Final = 256
# Text that needs no further look: far below the longest name that is taken for one.
_SHORT: Final = 128
# Members of a body: who writes several has one for each megabyte, or for each of a few pieces.
_MAX_MEMBERS: Final = 100
# What is unpacked in one step: a thirtieth of the largest body.
_PIECE_BYTES: Final = 1024 * 1024
# zlib: the window size, and 32 for "gzip or zlib, whichever the header says".
_ANY_WRAPPING: Final = 15 + 32

# Names of events that are remembered per source; they come from strangers, so there must be an end.
_NAMES: Final = 1_000

# A member of the outermost object.
_TOP: Final = re.compile(r"[A-Za-z0-9_-]+")
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9\-_.]+")
# Stands for a body that is no JSON: nothing is found in it.
_NO_DOCUMENT: Final = object()
# Numbers with decimals as they are written: as floats, versions that differ would be the same.
_exact: Final = msgspec.json.Decoder(float_hook=str)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened: the name we use, the provider's own, the texts that identify it (None: nothing does), and its bytes.

    `stable` is what of the bytes stays when it is sent again, None where that is all; `key` what it is in order with, None = nothing;
    `version` which version of that it tells of, None = none that can be compared. `kind` is its content type, None = that of the request.
    """

    name: str
    original: str | None
    identity: str | None
    payload: bytes
    stable: bytes | None = None
    key: str | None = None
    version: Version | None = None
    kind: str | None = None


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A change that no call brings, from a provider's list: what it is known by, and its type unless its content says one."""

    id: str
    kind: str


class BombError(ValueError):
    """A body that becomes too large when it is unpacked."""


def inflated(body: bytes, coding: bytes) -> bytes:
    """The body without its content coding (gzip, deflate, br, none).

    Raises BombError, ValueError for what cannot be read, and LookupError for a coding that is not known here.
    """
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    most = min(MAX_INFLATED_BYTES, max(len(body), 1_024) * MAX_RATIO)
    if coding == b"br":
        return _without_brotli(body, most)
    if coding not in (b"gzip", b"x-gzip", b"deflate"):
        raise LookupError(f"the content coding {coding.decode('latin-1')!r} is not known; send gzip, deflate, br or none")
    pieces: list[bytes] = []
    left, rest = most, body
    # gzip may come in several members, which are one text (RFC 1952, 2.2).
    while rest or not pieces:
        engine = zlib.decompressobj(_ANY_WRAPPING)
        try:
            piece = engine.decompress(rest, left + 1)
        except zlib.error as error:
            raise ValueError(f"the body is not {coding.decode()}: {error}") from None
        left -= len(piece)
        if left < 0 or engine.unconsumed_tail:
            raise BombError(f"the body unpacks to more than {most} bytes")
        if not engine.eof:
            raise ValueError(f"the body is not all of its {coding.decode()}")
        pieces.append(piece)
        if len(pieces) > _MAX_MEMBERS:
            raise BombError(f"the body has more than {_MAX_MEMBERS} members")
        # Some pad with zeros, as on tapes.
        rest = engine.unused_data.lstrip(b"\0")
    return b"".join(pieces)


def _without_brotli(body: bytes, most: int) -> bytes:
    try:
        # Imported where it is needed: it is an extra, and few providers send what it reads.
        import brotli
    except ImportError:
        raise LookupError("the body is in Brotli, which this server cannot read; install ringback[brotli], and it can") from None
    engine = brotli.Decompressor()
    pieces: list[bytes] = []
    left = most
    try:
        # In small pieces: what one call gives back may be half as large again as it was allowed.
        piece = engine.process(body, output_buffer_limit=_PIECE_BYTES)
        while piece:
            left -= len(piece)
            if left < 0:
                raise BombError(f"the body unpacks to more than {most} bytes")
            pieces.append(piece)
            piece = b"" if engine.is_finished() else engine.process(b"", output_buffer_limit=_PIECE_BYTES)
    except brotli.error as error:
        raise ValueError(f"the body is not br: {error}") from None
    if not engine.is_finished():
        raise ValueError("the body is not all of its br")
    return b"".join(pieces)


class _Places(msgspec.Struct, frozen=True):
    """Where ids, what is named with them ("": nothing is said there), and types stand."""

    ids: tuple[str, ...]
    further: tuple[str, ...]
    types: tuple[str, ...]


def _inside(places: Sequence[str]) -> tuple[str, ...]:
    """Those of these places that are in an item of a batch."""
    return tuple(filter(_is_inside, places))


def _is_inside(place: str) -> bool:
    return place == "body" or place.startswith("json:")


class EventReader:
    """Reads the events of the requests of one source; made once for it. Never raises for what strangers send."""

    __slots__ = (
        "_batch",
        "_batch_type",
        "_by",
        "_fallback",
        "_in_json",
        "_item_places",
        "_keys",
        "_mapped",
        "_named",
        "_piece_kind",
        "_places",
        "_row",
        "_sender",
        "_versions",
        "_without",
    )

    def __init__(self, row: Provider | None, rules: Rules, fallback: str, sender: str = "") -> None:
        """`sender` is the place where a request names its sender, if several share the source: ids are theirs, not the source's."""
        self._row = row
        self._batch = row is not None and bool(row.batch) and rules.split
        self._batch_type = row.batch_type.encode() if row is not None else b""
        self._piece_kind = _piece_kind(row) if row is not None else None
        ids, types, further = ((), (), ()) if row is None else (row.event_id, row.event_type, row.event_id_with)
        self._places = _Places(ids, further, rules.event_type_at or types)
        # What the provider says beside a batch is said of none of its items.
        blank = tuple(place if _is_inside(place) else "" for place in further)
        self._item_places = _Places(_inside(ids), blank, rules.event_type_at or _inside(types))
        self._by = rules.deduplication.by
        self._keys = rules.ordering_key_at
        self._versions = rules.ordering_version_at
        every = (*ids, *further, *self._places.types, *(self._by or ()), *self._keys)
        self._in_json = any(place.startswith("json:") for place in every)
        self._fallback = fallback
        self._sender = sender
        changing = () if row is None else row.changing
        self._without = tuple(path.split(".") for path in (*changing, *rules.deduplication.without))
        odd = self._batch or further or self._by is not None or sender or self._without or self._keys
        self._named = None if odd else _short_reader(ids, self._places.types)
        # The names that were mapped last: a source has some dozens.
        self._mapped: dict[str, str] = {}

    def read(self, request: InboundRequest, verdict: Verdict | None = None) -> list[Event]:
        """The events of a believed request, in order; one, unless the provider sends batches; none of an empty one that is called so.

        The id that the signature covers, where there is one, counts, whatever ids stand beside it; that of one sending alone only if there
        is no other.
        """
        body = request.body
        read_named = self._named
        if read_named is not None:
            try:
                named = read_named(body)
            except (ValueError, RecursionError):
                pass  # Looked at with more patience below.
            else:
                identity, original = named.identity, named.original
                if 0 < len(identity) <= _SHORT and 0 < len(original) <= _SHORT and identity.isascii() and original.isascii():
                    return [Event(self._mapped.get(original) or self._map(original), original, identity, body)]
        children = _children(self._row, body) if self._batch and self._is_batch(request) else None
        if children is None:
            return [self._event(request, body, _document(body) if self._in_json else None, verdict)]
        return [self._item(request, child, number) for number, child in enumerate(children)]

    def listed(self, request: InboundRequest, change: Listed) -> Event:
        """The event that a change from a provider's list is."""
        document = _document(request.body) if self._in_json else None
        original = first_text(self._places.types, request, document) or change.kind
        return replace(self._event(request, request.body, document), name=self._map(original), original=original, identity=change.id)

    def _is_batch(self, request: InboundRequest) -> bool:
        """May it be one? Those of some providers say so in their content type."""
        if not self._batch_type:
            return True
        kinds = request.headers.all(b"content-type")
        return bool(kinds) and kinds[0].partition(b";")[0].strip().lower() == self._batch_type

    def _item(self, request: InboundRequest, child: bytes, number: int) -> Event:
        event = self._event(request, child, _document(child), places=self._item_places)
        identity = event.identity
        if number and identity is not None and self._by is not None and not any(map(_is_inside, self._by)):
            # The same text names all of them.
            identity = f"{identity}\x00{number}"
        return replace(event, kind=self._piece_kind, identity=identity)

    def _event(
        self, request: InboundRequest, payload: bytes, document: object, verdict: Verdict | None = None, places: _Places | None = None
    ) -> Event:
        places = places or self._places
        original = first_text(places.types, request, document)
        stable = _stable(payload, self._without) if self._without else None
        identity = self._identity(places, request, payload if stable is None else stable, document, verdict)
        if self._sender and identity is not None:
            identity = f"{first_text((self._sender,), request)}\x00{identity}"
        key = first_text(self._keys, request, document) if self._keys else None
        version = self._version(request, payload) if self._versions and key is not None else None
        return Event(self._map(original), original, identity, payload, stable, key, version)

    def _version(self, request: InboundRequest, payload: bytes) -> Version | None:
        document: object = _NO_DOCUMENT
        if any(place.startswith("json:") for place in self._versions):
            document = _document(payload, _exact.decode)
        text = first_text(self._versions, request, document)
        return None if text is None else version_of(text)

    def _identity(self, places: _Places, request: InboundRequest, payload: bytes, document: object, verdict: Verdict | None) -> str | None:
        if self._by is None:
            signed_id, once = (None, False) if verdict is None else (verdict.message_id, verdict.once)
            identity = first_text(places.ids, request, document) if once or signed_id is None else None
            if identity is None and signed_id is not None:
                if len(signed_id) > MAX_BYTES:
                    return None
                identity = signed_id
            if identity is None or not places.further:
                return identity
            return "\x00".join((identity, *[(place and first_text((place,), request, document)) or "" for place in places.further]))
        texts = [_digest(payload) if place == "body" else first_text((place,), request, document) or "" for place in self._by]
        return "\x00".join(texts) if any(texts) else None

    def _map(self, original: str | None) -> str:
        if original is None:
            return self._fallback
        if len(self._mapped) >= _NAMES:
            self._mapped.clear()
        name = self._mapped[original] = mapped(original, self._fallback)
        return name


def _short_reader(ids: Sequence[str], types: Sequence[str]) -> Callable[[bytes], Any] | None:
    """Reads id and type where they stand first at the top of the JSON, as with nearly every provider; what else is in it is passed over."""
    (kind, _, identity), (other, _, original) = (places[0].partition(":") if places else ("", "", "") for places in (ids, types))
    if kind != "json" or other != "json" or identity == original or not _TOP.fullmatch(identity) or not _TOP.fullmatch(original):
        return None
    shape = msgspec.defstruct(
        "Named", [("identity", str, msgspec.field(name=identity)), ("original", str, msgspec.field(name=original))], gc=False, frozen=True
    )
    return msgspec.json.Decoder(shape).decode


def _document(body: bytes, decode: Callable[[bytes | msgspec.Raw], Any] = msgspec.json.decode) -> object:
    try:
        return read_json(body, decode)
    except VerificationError:
        return _NO_DOCUMENT


def _stable(payload: bytes, without: Sequence[Sequence[str]]) -> bytes:
    """The JSON of a payload without the values at some paths, written in one way; the payload itself where that cannot be done."""
    try:
        document = msgspec.json.decode(payload)
        for path in without:
            _drop(document, path)
        return msgspec.json.encode(document, order="sorted")
    except (ValueError, OverflowError, RecursionError):
        return payload


def _drop(value: object, path: Sequence[str]) -> None:
    name, rest = path[0], path[1:]
    bare = name.removesuffix("[]")
    if bare:
        if not isinstance(value, dict) or bare not in value:
            return
        if not rest and name == bare:
            del value[bare]
            return
        value = value[bare]
    for item in [value] if name == bare else value if isinstance(value, list) else []:
        if rest:
            _drop(item, rest)


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def mapped(original: str | None, fallback: str) -> str:
    """An event type within our alphabet: `orders/create` becomes `orders.create`; `fallback` when nothing is left."""
    if original is None:
        return fallback
    return _FOREIGN.sub(".", original).strip(".")[:_MAX_NAME] or fallback


def _piece_kind(row: Provider) -> str | None:
    """The content type of an item of a batch, None where that of the batch is right."""
    if row.batch.startswith("form:"):
        return "application/json"
    # CloudEvents JSON format, 4: a batch and one event have types of their own.
    return row.batch_type.replace("-batch", "") or None


def _children(row: Provider | None, body: bytes) -> list[bytes] | None:
    """The items of a batch; None where it is none. Of one that only looks like one and is empty, nobody knows."""
    path, said = ("", "") if row is None else (row.batch, row.batch_type)
    try:
        if path.startswith("form:"):
            name = path.removeprefix("form:").encode()
            body = next((value for field, value in form_fields(body) if field == name), b"")
            path = "[]"
        found = slices(msgspec.Raw(without_mark(body)), path)
    except (ValueError, RecursionError, VerificationError):
        return None
    return found if (found or said) and len(found) <= MAX_CHILDREN else None


def slices(raw: msgspec.Raw, path: str) -> list[bytes]:
    """The pieces of a JSON text at a path like `events[].data`, byte for byte. Raises ValueError and RecursionError.

    Of more than `MAX_CHILDREN` there is at least one more than that, and no more of one list: the rest costs no more than to pass over it.
    """
    name, _, rest = path.partition(".")
    bare = name.removesuffix("[]")
    if bare:
        raw = member(raw, bare) or msgspec.Raw(b"[]" if name != bare else b"null")
    found = items(raw) if name != bare else [raw]
    if not rest:
        return [bytes(item) for item in found]
    children: list[bytes] = []
    for item in found:
        children += slices(item, rest)
        if len(children) > MAX_CHILDREN:
            break
    return children


def passed_on(headers: Headers, dropped: frozenset[bytes]) -> bytes:
    """The headers that go with the payload, as lines."""
    if b"connection" in headers:
        dropped = dropped.union(name.strip().lower() for value in headers.all(b"connection") for name in value.split(b","))
    line = b": ".join
    lines = [line(field) for field in headers.fields if field[0] not in dropped]
    # The last line ends as all do.
    lines.append(b"")
    return b"\r\n".join(lines)
