"""What do customers see in the portal of whose it is? Its name, link, colour and logo, and how they can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import size
from ringback.policy.looks import LOGO_BYTES, LOGO_PIXELS, Colours, Look, colours_of
from ringback.services.portal import LookIn

_PATH: Final = "/settings/portal"
_SECTION: Final = "settings"
_FIELDS: Final = ("name", "link", "colour")
_TRAIL: Final = (Link("Settings", f"{BASE}/settings"),)
_LOGO: Final = f"A PNG as a URL (data:image/png;base64,…), at most {size(LOGO_BYTES)} and {LOGO_PIXELS} pixels a side."
_WORDS: Final[Mapping[str, str]] = {"name": "name", "link": "link back", "colour": "colour", "logo": "logo"}


class LookView(msgspec.Struct, frozen=True):
    """The form, with what was written into it; `logo` and `colours` are those of now."""

    action: str
    values: Mapping[str, str]
    problems: Mapping[str, str]
    logo: str
    colours: Colours | None
    logo_hint: str
    cancel: str


def changed_words(former: Look, look: Look) -> str:
    """What changed, for the log."""
    return ", ".join(words for field, words in _WORDS.items() if getattr(former, field) != getattr(look, field))


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def show(self, visit: Visit) -> Reply:
        look = await self._services.portal.look(visit.who)
        return self._form(look, {"name": look.name, "link": look.link, "colour": look.colour, "logo": ""}, {})

    @staticmethod
    def _form(look: Look, values: Mapping[str, str], problems: Mapping[str, str]) -> Reply:
        view = LookView(
            f"{BASE}{_PATH}",
            values,
            problems,
            look.logo,
            colours_of(look.colour) if look.colour else None,
            _LOGO,
            f"{BASE}/settings",
        )
        sentence = "What your customers see there of whose it is. It goes along when the environment is exported."
        return Shown("server/portal.html", view, Head("Customers' portal", sentence, _TRAIL), 422 if problems else 200)

    async def change(self, visit: Visit) -> Reply:
        former = await self._services.portal.look(visit.who)
        values = {name: visit.field(name).strip() for name in _FIELDS} | {"logo": "".join(visit.field("logo").split())}
        logo = values["logo"] or ("" if visit.field("remove") else None)
        try:
            look = await self._services.portal.dress(visit.who, checked(LookIn, values | {"logo": logo}))
        except Wrong as error:
            return self._form(former, values, error.problems)
        told = changed_words(former, look)
        change = Change("portal.look_changed", visit.who.org_id, detail=told) if told else None
        return Moved(f"{BASE}{_PATH}", Notice("Saved. Whoever opens the portal from now on sees it so."), change)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", _PATH, pages.show, _SECTION),
        Route("POST", _PATH, pages.change, _SECTION),
    ]
