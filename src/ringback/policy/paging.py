"""Which rows does one page of a list hold? A walk says where to read and which way; `cut` makes the page from what was read.

A list is ordered by one text column (an id, or a name), and a cursor is a position in it, not a row: rows may come and go without a gap
or a duplicate. A walk therefore is two bounds, a direction and a limit, and any store answers it with one query.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

T = TypeVar("T")

# Below every id and name, which have at least one character.
LOWEST = ""
# Above every id and name: "~" (0x7E) follows the letters in ASCII, and none of them holds it.
HIGHEST = "~"


class Walk(msgspec.Struct, frozen=True):
    """Read the rows whose key lies between `above` and `below` (both exclusive), `limit` of them, shown `descending` or ascending.

    `backwards` reads against the display order: the page nearest to the end of the list that comes last on the screen.
    """

    limit: int
    descending: bool
    backwards: bool = False
    above: str = LOWEST
    below: str = HIGHEST

    @property
    def direction(self) -> Literal["ASC", "DESC"]:
        """The order in which a query must read."""
        return "DESC" if self.descending != self.backwards else "ASC"

    @property
    def fetch(self) -> int:
        """How many rows to read: one more than shown, to know whether there are more."""
        return self.limit + 1


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Rows in display order. `done`: there are no more in the direction that was walked.

    A filtered walk may give up before the end, after many rows that do not fit: then the page may be short, even empty, and `stopped_at`
    is the last key it examined.
    """

    items: list[T]
    done: bool
    stopped_at: str | None = None


def cut(rows: list[T], walk: Walk, stopped_at: str | None = None) -> Page[T]:
    """The page that `rows`, read by `walk`, make: without the surplus row at the far end, in display order."""
    items = rows[: walk.limit]
    if walk.backwards:
        items.reverse()
    return Page(items, len(rows) <= walk.limit and stopped_at is None, stopped_at)
