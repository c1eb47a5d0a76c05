"""What is a page made of? Values that pages build, and that the macros of `templates/components.html` only show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlencode

import msgspec

from ringback.model.deliveries import AttemptStatus
from ringback.policy.paging import Page, Walk

# How things stand; each has a colour and a shape of its own in the style sheet and in `templates/icons.html`.
Kind = Literal["ok", "retry", "dead", "wait", "off"]
# Rows of a list's page: two screens of a laptop.
ROWS: Final = 50
BASE: Final = "/dashboard"


class Badge(msgspec.Struct, frozen=True):
    """How something stands: by colour and shape (`kind`), and in a word."""

    kind: Kind
    word: str


DELIVERED: Final = Badge("ok", "delivered")
RETRYING: Final = Badge("retry", "retrying")
WAITING: Final = Badge("wait", "waiting")
DEAD: Final = Badge("dead", "dead")
FAILED: Final = Badge("dead", "failed")
CANCELLED: Final = Badge("off", "cancelled")
_BADGES: Final[Mapping[int, Badge]] = {
    AttemptStatus.SUCCESS: DELIVERED,
    AttemptStatus.PENDING: WAITING,
    AttemptStatus.FAIL: FAILED,
    AttemptStatus.SENDING: RETRYING,
    AttemptStatus.CANCELED: CANCELLED,
}


def badge_of(status: int) -> Badge:
    """How an attempt or a delivery of that status (contract, 5.3) stands."""
    return _BADGES[status]


class Link(msgspec.Struct, frozen=True):
    """Somewhere to go. `panel`: shown beside the page where there is JavaScript."""

    label: str
    href: str
    panel: bool = False


class Action(msgspec.Struct, frozen=True):
    """A button at the head of a page. With `post` it acts at once, otherwise it leads to a page (`panel`: beside this one)."""

    label: str
    href: str
    look: Literal["primary", "plain", "danger"] = "plain"
    post: bool = False
    panel: bool = True


class Head(msgspec.Struct, frozen=True):
    """The top of a page: where it is (`trail`), what it is, its state in one sentence, and what can be done.

    `answers`: the sentence is what somebody came for, and not merely a hint.
    """

    title: str
    sentence: str = ""
    trail: Sequence[Link] = ()
    actions: Sequence[Action] = ()
    badge: Badge | None = None
    id: str | None = None
    answers: bool = False


class Tab(msgspec.Struct, frozen=True):
    """One view of several of the same thing."""

    label: str
    href: str
    current: bool
    count: str = ""


class Empty(msgspec.Struct, frozen=True):
    """What a list without rows says: why, what to do, and a command that fills it."""

    title: str
    text: str
    command: str = ""
    action: Action | None = None


class Pager(msgspec.Struct, frozen=True):
    """Where the pages before and after this one are; None = there are none."""

    newer: str | None
    older: str | None
    words: str = ""


class Fact(msgspec.Struct, frozen=True):
    """A name and its value, for the lists of facts beside a thing. `copy`: a button copies it; `mono`: it is an id or the like."""

    name: str
    value: str
    copy: bool = False
    mono: bool = False
    href: str | None = None
    moment: Any = None


class Choice(msgspec.Struct, frozen=True):
    """One entry of a select."""

    value: str
    label: str
    chosen: bool = False


def choices(values: Sequence[tuple[str, str]], chosen: str) -> list[Choice]:
    """The entries of a select, one of them chosen."""
    return [Choice(value, label, value == chosen) for value, label in values]


def address(path: str, **query: str | int | Sequence[str] | None) -> str:
    """The address of a page: its path below the dashboard, and a query of what is given."""
    pairs = [
        (name.rstrip("_"), str(item))
        for name, value in query.items()
        if value not in (None, "", ())
        for item in ([value] if isinstance(value, str | int) else value or ())
    ]
    return f"{BASE}{path}{'?' + urlencode(pairs) if pairs else ''}"


def walk_of(text: str, is_key: Any, *, descending: bool = True, rows: int = ROWS) -> tuple[Walk, bool]:
    """The walk that `at` in an address asks for (an id; `-` before it: towards the top), and whether it begins at the top."""
    key = text.removeprefix("-")
    if not text or not is_key(key):
        return Walk(rows, descending), True
    backwards = text.startswith("-")
    if descending != backwards:
        return Walk(rows, descending, backwards, below=key), False
    return Walk(rows, descending, backwards, above=key), False


def pager(page: Page[Any], first: str | None, last: str | None, at: str, path: str, **query: str | int | Sequence[str] | None) -> Pager:
    """The pager of a page whose first and last rows have these keys; `at` is the position in its own address."""
    backwards = at.startswith("-")
    more_above = bool(at) and not (backwards and page.done)
    more_below = not page.done or backwards
    above = first if first is not None else page.stopped_at
    below = last if last is not None else page.stopped_at
    newer = address(path, **query, at=f"-{above}") if more_above and above is not None else None
    older = address(path, **query, at=below) if more_below and below is not None else None
    return Pager(newer, older)
