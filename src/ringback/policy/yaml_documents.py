"""What does this YAML say? Read by hand from the parser's events, so that no document costs more than its length promises.

Only what JSON can say: scalars resolve as in the JSON-compatible core of YAML 1.2 (`no` and dates are text), keys are text, tags that make
other objects are refused. Aliases and merge keys (`<<`) are allowed, and count as often as they stand there: a few lines of them can mean
a billion nodes.
Source: https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

# As deep as a request may be nested.
MAX_DEPTH: Final = 64
# Nodes of a whole document, aliases counted as often as they stand: ten times what the largest published specifications of APIs have.
MAX_NODES: Final = 500_000
# A number of more digits is none that anybody counts with, and reading it takes long.
_MAX_DIGITS: Final = 400

_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEXADECIMAL: Final = re.compile(r"0x[0-9a-fA-F]+")
_REAL: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = "<<"


class _Open:
    """A list or a map that has not ended. `size` counts its nodes, `height` its levels."""

    __slots__ = ("anchor", "height", "key", "mapping", "merged", "size", "value")

    def __init__(self, mapping: bool, anchor: str | None) -> None:
        self.mapping = mapping
        self.anchor = anchor
        self.value: Any = {} if mapping else []
        self.key: str | None = None
        self.merged: list[dict[str, Any]] = []
        self.size = 1
        self.height = 1

    def take(self, value: Any, size: int, height: int, place: str) -> None:
        """Add what was read. Raises ValueError for a key that is none."""
        self.size += size
        self.height = max(self.height, 1 + height)
        if not self.mapping:
            self.value.append(value)
        elif self.key is None:
            if isinstance(value, dict | list):
                raise ValueError(f"{place}: a key must be text")
            self.key = value if isinstance(value, str) else json.dumps(value)
            if self.key in self.value:
                raise ValueError(f"{place}: the key {self.key[:80]!r} stands there twice")
        else:
            if self.key == _MERGE:
                self._merge(value, place)
            else:
                self.value[self.key] = value
            self.key = None

    def _merge(self, value: Any, place: str) -> None:
        merged = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in merged):
            raise ValueError(f"{place}: << merges maps alone")
        self.merged += merged

    def ended(self) -> Any:
        """The value, whole: what was merged into it gives way to what stands in it."""
        for merged in self.merged:
            for key, value in merged.items():
                self.value.setdefault(key, value)
        return self.value


def read_yaml(text: str) -> Any:
    """The one document in a text, as JSON would decode it. Raises ValueError; linear in the length of the text."""
    # Loaded only when somebody sends YAML: it takes 20 ms and 3 MB.
    import yaml

    try:
        return _Reader().read(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from None


class _Reader:
    def __init__(self) -> None:
        self._open: list[_Open] = []
        # Name to value, size and height of what has ended.
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        self._nodes = 0
        self._documents = 0
        self._root: Any = None

    def read(self, events: Iterator[Any]) -> Any:
        """Build what the events say."""
        for event in events:
            kind = type(event).__name__
            place = f"line {event.start_mark.line + 1}"
            if kind == "ScalarEvent":
                self._count(1, 0, place)
                self._ended(_scalar(event, place), 1, 0, event.anchor, place)
            elif kind in ("MappingStartEvent", "SequenceStartEvent"):
                self._begin(kind == "MappingStartEvent", event, place)
            elif kind in ("MappingEndEvent", "SequenceEndEvent"):
                done = self._open.pop()
                self._ended(done.ended(), done.size, done.height, done.anchor, place)
            elif kind == "AliasEvent":
                self._alias(event.anchor, place)
            elif kind == "DocumentStartEvent":
                self._documents += 1
                if self._documents > 1:
                    raise ValueError(f"{place}: a second document begins; give one alone")
        return self._root

    def _begin(self, mapping: bool, event: Any, place: str) -> None:
        if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
            raise ValueError(f"{place}: the tag {event.tag!r} is not allowed")
        self._count(1, 1, place)
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)
        self._open.append(_Open(mapping, event.anchor))

    def _alias(self, name: str, place: str) -> None:
        known = self._anchors.get(name)
        if known is None:
            raise ValueError(f"{place}: *{name[:80]} names nothing that has ended before it")
        value, size, height = known
        self._count(size, height, place)
        self._ended(value, size, height, None, place)

    def _count(self, nodes: int, height: int, place: str) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise ValueError(f"{place}: more than {MAX_NODES} values, aliases counted as often as they stand there")
        if len(self._open) + height > MAX_DEPTH:
            raise ValueError(f"{place}: nested deeper than {MAX_DEPTH} levels")

    def _ended(self, value: Any, size: int, height: int, anchor: str | None, place: str) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size, height)
        if self._open:
            self._open[-1].take(value, size, height, place)
        else:
            self._root = value


def _scalar(event: Any, place: str) -> Any:
    tag, text = event.tag, event.value
    if tag == _TAG + "str" or tag == "!" or (tag is None and not event.implicit[0]):
        return text
    if tag is not None and tag not in (_TAG + "null", _TAG + "bool", _TAG + "int", _TAG + "float"):
        raise ValueError(f"{place}: the tag {tag!r} is not allowed")
    return _plain(text, place)


def _plain(text: str, place: str) -> Any:
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    first = text[0]
    if first not in "+-.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        return int(_short(text, place))
    if _OCTAL.fullmatch(text):
        return int(_short(text, place)[2:], 8)
    if _HEXADECIMAL.fullmatch(text):
        return int(_short(text, place)[2:], 16)
    if _REAL.fullmatch(text):
        value = float(_short(text, place))
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"{place}: the number {text[:40]} is too large")
        return value
    return text


def _short(text: str, place: str) -> str:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"{place}: a number of {len(text)} digits; at most {_MAX_DIGITS} are read")
    return text
