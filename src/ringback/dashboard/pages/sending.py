"""How is a message sent by hand? To an application, or as a test to one endpoint, whatever it wants otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.dashboard.components import BASE, Choice, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, wrong_of
from ringback.dashboard.pages.endpoints import href_of, title_of, trail_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit, lost
from ringback.errors import InvalidField, Refused
from ringback.model.event_types import EventType
from ringback.policy import validation
from ringback.policy.examples import PING, PING_PAYLOAD, example_of
from ringback.policy.json_schemas import newest
from ringback.policy.paging import Walk
from ringback.policy.samples import sample_of
from ringback.services.directory import Entry

_SECTION: Final = "endpoints"
# Event types that the form offers.
_OFFERED: Final = 250
# As deep as the API takes it (`api.bodies`).
_DEPTH_MAX: Final = 64


class SendView(msgspec.Struct, frozen=True):
    """The form, with what was written into it; `test`: it goes to one endpoint alone."""

    action: str
    event_type: str
    payload: str
    types: Sequence[Choice]
    problems: Mapping[str, str]
    cancel: str
    test: bool
    hint: str


def payload_of(text: str) -> bytes:
    """The payload in a form, byte for byte as it was written. Raises Wrong."""
    raw = text.strip().encode("utf-8", "surrogatepass")
    try:
        raw.decode()
        value = msgspec.json.decode(raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise Wrong({"payload": f"this is no JSON: {error}"}) from None
    if not isinstance(value, dict):
        raise Wrong({"payload": "a payload is a JSON object: it begins with { and ends with }"})
    if _depth(value) > _DEPTH_MAX:
        raise Wrong({"payload": f"it is nested deeper than {_DEPTH_MAX} levels; flatten it"})
    return raw


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        inner = (item for v in level for item in (v.values() if isinstance(v, dict) else v))
        level = [item for item in inner if isinstance(item, dict | list)]
    return depth


def example(event_type: EventType | None) -> str:
    """What the form begins with: the example of a type, else what its schema describes, else something that is at least an object."""
    if event_type is None:
        return PING_PAYLOAD.decode()
    try:
        found = example_of(event_type.name, event_type.schemas, 0)
    except Refused:
        made = sample_of(newest(event_type.schemas or {}))
        found = msgspec.json.encode(made if made and isinstance(made, dict) else {"test": True})
    return msgspec.json.format(found, indent=2).decode()


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def test_form(self, visit: Visit) -> Reply:
        entry = await self._entry(visit)
        return await self._form(visit, entry, visit.text("type") or PING, "", {})

    async def form(self, visit: Visit) -> Reply:
        return await self._form(visit, await self._entry(visit), visit.text("type"), "", {})

    async def _entry(self, visit: Visit) -> Entry:
        return await self._services.directory.find(visit.who.org_id, visit.params["app_id"])

    async def _form(self, visit: Visit, entry: Entry, chosen: str, payload: str, problems: Mapping[str, str]) -> Shown:
        page = await self._services.event_types.page(visit.who, Walk(_OFFERED, descending=False), archived=False)
        known = {event_type.name: event_type for event_type in page.items}
        endpoint = entry.endpoints.get(visit.params.get("endpoint_id", ""))
        test = "endpoint_id" in visit.params
        if test and endpoint is None:
            lost("the endpoint")
        app = f"{BASE}/apps/{entry.application.id}"
        if not chosen and known:
            chosen = next(iter(known))
        if not payload:
            full = await self._services.event_types.get(visit.who, chosen) if chosen in known else None
            payload = example(full) if full is not None or chosen == PING else '{\n  "test": true\n}'
        names = [*([PING] if test else []), *known]
        view = SendView(
            action=f"{href_of(endpoint)}/test" if endpoint is not None else f"{app}/send",
            event_type=chosen,
            payload=payload,
            types=[Choice(name, name, name == chosen) for name in names],
            problems=problems,
            cancel=href_of(endpoint) if endpoint is not None else f"{app}/messages",
            test=test,
            hint=_hint(entry, chosen, test),
        )
        if endpoint is not None:
            trail: tuple[Link, ...] = trail_of(entry.application, Link(title_of(endpoint), href_of(endpoint)))
            head = Head("Send a test event", f"To {title_of(endpoint)} alone, signed and retried like any other.", trail)
        else:
            trail = Link(entry.application.name, app), Link("Messages", f"{app}/messages")
            head = Head("Send a message", "To every endpoint that wants it, like one that comes through the API.", trail)
        return Shown("messages/send.html", view, head, 422 if problems else 200, entry.application)

    async def send(self, visit: Visit) -> Reply:
        entry = await self._entry(visit)
        chosen, text = visit.field("eventType").strip(), visit.field("payload")
        endpoint_id = visit.params.get("endpoint_id")
        only = None if endpoint_id is None else [endpoint_id]
        try:
            payload = payload_of(text)
            wrong = validation.name(chosen)
            if wrong:
                raise Wrong({"eventType": "; ".join(words for _, words in wrong)})
            if endpoint_id is not None:
                endpoint = entry.endpoints.get(endpoint_id) or lost("the endpoint")
                if endpoint.disabled:
                    raise Wrong({"": "the endpoint is disabled and gets nothing; enable it first"})
            message = await self._services.sending.send(visit.who, entry.application.id, chosen, payload, only)
        except Wrong as error:
            return await self._form(visit, entry, chosen, text, error.problems)
        except InvalidField as error:
            problems = wrong_of(error).problems
            return await self._form(visit, entry, chosen, text, {"payload": "; ".join(problems.values())})
        change = Change("message.sent", message.id, message.app_id, f"{chosen}{f' to {endpoint_id}' if endpoint_id else ''}")
        return Moved(f"{BASE}/apps/{message.app_id}/messages/{message.id}", Notice("It was sent. This page shows how it fares."), change)


def _hint(entry: Entry, event_type: str, test: bool) -> str:
    if test:
        return "Whatever the endpoint's filters say: this tests the connection."
    number = len(entry.match(event_type, None)) if event_type else 0
    return f"{number} of {len(entry.endpoints)} endpoints want {event_type or 'it'} as they are now."


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/apps/{app_id}/endpoints/{endpoint_id}/test", pages.test_form, _SECTION),
        Route("POST", "/apps/{app_id}/endpoints/{endpoint_id}/test", pages.send, _SECTION),
        Route("GET", "/apps/{app_id}/send", pages.form, "messages"),
        Route("POST", "/apps/{app_id}/send", pages.send, "messages"),
    ]
