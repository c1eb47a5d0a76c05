"""How does a page become HTML? Templates that escape everything, with the frame that all pages share."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import jinja2
import msgspec

from ringback import __version__
from ringback.dashboard import words
from ringback.dashboard.assets import Assets
from ringback.dashboard.components import BASE, Head, Link
from ringback.dashboard.lists import Bar
from ringback.dashboard.payloads import written
from ringback.dashboard.turning import kept_in_place
from ringback.dashboard.visits import Notice, Section
from ringback.services.attention import QUARANTINED_MAX, Waiting

# Smaller pages fit a packet or two as they are.
_PACKED_FROM_BYTES: Final = 1_400
# Counts from here on are shortened, for they stand in a narrow place.
_SHORT_FROM: Final = 10_000
# zlib's own compromise: 50 kB of HTML take 1 ms.
_LEVEL: Final = 5


class Entry(msgspec.Struct, frozen=True):
    """One entry of the rail on this page. `count` is what waits there, `heading` the group that begins with it."""

    label: str
    href: str
    icon: str
    current: bool
    count: str = ""
    heading: str = ""


class Shell(msgspec.Struct, frozen=True):
    """What is around a page. `app` is the application that it is about; `token` goes into every form.

    `person` is who is logged in, and `how`, in words; `saved` are the saved views of a list.
    """

    entries: Sequence[Entry]
    app: Link | None
    token: str
    person: str
    how: str
    theme: Literal["light", "dark", ""]
    notice: Notice | None
    here: str
    saved: Bar | None = None


def entries_of(sections: Sequence[Section], current: str, app_id: str | None, waiting: Waiting | None) -> list[Entry]:
    """The rail of a page in section `current`, with the application that is looked at, and what waits for somebody (None: not known)."""
    entries = []
    group = ""
    for section in sections:
        heading, group = (section.group if section.group != group else ""), section.group
        number = getattr(waiting, section.waiting, 0) if section.waiting else 0
        current_one = section.name == current
        entries.append(Entry(section.label, section.href(app_id), section.icon, current_one, _waiting(section, number), heading))
    return entries


def _waiting(section: Section, number: int) -> str:
    if section.waiting == "quarantined" and number >= QUARANTINED_MAX:
        return f"{words.count(QUARANTINED_MAX)}+"
    return (words.count(number) if number < _SHORT_FROM else words.short(number)) if number else ""


class Renderer:
    """Makes HTML; blocks, so it is called on a thread of its own."""

    def __init__(self, assets: Assets) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(asset=assets.url, base=BASE, version=__version__)
        self._templates.filters.update(
            count=words.count,
            counted=words.counted,
            short_id=words.short_id,
            size=words.size,
            json=_json,
            ms=words.milliseconds,
            written=written,
        )

    def page(self, template: str, view: Any, head: Head | None, shell: Shell, *, fragment: bool) -> bytes:
        """The HTML of a page, or of the part of it that a script wants."""
        frame = "fragment.html" if fragment else "page.html"
        return kept_in_place(self._templates.get_template(template).render(view=view, head=head, shell=shell, frame=frame)).encode()

    def part(self, template: str, view: Any) -> str:
        """The HTML of a piece that stands by itself."""
        return kept_in_place(self._templates.get_template(template).render(view=view))


def pack(html: bytes) -> bytes | None:
    """A page compressed, if that is worth it."""
    return gzip.compress(html, _LEVEL, mtime=0) if len(html) >= _PACKED_FROM_BYTES else None


def _json(value: Any) -> str:
    """JSON for a data attribute; the template escapes it like any text."""
    return msgspec.json.encode(value).decode()
