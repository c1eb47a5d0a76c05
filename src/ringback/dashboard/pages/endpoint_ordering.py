"""In which order does an endpoint get what it gets? The form that sets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import Choice, Head, Link, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.endpoints import href_of, order_words, title_of, trail_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.errors import InvalidField
from ringback.model.ordering import Ordered, WhenHeadDies
from ringback.services.ordering import OrderingIn

_SECTION: Final = "endpoints"
_FIELDS: Final = ("mode", "keyPath", "whenHeadDies", "skipAfter")
_MODES: Final = (
    (Ordered.NONE.value, "none: as soon as it can"),
    (Ordered.ENDPOINT.value, "all of the endpoint, one at a time"),
    (Ordered.KEY.value, "each key for itself, one at a time"),
)
_ENDINGS: Final = (
    (WhenHeadDies.BLOCK.value, "what is behind it waits for somebody"),
    (WhenHeadDies.SKIP.value, "what is behind it goes on"),
)
_EFFECTS: Final = (
    "In order means: the next one goes out when the one before it has succeeded. Its retries hold up what is behind it, and nothing else.",
    "What waits now is sorted by the new order, once attempts under way have ended. Lanes that were blocked go on.",
)


class OrderingView(msgspec.Struct, frozen=True):
    """The form, with what was written into it."""

    action: str
    effects: Sequence[str]
    modes: Sequence[Choice]
    endings: Sequence[Choice]
    values: Mapping[str, str]
    problems: Mapping[str, str]
    cancel: str


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def ask(self, visit: Visit) -> Reply:
        ordering = (await self._services.orderings.get(visit.who, visit.params["app_id"], visit.params["endpoint_id"])).ordering
        values = {
            "mode": ordering.mode.value,
            "keyPath": ordering.key_path or "",
            "whenHeadDies": ordering.when_head_dies.value,
            "skipAfter": "" if ordering.skip_after is None else str(ordering.skip_after),
        }
        return await self._form(visit, values, {})

    async def save(self, visit: Visit) -> Reply:
        values = {name: visit.field(name).strip() for name in _FIELDS}
        app_id, endpoint_id = visit.params["app_id"], visit.params["endpoint_id"]
        try:
            wanted = checked(OrderingIn, {name: value for name, value in values.items() if value})
            standing = await self._services.orderings.put(visit.who, app_id, endpoint_id, wanted)
        except (Wrong, InvalidField) as error:
            return await self._form(visit, values, problems_of(error))
        endpoint = await self._services.endpoints.get(visit.who, app_id, endpoint_id)
        words = order_words(standing.ordering)
        return Moved(href_of(endpoint), Notice(f"Saved. {words}"), Change("endpoint.updated", endpoint.id, endpoint.app_id, "ordering"))

    async def _form(self, visit: Visit, values: Mapping[str, str], problems: Mapping[str, str]) -> Shown:
        app_id = visit.params["app_id"]
        application = (await self._services.directory.find(visit.who.org_id, app_id)).application
        endpoint = await self._services.endpoints.get(visit.who, app_id, visit.params["endpoint_id"])
        here = href_of(endpoint)
        view = OrderingView(
            f"{here}/ordering",
            _EFFECTS,
            choices(_MODES, values["mode"]),
            choices(_ENDINGS, values["whenHeadDies"]),
            values,
            problems,
            here,
        )
        head = Head("Order", f"Of {title_of(endpoint)}.", trail_of(application, Link(title_of(endpoint), here)))
        return Shown("endpoints/ordering.html", view, head, 422 if problems else 200, application)


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    path = "/apps/{app_id}/endpoints/{endpoint_id}/ordering"
    return [Route("GET", path, pages.ask, _SECTION), Route("POST", path, pages.save, _SECTION)]
