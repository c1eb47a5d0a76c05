"""Which event must come by when? An expectation is met by the first event that matches, or missed at its deadline."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

OPEN: Final = "open"
MET: Final = "met"
MISSED: Final = "missed"
State: TypeAlias = Literal["open", "met", "missed"]
STATES: Final[tuple[State, ...]] = ("open", "met", "missed")


class Match(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an event must have, all of it: a type (ours or the provider's own word), the provider's id, and a text at a place.

    `at` is a place as of deduplication (`json:PATH`, `header:NAME`, `form:NAME`), `equals` the text there; numbers are in decimal, booleans
    `true` and `false`. "" = anything.
    """

    event_type: str = ""
    event_id: str = ""
    at: str = ""
    equals: str = ""


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """One event that somebody waits for. Events received from `since` to `deadline` count; `message_id` is the one that met it.

    Times are microseconds since 1970.
    """

    id: str
    source_id: str
    org_id: str
    uid: str | None
    state: State
    wanted: Match
    since: int
    deadline: int
    created_at: int
    ended_at: int | None = None
    message_id: str | None = None
