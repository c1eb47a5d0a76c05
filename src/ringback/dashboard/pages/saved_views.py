"""What is looked at again and again? Views of lists that were saved under a name: making, listing and deleting them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Empty, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked
from ringback.dashboard.lists import address_in, delete_of, list_of
from ringback.dashboard.pages.endpoint_changes import AskView
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, moment, short_id
from ringback.errors import CallerError, Conflict, Refused
from ringback.model.dashboard import SavedView
from ringback.services.saved_views import SavedViewIn

_PATH: Final = "/saved-views"
# Lists below these are of one thing, whose id stands in their path.
_OF: Final = ("/apps/", "/sources/")
_TRAIL: Final = (Link("Saved views", f"{BASE}{_PATH}"),)


class ViewRow(msgspec.Struct, frozen=True):
    """A view as a line. `href` None: no list or filter of this version; `whose`: what its list is of, "" = the organisation."""

    name: str
    href: str | None
    title: str
    whose: str
    chosen: Sequence[tuple[str, str]]
    saved: Moment
    delete: str


class ListView(msgspec.Struct, frozen=True):
    """All views of the organisation."""

    rows: Sequence[ViewRow]
    empty: Empty


class FormView(msgspec.Struct, frozen=True):
    """A view that could not be saved under its name, and why."""

    action: str
    to: str
    name: str
    problems: Mapping[str, str]


def whose_of(view: SavedView) -> tuple[str, ...]:
    """What the list of a view is of, by the ids in its path: an application and maybe an endpoint, or a source."""
    return tuple(unquote(segment) for segment in view.address.partition("?")[0].split("/")[2::2]) if view.address.startswith(_OF) else ()


def row_of(view: SavedView, names: Mapping[str, str], now_us: int) -> ViewRow:
    """A view as a line, with what is known of the names of applications and sources."""
    found, query = list_of(view), view.address.partition("?")[2]
    return ViewRow(
        view.name,
        None if found is None else BASE + view.address,
        "" if found is None else found.title,
        ", ".join(names.get(one) or short_id(one) for one in whose_of(view)),
        parse_qsl(query),
        moment(ids.created_us(view.id), now_us),
        delete_of(view),
    )


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        views = await self._services.saved_views.all(visit.who)
        whose = {one for view in views for one in whose_of(view)}
        sources = await self._services.source_views.by_ids(visit.who, sorted(whose))
        names = await self._services.naming.applications(visit.who, whose) | {one: source.name for one, source in sources.items()}
        rows = [row_of(view, names, visit.now_us) for view in views]
        empty = Empty("No saved view", "Set the filters of a list, and “Save view” beside them keeps what it shows under a name.")
        head = Head(
            "Saved views", "Names for what lists show, for all who log in here. Each stands on its list and in the palette (Ctrl-K)."
        )
        return Shown("saved_views/list.html", ListView(rows, empty), head)

    async def create(self, visit: Visit) -> Reply:
        to, name = address_in(visit.field("to")), " ".join(visit.field("name").split())
        if to is None:
            raise CallerError("a view leads to a list of the dashboard, with filters that the list knows; set them there, and save it anew")
        try:
            view = await self._services.saved_views.create(visit.who, checked(SavedViewIn, {"name": name, "address": to}))
        except Wrong as error:
            problems = dict(error.problems)
            if "address" in problems:
                problems[""] = "The filters are too long to be kept; shorten what is searched for."
            return self._form(to, name, problems)
        except Conflict as error:
            return self._form(to, name, {"name": str(error)})
        except Refused as error:
            return self._form(to, name, {"": f"{str(error)[:1].upper()}{str(error)[1:]}."})
        return Moved(BASE + view.address, Notice(f"“{view.name}” was saved."), Change("view.created", view.id, detail=view.name))

    @staticmethod
    def _form(to: str, name: str, problems: Mapping[str, str]) -> Reply:
        view = FormView(f"{BASE}{_PATH}", BASE + to, name, problems)
        return Shown("saved_views/form.html", view, Head("Save view", trail=_TRAIL), 422)

    async def ask_delete(self, visit: Visit) -> Reply:
        view = await self._services.saved_views.get(visit.who, visit.params["view_id"])
        effects = ["It goes for all who log in here. What it shows stays as it is."]
        return Shown(
            "ask.html",
            AskView(delete_of(view), effects, "Delete view", f"{BASE}{_PATH}"),
            Head(f"Delete the view “{view.name}”?", trail=_TRAIL),
        )

    async def delete(self, visit: Visit) -> Reply:
        view = await self._services.saved_views.delete(visit.who, visit.params["view_id"])
        return Moved(f"{BASE}{_PATH}", Notice(f"“{view.name}” was deleted."), Change("view.deleted", view.id, detail=view.name))


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", _PATH, pages.index),
        Route("POST", _PATH, pages.create),
        Route("GET", f"{_PATH}/{{view_id}}/delete", pages.ask_delete),
        Route("POST", f"{_PATH}/{{view_id}}/delete", pages.delete),
    ]
