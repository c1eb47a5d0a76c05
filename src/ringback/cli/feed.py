"""What came since somebody last looked? The messages of one application, asked of a server, whose place the server remembers.

A listener is a polling endpoint of the application (made when there is none of its name) with one consumer. What is handed out comes again
until it is confirmed, so that whoever is killed in between loses nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec

from ringback.cli.api import told
from ringback.errors import OperatorError, RingbackError

if TYPE_CHECKING:
    from ringback.cli.api import Api

_CONSUMER: Final = "listen"
# Messages of one answer, at the most: one, so that a killed listener repeats no other; more, while what comes is left out.
_MANY: Final = 50
# Applications of one page, the most that the server gives.
_PAGE: Final = 250


class Item(msgspec.Struct, frozen=True):
    """A message to hand on. `body` is None once its payload is gone; `headers` are those that it was received with, its type included."""

    id: str
    event_type: str
    body: bytes | None
    headers: dict[str, str]


class Place(msgspec.Struct, frozen=True):
    """Whose messages: an application's, all of them or those of some of its sources."""

    app_id: str
    app_name: str
    sources: tuple[str, ...] = ()

    def has(self, source_id: str | None) -> bool:
        """Is a message that this source took in (None: no source) one of those?"""
        return not self.sources or source_id in self.sources


class Feed:
    """Reads one place. Blocking. Raises OSError while the server is away, RingbackError when it refuses."""

    def __init__(self, api: Api, place: Place, name: str, types: Sequence[str]) -> None:
        self.place = place
        self._api = api
        self._name = name
        self._types = tuple(types)
        self._uid = f"listen-{name}"
        self._iterator = ""
        self._at_once = 1
        app = quote(place.app_id, safe="")
        self._endpoints = f"/api/v1/app/{app}/destination"
        self._consumer = f"/api/v1/app/{app}/poller/{self._uid}/consumer/{_CONSUMER}"

    def open(self) -> bool:
        """Make the listener if it is not there; whether it was made just now: then there is nothing from before."""
        status, answer = self._api.call("GET", f"{self._endpoints}/{self._uid}")
        if status == 404:
            wanted = {
                "type": "pollingEndpoint",
                "uid": self._uid,
                "eventTypes": [],
                "channels": [],
                "metadata": {"madeBy": "ringback listen"},
            }
            status, answer = self._api.call("POST", self._endpoints, wanted)
            # Another listener of the same name was faster: then it is there.
            if status not in (201, 409):
                raise refused(status, answer)
            return status == 201
        state = understood(status, answer).get("status")
        if state != "enabled":
            raise RingbackError(
                f"the polling endpoint {self._uid} of {self.place.app_name} is {state}, so nothing is handed out; "
                "enable it, or listen under another --name"
            )
        return False

    def rewind(self, since: str) -> None:
        """Go back, or on, to what came at that time; never to before the listener was made."""
        self._iterator = understood(*self._api.call("POST", f"{self._consumer}/seek", {"after": since}))["iterator"]

    def handle(self, each: Callable[[Item], None]) -> bool:
        """Get what comes next, have `each` called with it and, when that returned, confirm it; False when there is nothing now."""
        query = f"?exact=true&limit={self._at_once}" + (f"&iterator={quote(self._iterator, safe='')}" if self._iterator else "")
        status, answer = self._api.call("GET", self._consumer + query)
        if status == 400 and isinstance(answer, dict) and answer.get("code") == "invalid_iterator" and self._iterator:
            # Another listener of the same name went on: from the place that the server has.
            self._iterator = ""
            return True
        page = understood(status, answer)
        wanted = [item for item in page["data"] if self._wants(item)]
        for item in wanted:
            each(item_of(item))
        if page["data"]:
            self._at_once = 1 if wanted else min(_MANY, self._at_once * 2)
        # Sent with the next request, it confirms these.
        self._iterator = page["iterator"]
        return bool(page["data"]) or not page["done"]

    def confirm(self) -> None:
        """Say that what was handled is done, without asking for more than one message."""
        if self._iterator:
            self._api.call("GET", f"{self._consumer}?limit=1&iterator={quote(self._iterator, safe='')}")

    def _wants(self, item: dict[str, Any]) -> bool:
        _need_exact(item)
        return self.place.has(item["sourceId"]) and is_one_of(item["eventType"], self._types)


