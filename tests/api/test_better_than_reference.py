"""Where the reference server is wrong and must not be copied (HTTP contract, section 16), is this one right?

Each row of that section is in `ROWS`, with the tests that show ours; those that stand nowhere else are below.
"""

from __future__ import annotations

import ast
import datetime
import pathlib
import typing

import pytest

from benchmarks import server
from tests import syntax
from tests.acceptance.news import News
from tests.acceptance.receiver import FAILED, OK, Receiver
from tests.acceptance.sdk_surface import client
from tests.api.live import Live, arrived, error, opened, problems
from tests.waiting import wait_until

ROOT: typing.Final = pathlib.Path(__file__).parent.parent.parent
HERE: typing.Final = "tests/api/test_better_than_reference.py"
# What the reference server does; the tests of ours, as file::test.
ROWS: typing.Final[list[tuple[str, list[str]]]] = [
    (
        "1. a response body is read without limit of time or size",
        [
            "tests/delivery/test_hostile_servers.py::test_an_endless_body_is_cut_at_the_limit",
            "tests/delivery/test_hostile_servers.py::test_a_body_that_drips_does_not_undo_the_status",
            "tests/acceptance/test_engine.py::test_answers_that_drip_hold_up_neither_their_own_endpoint_nor_others",
        ],
    ),
    (
        "2. edits of headers are stale for 30 s, and no event",
        [f"{HERE}::test_headers_count_from_the_next_attempt_on_and_their_change_is_told"],
    ),
    (
        "3. a failed resend by hand ends the retries and hides that they ran out",
        [
            "tests/acceptance/test_sdk.py::test_a_resend_by_hand_is_one_attempt_beside_the_schedule",
            f"{HERE}::test_a_failed_resend_leaves_the_schedule_and_its_end_is_told",
        ],
    ),
    ("4. attempted destinations are always done", [f"{HERE}::test_the_destinations_of_a_message_are_walked_both_ways"]),
    (
        "5. throttleRate is stored and not enforced",
        ["tests/acceptance/test_engine.py::test_rates_of_endpoints_and_applications_hold_and_nobody_else_waits_for_them"],
    ),
    (
        "6. recover runs in memory, its id leads nowhere, pages skip messages",
        [
            "tests/acceptance/test_background_tasks.py"
            "::test_every_kind_of_task_of_the_api_goes_on_where_it_was_however_often_the_server_is_killed",
            "tests/api/test_tasks.py::test_many_messages_are_sent_in_steps_none_left_out_and_none_twice",
        ],
    ),
    (
        "7. an aborted request blocks its idempotency key",
        ["tests/acceptance/test_idempotency.py::test_a_client_that_went_away_finds_its_request_carried_out_once"],
    ),
    (
        "8. tokens cannot be revoked",
        [
            "tests/api/test_authentication.py::test_logging_out_ends_one_token_at_once",
            "tests/api/test_authentication.py::test_all_tokens_of_an_application_end_together_or_those_of_some_sessions",
        ],
    ),
    (
        "9. Retry-After is cut to twice the delay",
        ["tests/acceptance/test_delivery.py::test_retry_after_is_honoured_when_it_is_longer_than_the_schedule"],
    ),
    (
        "10. a crash between message and queue loses the message",
        ["tests/acceptance/test_crash.py::test_every_acknowledged_message_is_delivered_however_often_the_server_is_killed"],
    ),
    (
        "11. operational events are sent once, from memory",
        ["tests/acceptance/test_operational_crash.py::test_what_becomes_of_deliveries_is_told_once_however_often_the_server_is_killed"],
    ),
    (
        "12. a few slow endpoints hold all places",
        [
            "tests/acceptance/test_delivery.py::test_an_endpoint_that_hangs_delays_nobody_else",
            "tests/acceptance/test_delivery.py::test_endpoints_of_one_application_do_not_wait_for_each_other",
        ],
    ),
    (
        "13. failures that disable an endpoint are forgotten at a restart",
        ["tests/acceptance/test_engine.py::test_an_endpoint_that_fails_for_longer_than_is_allowed_is_disabled_also_across_restarts"],
    ),
    (
        "14. 404 and 405 with an empty body, 500 with {}",
        [
            "tests/api/test_conventions.py::test_unknown_routes_answer_json",
            "tests/api/test_conventions.py::test_other_methods_name_those_that_are_allowed",
            "tests/api/test_conventions.py::test_a_fault_of_ours_is_logged_and_not_described",
        ],
    ),
    (
        "15. an upsert of an unknown uid drops the uid",
        [
            f"{HERE}::test_an_upsert_of_an_unknown_uid_makes_one_thing_however_often",
            f"{HERE}::test_an_upsert_of_what_nothing_can_be_called_makes_nothing",
        ],
    ),
    ("16. a retry goes to endpoints that succeeded", [f"{HERE}::test_a_retry_goes_to_the_endpoint_that_failed_alone"]),
    (
        "17. what was on its way to a disabled or deleted endpoint stays so",
        [f"{HERE}::test_nothing_stays_on_its_way_to_an_endpoint_that_is_gone"],
    ),
    (
        "18. the portal is a page of documentation",
        [
            f"{HERE}::test_the_portal_is_a_page_of_this_server",
            "tests/api/test_authentication.py::test_the_page_runs_its_own_script_alone",
        ],
    ),
    ("19. fields are dropped in silence", [f"{HERE}::test_no_field_is_dropped", f"{HERE}::test_a_portal_token_is_what_was_asked_for"]),
    (
        "20. endpoint.disabled has neither endpointUid nor trigger",
        ["tests/acceptance/test_operational_webhooks.py::test_an_endpoint_that_says_it_is_gone_is_disabled_and_that_is_told"],
    ),
]


