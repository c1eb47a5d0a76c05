"""How are bytes shown that may be anything? JSON as a tree that folds, text as it is, and what is neither in hexadecimal. Pure.

Numbers keep the digits they were written with: a tree never shows another number than was sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from ringback.dashboard.words import size

# More than this makes a page that no browser scrolls well: it is shown as text, and can be saved.
_TREE_BYTES_MAX: Final = 256 * 1024
_TREE_NODES_MAX: Final = 5_000
# Deeper than any body that is accepted as JSON (the API's bound is 64).
_DEPTH_MAX: Final = 70
# Text and bytes beyond these are cut on the page, and whole in the file that can be saved.
_TEXT_MAX: Final = 256 * 1024
_HEX_MAX: Final = 16 * 1024
_HEX_WIDTH: Final = 16
# Nodes of a tree that are unfolded from the start: some screens of lines.
_OPEN_NODES: Final = 400

# What nobody sees on a page, or what changes what is seen around it: controls, marks of direction, characters without width. Halves of a
# surrogate pair, which JSON can write and no page can hold. Not the joiners (200c, 200d): words and emoji of many scripts need them.
_UNSEEN: Final = re.compile(r"[\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")

Shape = Literal["object", "array", "str", "num", "lit"]


class Node(msgspec.Struct, frozen=True):
    """One value of a JSON tree. `name` is its key, `text` the value as it is written; `nodes` are its members."""

    shape: Shape
    text: str
    name: str | None = None
    nodes: Sequence[Node] = ()
    last: bool = True


class PayloadView(msgspec.Struct, frozen=True):
    """Bytes as a page shows them. `text` is the raw view; `cut`: it shows less than there is. `href` saves all of them."""

    kind: Literal["json", "text", "hex", "empty", "gone"]
    size: str
    content_type: str
    text: str = ""
    tree: Node | None = None
    unfolded: bool = True
    cut: bool = False
    href: str = ""


class _Number(str):
    """The digits of a number."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, in order; a name may stand there twice."""


class _TooLarge(Exception):
    """The tree has too many nodes, or is too deep."""


def payload_view(body: bytes | None, content_type: str, href: str = "") -> PayloadView:
    """Bytes with their content type, as they are best shown; None: they are gone."""
    if body is None:
        return PayloadView("gone", "", content_type)
    if not body:
        return PayloadView("empty", "0 B", content_type)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return PayloadView("hex", size(len(body)), content_type, hexadecimal(body[:_HEX_MAX]), cut=len(body) > _HEX_MAX, href=href)
    if any(ord(character) < 9 for character in text[:_TEXT_MAX]):
        return PayloadView("hex", size(len(body)), content_type, hexadecimal(body[:_HEX_MAX]), cut=len(body) > _HEX_MAX, href=href)
    shown, cut = text[:_TEXT_MAX], len(text) > _TEXT_MAX
    tree = tree_of(text) if len(body) <= _TREE_BYTES_MAX else None
    if tree is None:
        return PayloadView("text", size(len(body)), content_type, shown, cut=cut, href=href)
    return PayloadView("json", size(len(body)), content_type, shown, tree, count_nodes(tree) <= _OPEN_NODES, cut, href)


def tree_of(text: str) -> Node | None:
    """The tree of a JSON object or array; None when it is neither, or too large to be shown as one."""
    if text.lstrip(" \t\r\n")[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_Members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
        return _node(None, value, True, [_TREE_NODES_MAX], 0)
    except (ValueError, RecursionError, _TooLarge):
        return None


def written(text: str) -> str:
    """A text as JSON writes it; what cannot be seen stands there by its number, as JSON can write it too."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def count_nodes(node: Node) -> int:
    """How many values a tree holds, itself included."""
    return 1 + sum(map(count_nodes, node.nodes))


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def _node(name: str | None, value: Any, last: bool, left: list[int], depth: int) -> Node:
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH_MAX:
        raise _TooLarge
    if isinstance(value, _Members):
        members = [_node(key, item, n == len(value) - 1, left, depth + 1) for n, (key, item) in enumerate(value)]
        return Node("object", "", name, members, last)
    if isinstance(value, list):
        items = [_node(None, item, n == len(value) - 1, left, depth + 1) for n, item in enumerate(value)]
        return Node("array", "", name, items, last)
    if isinstance(value, _Number):
        return Node("num", value, name, last=last)
    if isinstance(value, str):
        return Node("str", written(value), name, last=last)
    return Node("lit", {True: "true", False: "false", None: "null"}[value], name, last=last)


def hexadecimal(body: bytes) -> str:
    """Offset, sixteen bytes, and their letters where they have one, line by line."""
    lines = []
    for at in range(0, len(body), _HEX_WIDTH):
        piece = body[at : at + _HEX_WIDTH]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{at:08x}  {piece.hex(' '):<{_HEX_WIDTH * 3 - 1}}  {letters}")
    return "\n".join(lines)
