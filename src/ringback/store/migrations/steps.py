"""How does an older database become this version's? By the numbered scripts beside this file, forward only."""

from __future__ import annotations

import importlib.resources
import re
from typing import Final

import msgspec

_NAME: Final = re.compile(r"(\d{4})_\w+\.sql")


class Migration(msgspec.Struct, frozen=True):
    """One step: the schema version it leads to, and its statements."""

    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All steps, the first one first."""
    found = [
        Migration(int(match[1]), entry.name, entry.read_text())
        for entry in importlib.resources.files(__package__).iterdir()
        if (match := _NAME.fullmatch(entry.name))
    ]
    return sorted(found, key=lambda m: m.version)
