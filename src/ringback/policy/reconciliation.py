"""What does a provider's API say it sent, or say changed? Requests that ask for a page, and what is read out of the answer. Pure.

One engine for all providers: what differs is a `Listing`, a row of `policy.reconciliation_rows` or the owner's own. An answer is a
stranger's text: whatever it holds, reading it raises `Unreadable` and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from ringback.clock import SECOND_US, rfc3339
from ringback.model.reconciliation import Listing, Progress, Reconciliation, Run, Standing, Start
from ringback.model.sources import Source
from ringback.policy.asking import Request, Unreadable, filled, is_header, request_to, time_of
from ringback.policy.heads import header_fields
from ringback.policy.links import links_in
from ringback.policy.sources_events import MAX_CHILDREN, slices
from ringback.policy.urls import UrlParts, split_url
from ringback.signing.documents import text_of
from ringback.signing.large_documents import member

# Items of one page: providers list 50 to 250 at a time, Dropbox up to 2,000.
MAX_ITEMS: Final = MAX_CHILDREN
# Providers' cursors are ids and tokens of some hundred characters.
_MAX_CURSOR: Final = 4_096
# Later than all that is listed: the last second that RFC 3339 can tell, microseconds since 1970.
_NEVER_US: Final = 253_402_300_799 * SECOND_US
# Bytes of a value that is looked at: ids, times, cursors, and the headers that came with an event.
_MAX_VALUE: Final = 65_536
_NOTHING: Final = msgspec.Raw(b"")
# Bytes of the digest of a cursor: two of a thousand are alike once in 2^44 runs.
_DIGEST: Final = 8
# Pages of one run: a hundred thousand events; more is an API that never ends.
MAX_PAGES: Final = 1_000
# Seconds between two runs at the most: a week is longer than any source is remembered.
MAX_INTERVAL_S: Final = 7 * 86_400
# An event counts as come for so long less than it is remembered: what is on its way to be forgotten is not compared any more.
_MARGIN_S: Final = 3_600
# A run begins so much before the end of the last one: providers list late what happened at the same time.
_OVERLAP_US: Final = 3_600 * SECOND_US

# A change that lies so far ahead of what is compared has a wrong time: no call waits for longer than a day.
_AHEAD_US: Final = 2 * 86_400 * SECOND_US
# A position is kept for so long at the most for what is too young behind it: some end within a day, and pages grow.
_STANDS_US: Final = 3_600 * SECOND_US

# What may stand in a target besides letters and digits; `[` and `]` are part of names of parameters.
_SAFE: Final = "-._~"
_SAFE_NAME: Final = "-._~[]"


class Window(msgspec.Struct, frozen=True):
    """Which events are asked for: from `since` to `until`, microseconds since 1970; of `types` (the provider's own names), () = all."""

    since: int
    until: int
    types: tuple[str, ...] = ()


class Item(msgspec.Struct, frozen=True):
    """One thing that the provider says it sent, or says changed.

    `payload` is None where it has to be fetched by `id`. `headers` would have come with it. `at` is None where the listing has no time.
    """

    payload: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]
    at: int | None
    id: str


class PageRead(msgspec.Struct, frozen=True):
    """A page: its items within the window, how many there were in all, and the cursor of the next page, None at the end.

    `unreadable` items are among those in all: they have no id, or no payload that could be read. `position` is where a list of changes goes
    on after its end. `too_young`: a change lies behind the window, so that this page must be read again.
    """

    items: list[Item]
    listed: int
    cursor: str | None
    unreadable: int = 0
    position: str = ""
    too_young: bool = False


def base_of(settings: Reconciliation, listing: Listing) -> UrlParts:
    """Where the provider's API is. Raises ValueError when that is no URL."""
    return split_url((settings.base_url or filled(listing.base, settings.parameters)).rstrip("/"))


