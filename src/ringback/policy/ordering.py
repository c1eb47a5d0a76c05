"""Which lane does a delivery go in? Those of a lane are sent one at a time, in their order; None = it is in order with nothing."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from ringback.errors import VerificationError
from ringback.model.ordering import Ordered, Ordering, WhenHeadDies
from ringback.signing.documents import find, read_json, text_of

# The one lane of an endpoint that has all in order; names of lanes by key begin with a sign, so that they never are this.
WHOLE: Final = ""
# The longest key that a client may name, characters; the value of a longer one is known by its digest.
MAX_KEY_CHARS: Final = 256
# The longest path, characters.
MAX_PATH_CHARS: Final = 256


def lane_of(ordering: Ordering | None, key: str | None, document: Document | None) -> str | None:
    """The lane of a message at an endpoint; `key` is what the message itself names, `document` its payload, None when it is no JSON."""
    if ordering is None or ordering.mode is Ordered.NONE:
        return None
    if ordering.mode is Ordered.ENDPOINT:
        return WHOLE
    if key is None and ordering.key_path is not None and document is not None:
        key = document.text_at(ordering.key_path)
    return None if key is None else lane_of_key(key)


def lane_of_key(key: str) -> str:
    """The lane of those with this key."""
    return f"={key}" if len(key) <= MAX_KEY_CHARS else f"#{hashlib.sha256(key.encode('utf-8', 'replace')).hexdigest()}"


def key_of(lane: str) -> str | None:
    """The key of a lane, as far as it is known; None for the lane of the whole endpoint."""
    return lane[1:] if lane else None


class Document:
    """A payload, read as JSON at most once, and only when somebody asks."""

    __slots__ = ("_payload", "_read", "_value")

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._read = False
        self._value: Any = None

    def text_at(self, path: str) -> str | None:
        """The text or number at a path such as `customer.id`; None when there is none, or the payload is no JSON."""
        if not self._read:
            self._read = True
            try:
                self._value = read_json(self._payload)
            except (VerificationError, RecursionError):
                self._value = None
        if self._value is None:
            return None
        try:
            text = text_of(next(find(self._value, path), None))
        except (VerificationError, RecursionError):
            return None
        return text.decode("utf-8", "replace") if text else None


def path_problems(path: str) -> list[str]:
    """What is wrong with a path to the key in a payload."""
    if (
        not path.isprintable()
        or any(not step or step != step.strip() for step in path.split("."))
        or "[" in path
        or path.split(".")[0] == "$"
    ):
        return [f"{path!r} must be names of fields with dots between, such as customer.id"]
    return []


def same_lanes(former: Ordering | None, now: Ordering | None) -> bool:
    """Does every delivery stay in its lane when an ordering is changed from one to the other?"""
    return _lanes(former) == _lanes(now)


def unblocks(former: Ordering | None, now: Ordering | None) -> bool:
    """Do lanes that are blocked go on when an ordering is changed from one to the other, though they stay what they are?"""
    return blocks(former) and not blocks(now)


def blocks(ordering: Ordering | None) -> bool:
    """Does a dead head block its lane?"""
    return ordering is not None and ordering.mode is not Ordered.NONE and ordering.when_head_dies is WhenHeadDies.BLOCK


def gives_up(ordering: Ordering | None, failures: int) -> bool:
    """Is the head of a lane given up after so many failures, before its schedule of retries ends?"""
    return (
        ordering is not None
        and ordering.when_head_dies is WhenHeadDies.SKIP
        and ordering.skip_after is not None
        and failures >= ordering.skip_after
    )


def _lanes(ordering: Ordering | None) -> tuple[Ordered, str | None]:
    if ordering is None:
        return Ordered.NONE, None
    return ordering.mode, ordering.key_path if ordering.mode is Ordered.KEY else None
