"""A real server with the data of a shop, a person at its dashboard, and one Chromium for all tests."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import re
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks import server as servers
from ringback.config.running import find
from tests.acceptance.receiver import Receiver
from tests.dashboard.equipment import Equipment, equip
from tests.dashboard.scenery import Behaviour, Scene, furnish
from tests.waiting import DEADLINE_S, wait_until

if typing.TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

# Retries within a test's patience; a last wait that outlasts every test, so that something is always waiting.
SETTINGS = {"retry_schedule": "200ms,300ms,1h", "overload_min_delay": "100ms", "request_timeout": "2s", "retry_after_max": "200ms"}
BASE = "/dashboard"


def operator(server: servers.Server) -> dict[str, str]:
    """The header of whoever runs a server."""
    running = find(str(server.database))
    assert running is not None
    return {"authorization": f"Bearer {running.token}"}


def token_of(server: servers.Server, organisation: str) -> str:
    """A new org token of an organisation, which is made when there is none of that name."""
    return str(server.call("POST", "/operator/token", {"org": organisation}, operator(server))[1]["token"])


@dataclasses.dataclass
class Shop:
    """A running server, the receiver that its endpoints lead to, and what was made."""

    server: servers.Server
    receiver: Receiver
    behaviour: Behaviour
    scene: Scene
    equipment: Equipment

    @property
    def url(self) -> str:
        """Where the dashboard is."""
        return f"{self.server.url}{BASE}"

    def app(self, uid: str = "acme") -> str:
        """The path of an application's page."""
        return f"/apps/{self.scene.apps[uid]}"

    def endpoint(self, uid: str) -> str:
        """The path of an endpoint's page."""
        return f"{self.app()}/endpoints/{self.scene.endpoints[uid]}"

    def attempts(self, uid: str) -> list[dict[str, typing.Any]]:
        """The attempts to an endpoint, the newest first."""
        found: list[dict[str, typing.Any]] = self.server.call("GET", f"/app/acme/attempt/endpoint/{uid}?limit=250")[1]["data"]
        return found

    def tokens(self) -> list[str]:
        """The ids of all org tokens of its organisation, the oldest first."""
        listed = self.server.call("GET", "/operator/token?org=default", None, operator(self.server))[1]
        return [str(token["id"]) for token in listed if token["kind"] == "org"]

    def message_to(self, uid: str) -> str:
        """The id of a message that was attempted to an endpoint."""
        return str(self.attempts(uid)[-1]["msgId"])


def open_shop(directory: Path, messages: int = 24, name: str = "ringback.db", **settings: str) -> Iterator[Shop]:
    """A shop in a directory of its own, closed afterwards. `name`: of its database."""
    behaviour = Behaviour()
    receiver = Receiver(behaviour)
    server = servers.start(directory / name, SETTINGS | settings, log=directory / "server.log")
    try:
        scene = furnish(server, receiver.url, messages)
        shop = Shop(server, receiver, behaviour, scene, equip(server, receiver.url))
        for uid in ("orders", "billing", "warehouse", "crm"):
            wait_until(lambda uid=uid: shop.attempts(uid), what=f"attempts to {uid}")  # type: ignore[misc]  # mypy cannot infer such a lambda
        yield shop
    finally:
        server.stop()
        receiver.close()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One shop for all tests that do not get in each other's way."""
    # Settings are strangers' text too.
    yield from open_shop(tmp_path_factory.mktemp("shop"), name="<img src=x onerror=window.owned=1>.db")


class Person:
    """Somebody with a browser that runs no scripts. Paths are those below the dashboard."""

    def __init__(self, url: str, **headers: str) -> None:
        self.url = url
        self.origin = url.removesuffix(BASE)
        self.client = httpx.Client(trust_env=False, timeout=30, headers=headers)

    def get(self, path: str, **parts: typing.Any) -> httpx.Response:
        """What is at a path."""
        return self.client.get(self.url + path, **parts)

    def token(self, path: str = "/login") -> str:
        """The token of a form on a page."""
        found = re.search(r'name="csrf" value="([^"]+)"', self.get(path, follow_redirects=True).text)
        assert found
        return html.unescape(found[1])

    def post(self, path: str, at: str = "/login", *, sending: dict[str, str] | None = None, **fields: typing.Any) -> httpx.Response:
        """Send a form that stands on the page `at`."""
        if "csrf" not in fields:
            fields["csrf"] = self.token(at)
        return self.client.post(self.url + path, data=fields, headers={"origin": self.origin} | (sending or {}))

    def log_in(self, secret: str = servers.TOKEN) -> Person:
        """Log in with a token."""
        assert self.post("/login", token=secret).status_code == 303
        return self

    def act(self, path: str, **fields: typing.Any) -> httpx.Response:
        """Send a form as somebody who is logged in, and follow where it leads."""
        answer = self.post(path, at="/audit", **fields)
        return self.client.get(self.origin + answer.headers["location"]) if answer.status_code == 303 else answer

    def close(self) -> None:
        """Close the browser."""
        self.client.close()


