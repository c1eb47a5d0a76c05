"""Which calls of a provider never came? How its API is asked for what it sent or what changed, and how far that has got."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

# A word in `Message.origin.flags`: nobody called, the event was found at the provider.
RECONCILED: Final = "reconciled"
# What a delivery of such an event carries; a provider's own header of that name is never passed on.
HEADER: Final = b"ringback-reconciled"

Confidence: TypeAlias = Literal["high", "medium", "low"]
Missing: TypeAlias = Literal["take", "redeliver"]


class Start(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """The request whose answer holds the position from which on a list of changes is read: what happens from now on."""

    path: str
    query: dict[str, str] = {}
    body: dict[str, Any] = {}


class Listing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel", forbid_unknown_fields=True):
    """How a provider lists what it sent, or what changed.

    `base`, `path`, `query`, `auth`, `headers`, `detail` and `redeliver` may hold `{NAME}` for a parameter that the owner gives. A query
    may hold `{since}` and `{until}` (seconds since 1970), `{since_at}` and `{until_at}` (RFC 3339); `auth` holds `{credential}`, or
    `{basic}` for `credential:` in base64; `detail` and `redeliver` hold `{id}`, the text at `item_id`.

    `items` is the path of what is listed (`data[]`), other paths begin at an item: `payload` is what would have been sent ("" = the item
    itself), `time` when that was (RFC 3339, or seconds since 1970), `headers_at` an object of the headers that would have come with it.
    `event_headers` are such headers by name: `json:PATH`, or a text. With `detail` the item itself is no payload: it is fetched there.

    `next` says where the next page is: `link` (the header Link), `url:PATH` (a URL in the body), `cursor:PARAMETER:PATH` (a text in the
    body, to be given as a parameter), `last:PARAMETER:PATH` (the same, in the last item), or "" where there is one page. `more` is the
    path of a boolean that says whether there is one. `types` is the parameter that names event types, up to `types_max` of them.

    With `method` POST a page is asked for with `body`, as JSON, which has the cursor as a member.

    With `position`, what is listed are changes: that is the path in an answer of the text or URL behind which the next run goes on, given
    as the cursor of a page is. The first position comes from `start`; without it the list is read from its beginning. An answer with a
    status of `lost` says that a position is not known any more; it may hold a new one.

    `thin`: calls say only that something changed, and what did stands in the list. Each change is then an event of its own, of the type
    `event_type`, known by the text at `item_id`, or else by its place and content; a call has the list read at once.

    With `token_url` an access token is asked for first, with the form `token_form`, whose values may hold `{credential}` and
    `{client_secret}`; `auth` then holds `{access_token}`.
    """

    name: str = "custom"
    base: str
    path: str
    method: Literal["GET", "POST"] = "GET"
    query: dict[str, str] = {}
    body: dict[str, Any] = {}
    auth: dict[str, str]
    headers: dict[str, str] = {}
    token_url: str = ""
    token_form: dict[str, str] = {}
    items: str = "[]"
    item_id: str = ""
    payload: str = ""
    time: str = ""
    newest_first: bool = False
    headers_at: str = ""
    event_headers: dict[str, str] = {}
    next: str = ""
    more: str = ""
    position: str = ""
    start: Start | None = None
    lost: tuple[int, ...] = ()
    thin: bool = False
    event_type: str = ""
    types: str = ""
    types_max: int = 0
    detail: str = ""
    detail_payload: str = ""
    redeliver: str = ""
    parameters: dict[str, str] = {}
    confidence: Confidence = "low"
    note: str = ""
    source: str = ""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source is compared with its provider. `listing` is a row of the catalogue by its name, or one of the owner's own.

    Every `interval_s` seconds what is older than `settle_s` is compared, `lookback_s` back at the most. `missing` says what follows: the
    event is taken from the list, or the provider is asked to send it again. `base_url` and `token_url` stand in for the provider's own.
    """

    listing: str | Listing
    credential: str
    client_secret: str = ""
    interval_s: int
    lookback_s: int
    settle_s: int
    base_url: str | None = None
    token_url: str | None = None
    parameters: dict[str, str] = {}
    missing: Missing = "take"
    paused: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One comparison of what the provider says it sent between two times with what came.

    `cursor` is the page to read next, "" = the first one. `looked_at` counts events of the provider, `missing` those that had not come;
    `added` of them were taken in, `asked` the provider is to send again. `skipped` have no id, or do not fit the source's schema. `anew`: a
    list of changes is read from its beginning. Times are microseconds since 1970.
    """

    began_at: int
    since: int
    until: int
    cursor: str = ""
    pages: int = 0
    looked_at: int = 0
    missing: int = 0
    added: int = 0
    asked: int = 0
    skipped: int = 0
    ended_at: int | None = None
    cut: str = ""
    anew: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a reconciliation has got.

    `run` is under way, `last` the one before; all up to `covered_until` was compared. `failures` are those in a row, the last one for
    `cause` (a word) and `detail` (a sentence) at `failed_at`. `whole`: the next run looks as far back as it may. `found` counts the missing
    ones ever. `seen` are digests of the cursors of this run.

    Of a list of changes, `position` is where the next run goes on ("" = it is not known yet); `lost_at` is when the provider last said that
    it knew the position no more: what changed until then and was not read by then was never seen. `anew`: the position was reached by
    reading the list from its beginning, which has not come to its end.
    """

    run: Run | None = None
    last: Run | None = None
    covered_until: int = 0
    failures: int = 0
    cause: str = ""
    detail: str = ""
    failed_at: int | None = None
    whole: bool = False
    found: int = 0
    seen: bytes = b""
    position: str = ""
    lost_at: int | None = None
    anew: bool = False


class Standing(msgspec.Struct, frozen=True):
    """A reconciliation as it is kept: `version` changes with its settings, `next_at` is None while it is paused."""

    source_id: str
    settings: Reconciliation
    progress: Progress
    next_at: int | None
    version: int
    updated_at: int