@pytest.mark.parametrize(("row", "tests"), ROWS, ids=[row for row, _ in ROWS])
def test_every_row_is_shown_by_tests_that_exist(row: str, tests: list[str]) -> None:
    assert tests
    for named in tests:
        path, _, name = named.partition("::")
        tree = syntax.parse((ROOT / path).read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{row}: {named} is gone"


@pytest.fixture(scope="module")
def receiver() -> typing.Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    """A server that tries three times: at once, soon, and much later."""
    yield from opened(tmp_path_factory.mktemp("better"), {"retry_schedule": "200ms,10m"})


@pytest.fixture
def hooks(receiver: Receiver, live: Live) -> typing.Callable[[str], str]:
    """Makes the URL of a path of this test alone; what fails has it in its path."""
    receiver.decide = lambda arrival: FAILED if "fail" in arrival.path else OK
    return lambda word: f"{receiver.url}/{live.name(word)}"


def path_of(url: str) -> str:
    """The path of a URL of the receiver."""
    return "/" + url.rpartition("/")[2]


def send(live: Live, app: str) -> str:
    """The id of a new message."""
    return str(live.made(f"/app/{app}/msg", {"eventType": "order.paid", "payload": {}})["id"])


def test_headers_count_from_the_next_attempt_on_and_their_change_is_told(
    live: Live, receiver: Receiver, hooks: typing.Callable[[str], str]
) -> None:
    news = hooks("news")
    told = live.made("/operational-webhook/endpoint", {"url": news, "eventTypes": ["endpoint.updated"]})["id"]
    app, url = live.app(), hooks("headers")
    endpoint = live.made(f"/app/{app}/endpoint", {"url": url, "headers": {"x-a": "made"}})["id"]
    send(live, app)
    arrived(receiver, path_of(url))
    for number, (method, value) in enumerate((("PUT", "put"), ("PATCH", "patched")), 2):
        assert live.call(method, f"/app/{app}/endpoint/{endpoint}/headers", {"headers": {"x-a": value}}).status_code == 204
        send(live, app)
        assert arrived(receiver, path_of(url), number)[-1].headers["x-a"] == value
    assert len(arrived(receiver, path_of(news), 2)) == 2
    live.delete(f"/operational-webhook/endpoint/{told}")


def test_a_failed_resend_leaves_the_schedule_and_its_end_is_told(tmp_path: pathlib.Path, receiver: Receiver) -> None:
    running = server.start(tmp_path / "ringback.db", {"retry_schedule": "300ms,500ms"})
    try:
        receiver.decide = lambda arrival: FAILED if arrival.path == "/hooks" else OK
        news = News(client(running), receiver, events=["message.attempt.exhausted"])
        app = running.make("/app", {"name": "Shop"})["id"]
        endpoint = running.make(f"/app/{app}/endpoint", {"url": f"{receiver.url}/hooks"})["id"]
        message = running.make(f"/app/{app}/msg", {"eventType": "order.paid", "payload": {}})["id"]
        wait_until(lambda: receiver.at("/hooks"), what="the first attempt")
        running.make(f"/app/{app}/msg/{message}/endpoint/{endpoint}/resend", None)
        (ended,) = news.told("message.attempt.exhausted")
        assert ended["msgId"] == message
        attempts = running.call("GET", f"/app/{app}/attempt/msg/{message}")[1]["data"]
        assert sorted(attempt["triggerType"] for attempt in attempts) == [0, 0, 0, 1]
    finally:
        running.stop()


def test_the_destinations_of_a_message_are_walked_both_ways(live: Live, receiver: Receiver, hooks: typing.Callable[[str], str]) -> None:
    app = live.app()
    endpoints = [live.made(f"/app/{app}/endpoint", {"url": hooks("walk")})["id"] for _ in range(5)]
    message = send(live, app)
    path = f"/app/{app}/msg/{message}/endpoint"
    wait_until(lambda: len(live.get(path).json()["data"]) == 5, what="every endpoint was attempted")
    pages, cursor = [], ""
    for _ in range(3):
        pages.append(live.get(f"{path}?limit=2{cursor}").json())
        cursor = f"&iterator={pages[-1]['iterator']}"
    assert [[item["id"] for item in page["data"]] for page in pages] == [endpoints[:2], endpoints[2:4], endpoints[4:]]
    assert [page["done"] for page in pages] == [False, False, True]
    back = live.get(f"{path}?limit=2&iterator={pages[2]['prevIterator']}").json()
    assert ([item["id"] for item in back["data"]], back["done"]) == (endpoints[2:4], False)


UPSERTS: typing.Final = {
    "application": ("/app", {"name": "A"}),
    "endpoint": ("/app/{app}/endpoint", {"url": "https://a.example/"}),
    "operational endpoint": ("/operational-webhook/endpoint", {"url": "https://a.example/", "disabled": True}),
    "connector": ("/connector", {"name": "A", "transformation": "function handler(webhook) { return webhook; }"}),
    "ingest source": ("/ingest/api/v1/source", {"name": "any", "type": "generic-webhook"}),
    "ingest endpoint": ("/ingest/api/v1/source/{source}/endpoint", {"url": "https://a.example/"}),
    "source of an application": ("/app/{app}/source", {"name": "any", "type": "generic-webhook"}),
}


@pytest.mark.parametrize("noun", UPSERTS)
def test_an_upsert_of_an_unknown_uid_makes_one_thing_however_often(live: Live, noun: str) -> None:
    template, body = UPSERTS[noun]
    source = live.made("/ingest/api/v1/source", {"name": "any", "type": "generic-webhook"})["id"] if "{source}" in template else ""
    path = template.format(app=live.app(), source=source)
    uid = live.name("uid")
    first, second = (live.put(f"{path}/{uid}", body) for _ in range(2))
    assert (first.status_code in (200, 201), second.status_code) == (True, 200)
    assert (first.json()["uid"], second.json()["id"]) == (uid, first.json()["id"])
    assert [item["id"] for item in live.get(f"{path}?limit=250").json()["data"]].count(first.json()["id"]) == 1
    assert live.get(f"{path}/{uid}").json()["id"] == first.json()["id"]


@pytest.mark.parametrize("noun", UPSERTS)
def test_an_upsert_of_what_nothing_can_be_called_makes_nothing(live: Live, noun: str) -> None:
    template, body = UPSERTS[noun]
    source = live.made("/ingest/api/v1/source", {"name": "any", "type": "generic-webhook"})["id"] if "{source}" in template else ""
    path = template.format(app=live.app(), source=source)
    before = live.get(f"{path}?limit=250").json()["data"]
    prefix = live.put(f"{path}/{live.name('uid')}", body).json()["id"].partition("_")[0]
    for name in ("a%20b", f"{prefix}_short", "x" * 257):
        ((where, _),) = problems(live.put(f"{path}/{name}", body))
        assert where[0] == "path"
    # What is shaped like an id is made under an id of its own; and a name in the body is a name.
    for name, more in ((f"{prefix}_{'1' * (22 if prefix == 'src' else 27)}", {}), ("a%20b", {"uid": live.name("uid")})):
        if noun == "connector" and more:
            continue
        made = live.put(f"{path}/{name}", {**body, **more})
        assert made.status_code in (200, 201), made.text
        assert (made.json()["uid"], made.json()["id"] == name) == (more.get("uid"), False)
    assert len(live.get(f"{path}?limit=250").json()["data"]) - len(before) == (2 if noun == "connector" else 3)


def test_a_retry_goes_to_the_endpoint_that_failed_alone(live: Live, receiver: Receiver, hooks: typing.Callable[[str], str]) -> None:
    app = live.app()
    well, failing = hooks("well"), hooks("fail")
    for url in (well, failing):
        live.made(f"/app/{app}/endpoint", {"url": url})
    message = send(live, app)
    assert [arrival.id for arrival in arrived(receiver, path_of(failing), 2)] == [message, message]
    assert [arrival.id for arrival in arrived(receiver, path_of(well))] == [message]


@pytest.mark.parametrize("end", ["disabled", "deleted"])
def test_nothing_stays_on_its_way_to_an_endpoint_that_is_gone(
    live: Live, receiver: Receiver, hooks: typing.Callable[[str], str], end: str
) -> None:
    app, url = live.app(), hooks("fail")
    endpoint = live.made(f"/app/{app}/endpoint", {"url": url})["id"]
    message = send(live, app)

    def standing() -> tuple[int, typing.Any]:
        (destination,) = live.get(f"/app/{app}/msg/{message}/endpoint").json()["data"] or [{"status": None, "nextAttempt": None}]
        return destination["status"], destination["nextAttempt"]

    arrived(receiver, path_of(url), 2)
    wait_until(lambda: len(live.get(f"/app/{app}/attempt/msg/{message}").json()["data"]) == 2, what="both attempts are listed")
    status, at = standing()
    assert status == 3 and at is not None
    if end == "disabled":
        assert live.patch(f"/app/{app}/endpoint/{endpoint}", {"disabled": True}).status_code == 200
        wait_until(lambda: standing() == (2, None), what="the message has failed for the endpoint")
        (row,) = live.get(f"/app/{app}/endpoint/{endpoint}/msg?status=2").json()["data"]
        assert row["id"] == message
    else:
        assert live.delete(f"/app/{app}/endpoint/{endpoint}").status_code == 204
        wait_until(lambda: standing() == (2, None), what="the message has failed for the endpoint")


def test_the_portal_is_a_page_of_this_server(live: Live) -> None:
    app = live.app()
    url, token = live.made(f"/auth/app-portal-access/{app}", {}).values()
    assert url == f"{live.server.url}/portal/#key={token}"
    page = live.client.get(url)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert token not in page.text


def test_no_field_is_dropped(live: Live, receiver: Receiver, hooks: typing.Callable[[str], str]) -> None:
    event_type = live.name("type")
    kind = {"name": event_type, "description": "", "featureFlags": ["beta"], "groupName": "orders"}
    assert kind.items() <= live.made("/event-type", kind).items()
    app, url = live.app(), hooks("fields")
    endpoint = live.made(f"/app/{app}/endpoint", {"url": url, "headers": {"x-a": "1", "x-b": "2"}})["id"]
    assert live.patch(f"/app/{app}/endpoint/{endpoint}/headers", {"headers": {}, "deleteHeaders": ["X-B"]}).status_code == 204
    assert live.get(f"/app/{app}/endpoint/{endpoint}/headers").json() == {"headers": {"x-a": "1"}, "sensitive": []}
    at = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    later = live.made(f"/app/{app}/msg", {"eventType": event_type, "payload": {}, "deliverAt": at, "tags": ["blue"]})
    assert (later["deliverAt"], later["tags"]) == (at, ["blue"])
    now = send(live, app)
    (arrival,) = arrived(receiver, path_of(url))
    assert (arrival.id, arrival.headers["x-a"], "x-b" in arrival.headers) == (now, "1", False)
    assert [item["id"] for item in live.get(f"/app/{app}/msg?tag=blue").json()["data"]] == [later["id"]]


def test_a_portal_token_is_what_was_asked_for(live: Live) -> None:
    event_type = live.name("type")
    live.made("/event-type", {"name": event_type, "description": "", "featureFlags": ["beta"]})
    app = live.app()
    weak = live.portal_token(app, capabilities=["ViewBase"], expiry=3600)
    flagged = live.portal_token(app, featureFlags=["beta"], sessionId="one")
    assert error(live.post(f"/app/{app}/endpoint", {"url": "https://a.example"}, token=weak))[:2] == (403, "insufficient access")
    assert live.get("/auth/whoami", token=weak).json()["capabilities"] == ["ViewBase"]
    assert live.get(f"/event-type/{event_type}", token=weak).status_code == 404
    assert live.get(f"/event-type/{event_type}", token=flagged).status_code == 200
    # Sessions end one by one, at once or in a while; whoever has none stays.
    assert live.post(f"/auth/app/{app}/expire-all", {"sessionIds": ["one"], "expiry": 3600}).status_code == 204
    assert live.get("/auth/whoami", token=flagged).status_code == 200
    assert live.post(f"/auth/app/{app}/expire-all", {"sessionIds": ["one"]}).status_code == 204
    assert live.get("/auth/whoami", token=flagged).status_code == 401
    assert live.get("/auth/whoami", token=weak).status_code == 200
