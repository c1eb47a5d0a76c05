"""How much may one slice remove? As many rows as it was asked for, but no more bytes than it can within its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringback.store.base import Row

# Bytes of payloads that one slice removes: their pages are read once more for that, a thousand of them in some milliseconds.
MAX_BYTES: Final = 4 * 1024 * 1024


def affordable(rows: Sequence[Row], most_bytes: int = MAX_BYTES) -> list[Row]:
    """The first of these rows, at least one if there are any; the last column of each is the size of what goes with it, bytes or None."""
    size = 0
    for number, row in enumerate(rows):
        size += row[-1] or 0
        if number and size > most_bytes:
            return list(rows[:number])
    return list(rows)
