"""Whoever walks a list while others add to it meets what was there when the walk began: everything, and nothing twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ringback.api import attempts, dead_letters, messages
from ringback.api import tasks as tasks_api
from ringback.api.app import Settings, build
from ringback.clock import rfc3339
from ringback.model.quarantine import CapturedRequest, Quarantined
from ringback.policy.paging import Walk
from ringback.services.attempts import Attempts
from ringback.services.dead_letters import DeadLetters
from ringback.services.messages import Messages
from ringback.services.tasks import Tasks
from ringback.store.operations import quarantine
from tests.api.conftest import Api
from tests.api.history import SECOND_US, History

# Few enough that a walk takes several pages of the shortest list.
PAGE = 3
# Of everything, what a history begins with: more than a page. Above the other number the next walk gets a new one.
SHORT, LONG = 8, 24


class Busy(History):
    """A history that goes on while it is read: `more` makes one of everything."""

    def __init__(self, api: Any) -> None:
        super().__init__(api)
        self.others = [self.endpoint(f"other{n}") for n in range(2)]
        routes = [
            *messages.routes(Messages(api.store, self.clock)),
            *attempts.routes(Attempts(api.store, self.clock, api.vault, self.handoff)),
            *dead_letters.routes(DeadLetters(api.store, self.clock, self.handoff)),
            *tasks_api.routes(Tasks(api.store, self.clock, self._ids, self.handoff)),
        ]
        api.app = build(api.services, api.reader, Settings(), more=routes)
        # How much of everything there is.
        self.made = 0
        self.watched = self.message(*self.others, age_us=100 * SECOND_US)

    def more(self) -> None:
        n = self.made
        self.made += 1
        # Ids and times climb, as those of a server do.
        self.now_us += 10_000
        facts = {"channels": ("eu",), "tags": ("vip",)} if n % 3 == 0 else {}
        for code, state in ((200, {}), (500, {"dead": "http_500"}), (503, {"retry_in_us": 3_600 * SECOND_US})):
            message = self.message(event_type=("paid", "made")[n % 2], **facts)
            self.attempt(message, code=code, ended_at=self.now_us, **state)
        # It waits for its first attempt.
        self.message(event_type="paid", **facts)
        self.api.made("/app", {"name": f"App {n}"})
        self.endpoint(f"more{n}")
        self.api.made("/event-type", {"name": f"type.{1_000 - n if n % 2 else 1_000 + n}", "description": ""})
        task = self.api.post("/app/shop/endpoint/first/recover", {"since": rfc3339(self.now_us - 3_600 * SECOND_US)})
        assert task.status_code == 202, task.text
        # The message that is watched is attempted again, by one more endpoint.
        self.handed(self.watched, self.endpoint(f"again{n}"))

    def handed(self, message: Any, endpoint_id: str) -> None:
        """A message that was accepted before is attempted to a further endpoint."""

        def operation(tx: Any) -> None:
            tx.run(
                "INSERT INTO delivery (endpoint_id, due_at, message_id, trigger, app_id, sequence, attempts, state) "
                "VALUES (?, ?, ?, 0, ?, 1, 0, 'waiting')",
                (endpoint_id, self.now_us, message.id, message.app_id),
            )

        self.api.run(self.api.store.write(operation))
        self.attempt(message, endpoint_id, ended_at=self.now_us)


LISTS: list[tuple[str, dict[str, Any]]] = [
    ("/app/shop/msg", {}),
    ("/app/shop/msg", {"tag": "vip"}),
    ("/app/shop/msg", {"channel": "eu"}),
    ("/app/shop/msg", {"event_types": "paid"}),
    ("/app/shop/attempt/endpoint/first", {}),
    ("/app/shop/attempt/endpoint/first", {"status": 2}),
    ("/app/shop/attempt/endpoint/first", {"status_code_class": 500}),
    ("/app/shop/attempt/endpoint/first", {"tag": "vip"}),
    ("/app/shop/attempt/msg/{watched}", {}),
    *(("/app/shop/endpoint/first/msg", {"status": status}) for status in range(4)),
    ("/app/shop/endpoint/first/msg", {}),
    ("/app/shop/endpoint/first/msg", {"event_types": "made"}),
    ("/app/shop/msg/{watched}/endpoint", {}),
    ("/dead-letter", {}),
    ("/dead-letter", {"event_types": "paid"}),
    ("/app/shop/dead-letter", {"cause": "http_500"}),
    ("/app", {}),
    ("/app", {"order": "descending"}),
    ("/app", {"exclude_apps_with_no_endpoints": False, "exclude_apps_with_disabled_endpoints": True}),
    ("/app/shop/endpoint", {}),
    ("/app/shop/endpoint", {"order": "ascending"}),
    ("/event-type", {}),
    ("/event-type", {"order": "descending", "include_archived": True}),
    ("/background-task", {}),
    ("/background-task", {"task": "endpoint.recover"}),
]


def key_of(item: dict[str, Any]) -> str:
    return str(item["id"] if "id" in item else item["name"])


def walk(read: Callable[..., Any], between: Callable[[], None], *, back: bool) -> list[str]:
    """All keys of a list, page by page: from its top, or back from what is its end now."""
    found: list[str] = []
    query: dict[str, Any] = {}
    if back:
        while not (page := read(limit=250, **query))["done"]:
            query = {"iterator": page["iterator"]}
        found, query = [key_of(page["data"][-1])], {"iterator": f"-{key_of(page['data'][-1])}"}
    while True:
        page = read(limit=PAGE, **query)
        keys = [key_of(item) for item in page["data"]]
        found = keys + found if back else found + keys
        if page["done"]:
            return found
        query = {"iterator": page["prevIterator"] if back else page["iterator"]}
        between()


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Busy]]:
    """Gives the history that others have used too, or a new one once that is long: a walk then takes longer, and shows nothing more."""
    with asyncio.Runner() as runner:
        held: list[Busy] = []

        def given() -> Busy:
            if held and held[-1].made > LONG:
                held.pop().api.close()
            if not held:
                held.append(Busy(Api(runner, tmp_path_factory.mktemp("busy") / "ringback.db")))
                for _ in range(SHORT):
                    held[-1].more()
            return held[-1]

        yield given
        for made in held:
            made.api.close()


@pytest.fixture
def busy(histories: Callable[[], Busy]) -> Busy:
    return histories()


@pytest.mark.parametrize(("path", "query"), LISTS, ids=lambda value: str(value))
@pytest.mark.parametrize("back", [False, True], ids=["down", "up"])
def test_a_walk_beside_writers_misses_nothing_and_meets_nothing_twice(busy, path, query, back):
    path = path.format(watched=busy.watched.id)
    params = {name: str(value).lower() for name, value in query.items()}

    def read(**cursor: Any) -> Any:
        response = busy.api.get(path, params={**params, **cursor})
        assert response.status_code == 200, response.text
        return response.json()

    before = walk(read, lambda: None, back=False)
    assert len(before) > PAGE
    busy.more()
    added = itertools.count(1)
    met = walk(read, lambda: busy.more() if next(added) % 3 == 1 and next(added) < 6 else None, back=back)
    assert len(met) == len(set(met))
    assert [key for key in met if key in set(before)] == before
    assert len(walk(read, lambda: None, back=False)) > len(before)


@pytest.mark.parametrize("reason", [None, "signature"])
def test_a_walk_through_quarantine_beside_writers_misses_nothing(busy, reason):
    api, source_id = busy.api, f"src_{reason}"
    numbers = itertools.count()

    def quarantined() -> None:
        n = next(numbers)
        at_us = busy.now_us + n
        request = CapturedRequest("POST", b"/", "127.0.0.1", (), b"{}")
        item = Quarantined(f"quar_{reason}{n:027}", source_id, at_us, ("signature", "method")[n % 2], "", 2, request)
        api.run(api.store.write(lambda tx: quarantine.insert(tx, api.vault, item, 1_000, 1 << 20, acknowledged=False)))

    for _ in range(20):
        quarantined()
    met: list[str] = []
    below = "~"
    while True:
        page = Walk(PAGE, True, below=below)
        items = api.run(api.store.read(lambda tx, page=page: quarantine.page(tx, api.vault, source_id, page, reason)))
        met += [item.id for item in items[:PAGE]]
        if len(items) <= PAGE:
            break
        below = met[-1]
        quarantined()
    expected = [f"quar_{reason}{n:027}" for n in range(19, -1, -1) if reason is None or n % 2 == 0]
    assert met == expected
