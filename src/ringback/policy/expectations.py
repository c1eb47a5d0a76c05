"""Which of those who wait does this event serve? Looked up by what they ask for: thousands cost no more than the places they name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ringback.model.expectations import Expectation, Match
from ringback.model.messages import Origin
from ringback.model.sources import RELEASED, UNVERIFIED, Source
from ringback.policy.validation import Problem
from ringback.signing.places import first_text
from ringback.signing.request import InboundRequest

# Places that the expectations of one source may name while they are open: each is read out of each event.
MAX_PLACES: Final = 20


class Waiting:
    """The open expectations of one source."""

    __slots__ = ("_by_id", "_by_place", "_others", "open")

    def __init__(self, expectations: Iterable[Expectation] = ()) -> None:
        self.open: dict[str, Expectation] = {}
        # By place, then by the text there; by the provider's id; and those that ask for neither.
        self._by_place: dict[str, dict[str, dict[str, None]]] = {}
        self._by_id: dict[str, dict[str, None]] = {}
        self._others: dict[str, None] = {}
        for expectation in expectations:
            self.add(expectation)

    def add(self, expectation: Expectation) -> None:
        """Wait for one more, or know more of one."""
        self.open[expectation.id] = expectation
        self._heap(expectation.wanted, make=True)[expectation.id] = None

    def remove(self, expectation_id: str) -> None:
        """Wait for one no more."""
        expectation = self.open.pop(expectation_id, None)
        if expectation is None:
            return
        wanted = expectation.wanted
        heap = self._heap(wanted, make=False)
        heap.pop(expectation_id, None)
        if not heap and wanted.at:
            texts = self._by_place.get(wanted.at, {})
            texts.pop(wanted.equals, None)
            if not texts:
                self._by_place.pop(wanted.at, None)
        elif not heap and wanted.event_id:
            self._by_id.pop(wanted.event_id, None)

    def needs_payload(self) -> bool:
        """Does any of them ask for what stands in the event?"""
        return bool(self._by_place)

    def places(self) -> set[str]:
        """The places that they name."""
        return set(self._by_place)

    def met_by(self, event_type: str, origin: Origin, received_at: int, request: InboundRequest | None) -> list[Expectation]:
        """Those that an event meets; `request` is its payload and headers, where one `needs_payload`."""
        found: list[str] = []
        if request is not None:
            for place, texts in self._by_place.items():
                text = first_text((place,), request)
                if text is not None:
                    found += texts.get(text, ())
        if origin.event_id is not None:
            found += self._by_id.get(origin.event_id, ())
        found += self._others
        return [expectation for expectation in map(self.open.__getitem__, found) if _serves(expectation, event_type, origin, received_at)]

    def _heap(self, wanted: Match, *, make: bool) -> dict[str, None]:
        if wanted.at:
            if make:
                return self._by_place.setdefault(wanted.at, {}).setdefault(wanted.equals, {})
            return self._by_place.get(wanted.at, {}).get(wanted.equals, {})
        if wanted.event_id:
            return self._by_id.setdefault(wanted.event_id, {}) if make else self._by_id.get(wanted.event_id, {})
        return self._others


def _serves(expectation: Expectation, event_type: str, origin: Origin, received_at: int) -> bool:
    wanted = expectation.wanted
    return (
        expectation.since <= received_at <= expectation.deadline
        and (not wanted.event_type or wanted.event_type in (event_type, origin.event_type))
        and (not wanted.event_id or wanted.event_id == origin.event_id)
    )


def is_believed(source: Source, origin: Origin) -> bool:
    """Does an event count? What a source verifies must be verified, found at the provider, or let in by a person."""
    return source.verification.verify == "none" or UNVERIFIED not in origin.flags or RELEASED in origin.flags


def match_problems(wanted: Match, *, has_equals: bool) -> list[Problem]:
    """What is wrong with what an event must have."""
    problems: list[Problem] = []
    if not (wanted.event_type or wanted.event_id or wanted.at):
        problems.append(((), "it asks for nothing, so that any event would meet it; give eventType, eventId, or at and equals"))
    kind, colon, name = wanted.at.partition(":")
    if wanted.at and (kind not in ("json", "header", "form") or not colon or not name):
        problems.append((("at",), f"{wanted.at!r} is no place; use json:PATH, header:NAME or form:NAME"))
    if bool(wanted.at) != has_equals:
        problems.append((("equals",) if wanted.at else ("at",), "at and equals go together: a place, and the text that must stand there"))
    return problems