def page_request(settings: Reconciliation, listing: Listing, window: Window, cursor: str, token: str = "") -> Request:
    """The request for a page; `cursor` "" = the first one. `token` is the access token, where one is needed."""
    if cursor and listing.next.partition(":")[0] in ("link", "url"):
        return _request(settings, listing, listing.method, cursor, {}, token)
    known = {
        **settings.parameters,
        "since": str(window.since // SECOND_US),
        "until": str(window.until // SECOND_US),
        "since_at": rfc3339(window.since),
        "until_at": rfc3339(window.until),
    }
    pairs, body = list[tuple[str, str]](), _filled_in(listing.body, known)
    pairs += [(name, filled(text, known)) for name, text in listing.query.items()]
    if listing.types and 0 < len(window.types) <= listing.types_max:
        pairs += [(listing.types, name) for name in window.types]
    if cursor:
        name = listing.next.split(":")[1]
        if listing.method == "POST":
            body[name] = cursor
        else:
            pairs.append((name, cursor))
    return _request(settings, listing, listing.method, _target(settings, listing.path, pairs, listing), body, token)


def start_request(settings: Reconciliation, listing: Listing, start: Start, token: str = "") -> Request:
    """The request for the position from which on changes are read."""
    pairs = [(name, filled(text, settings.parameters)) for name, text in start.query.items()]
    target = _target(settings, start.path, pairs, listing)
    return _request(settings, listing, listing.method, target, _filled_in(start.body, settings.parameters), token)


def item_request(settings: Reconciliation, listing: Listing, template: str, item_id: str, token: str = "", method: str = "GET") -> Request:
    """The request that fetches one item, or asks for it again."""
    prefix = base_of(settings, listing).target.rstrip("/")
    target = prefix + filled(template, {**settings.parameters, "id": quote(item_id, safe="")})
    return _request(settings, listing, method, target, {}, token)


def _target(settings: Reconciliation, path: str, pairs: Sequence[tuple[str, str]], listing: Listing) -> str:
    target = base_of(settings, listing).target.rstrip("/") + filled(path, settings.parameters)
    query = "&".join(f"{quote(name, safe=_SAFE_NAME)}={quote(value, safe=_SAFE)}" for name, value in pairs)
    return f"{target}?{query}" if query else target


def _request(settings: Reconciliation, listing: Listing, method: str, target: str, body: Mapping[str, Any], token: str) -> Request:
    basic = base64.b64encode(f"{settings.credential}:".encode()).decode()
    secrets = {**settings.parameters, "credential": settings.credential, "basic": basic, "access_token": token}
    fields = {name.lower(): filled(text, settings.parameters) for name, text in listing.headers.items()}
    fields.update({name.lower(): filled(text, secrets) for name, text in listing.auth.items()})
    if not body:
        return request_to(method, base_of(settings, listing), target, fields)
    return request_to(method, base_of(settings, listing), target, {"content-type": "application/json", **fields}, msgspec.json.encode(body))


def _filled_in(body: Mapping[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    """A body with what is known put into its texts."""

    def put(value: Any) -> Any:
        if isinstance(value, str):
            return filled(value, values)
        if isinstance(value, dict):
            return {name: put(inner) for name, inner in value.items()}
        return [put(inner) for inner in value] if isinstance(value, list) else value

    return {name: put(value) for name, value in body.items()}


def begun(standing: Standing, source: Source, now_us: int) -> Run:
    """A run that begins now: from where the last one ended, or as far back as it may look."""
    settings, progress = standing.settings, standing.progress
    back_s = min(settings.lookback_s, source.rules.deduplication.window_s - _MARGIN_S)
    since = now_us - back_s * SECOND_US
    covered = covered_until(progress, now_us)
    if covered and not progress.whole and settings.missing == "take":
        since = max(since, covered - _OVERLAP_US)
    anew = progress.anew or not progress.position
    until = max(now_us - settings.settle_s * SECOND_US, since)
    return Run(began_at=now_us, since=since, until=until, cursor=progress.position, anew=anew)


def covered_until(progress: Progress, now_us: int) -> int:
    """What was compared up to; 0 where that lies ahead: a clock that was set back since has said so, and nobody knows what it left out."""
    return progress.covered_until if progress.covered_until <= now_us else 0


def window_of(listing: Listing, run: Run, types: tuple[str, ...]) -> Window:
    """What of a list is looked at: of changes behind a former position all, of those that no call brings also the youngest."""
    return Window(0 if listing.position and not run.anew else run.since, _NEVER_US if listing.thin else run.until, types)


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
        raise Unreadable(f"the page has more than {MAX_ITEMS} items, which are not read at once")
    items, unreadable = _items(settings, listing, pieces, cursor)
    too_young = _is_too_young(listing, window, items)
    until = window.until if too_young or not listing.position else math.inf
    inside = [item for item in items if item.at is None or window.since <= item.at <= until]
    times = [item.at for item in items if item.at is not None]
    # The last one tells, and only in a list that goes backwards: one wrong time among others must not end the run.
    if listing.newest_first and times and times[-1] < window.since and times[-1] <= times[0]:
        return PageRead(inside, len(pieces), None, unreadable)
    following = _next(settings, listing, document, head, pieces, cursor)
    if not listing.position:
        return PageRead(inside, len(pieces), following, unreadable)
    position = "" if following is not None or too_young else _position(settings, listing, document)
    return PageRead(inside, len(pieces), following, unreadable, position, too_young)


def _is_too_young(listing: Listing, window: Window, items: Sequence[Item]) -> bool:
    """Must a page be read again, as calls may be on their way for the last ones on it? Not for ever: then they are taken as they are."""
    times = [item.at for item in items if item.at is not None and item.at <= window.until + _AHEAD_US]
    if not listing.position or listing.thin or not times:
        return False
    return max(times) > window.until and min(times) > window.until - _STANDS_US


def position_in(settings: Reconciliation, listing: Listing, body: bytes) -> str:
    """The position that an answer holds, "" where it holds none. Raises Unreadable for one that cannot be given back."""
    found = _cursor(msgspec.Raw(body), listing.position)
    if not found:
        return ""
    return _checked(_same_place(settings, listing, found) if listing.next.startswith("url:") else found)


def _position(settings: Reconciliation, listing: Listing, document: msgspec.Raw) -> str:
    found = position_in(settings, listing, bytes(document))
    if not found:
        raise Unreadable(f"the list ends, and has nothing at {listing.position!r} to go on from")
    return found


def _items(settings: Reconciliation, listing: Listing, pieces: Sequence[bytes], cursor: str) -> tuple[list[Item], int]:
    """The items that can be read, and how many cannot. Raises Unreadable when none can: then the listing does not fit."""
    items, unreadable, why = list[Item](), 0, ""
    for piece in pieces:
        try:
            items.append(_item(settings, listing, piece, cursor))
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


def _item(settings: Reconciliation, listing: Listing, piece: bytes, cursor: str) -> Item:
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
    usable = tuple((n.encode(), v.encode("latin-1")) for n, v in headers.items() if is_header(n, v))
    identifier = _text(document, listing.item_id) if listing.item_id else ""
    if listing.item_id and not identifier and not listing.position:
        raise Unreadable(f"an item of the page has no id at {listing.item_id!r}")
    if listing.thin and not identifier:
        # Read again from there it is the same one; the same change later is another.
        identifier = hashlib.sha256(cursor.encode() + b"\0" + piece).hexdigest()
    payload = None
    if not listing.detail:
        try:
            payload = _payload(piece if not listing.payload else _only(piece, listing.payload))
        except Unreadable:
            if not listing.position:
                raise
            # There is no way past a change but to take it.
            payload = piece
    return Item(payload, usable, _time(document, listing.time), identifier)


def _has_list(document: msgspec.Raw, path: str) -> bool:
    """Is there a list where the path has its first one?"""
    outer = path.partition("[]")[0]
    return bytes(_member(document, outer) if outer else document).lstrip()[:1] == b"["


def _member(document: msgspec.Raw, path: str) -> msgspec.Raw:
    """What stands at a path of names; nothing (not even null) where there is no such. Raises ValueError."""
    while path:
        # A name may hold dots itself: `@odata.nextLink`.
        found, rest = member(document, path), ""
        if found is None:
            name, _, rest = path.partition(".")
            found = member(document, name) if rest else None
        document, path = _NOTHING if found is None else found, rest
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


def _time(document: msgspec.Raw, path: str) -> int | None:
    return time_of(_value(document, path) if path else None)


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
    if _checked(found) == cursor:
        raise Unreadable("the next page is said to be the same page again")
    return found


def _checked(cursor: str) -> str:
    if len(cursor) > _MAX_CURSOR or not cursor.isascii() or not cursor.isprintable() or " " in cursor:
        raise Unreadable("the cursor of the next page is no short text")
    return cursor


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
