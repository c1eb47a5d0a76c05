"""What does a provider's API say it sent? Requests that ask for a page, and what is read out of the answer. Pure.

One engine for all providers: what differs is a `Listing`, a row of `policy.reconciliation_rows` or the owner's own. An answer is a
stranger's text: whatever it holds, reading it raises `Unreadable` and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from ringback import __version__
from ringback.clock import SECOND_US, rfc3339, to_us
from ringback.model.reconciliation import Listing, Reconciliation
from ringback.model.sources import Source
from ringback.policy.heads import header_fields
from ringback.policy.links import links_in
from ringback.policy.sources import provider_of
from ringback.policy.sources_events import slices
from ringback.policy.urls import UrlParts, split_url
from ringback.signing.documents import text_of

# Items of one page: providers list 50 to 250 at a time.
MAX_ITEMS: Final = 1_000
# Providers' cursors are ids and tokens of some hundred characters.
_MAX_CURSOR: Final = 4_096
# Bytes of a value that is looked at: ids, times, cursors, and the headers that came with an event.
_MAX_VALUE: Final = 65_536
_NOTHING: Final = msgspec.Raw(b"")
# Bytes of an owner's own listing, as JSON: the rows have some hundred.
_MAX_LISTING: Final = 16_384
# Headers that say how a request is read.
FRAMING: Final = frozenset({"host", "connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"})
# Bytes of the digest of a cursor: two of a thousand are alike once in 2^44 runs.
_DIGEST: Final = 8
# Pages of one run: a hundred thousand events; more is an API that never ends.
MAX_PAGES: Final = 1_000
# Numbers above this are milliseconds: as seconds they would be in the year 5138.
_MILLISECONDS: Final = 100_000_000_000
# Seconds of the first rest after a failure, and of the longest: an outage is over in minutes, a wrong credential needs a person.
_FIRST_REST_S: Final = 30.0
_LONGEST_REST_S: Final = 3_600.0
# Seconds between two runs at the most: a week is longer than any source is remembered.
MAX_INTERVAL_S: Final = 7 * 86_400
# What a provider may make us wait at the most, seconds: a day.
MAX_RETRY_AFTER_S: Final = 86_400.0

_PARAMETER: Final = re.compile(r"\{([a-z_]+)\}")
# What may stand in a target besides letters and digits; `[` and `]` are part of names of parameters.
_SAFE: Final = "-._~"
_SAFE_NAME: Final = "-._~[]"


class Unreadable(ValueError):
    """The answer is not what the listing says it is; the text says how, and holds nothing secret."""


class Window(msgspec.Struct, frozen=True):
    """Which events are asked for: from `since` to `until`, microseconds since 1970; of `types` (the provider's own names), () = all."""

    since: int
    until: int
    types: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True):
    """One thing that the provider says it sent.

    `payload` is None where it has to be fetched by `id`. `headers` would have come with it. `at` is None where the listing has no time.
    """

    payload: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    at: int | None
    id: str


class PageRead(msgspec.Struct, frozen=True):
    """A page: its items within the window, how many there were in all, and the cursor of the next page, None at the end.

    `unreadable` items are among those in all: they have no id, or no payload that could be read.
    """

    items: list[Item]
    listed: int
    cursor: str | None
    unreadable: int = 0


def base_of(settings: Reconciliation, listing: Listing) -> UrlParts:
    """Where the provider's API is. Raises ValueError when that is no URL."""
    return split_url((settings.base_url or filled(listing.base, settings.parameters)).rstrip("/"))


