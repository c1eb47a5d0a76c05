"""Which messages of an application came in some time? Asked of a server page by page, the oldest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import msgspec

from ringback.cli.feed import Item, Place, is_one_of, item_of, understood
from ringback.errors import RingbackError

if TYPE_CHECKING:
    from ringback.cli.api import Api

# Messages of one page, without their payloads: the most that the server gives.
_PAGE: Final = 250
# What is asked for at once: a list looks no further than 90 days.
_STEP: Final = timedelta(days=60)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for: times as the API writes them; event types may hold `*`. Empty = whatever it is."""

    since: str
    until: str
    types: Sequence[str] = ()
    tag: str = ""
    channel: str = ""


class Found(msgspec.Struct, frozen=True):
    """A message that was found; what it says is asked for when it is wanted."""

    place: Place
    id: str
    event_type: str
    at: datetime


def found(api: Api, place: Place, window: Window) -> Iterator[Found]:
    """The messages of a window. Of sources nothing is known yet: `fetched` leaves out what others took in. Raises as `understood` does."""
    since, until = datetime.fromisoformat(window.since), datetime.fromisoformat(window.until)
    while since <= until:
        # The end of times is no time to add to.
        end = since + _STEP if until - since > _STEP else until
        for one in _from_old_end(api, place, window, since):
            if one.at > end:
                break
            # Ids tell times less finely than messages: the first of a step may belong to the one before it.
            if one.at >= since and is_one_of(one.event_type, window.types):
                yield one
        if end == until:
            return
        since = end + timedelta.resolution


def _from_old_end(api: Api, place: Place, window: Window, since: datetime) -> Iterator[Found]:
    asked = {"limit": str(_PAGE), "with_content": "false", "after": since.isoformat(), "tag": window.tag, "channel": window.channel}
    while True:
        query = urlencode({name: value for name, value in asked.items() if value})
        page = understood(*api.call("GET", f"{_messages(place)}?{query}"))
        # Read from the old end, a page holds the oldest ones, shown the newest first.
        for message in reversed(page["data"]):
            yield _found(place, message)
        if page["done"]:
            return
        asked["iterator"] = page["prevIterator"]


def named(api: Api, whose: Sequence[Place], reference: str) -> Found:
    """The message of this id or eventId, from the first of these places that has it. Raises RingbackError, and as `understood` does."""
    for place in whose:
        status, answer = api.call("GET", f"{_messages(place)}/{quote(reference, safe='')}?exact=true&with_content=false")
        if status == 404:
            continue
        message = understood(status, answer)
        item_of(message)
        if place.has(message["sourceId"]):
            return _found(place, message)
    names = ", ".join(place.app_name for place in whose)
    raise RingbackError(f"there is no message {reference!r} of {names}; name one by its id or eventId")


def fetched(api: Api, one: Found) -> Item | None:
    """What to hand on of it, byte for byte; None where another source took it in than was asked for. Raises as `understood` does."""
    message = understood(*api.call("GET", f"{_messages(one.place)}/{one.id}?exact=true&with_content=false"))
    item = item_of(message)
    return item if one.place.has(message["sourceId"]) else None


def _messages(place: Place) -> str:
    return f"/api/v1/app/{quote(place.app_id, safe='')}/msg"


def _found(place: Place, message: dict[str, Any]) -> Found:
    return Found(place, message["id"], message["eventType"], datetime.fromisoformat(message["timestamp"]))
