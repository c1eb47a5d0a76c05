"""What does a page get, and what can it give back? One request of a person as a value, and the kinds of replies.

A module of `pages` declares its `Route`s with `routes(services)`. A handler takes a `Visit`, calls services, builds a frozen view model
and returns one reply; what all pages share (session, forms' tokens, rendering, errors, headers) is added around it by `app`.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qs, urlencode

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Head
from ringback.errors import NotFound
from ringback.model.applications import Application
from ringback.services.sessions import Session, Visitor
from ringback.services.tokens import Principal

# Fields of a query or a form; more than any page has, so that strangers cannot make us sort a million.
MAX_FIELDS = 200


def fields(raw: str) -> dict[str, list[str]]:
    """The fields of a query or of a form's body. Raises NotFound for what no page of ours sends."""
    try:
        return parse_qs(raw, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise NotFound(f"a request holds more than {MAX_FIELDS} fields, and no page sends so many") from None


class Visit:
    """One request. `form` is empty but for POST; `fragment`: only the part of the page is wanted that a script puts into another."""

    __slots__ = ("address", "cookies", "form", "fragment", "method", "now_us", "params", "path", "query", "secure", "visitor")

    def __init__(
        self,
        *,
        method: str,
        path: str,
        cookies: dict[str, str],
        address: str,
        secure: bool,
        fragment: bool,
        now_us: int,
    ) -> None:
        self.method = method
        self.path = path
        self.query: Mapping[str, list[str]] = {}
        self.cookies = cookies
        self.address = address
        self.secure = secure
        self.fragment = fragment
        self.now_us = now_us
        self.params: Mapping[str, str] = {}
        self.form: Mapping[str, list[str]] = {}
        self.visitor: Visitor | None = None

    @property
    def who(self) -> Principal:
        """Whose request this is. Only on pages that need a session."""
        assert self.visitor is not None
        return self.visitor.who

    @property
    def session(self) -> Session:
        """The visitor's session. Only on pages that need one."""
        assert self.visitor is not None
        return self.visitor.session

    def text(self, name: str) -> str:
        """The value of a field of the query, "" without one."""
        return self.query.get(name, [""])[0].strip()

    @property
    def here(self) -> str:
        """The address of this page, with its query."""
        query = urlencode(self.query, doseq=True)
        return f"{BASE}{self.path}?{query}" if query else f"{BASE}{self.path}"

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a field of the query that may stand there several times, or hold several with commas between."""
        return tuple(dict.fromkeys(part.strip() for value in self.query.get(name, ()) for part in value.split(",") if part.strip()))

    def field(self, name: str) -> str:
        """The value of a field of the form, "" without one."""
        return self.form.get(name, [""])[0]

    @property
    def remembered_app(self) -> str | None:
        """The id of the application that was looked at last in this browser."""
        app_id = self.cookies.get(APP_COOKIE, "")
        return app_id if ids.is_id(ids.APPLICATION, app_id) else None


# The application that was looked at last, and the look that was chosen: nothing secret, and both are checked when they are read.
APP_COOKIE = "ringback_app"
THEME_COOKIE = "ringback_theme"


class Notice(msgspec.Struct, frozen=True):
    """What the next page tells about what was just done. `kind` as in `components.Badge`."""

    text: str
    kind: Literal["ok", "dead"] = "ok"


class Change(msgspec.Struct, frozen=True):
    """What a request changed, for the audit log: an action (`endpoint.deleted`), the id of its object and whose that is."""

    action: str
    object: str
    app_id: str | None = None
    detail: str = ""


class Shown(msgspec.Struct, frozen=True):
    """A page: a template with its view model. `app` is the application it is about, `change` what was done on the way."""

    template: str
    view: Any
    head: Head
    status: int = 200
    app: Application | None = None
    change: Change | None = None


class Moved(msgspec.Struct, frozen=True):
    """Somewhere else (303), after something was done: what the next page tells, and what the audit log keeps.

    `refresh`: the whole page is to be loaded anew instead, by the script that asked for a part of it.
    """

    to: str
    notice: Notice | None = None
    change: Change | None = None
    cookies: tuple[str, ...] = ()
    refresh: bool = False


class Sent(msgspec.Struct, frozen=True):
    """Bytes as they are. `name`: saved as a file of that name, never shown."""

    body: bytes
    content_type: str
    name: str | None = None


class Saved(msgspec.Struct, frozen=True):
    """A file that the browser saves under a name, in parts as they come."""

    parts: Callable[[], AsyncIterator[bytes]]
    content_type: str
    name: str


class Streamed(msgspec.Struct, frozen=True):
    """Views that come one after the other, each shown by the template and sent as an event (server-sent events); None is a sign of life."""

    template: str
    views: Callable[[], AsyncIterator[Any]]


Reply = Shown | Moved | Sent | Saved | Streamed
Handler = Callable[[Visit], Awaitable[Reply]]


class Access(enum.Enum):
    """Who may see a page."""

    OPEN = "open"
    SESSION = "session"


class Route(msgspec.Struct, frozen=True):
    """One method on one path below the dashboard (`/apps/{app_id}`). `section` is the entry of the rail that it belongs to.

    `quiet`: a page asks for this by itself, so that it is no sign of a person and does not keep a session alive.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    section: str = ""
    access: Access = Access.SESSION
    quiet: bool = False


class Section(msgspec.Struct, frozen=True):
    """An entry of the rail. `path` is where it leads; one that holds `{app_id}` is about one application, `without` where there is none.

    `group` is the heading that it stands under; `waiting` names the count of `services.attention.Waiting` that stands beside it.
    """

    name: str
    label: str
    path: str
    icon: str
    without: str = ""
    group: str = ""
    waiting: Literal["dead", "quarantined", "spooled", ""] = ""

    def href(self, app_id: str | None) -> str:
        """Where it leads with this application."""
        if "{app_id}" not in self.path:
            return BASE + self.path
        return BASE + (self.without if app_id is None else self.path.replace("{app_id}", app_id))


def lost(what: str) -> NoReturn:
    """There is no such thing here. Raises NotFound."""
    raise NotFound(f"{what} is not here: it was deleted, it belongs to another organisation, or the address is mistyped")
