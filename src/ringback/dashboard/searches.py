"""How does a search look? What was typed and chosen as a query, hits as lines with what was found in them, and why there may be more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, ROWS, Badge, Empty, Pager, address
from ringback.dashboard.desk import Services
from ringback.dashboard.journeys import badges_of_tally
from ringback.dashboard.visits import Visit
from ringback.dashboard.words import Moment, counted, duration, moment
from ringback.errors import NotFound, Refused, StoreFailure
from ringback.model.messages import Message
from ringback.services.journeys import Tally
from ringback.services.search import OPERATORS, BadQuery, Excerpt, Found, Hit

# An index that is so far behind is worth a line: below, it is at work as always.
_BEHIND_S: Final = 2
# What operators are shown with, in the help.
_EXAMPLES: Final[Mapping[str, str]] = {
    "type": "type:order.*",
    "tag": "tag:vip",
    "channel": "channel:eu",
    "status": "status:failed",
    "app": "app:acme",
    "id": "id:evt_17",
    "before": "before:2026-01-31",
    "after": "after:2h",
}
_WORDS: Final = (
    ("paid late", "both words in the payload, in any order"),
    ('"paid late"', "one right behind the other"),
    ("ord_12*", "words that begin so"),
    ("-refund", "without the word; also before type:, tag: and channel:"),
)


class Written(msgspec.Struct, frozen=True):
    """One line of the help: what may be written, and what it finds."""

    text: str
    meaning: str


class Piece(msgspec.Struct, frozen=True):
    """A part of an excerpt; `found`: it was looked for."""

    text: str
    found: bool


class HitRow(msgspec.Struct, frozen=True):
    """One message that was found. `app` is empty where all are of one application."""

    id: str
    href: str
    event_type: str
    event_id: str
    app: str
    badges: Sequence[Badge]
    tags: Sequence[str]
    pieces: Sequence[Piece]
    at: Moment


class SearchView(msgspec.Struct, frozen=True):
    """What a search found. `problem` says what is wrong with the query, `behind` what the index does not know yet."""

    rows: Sequence[HitRow]
    pager: Pager
    empty: Empty
    problem: str
    behind: str
    app_column: bool


class Chosen(msgspec.Struct, frozen=True):
    """What was typed, and what was chosen beside it."""

    q: str
    types: Sequence[str] = ()
    tag: str = ""
    channel: str = ""
    status: str = ""
    within: str = ""

    def query(self) -> str:
        """All of it in the language of searches."""
        parts = [self.q]
        if self.types:
            parts.append(f"type:{','.join(map(_quoted, self.types))}")
        for name, value in (("tag", self.tag), ("channel", self.channel), ("status", self.status), ("after", self.within)):
            if value:
                parts.append(f"{name}:{_quoted(value)}")
        return " ".join(parts)


def _quoted(value: str) -> str:
    return '"{}"'.format(value.replace('"', ""))


def help_lines() -> list[Written]:
    """What may be written into the box."""
    words = [Written(text, meaning) for text, meaning in _WORDS]
    return words + [Written(_EXAMPLES.get(name, f"{name}:…"), meaning) for name, meaning in OPERATORS.items()]


def pieces_of(excerpt: Excerpt) -> list[Piece]:
    """An excerpt cut where what was found begins and ends."""
    pieces, at = [], 0
    for begin, end in excerpt.marks:
        pieces += [Piece(excerpt.text[at:begin], False), Piece(excerpt.text[begin:end], True)]
        at = end
    return [piece for piece in (*pieces, Piece(excerpt.text[at:], False)) if piece.text]


def row_of(hit: Hit, tally: Tally, app: str, now_us: int) -> HitRow:
    """A hit as a line."""
    message: Message = hit.message
    return HitRow(
        message.id,
        f"{BASE}/apps/{message.app_id}/messages/{message.id}",
        message.event_type,
        message.event_id or "",
        app,
        badges_of_tally(message, tally.delivered, tally.retrying, tally.failed, tally.cancelled),
        message.tags or (),
        pieces_of(hit.excerpt),
        moment(message.created_at, now_us),
    )


def behind_words(found: Found, now_us: int) -> str:
    """What the index does not know yet, in a sentence; "" when that is next to nothing."""
    if not found.lag or found.behind_since_us is None:
        return ""
    behind_s = (now_us - found.behind_since_us) / SECOND_US
    if behind_s < _BEHIND_S:
        return ""
    number = counted(found.lag, "message is", "messages are")
    return f"{number} not indexed yet, the oldest of them for {duration(behind_s)}; by id they are found."


def nothing_found(*, on: bool, done: bool) -> Empty:
    """What to say when there is no hit."""
    if not on:
        return Empty(
            "Nothing of that name",
            "This server keeps no index of payloads (search = false), so that only ids and event ids are found, and those whole. "
            "With search = true it makes one, of the messages that are there too.",
            "RINGBACK_SEARCH=true scripts/serve",
        )
    if not done:
        return Empty("Nothing so far", "The search stopped in time for the page to be here at once; the next page looks further back.")
    return Empty(
        "Nothing of that name or text",
        "Ids are found whole, words of a payload also by their beginning (ord_12*). Of each payload the first 64 KiB are searched; what "
        "was expunged is found no more.",
    )


async def look_for(
    services: Services, visit: Visit, chosen: Chosen, app_id: str | None, path: str, **query: str | Sequence[str]
) -> SearchView:
    """Search one application, or all; `path` with `query` is the page's own address. Never raises for what was typed."""
    empty = nothing_found(on=services.search.on, done=True)
    nothing = SearchView([], Pager(None, None), empty, "", "", app_id is None)
    if not services.search.on:
        return nothing
    try:
        found = await services.search.search(visit.who, chosen.query(), app=app_id, limit=ROWS, cursor=visit.text("more") or None)
    except StoreFailure as error:
        return msgspec.structs.replace(nothing, problem=f"Nothing can be searched just now: {error}")
    except (BadQuery, Refused, NotFound) as error:
        return msgspec.structs.replace(nothing, problem=f"{error}.")
    messages = [hit.message for hit in found.hits]
    tallies = await services.journeys.tallies(visit.who, messages)
    names = await services.naming.applications(visit.who, {message.app_id for message in messages}) if app_id is None else {}
    rows = [row_of(hit, tallies.get(hit.message.id, Tally()), names.get(hit.message.app_id, ""), visit.now_us) for hit in found.hits]
    older = None if found.done else address(path, **query, more=found.cursor)
    return SearchView(
        rows,
        Pager(None, older, "" if found.done or rows else "There may be more further back"),
        nothing_found(on=True, done=found.done),
        "",
        behind_words(found, visit.now_us),
        app_id is None,
    )
