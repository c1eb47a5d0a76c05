"""Which files does a page need besides itself? Compressed once, named by their content, and kept by browsers for good."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
from collections.abc import Mapping
from typing import Final

import msgspec

from ringback.dashboard.components import BASE

_TYPES: Final[Mapping[str, str]] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
# Hex digits of a content's hash in its name: 40 bits, for a handful of files.
_HASH_DIGITS: Final = 10
# Best compression: done once in a process's life.
_LEVEL: Final = 9


class Asset(msgspec.Struct, frozen=True):
    """One file, as it is and compressed."""

    content_type: str
    plain: bytes
    packed: bytes


class Assets:
    """The files of `static/`. Reading and compressing them takes some 20 ms."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}
        self._files: dict[str, Asset] = {}
        for entry in importlib.resources.files("ringback.dashboard").joinpath("static").iterdir():
            stem, _, kind = entry.name.rpartition(".")
            if kind in _TYPES:
                plain = entry.read_bytes()
                name = f"{stem}.{hashlib.sha256(plain).hexdigest()[:_HASH_DIGITS]}.{kind}"
                self._urls[entry.name] = f"{BASE}/static/{name}"
                self._files[name] = Asset(_TYPES[kind], plain, gzip.compress(plain, _LEVEL, mtime=0))

    def url(self, name: str) -> str:
        """Where a file is found; its name changes with its content. Raises KeyError for a file that there is not."""
        return self._urls[name]

    def find(self, name: str) -> Asset | None:
        """The file of that name with its hash."""
        return self._files.get(name)
