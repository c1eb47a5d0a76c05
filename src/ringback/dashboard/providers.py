"""What must somebody know who receives from a provider? A row of the catalogue as pages show it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import Badge
from ringback.policy.sources import CRON, CUSTOM, GENERIC, provider_of
from ringback.signing.providers import catalogue
from ringback.signing.providers.setup import failures_of

_CONFIDENCE: Final = {
    "high": Badge("ok", "confirmed"),
    "medium": Badge("wait", "second-hand"),
    "low": Badge("retry", "not confirmed"),
}
_CONFIDENCE_WORDS: Final = {
    "high": "Read in the provider's own documentation or package.",
    "medium": "Read in one good secondary source; compare it with the provider's documentation.",
    "low": "Only a lead; check it with the provider's documentation before you rely on it.",
}
# What the row says, in the order in which somebody needs it; and what is folded away.
_TOLD: Final = (("Signature", "header"), ("Signed", "signed"), ("Secret", "secret"), ("Expected answer", "answer"), ("Retries", "retries"))
_MORE: Final = (("Also sent", "also_sent"), ("Sent by", "user_agent"), ("Addresses", "addresses"), ("Note", "note"))


class Piece(msgspec.Struct, frozen=True):
    """A part of a sentence; `code`: it stands between backticks."""

    text: str
    code: bool


class Guide(msgspec.Struct, frozen=True):
    """What to know about a provider. `facts` are names and sentences, `more` are for few; `failures` is what goes wrong most often."""

    name: str
    badge: Badge
    confidence: str
    facts: Sequence[tuple[str, str]]
    more: Sequence[tuple[str, str]]
    failures: Sequence[Sequence[Piece]]
    source: str


class Offer(msgspec.Struct, frozen=True):
    """A type that a new source may have."""

    type: str
    name: str
    note: str
    badge: Badge | None


def pieces(text: str) -> list[Piece]:
    """A sentence with what stands between backticks apart."""
    return [Piece(part, bool(index % 2)) for index, part in enumerate(re.split(r"`([^`]*)`", text)) if part]


def name_of_type(source_type: str) -> str:
    """What a type of source is called."""
    if source_type == CUSTOM:
        return "Custom scheme"
    if source_type == GENERIC:
        return "Any sender, unverified"
    if source_type == CRON:
        return "Schedule (cron)"
    row = provider_of(source_type)
    return source_type if row is None else row.name


def guide_of(source_type: str) -> Guide | None:
    """The guide of a type; None where the owner knows more than we do."""
    row = provider_of(source_type)
    if row is None:
        return None
    facts = [(label, text) for label, field in _TOLD if (text := getattr(row, field))]
    if row.handshakes:
        facts.insert(
            0, ("Handshake", f"It asks who answers when the URL is registered ({', '.join(row.handshakes)}); that is answered by itself.")
        )
    return Guide(
        row.name,
        _CONFIDENCE[row.confidence],
        _CONFIDENCE_WORDS[row.confidence],
        facts,
        [(label, text) for label, field in _MORE if (text := getattr(row, field))],
        [pieces(failure) for failure in failures_of(row)],
        row.source,
    )


def offers(text: str) -> list[Offer]:
    """The types whose names fit what was typed, by name; those that fit everything come last."""
    wanted = text.lower().split()

    def fits(*names: str) -> bool:
        known = " ".join(names).lower()
        return all(word in known for word in wanted)

    rows = sorted((row for row in catalogue.PROVIDERS.values() if fits(row.name, row.id)), key=lambda row: row.name.lower())
    found = [Offer(row.id, row.name, "", _CONFIDENCE[row.confidence]) for row in rows]
    if fits("custom scheme own hmac generic"):
        found.append(Offer(CUSTOM, "Custom scheme", "You describe the header, the bytes that are signed, and the algorithm.", None))
    if fits("any sender unverified generic webhook"):
        found.append(Offer(GENERIC, "Any sender, unverified", "Nothing is checked but the URL, which nobody can guess.", None))
    if fits("schedule cron timer"):
        found.append(Offer(CRON, "Schedule (cron)", "This server sends a payload of yours at the times that you write down.", None))
    return found