def page_target(settings: Reconciliation, listing: Listing, window: Window, cursor: str) -> str:
    """Path and query of a page; `cursor` "" = the first one."""
    if cursor and listing.next.partition(":")[0] in ("link", "url"):
        return cursor
    prefix = base_of(settings, listing).target.rstrip("/")
    known = {
        **settings.parameters,
        "since": str(window.since // SECOND_US),
        "until": str(window.until // SECOND_US),
        "since_at": rfc3339(window.since),
        "until_at": rfc3339(window.until),
    }
    pairs = [(name, filled(text, known)) for name, text in listing.query.items()]
    if listing.types and 0 < len(window.types) <= listing.types_max:
        pairs += [(listing.types, name) for name in window.types]
    if cursor:
        pairs.append((listing.next.split(":")[1], cursor))
    query = "&".join(f"{quote(name, safe=_SAFE_NAME)}={quote(value, safe=_SAFE)}" for name, value in pairs)
    path = prefix + filled(listing.path, settings.parameters)
    return f"{path}?{query}" if query else path


def item_target(settings: Reconciliation, listing: Listing, template: str, item_id: str) -> str:
    """The path at which one item is fetched, or asked for again."""
    prefix = base_of(settings, listing).target.rstrip("/")
    return prefix + filled(template, {**settings.parameters, "id": quote(item_id, safe="")})


def head_of(settings: Reconciliation, listing: Listing, method: str, target: str) -> bytes:
    """The head of a request. It holds the credential: it belongs on the wire and nowhere else."""
    parts = base_of(settings, listing)
    basic = base64.b64encode(f"{settings.credential}:".encode()).decode()
    secrets = {**settings.parameters, "credential": settings.credential, "basic": basic}
    fields = {"host": parts.authority, "user-agent": f"ringback/{__version__}", "accept": "application/json"}
    fields.update({name.lower(): filled(text, settings.parameters) for name, text in listing.headers.items()})
    fields.update({name.lower(): filled(text, secrets) for name, text in listing.auth.items()})
    fields["content-length"] = "0"
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_page(settings: Reconciliation, listing: Listing, window: Window, head: bytes, body: bytes, cursor: str) -> PageRead:
    """What the answer to the request for a page holds. Raises Unreadable."""
    path = filled(listing.items, settings.parameters)
    # Members are looked up in the text: whole answers as values would take twenty times their size.
    document = msgspec.Raw(body)
    try:
        pieces = slices(document, path) if _has_list(document, path) else None
    except (ValueError, RecursionError):
        pieces = None
    if pieces is None:
        kind = dict(header_fields(head.lower())).get("content-type", "")
        said = f"is {kind[:60]}, not JSON" if kind and "json" not in kind else f"is no JSON with a list at {path!r}"
        raise Unreadable(f"the answer {said}")
    if len(pieces) > MAX_ITEMS:
        raise Unreadable(f"the page has {len(pieces)} items; more than {MAX_ITEMS} are not read at once")
    items, unreadable = _items(settings, listing, pieces)
    inside = [item for item in items if item.at is None or window.since <= item.at <= window.until]
    times = [item.at for item in items if item.at is not None]
    # The last one tells, and only in a list that goes backwards: one wrong time among others must not end the run.
    if listing.newest_first and times and times[-1] < window.since and times[-1] <= times[0]:
        return PageRead(inside, len(pieces), None, unreadable)
    return PageRead(inside, len(pieces), _next(settings, listing, document, head, pieces, cursor), unreadable)


def _items(settings: Reconciliation, listing: Listing, pieces: Sequence[bytes]) -> tuple[list[Item], int]:
    """The items that can be read, and how many cannot. Raises Unreadable when none can: then the listing does not fit."""
    items, unreadable, why = list[Item](), 0, ""
    for piece in pieces:
        try:
            items.append(_item(settings, listing, piece))
        except Unreadable as error:
            unreadable, why = unreadable + 1, str(error)
    if unreadable and not items:
        raise Unreadable(why)
    return items, unreadable


def payload_of(listing: Listing, body: bytes) -> bytes:
    """What would have been sent, out of the answer to the request for one item. Raises Unreadable."""
    try:
        found = slices(msgspec.Raw(body), listing.detail_payload)
    except (ValueError, RecursionError):
        raise Unreadable(f"the details of an event are no JSON, or have nothing at {listing.detail_payload!r}") from None
    if len(found) != 1 or found[0] == b"null":
        raise Unreadable(f"the details of an event have nothing at {listing.detail_payload!r}")
    return _payload(found[0])


def digest(cursor: str) -> bytes:
    """What is remembered of a cursor."""
    return hashlib.sha256(cursor.encode("utf-8", "surrogatepass")).digest()[:_DIGEST]


def was_seen(seen: bytes, cursor: str) -> bool:
    """Is this cursor among those whose digests are in `seen`?"""
    wanted = digest(cursor)
    return any(seen[at : at + _DIGEST] == wanted for at in range(0, len(seen), _DIGEST))


def seen_before(seen: bytes) -> frozenset[bytes]:
    """The digests in `seen`, where many texts are looked for."""
    return frozenset(seen[at : at + _DIGEST] for at in range(0, len(seen), _DIGEST))


def rest_s(failures: int, retry_after_s: float | None) -> float:
    """Seconds of rest after so many failures in a row; what the provider asks for, if that is longer."""
    own = min(_FIRST_REST_S * 2.0 ** min(failures - 1, 16), _LONGEST_REST_S)
    return own if retry_after_s is None else max(own, min(retry_after_s, MAX_RETRY_AFTER_S))


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with what is known put in; the rest stays as it is."""
    return _PARAMETER.sub(lambda match: values.get(match[1], match[0]), template)


def names_in(template: str) -> set[str]:
    """The parameters that a template asks for."""
    return set(_PARAMETER.findall(template))


def _item(settings: Reconciliation, listing: Listing, piece: bytes) -> Item:
    document = msgspec.Raw(piece)
    headers: dict[str, str] = {}
    if listing.headers_at:
        given = _value(document, listing.headers_at)
        if isinstance(given, dict):
            headers.update({str(name).lower(): value for name, value in given.items() if isinstance(value, str)})
    for name, text in listing.event_headers.items():
        kind, _, path = text.partition(":")
        value = _text(document, path) if kind == "json" else filled(text, settings.parameters)
        if value:
            headers[name.lower()] = value
    headers.setdefault("content-type", "application/json")
    usable = tuple((n.encode(), v.encode("latin-1")) for n, v in headers.items() if _is_header(n, v))
    identifier = _text(document, listing.item_id) if listing.item_id else ""
    if listing.item_id and not identifier:
        raise Unreadable(f"an item of the page has no id at {listing.item_id!r}")
    payload = None
    if not listing.detail:
        payload = _payload(piece if not listing.payload else _only(piece, listing.payload))
    return Item(payload, usable, _time(document, listing.time), identifier)


def _has_list(document: msgspec.Raw, path: str) -> bool:
    """Is there a list where the path has its first one?"""
    outer = path.partition("[]")[0]
    return bytes(_member(document, outer) if outer else document).lstrip()[:1] == b"["


def _member(document: msgspec.Raw, path: str) -> msgspec.Raw:
    """What stands at a path of names; nothing (not even null) where there is no such. Raises ValueError."""
    for name in path.split("."):
        document = msgspec.json.decode(document, type=dict[str, msgspec.Raw]).get(name, _NOTHING)
    return document


def _value(document: msgspec.Raw, path: str) -> object:
    """A value at a path of names, None where there is none, or a large one."""
    try:
        found = _member(document, path)
        return msgspec.json.decode(found) if 0 < len(bytes(found)) <= _MAX_VALUE else None
    except (ValueError, RecursionError):
        return None


def _payload(piece: bytes) -> bytes:
    """A payload: where the provider gives it as a text, what the text says."""
    if not piece.startswith(b'"'):
        return piece
    try:
        return msgspec.json.decode(piece, type=str).encode("utf-8", "surrogatepass")
    except ValueError:
        raise Unreadable("the payload of an event is a text that is no UTF-8") from None


def _only(piece: bytes, path: str) -> bytes:
    try:
        found = slices(msgspec.Raw(piece), path)
    except (ValueError, RecursionError):
        found = []
    if len(found) != 1:
        raise Unreadable(f"an item has no payload at {path!r}")
    return found[0]


def _text(document: msgspec.Raw, path: str) -> str:
    value = text_of(_value(document, path))
    return "" if value is None else value.decode("utf-8", "replace")


def _cursor(document: msgspec.Raw, path: str) -> str:
    """The text of a cursor, "" where there is none. Raises Unreadable for what is no text: the run would end as if all was read."""
    try:
        found = bytes(_member(document, path))
    except (ValueError, RecursionError):
        return ""
    text = _text(document, path)
    if not text and found not in (b"", b"null", b"false", b'""'):
        raise Unreadable("the cursor of the next page is no short text")
    return text


def _is_header(name: str, value: str) -> bool:
    return bool(re.fullmatch(r"[a-z0-9_-]{1,100}", name)) and len(value) <= _MAX_CURSOR and value.isascii() and value.isprintable()


def _time(document: msgspec.Raw, path: str) -> int | None:
    return time_of(_value(document, path) if path else None)


def time_of(value: object) -> int | None:
    """The time that a value of a provider's JSON tells: RFC 3339, or seconds or milliseconds since 1970; None where it tells none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if isinstance(value, bool):
        return None
    try:
        if isinstance(value, int | float):
            seconds = value / 1_000 if value > _MILLISECONDS else value
            return int(seconds * SECOND_US)
        return to_us(msgspec.convert(value, datetime)) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _next(
    settings: Reconciliation, listing: Listing, document: msgspec.Raw, head: bytes, pieces: Sequence[bytes], cursor: str
) -> str | None:
    kind, _, rest = listing.next.partition(":")
    if not kind:
        return None
    if listing.more and not _is_more(listing, document):
        return None
    if kind == "link":
        found = _linked(head)
    elif kind == "url":
        found = _cursor(document, rest)
    elif kind == "cursor":
        found = _cursor(document, rest.partition(":")[2])
    else:
        found = _cursor(msgspec.Raw(pieces[-1]), rest.partition(":")[2]) if pieces else ""
    if not found:
        if listing.more:
            raise Unreadable("the provider says that there is another page, and not where")
        return None
    if kind in ("link", "url"):
        found = _same_place(settings, listing, found)
    if len(found) > _MAX_CURSOR or not found.isascii() or not found.isprintable() or " " in found:
        raise Unreadable("the cursor of the next page is no short text")
    if found == cursor:
        raise Unreadable("the next page is said to be the same page again")
    return found


def _is_more(listing: Listing, document: msgspec.Raw) -> bool:
    more = _value(document, listing.more)
    if more is None or isinstance(more, bool):
        return bool(more)
    raise Unreadable(f"{listing.more!r} of the answer does not say whether there is another page")


def _linked(head: bytes) -> str:
    return next((url for url, relations in links_in(head) if "next" in relations), "")


def _same_place(settings: Reconciliation, listing: Listing, found: str) -> str:
    """The path and query of a URL of the same API. Raises Unreadable for any other: the credential goes to nobody else."""
    base = base_of(settings, listing)
    if found.startswith("/") and not found.startswith("//"):
        found = f"{base.scheme}://{base.authority}{found}"
    try:
        parts = split_url(found)
    except ValueError:
        raise Unreadable("the next page is at no URL") from None
    if (parts.scheme, parts.host, parts.port) != (base.scheme, base.host, base.port):
        raise Unreadable(f"the next page is at another host ({parts.host[:100]}), which the credential is not for")
    return parts.target


def parameters_of(listing: Listing) -> set[str]:
    """The parameters that the owner must give for a listing."""
    texts = [
        listing.base,
        listing.path,
        listing.items,
        listing.detail,
        listing.redeliver,
        *listing.headers.values(),
        *listing.auth.values(),
    ]
    texts += [*listing.query.values(), *(text for text in listing.event_headers.values() if not text.startswith("json:"))]
    return set().union(*map(names_in, texts)) - {"since", "until", "since_at", "until_at", "id", "credential", "basic"}


def listing_problems(listing: Listing) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong with a listing of an owner's own: where in it, and what."""
    problems: list[tuple[tuple[str, ...], str]] = []

    def check(where: str, is_right: Callable[[Any], bool], text: str) -> None:
        if not is_right(getattr(listing, where)):
            problems.append(((msgspec.structs.fields(Listing)[Listing.__struct_fields__.index(where)].encode_name,), text))

    check("path", lambda path: is_path(path), "a path begins with '/' and holds no blanks, '?' or '#'; put parameters into the query")
    for where in ("detail", "redeliver"):
        check(where, lambda path: not path or (is_path(path) and "{id}" in path), "a path begins with '/' and holds {id}")
    check("detail", lambda path: not path or bool(listing.item_id and listing.detail_payload), "give itemId and detailPayload with it")
    check("redeliver", lambda path: not path or bool(listing.item_id), "give itemId with it")
    check("auth", lambda auth: any("{credential}" in text or "{basic}" in text for text in auth.values()), "no header holds {credential}")
    check("next", _is_next, "use link, url:PATH, cursor:PARAMETER:PATH, last:PARAMETER:PATH, or leave it out for a single page")
    for field in ("auth", "headers", "event_headers"):
        check(field, are_headers, "names of headers are letters, digits, '-' and '_'; values are one line of ASCII")
    for field in ("auth", "headers"):
        check(field, lambda given: not FRAMING & {name.lower() for name in given}, f"{', '.join(sorted(FRAMING))} cannot be set")
    check("items", lambda path: "[]" in path, "the path has no [], which stands for each item of a list")
    for field in ("path", "query", "headers", "detail", "redeliver", "items"):
        # Elsewhere it would be written into logs on its way.
        check(field, _is_without_secret, "the credential goes into the headers of auth alone")
    if len(msgspec.json.encode(listing)) > _MAX_LISTING:
        problems.append(((), f"the listing has more than {_MAX_LISTING} bytes as JSON"))
    return problems


def _is_without_secret(given: str | Mapping[str, str]) -> bool:
    texts = [given] if isinstance(given, str) else given.values()
    return not any(names_in(text) & {"credential", "basic"} for text in texts)


def is_path(path: str, *, query: bool = False) -> bool:
    """May a template of a path look so? With `query` it may have one."""
    foreign = set(" #\\") if query else set(" ?#\\")
    return path.startswith("/") and not path.startswith("//") and path.isascii() and path.isprintable() and not set(path) & foreign


def _is_next(text: str) -> bool:
    kind, _, rest = text.partition(":")
    if kind in ("cursor", "last"):
        return all(rest.partition(":")[::2])
    return bool(rest) if kind == "url" else text in ("", "link")


def are_headers(fields: Mapping[str, str]) -> bool:
    """Can these stand in the head of a request?"""
    return all(_is_header(name.lower(), value) for name, value in fields.items())


def comparison_problems(source: Source, listing: Listing) -> list[tuple[tuple[str, ...], str]]:
    """Why what this source takes in cannot be compared with what the listing shows: where in the settings, and what."""
    row, rules = provider_of(source.type), source.rules
    by = rules.deduplication.by
    if by is None:
        ids = () if row is None else row.event_id[:1]
        places = ids if not ids or row is None else (*ids, *row.event_id_with[:1])
    else:
        places = by
    if not places:
        return [(("listing",), f"events of {source.name} have no id to be compared by; set deduplication.by of the source")]
    if source.verification.secret_by:
        places = (*places, source.verification.secret_by)
    missing = [place for place in places if not _is_listed(place, listing)]
    if missing:
        text = f"events of {source.name} are told apart by {', '.join(missing)}, which {listing.name} does not list"
        return [(("listing",), f"{text}; set deduplication.by of the source to what it lists. {listing.note}".rstrip(". ") + ".")]
    return []


def _is_listed(place: str, listing: Listing) -> bool:
    kind, _, name = place.partition(":")
    return (kind == "json" and not listing.detail) or (
        kind == "header" and bool(listing.headers_at or name.lower() in map(str.lower, listing.event_headers))
    )