def is_one_of(event_type: str, types: Sequence[str]) -> bool:
    """Is it one of these, in which `*` stands for any characters? Without any, each is."""
    return not types or any(fnmatchcase(event_type, pattern) for pattern in types)


def _need_exact(item: dict[str, Any]) -> None:
    if "body" not in item:
        raise RingbackError("the server is older than this command, and does not give payloads byte for byte; bring it up to date")


def item_of(item: dict[str, Any]) -> Item:
    """What to hand on of a message that was asked for exactly."""
    _need_exact(item)
    body = None if item["body"] is None else base64.b64decode(item["body"])
    return Item(item["id"], item["eventType"], body, {"content-type": "application/json", **(item["headers"] or {})})


def refused(status: int, answer: object) -> Exception:
    """The error for an answer: a ConnectionError where it is over soon, else what the server said."""
    detail = told(answer)
    if status == 429 or status >= 500:
        return ConnectionError(f"it answers {status}: {detail}")
    if status in (401, 403):
        return OperatorError(f"the server refuses the token: {detail}; give an org token with --token, or set RINGBACK_TOKEN")
    return RingbackError(f"the server answered {status}: {detail}")


def understood(status: int, answer: Any) -> dict[str, Any]:
    """What a success says. Raises as `refused` says for anything else."""
    if status >= 300 or not isinstance(answer, dict):
        raise refused(status, answer)
    return answer


def places(api: Api, app: str | None, sources: Sequence[str]) -> list[Place]:
    """Whose messages an application and sources name. Raises OperatorError for what is not there, OSError."""
    if app is not None:
        status, answer = api.call("GET", f"/api/v1/app/{quote(app, safe='')}")
        if status == 404:
            raise OperatorError(f"there is no application {app!r}; name one by its id or uid")
        application = understood(status, answer)
        found = tuple(need_source(api, app, ref)["id"] for ref in sources)
        return [Place(application["id"], application["uid"] or application["id"], found)]
    by_app = dict[str, list[str]]()
    for ref in sources:
        app_id, one = find_source(api, ref)
        by_app.setdefault(app_id, []).append(one["id"])
    return [Place(app_id, ", ".join(ids), tuple(ids)) for app_id, ids in by_app.items()]


def source_in(api: Api, app: str, ref: str) -> dict[str, Any] | None:
    """A source of that application; None when it has none of that id or uid."""
    return _found(*api.call("GET", f"/api/v1/app/{quote(app, safe='')}/source/{quote(ref, safe='')}"))


def need_source(api: Api, app: str, ref: str) -> dict[str, Any]:
    """A source of that application. Raises OperatorError when it has none of that id or uid."""
    found = source_in(api, app, ref)
    if found is None:
        raise OperatorError(f"the application {app!r} has no source {ref!r}; name both by id or uid")
    return found


def find_source(api: Api, ref: str) -> tuple[str, dict[str, Any]]:
    """The source of that id or uid, and the id of its application, wherever it is. Raises OperatorError."""
    one = _found(*api.call("GET", f"/ingest/api/v1/source/{quote(ref, safe='')}"))
    if one is not None:
        return one["appId"], one
    after = ""
    while True:
        page = understood(*api.call("GET", f"/api/v1/app?limit={_PAGE}{after}"))
        for app in page["data"]:
            one = source_in(api, app["id"], ref)
            if one is not None:
                return app["id"], one
        if page["done"]:
            raise OperatorError(f"there is no source {ref!r}; name one by its id or uid (its application with --app)")
        after = f"&iterator={quote(page['iterator'], safe='')}"


def _found(status: int, answer: Any) -> dict[str, Any] | None:
    return None if status == 404 else understood(status, answer)