@pytest.fixture
def stranger(shop: Shop) -> Iterator[Person]:
    """Somebody who is not logged in."""
    person = Person(shop.url)
    yield person
    person.close()


@pytest.fixture
def person(shop: Shop) -> Iterator[Person]:
    """Somebody who is logged in."""
    opened = Person(shop.url).log_in()
    yield opened
    opened.close()


def chromium() -> str:
    """The path of the installed browser. Fails with what to do when there is none."""
    # The shell first: the same pages for a fifth less work, as it draws no window around them.
    for name in ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.fail("the tests of the dashboard need Chromium; install it with scripts/browser", pytrace=False)


class Chromium:
    """One browser for the tests of this directory, opened when the first one asks for it and closed after the last.

    While it is open, playwright's event loop counts as running in this thread: no test elsewhere could run a loop of its own.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._browser: Browser | None = None

    def open(self) -> Browser:
        """The browser. Fails with what to do when there is none."""
        if self._browser is None:
            from playwright.sync_api import expect, sync_playwright

            # As patient as everything else that waits: five seconds pass on a machine that has much else to do.
            expect.set_options(timeout=DEADLINE_S * 1000)
            path = chromium()
            playwright = self._stack.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            self._stack.callback(self._browser.close)
        return self._browser

    def close(self) -> None:
        """End the browser, if there is one."""
        self._browser = None
        self._stack.close()


_CHROMIUM = pytest.StashKey[Chromium]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """After the last test of this directory, and of its fixtures, the browser goes."""
    try:
        yield
    finally:
        held = item.config.stash.get(_CHROMIUM, None)
        if held is not None and (nextitem is None or Path(__file__).parent not in nextitem.path.parents):
            held.close()


@pytest.fixture
def browser(request: pytest.FixtureRequest) -> Browser:
    """The browser of all tests; each gets a context of its own."""
    return request.config.stash.setdefault(_CHROMIUM, Chromium()).open()


class Trouble:
    """What a page must not do: write errors, break its policy, ask other hosts, open dialogs."""

    def __init__(self, page: Page, origin: str) -> None:
        self.found: list[str] = []
        page.on("console", lambda message: self._note(f"console: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("request", lambda request: None if request.url.startswith((origin, "data:")) else self._note(f"asked {request.url}"))
        page.on("dialog", lambda dialog: (self._note(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _note(self, what: str) -> None:
        self.found.append(what)


class Desk:
    """Somebody at a real browser, logged in. Paths are those below the dashboard."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.page = context.new_page()
        self.page.set_default_timeout(DEADLINE_S * 1000)
        self.trouble = Trouble(self.page, url.removesuffix(BASE))

    def go(self, path: str) -> Page:
        """Open a page."""
        answer = self.page.goto(self.url + path)
        assert answer is not None and answer.status == 200, path
        return self.page

    @property
    def path(self) -> str:
        """Where the browser is."""
        return self.page.url.removeprefix(self.url)


@pytest.fixture
def session_cookie(shop: Shop) -> dict[str, typing.Any]:
    """The session of a person, for browsers that need not log in. One for each test: of many sessions the oldest end."""
    person = Person(shop.url).log_in()
    held = person.client.cookies["ringback_session"]
    person.close()
    return {"name": "ringback_session", "value": held, "url": shop.url, "httpOnly": True, "sameSite": "Lax"}


OpenDesk = typing.Callable[..., Desk]


@pytest.fixture
def open_desk(shop: Shop, browser: Browser, session_cookie: dict[str, typing.Any]) -> Iterator[OpenDesk]:
    """Opens browsers with contexts of their own (arguments as of `new_context`); what they did wrong fails the test."""
    desks: list[Desk] = []

    def opened(**options: typing.Any) -> Desk:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(locale="en-GB", timezone_id="Europe/Berlin", **options)
        context.add_cookies([session_cookie])  # type: ignore[list-item]  # a cookie as playwright wants it
        desks.append(Desk(context, shop.url))
        return desks[-1]

    yield opened
    found = [what for desk in desks for what in desk.trouble.found]
    for desk in desks:
        desk.context.close()
    assert found == []


@pytest.fixture
def desk(open_desk: OpenDesk) -> Desk:
    """Somebody at a browser of ordinary size."""
    return open_desk()
