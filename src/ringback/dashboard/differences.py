"""What changed between two attempts? What is known of both, their headers and their answers, only where they differ. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from ringback.dashboard.payloads import Node, PayloadView

# Comparing takes the square of the lines, and the cube where the same ones come often. From 200 lines on those are passed over (`autojunk`)
# unless they are beside others: 400 lines take some 0.1 s of a thread at the most, and a second without that.
LINES_MAX: Final = 400

Fields = Sequence[tuple[str, str]]


class Difference(msgspec.Struct, frozen=True):
    """One thing that was `before` in the one attempt and `after` in the other; None: it was not there."""

    name: str
    before: str | None
    after: str | None


class Line(msgspec.Struct, frozen=True):
    """A line of a body: in both, only in the one before (`gone`), or only in the one after (`new`)."""

    kind: Literal["same", "gone", "new"]
    text: str


class Lines(msgspec.Struct, frozen=True):
    """How two bodies differ, line by line; without lines, `told` says why there are none."""

    told: str = ""
    lines: Sequence[Line] = ()


def different(before: Fields, after: Fields) -> list[Difference]:
    """The names whose values differ, in the order of the later list; those that are gone come last. A name may have several values."""
    earlier, later = _by_name(before), _by_name(after)
    names = [*later, *(name for name in earlier if name not in later)]
    return [Difference(name, earlier.get(name), later.get(name)) for name in names if earlier.get(name) != later.get(name)]


def _by_name(fields: Fields) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(some) for name, some in values.items()}


def different_lines(before: PayloadView, after: PayloadView) -> Lines:
    """How two bodies differ, as they are shown: JSON by its values and not by its blanks. May take 0.2 s."""
    earlier, later = _lines(before), _lines(after)
    if earlier == later and not (before.cut or after.cut):
        return Lines("Both have the same body.")
    if before.cut or after.cut or max(len(earlier), len(later)) > LINES_MAX:
        return Lines(f"They are too long to be compared line by line: {before.size or 'nothing'} and {after.size or 'nothing'}.")
    lines: list[Line] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, earlier, later).get_opcodes():
        if kind == "equal":
            lines += [Line("same", text) for text in earlier[a:b]]
        else:
            lines += [Line("gone", text) for text in earlier[a:b]]
            lines += [Line("new", text) for text in later[c:d]]
    return Lines(lines=lines)


def _lines(view: PayloadView) -> list[str]:
    return view.text.splitlines() if view.tree is None else list(_written(view.tree, ""))


def _written(node: Node, indent: str) -> Iterator[str]:
    """A value of JSON, a line for each value in it, with the digits that it was written with."""
    name = "" if node.name is None else f"{msgspec.json.encode(node.name).decode()}: "
    comma = "" if node.last else ","
    if node.shape not in ("object", "array"):
        yield f"{indent}{name}{node.text}{comma}"
        return
    opening, closing = "{}" if node.shape == "object" else "[]"
    if not node.nodes:
        yield f"{indent}{name}{opening}{closing}{comma}"
        return
    yield f"{indent}{name}{opening}"
    for child in node.nodes:
        yield from _written(child, f"{indent}  ")
    yield f"{indent}{closing}{comma}"
