"""What does a person look for? `type:order.paid tag:vip before:2026-01-01 "exact phrase" ord_12*`, taken apart.

Words must all occur, in any order; `"..."` is a phrase; `*` ends a beginning; `-` before a word, phrase or operator excludes it. Operators
are `name:value`, with commas between alternatives and quotes around values that hold blanks.

What a word is, is decided here for both sides, queries and texts: letters and digits of any script, without case and accents; all else
separates, so that `ord_123` is the phrase `ord 123`. In scripts without blanks between words each character is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final

import msgspec

from ringback.clock import to_us
from ringback.errors import CallerError

# Longest query: more than anybody types, and few enough terms for a search of some milliseconds.
MAX_CHARS: Final = 500
MAX_TERMS: Final = 20

STATUSES: Final = ("delivered", "failed", "retrying", "waiting", "canceled", "unmatched")
# The operators, and what they mean, for the reference and for messages.
OPERATORS: Final = {
    "type": "event type; a * at its end stands for any rest",
    "tag": "a tag of the message",
    "channel": "a channel of the message",
    "status": f"how the message stands with its endpoints: {', '.join(STATUSES)}",
    "app": "application, by id or uid",
    "id": "id or eventId of the message",
    "before": "accepted before that time: a date, an RFC 3339 time, or an age as 2h, 7d",
    "after": "accepted at that time or later, written in the same way",
}
_AGES: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}

# Thai and Lao, the kana, and the ideographs.
_UNSPACED: Final = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_ALONE: Final = re.compile(f"[{_UNSPACED}]")
_TOKEN: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_PART: Final = re.compile(
    r'(?P<minus>-?)(?:(?P<name>[A-Za-z_]+):(?P<value>(?:"[^"]*"|[^\s"])*)|"(?P<phrase>[^"]*)"(?P<star>\*?)|(?P<word>[^\s"]+))'
)
# What a word that looks so is (`ids`): found at once, and also when the payload is gone.
_MESSAGE_ID: Final = re.compile(r"msg_[0-9A-Za-z]{27}")
_VALUE: Final = re.compile(r'(?:"[^"]*"|[^,"])+')
_AGE: Final = re.compile(r"(\d{1,6})([smhdw])")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class BadQuery(CallerError):
    """A query that cannot be read; the message names the part and says what it may be."""

    status = 422
    code = "validation_error"


class Phrase(msgspec.Struct, frozen=True):
    """Tokens that follow each other; with `prefix`, the last one is the beginning of a word."""

    tokens: tuple[str, ...]
    prefix: bool = False


class Field(msgspec.Struct, frozen=True):
    """One of these values of a property. An event type may end in `*`."""

    name: str
    values: tuple[str, ...]


class SearchQuery(msgspec.Struct, frozen=True):
    """A query taken apart: what must be there, and what must not. Times are microseconds since 1970."""

    phrases: tuple[Phrase, ...] = ()
    fields: tuple[Field, ...] = ()
    without_phrases: tuple[Phrase, ...] = ()
    without_fields: tuple[Field, ...] = ()
    statuses: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    before_us: int | None = None
    after_us: int | None = None


def tokens(text: str) -> Iterator[tuple[str, int, int]]:
    """The tokens of a text, each with where it begins and ends."""
    for match in _TOKEN.finditer(text):
        yield fold(match[0]), match.start(), match.end()


def fold(text: str) -> str:
    """A text without case and accents."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


def indexed(text: str) -> str:
    """A text as an index takes it that knows words by blanks and signs only: folded, and with each word of its own."""
    return text if text.isascii() else fold(_ALONE.sub(r" \g<0> ", text))


def parse(text: str, now_us: int) -> SearchQuery:
    """Take a query apart. `now_us` is what ages count back from. Raises BadQuery."""
    if len(text) > MAX_CHARS:
        raise BadQuery(f"the query has {len(text)} characters; at most {MAX_CHARS} are read; leave some words out")
    reading = _Reading(now_us)
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _PART.match(text, at)
        if match is None or match.end() == at:
            raise BadQuery(f"the quote at character {at + 1} is not closed: {text[at : at + 40]!r}; add a closing quote")
        reading.take(match)
        at = match.end()
    return reading.result()


