"""Which hub does a topic name, and under which URL is the topic subscribed to there? WebSub's discovery, pure.

Source: https://www.w3.org/TR/websub/#discovery. `Link` headers count first; only without them is the document looked into, for link
elements of HTML, Atom and RSS alike. The document is a stranger's: it is no parser of XML that reads it, so that there are no entities to
expand, and every step is linear in what was read.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import urldefrag, urljoin

import msgspec

from ringback.policy.asking import Unreadable
from ringback.policy.links import links_in
from ringback.policy.urls import split_url

# Bytes of a document that are looked into: links stand at its beginning, before what it is about.
LOOKED_INTO: Final = 256 * 1024
# Characters of a URL that a topic names: a parameter of an owner's own has a quarter of that at the most.
_MAX_URL: Final = 2_000

# What begins a passage that is text whatever it looks like, or a tag without "<" in it, so that each try ends at the next one. Nothing that
# was matched is given back, or a stranger could have the same characters read again and again.
_MARKUP: Final = re.compile(r"<!--|<!\[CDATA\[|<(/?[A-Za-z][A-Za-z0-9:._-]*+)((?:[^<>\"']|\"[^<\"]*+\"|'[^<']*+')*+)>")
_ENDS: Final = {"<!--": "-->", "<![CDATA[": "]]>"}
_ATTRIBUTE: Final = re.compile(r"(?<![A-Za-z0-9:_-])([A-Za-z][A-Za-z0-9:_-]*+)\s*+=\s*+(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
_TEXTS: Final = ("script", "style", "title", "noscript", "template")
# Where the words of others may begin, in HTML and in feeds: what is linked there is not said by the publisher.
_BODY: Final = ("body", "/head")
_ENTRIES: Final = ("entry", "item")

Link = tuple[str, frozenset[str]]


class Hub(msgspec.Struct, frozen=True):
    """The hub that a topic names, and the URL that it is to be asked for there, which may be another than the topic was read at."""

    url: str
    topic: str


def hubs_of(head: bytes, body: bytes, at: str) -> list[Hub]:
    """The hubs that an answer from `at` names, the first one first; none when it names none. Raises Unreadable for URLs that are none."""
    found = _named(links_in(head), at)
    return found or _named(_embedded(_text(body[:LOOKED_INTO])), at)


def _named(links: Iterable[Link], at: str) -> list[Hub]:
    hubs: list[str] = []
    topics: list[str] = []
    for url, relations in links:
        for relation, found in (("hub", hubs), ("self", topics)):
            if relation in relations:
                found.append(_absolute(at, url))
    return [Hub(url, topics[0] if topics else at) for url in dict.fromkeys(hubs)]


def _absolute(at: str, url: str) -> str:
    try:
        whole = urldefrag(urljoin(at, url.strip())).url
        split_url(whole)
    except ValueError:
        whole = ""
    if not whole.isascii() or not 0 < len(whole) <= _MAX_URL:
        raise Unreadable(f"the topic links to {url[:100]!r}, which is no http:// or https:// URL of at most {_MAX_URL} characters of ASCII")
    return whole


def _text(document: bytes) -> str:
    """What it says, as far as that matters for finding links: their names and URLs are ASCII."""
    if document.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return document.decode("utf-16", "replace")
    return document.decode("utf-8", "replace")


def _embedded(text: str) -> Iterator[Link]:
    """The link elements of a document, in order."""
    at, entry = 0, ""
    while (tag := _MARKUP.search(text, at)) is not None:
        at = tag.end()
        if tag[0] in _ENDS:
            at = _past(text, _ENDS[tag[0]], at)
            continue
        name = tag[1].lower()
        if entry:
            entry = "" if name == f"/{entry}" else entry
            continue
        # Without the prefix that stands for a namespace.
        kind, ends_here = name.rpartition(":")[2], tag[2].endswith("/")
        if name in _BODY:
            return
        if name in _TEXTS and not ends_here:
            at = _past(text, f"</{tag[1]}", at)
        elif kind in _ENTRIES and not ends_here:
            entry = name
        elif kind == "link":
            attributes = {key.lower(): html.unescape(one or two or three) for key, one, two, three in _ATTRIBUTE.findall(tag[2])}
            if "href" in attributes:
                yield attributes["href"], frozenset(attributes.get("rel", "").lower().split())


def _past(text: str, end: str, at: int) -> int:
    """The place behind the next `end`; the end of all where there is none."""
    found = text.find(end, at)
    return len(text) if found < 0 else found + len(end)
