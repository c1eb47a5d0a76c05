"""Which page was asked for, and how does a page look? Limits, cursors and order of every list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from ringback.api.queries import Query
from ringback.api.routing import Parameter
from ringback.policy.paging import Page, Walk

T = TypeVar("T")
Out = TypeVar("Out")

# The contract's page sizes.
MAX_LIMIT = 250
DEFAULT_LIMIT = 50
ORDERS = ("ascending", "descending")

LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}, "How many items at most")
ITERATOR = Parameter("iterator", {"type": "string"}, "Go on from the `iterator` or `prevIterator` of another page")
ORDER = Parameter("order", {"type": "string", "enum": list(ORDERS)}, "Which way the list runs")


class ListOut(msgspec.Struct, Generic[Out], frozen=True, rename="camel"):
    """One page. `iterator` continues after its last item, `prevIterator` before its first; `done` speaks of the direction travelled."""

    data: list[Out]
    iterator: str | None
    prev_iterator: str | None
    done: bool


def limit_of(query: Query) -> int:
    """How many items the page may have. Raises Refused, InvalidField."""
    limit = query.number("limit")
    if limit is None:
        return DEFAULT_LIMIT
    if limit > MAX_LIMIT:
        raise query.invalid("limit", f"{limit} must not exceed {MAX_LIMIT}")
    if limit < 1:
        raise query.invalid("limit", f"{limit} is too low; at least 1")
    return limit


def cursor_of(query: Query, is_key: Callable[[str], bool]) -> tuple[str | None, bool]:
    """The position to go on from, and whether towards the top of the list (`-` before it). Raises InvalidField for a foreign one."""
    text = query.text("iterator")
    if text is None:
        return None, False
    key = text.removeprefix("-")
    if not is_key(key):
        raise query.invalid(
            "iterator", f"{text[:300]!r} is not an iterator of this list; use the `iterator` or `prevIterator` of one of its pages"
        )
    return key, text.startswith("-")


def walk_of(query: Query, is_key: Callable[[str], bool], *, descending: bool, ordered: bool = True) -> Walk:
    """The walk that a query asks for. `descending` is the list's own order; `ordered`: the caller may choose another."""
    limit = limit_of(query)
    cursor, backwards = cursor_of(query, is_key)
    order = query.choice("order", ORDERS) if ordered else None
    if order is not None:
        descending = order == "descending"
    if cursor is None:
        return Walk(limit, descending)
    # Going on in a descending list, and going back in an ascending one, means smaller keys.
    if descending != backwards:
        return Walk(limit, descending, backwards, below=cursor)
    return Walk(limit, descending, backwards, above=cursor)


def listing(page: Page[T], key: Callable[[T], str], show: Callable[[T], Out]) -> ListOut[Out]:
    """The page as the client sees it."""
    if not page.items:
        return ListOut([], None, None, page.done)
    return ListOut([show(item) for item in page.items], key(page.items[-1]), "-" + key(page.items[0]), page.done)