class _Reading:
    """What was read so far."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._phrases: tuple[list[Phrase], list[Phrase]] = ([], [])
        self._fields: tuple[list[Field], list[Field]] = ([], [])
        self._statuses: tuple[str, ...] = ()
        self._apps: tuple[str, ...] = ()
        self._ids: tuple[str, ...] = ()
        self._before_us: int | None = None
        self._after_us: int | None = None

    def take(self, match: re.Match[str]) -> None:
        excluded = bool(match["minus"])
        if match["name"] is not None and match["name"].lower() in OPERATORS:
            self._operator(match["name"].lower(), _values(match["name"], match["value"]), excluded)
            return
        if match["name"] is not None and not match["value"].startswith(("/", ":")):
            close = get_close_matches(match["name"].lower(), OPERATORS, 1)
            meant = f"did you mean {close[0]}:? " if close else ""
            raise BadQuery(
                f"{match['name']}: is no operator; {meant}there are {', '.join(f'{name}:' for name in OPERATORS)}; "
                f'to look for the text itself, put it in quotes: "{match["name"]}:{match["value"]}"'
            )
        star = bool(match["star"])
        word = match["phrase"]
        if word is None:
            word = match[0].removeprefix("-") if excluded else match[0]
            if not excluded and _MESSAGE_ID.fullmatch(word):
                self._ids += (word,)
                return
            word, star = word.removesuffix("*"), word.endswith("*")
        found = tuple(token for token, _, _ in tokens(word))
        if found:
            self._phrases[excluded].append(Phrase(found, star))

    def _operator(self, name: str, values: tuple[str, ...], excluded: bool) -> None:
        if name in ("type", "tag", "channel"):
            self._fields[excluded].append(Field(name, values))
            return
        if excluded:
            raise BadQuery(f"-{name}: cannot be excluded; only words, type:, tag: and channel: can")
        if name == "status":
            unknown = [value for value in values if value not in STATUSES]
            if unknown:
                raise BadQuery(f"{unknown[0]!r} is no status; use one of {', '.join(STATUSES)}")
            self._statuses += values
        elif name == "app":
            self._apps += values
        elif name == "id":
            self._ids += values
        elif name == "before":
            at_us = self._time(name, values)
            self._before_us = at_us if self._before_us is None else min(self._before_us, at_us)
        else:
            at_us = self._time(name, values)
            self._after_us = at_us if self._after_us is None else max(self._after_us, at_us)

    def _time(self, name: str, values: Sequence[str]) -> int:
        text = values[0]
        age = _AGE.fullmatch(text)
        try:
            if len(values) > 1:
                raise ValueError
            if age is not None:
                return self._now_us - int(timedelta(seconds=int(age[1]) * _AGES[age[2]]).total_seconds()) * 1_000_000
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                at = at.replace(tzinfo=UTC)
            return to_us(at)
        except (ValueError, OverflowError):
            raise BadQuery(
                f"{name}:{','.join(values)} is no time; write a date (2026-01-31), a time (2026-01-31T12:00:00Z), or an age (2h, 7d)"
            ) from None

    def result(self) -> SearchQuery:
        """All of it. Raises BadQuery when it is too much, or nothing is left to look for."""
        phrases, without_phrases = self._phrases
        fields, without_fields = self._fields
        if len(phrases) + len(fields) + len(without_phrases) + len(without_fields) > MAX_TERMS:
            raise BadQuery(f"the query has more than {MAX_TERMS} terms; leave some out")
        return SearchQuery(
            tuple(phrases), tuple(fields), tuple(without_phrases), tuple(without_fields), self._statuses, self._apps, self._ids,
            self._before_us, self._after_us,
        )  # fmt: skip


def _values(name: str, text: str) -> tuple[str, ...]:
    found = tuple(value.replace('"', "").strip() for value in _VALUE.findall(text))
    found = tuple(value for value in found if value)
    if not found:
        raise BadQuery(f"{name}: has no value; write it right behind the colon: {name}:value")
    return found
