from __future__ import annotations

from typing import Any

import pytest

from ringback import ids
from ringback.api import tasks as tasks_api
from ringback.api.app import Settings, build
from ringback.clock import rfc3339
from ringback.model.messages import Message
from ringback.services.tasks import Tasks
from ringback.store.operations import task_picks
from tests.api.history import DAY_US, SECOND_US, History, ids_of


class Work(History):
    """A history whose background tasks are done when the test says so."""

    def __init__(self, api: Any) -> None:
        super().__init__(api)
        self.tasks = Tasks(api.store, self.clock, self._ids, self.handoff)
        api.app = build(api.services, api.reader, Settings(), more=tasks_api.routes(self.tasks))

    def started(self, path: str, body: Any = None, method: str = "POST") -> str:
        response = self.api.call(method, path, body)
        assert response.status_code == 202, response.text
        assert response.json()["status"] == "running"
        return str(response.json()["id"])

    def step(self, task_id: str) -> Any:
        self.api.run(self.tasks.advance(task_id))
        return self.task(task_id)

    def task(self, task_id: str) -> Any:
        return self.api.get(f"/background-task/{task_id}").json()

    def finished(self, task_id: str) -> Any:
        for _ in range(100):
            task = self.step(task_id)
            if task["status"] != "running":
                return task
        raise AssertionError(f"the task does not end: {task}")

    def manual(self) -> list[str]:
        """The messages that wait for a manual attempt."""
        return [row[0] for row in self.rows("SELECT message_id FROM delivery WHERE trigger = 1 ORDER BY message_id")]


@pytest.fixture
def work(api: Any) -> Work:
    return Work(api)


def since(work: Work, age_s: int = 3600) -> str:
    return rfc3339(work.now_us - age_s * SECOND_US)


def failed(work: Work, age_s: int = 60, **more: Any) -> Message:
    message = work.message(age_us=age_s * SECOND_US, **more)
    work.attempt(message, code=500, dead="http_500")
    return message


def succeeded(work: Work, age_s: int = 60, **more: Any) -> Message:
    message = work.message(age_us=age_s * SECOND_US, **more)
    work.attempt(message)
    return message


def ids_in_order(*messages: Message) -> list[str]:
    return sorted(message.id for message in messages)


RECOVER = "/app/shop/endpoint/first/recover"
MISSING = "/app/shop/endpoint/first/replay-missing"
BULK = "/app/shop/endpoint/first/bulk-replay"


def test_recovering_sends_what_failed_and_did_not_succeed_in_the_window(work: Work) -> None:
    lost, mended = failed(work), failed(work)
    succeeded(work)
    failed(work, age_s=7200)
    work.message()
    task = work.finished(work.started(RECOVER, {"since": since(work)}))
    assert (task["status"], task["task"], task["data"]) == ("finished", "endpoint.recover", {"messagesSent": 2})
    assert work.manual() == ids_in_order(lost, mended)
    assert (work.endpoint_id, work.app_id) in work.handoff.woken


def test_a_window_ends_before_until(work: Work) -> None:
    early, late = failed(work, age_s=600), failed(work, age_s=60)
    task = work.finished(work.started(RECOVER, {"since": since(work), "until": rfc3339(late.created_at)}))
    assert task["data"] == {"messagesSent": 1}
    assert work.manual() == [early.id]


def test_a_message_that_waits_for_a_manual_attempt_is_not_sent_twice(work: Work) -> None:
    lost = failed(work)
    first, second = (work.started(RECOVER, {"since": since(work)}) for _ in range(2))
    assert [work.finished(task)["data"]["messagesSent"] for task in (first, second)] == [1, 0]
    assert work.manual() == [lost.id]


def test_a_payload_that_is_gone_is_passed_over(work: Work) -> None:
    failed(work, expires_at=work.now_us - 1)
    assert work.finished(work.started(RECOVER, {"since": since(work)}))["data"] == {"messagesSent": 0}


def test_many_messages_are_sent_in_steps_none_left_out_and_none_twice(work: Work) -> None:
    lost = [failed(work, age_s=1000 + number) for number in range(2 * task_picks.STEP + 7)]
    task_id = work.started(RECOVER, {"since": since(work)})
    assert work.step(task_id)["data"] == {"messagesSent": task_picks.STEP}
    # Another server goes on after the first was killed.
    work.tasks = Tasks(work.api.store, work.clock, work._ids, work.handoff)
    assert work.finished(task_id)["data"] == {"messagesSent": len(lost)}
    assert work.manual() == ids_in_order(*lost)


def test_replaying_sends_what_fits_the_endpoint_and_was_never_tried(work: Work) -> None:
    fitting = [work.message(work.endpoint("other"), event_type="order.paid", age_us=60 * SECOND_US)]
    for message in fitting:
        work.attempt(message, work.rows("SELECT id FROM endpoint WHERE uid = 'other'")[0][0])
    succeeded(work)
    failed(work)
    waiting = work.message()
    task = work.finished(work.started(MISSING, {"since": since(work)}))
    assert (task["task"], task["data"]) == ("endpoint.replay", {"messagesSent": 1})
    assert work.manual() == [fitting[0].id]
    assert waiting.id not in work.manual()


def test_replaying_minds_the_filters_of_the_endpoint(work: Work) -> None:
    other = work.endpoint("other")
    work.api.made("/event-type", {"name": "order.paid", "description": "x"})
    work.api.patch("/app/shop/endpoint/first", {"eventTypes": ["order.paid"], "channels": ["eu"]})
    paid = work.message(other, event_type="order.paid", channels=("eu", "us"))
    work.message(other, event_type="order.paid")
    work.message(other, event_type="order.made", channels=("eu",))
    assert work.finished(work.started(MISSING, {"since": since(work)}))["data"] == {"messagesSent": 1}
    assert work.manual() == [paid.id]


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({}, ["ok", "bad", "paid", "tagged"]),
        ({"eventTypes": ["order.paid"]}, ["paid"]),
        ({"tag": "blue"}, ["tagged"]),
        ({"channel": "eu"}, ["tagged"]),
        ({"status": 0}, ["ok", "paid", "tagged"]),
        ({"status": 2}, ["bad"]),
        ({"statusCodeClass": 500}, ["bad"]),
        ({"statusCodeClass": 200, "eventTypes": ["order.created"]}, ["ok", "tagged"]),
    ],
)
def test_bulk_replay_sends_what_was_sent_narrowed(work: Work, narrowed: Any, expected: list[str]) -> None:
    named = {
        "ok": succeeded(work),
        "bad": failed(work),
        "paid": succeeded(work, event_type="order.paid"),
        "tagged": succeeded(work, tags=("blue",), channels=("eu",)),
    }
    succeeded(work, age_s=7200)
    task = work.finished(work.started(BULK, {"since": since(work), **narrowed}))
    assert task["data"] == {"messagesSent": len(expected)}
    assert work.manual() == ids_in_order(*(named[name] for name in expected))


def test_bulk_replay_loses_nothing_at_the_borders_of_pages(work: Work) -> None:
    sent = [
        succeeded(work, age_s=100 + number) if number % 3 else failed(work, age_s=100 + number) for number in range(3 * task_picks.STEP)
    ]
    assert work.finished(work.started(BULK, {"since": since(work), "status": 0}))["data"] == {"messagesSent": 2 * task_picks.STEP}
    assert work.manual() == ids_in_order(*(message for number, message in enumerate(sent) if number % 3))


def test_a_disabled_endpoint_gets_nothing_and_ends_the_task(work: Work) -> None:
    for number in range(task_picks.STEP + 1):
        failed(work, age_s=100 + number)
    task_id = work.started(RECOVER, {"since": since(work)})
    work.step(task_id)
    work.api.patch("/app/shop/endpoint/first", {"disabled": True})
    assert work.step(task_id)["data"] == {"messagesSent": task_picks.STEP, "error": "the endpoint was disabled"}
    assert work.task(task_id)["status"] == "failed"
    response = work.api.post(RECOVER, {"since": since(work)})
    assert response.status_code == 400
    assert response.json() == {
        "code": "endpoint_disabled",
        "detail": f"endpoint {work.endpoint_id} is disabled; enable it before sending to it",
    }


def test_deleting_the_endpoint_ends_the_task(work: Work) -> None:
    failed(work)
    task_id = work.started(RECOVER, {"since": since(work)})
    work.api.delete("/app/shop/endpoint/first")
    assert work.step(task_id)["data"] == {"messagesSent": 0, "error": "the endpoint was deleted"}


def test_a_task_can_be_cancelled_once(work: Work) -> None:
    failed(work)
    task_id = work.started(RECOVER, {"since": since(work)})
    assert work.api.post(f"/background-task/{task_id}/cancel").json()["data"] == {"messagesSent": 0, "error": "cancelled"}
    assert work.step(task_id)["status"] == "failed"
    assert work.manual() == []
    done = work.started(RECOVER, {"since": since(work)})
    work.finished(done)
    assert work.api.post(f"/background-task/{done}/cancel").json()["status"] == "finished"


@pytest.mark.parametrize("path", [RECOVER, MISSING, BULK])
def test_a_window_that_is_none_is_refused(work: Work, path: str) -> None:
    response = work.api.post(path, {"since": "2024-01-02T00:00:00Z", "until": "2024-01-01T00:00:00Z"})
    message = "2024-01-02T00:00:00+00:00 must lie before until"
    assert response.json() == {"detail": [{"loc": ["body", "since"], "msg": message, "type": "value_error"}]}
    days = 14 if path == RECOVER else 90
    old = rfc3339(work.now_us - (days + 1) * DAY_US)
    response = work.api.post(path, {"since": old})
    assert response.status_code == 422
    assert response.json()["detail"][0]["msg"].endswith(f"must lie at most {days} days before until")
    assert work.api.post(path, {"since": rfc3339(work.now_us - days * DAY_US)}).status_code == 202
    missing = work.api.post(path, {})
    assert missing.json()["detail"][0]["loc"] == ["body", "since"]
    assert work.api.post(path.replace("first", "nobody"), {"since": since(work)}).json() == {
        "code": "not_found",
        "detail": "Entity not found",
    }


def test_bulk_replay_names_every_wrong_field(work: Work) -> None:
    response = work.api.post(BULK, {"since": since(work), "channel": "a b", "tag": "?", "status": 9, "statusCodeClass": 201})
    assert [problem["loc"] for problem in response.json()["detail"]] == [
        ["body", "channel"], ["body", "tag"], ["body", "status"], ["body", "statusCodeClass"],
    ]  # fmt: skip


def test_all_payloads_of_an_application_are_forgotten(work: Work) -> None:
    other = work.api.made("/app", {"name": "Other"})["id"]
    mine = [work.message(age_us=number * SECOND_US) for number in range(5)]
    theirs = work.message(work.endpoint("x", other), app_id=other)
    task_id = work.started("/app/shop/msg/expunge-all-contents")
    later = work.message()
    assert work.finished(task_id)["data"] == {"messagesPurged": 5}
    left = {row[0] for row in work.rows("SELECT id FROM message WHERE payload IS NOT NULL")}
    assert left == {theirs.id, later.id}
    assert mine[0].id not in left
    assert work.api.post("/app/nobody/msg/expunge-all-contents").json() == {"code": "not_found", "detail": "Entity not found"}


def test_large_payloads_are_forgotten_a_few_at_a_time(work: Work) -> None:
    for _ in range(4):
        work.message(payload=b"x" * 1_200_000)
    task_id = work.started("/app/shop/msg/expunge-all-contents")
    assert work.step(task_id)["data"] == {"messagesPurged": 2}
    assert work.finished(task_id)["data"] == {"messagesPurged": 4}


def test_attempts_are_counted_by_application(work: Work) -> None:
    other = work.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    succeeded(work)
    failed(work)
    failed(work, age_s=7200)
    body = {"since": since(work), "until": rfc3339(work.now_us)}
    task = work.finished(work.started("/stats/usage/app", body))
    assert task["data"] == {
        "appStats": [
            {"appId": work.app_id, "appUid": "shop", "messageDestinations": 2},
            {"appId": other, "appUid": "other", "messageDestinations": 0},
        ]
    }
    response = work.api.post("/stats/usage/app", {**body, "appIds": ["shop", "nobody"]})
    assert (response.status_code, response.json()["unresolvedAppIds"]) == (202, ["nobody"])
    assert len(work.finished(response.json()["id"])["data"]["appStats"]) == 1


def test_counting_for_nobody_is_refused(work: Work) -> None:
    body = {"since": since(work), "until": rfc3339(work.now_us)}
    assert work.api.post("/stats/usage/app", {**body, "appIds": ["nobody"]}).json() == {
        "detail": [{"loc": ["body", "appIds"], "msg": "no application has one of these ids or uids", "type": "value_error"}]
    }
    assert work.api.post("/stats/usage/app", {"since": body["until"], "until": body["since"]}).json()["detail"][0]["loc"] == [
        "body",
        "since",
    ]


def test_event_types_that_endpoints_ask_for_are_listed(work: Work) -> None:
    for name in ("a.one", "b.two"):
        work.api.made("/event-type", {"name": name, "description": "x"})
    work.api.made("/app/shop/endpoint", {"url": "https://x.example", "eventTypes": ["b.two", "a.one"]})
    other = work.api.made("/app", {"name": "Other"})["id"]
    work.api.made(f"/app/{other}/endpoint", {"url": "https://x.example", "eventTypes": ["a.one"]})
    work.api.made(f"/app/{other}/endpoint", {"url": "https://x.example", "disabled": True})
    task = work.finished(work.started("/stats/usage/event-types", method="PUT"))
    assert task["data"] == {
        "event_types": [
            {"appId": work.app_id, "explicitlySubscribedEventTypes": ["a.one", "b.two"], "hasCatchAllEndpoint": True},
            {"appId": other, "explicitlySubscribedEventTypes": ["a.one"], "hasCatchAllEndpoint": False},
        ]
    }


def test_tasks_are_listed_the_newest_first_and_narrowed(work: Work) -> None:
    first = work.started(RECOVER, {"since": since(work)})
    work.finished(first)
    second = work.started(BULK, {"since": since(work)})
    third = work.started("/stats/usage/event-types", method="PUT")

    def listed(**query: Any) -> list[str]:
        response = work.api.get("/background-task", params=query)
        assert response.status_code == 200, response.text
        return ids_of(response.json())

    assert listed() == [third, second, first]
    assert listed(order="ascending") == [first, second, third]
    assert listed(status="finished") == [first]
    assert listed(task="endpoint.bulk-replay") == [second]
    assert listed(task="sdk.generate") == []
    assert listed(limit=1, iterator=third) == [second]
    assert listed(iterator=f"-{first}") == [third, second]
    assert work.api.get("/background-task", params={"status": "asleep"}).json() == {
        "code": "generic_error",
        "detail": "query parameter status: 'asleep' is not one of running, finished, failed",
    }
    assert work.api.get("/background-task/qtask_x").json() == {"code": "not_found", "detail": "Entity not found"}


def test_an_application_sees_its_own_tasks_alone(work: Work) -> None:
    work.api.made("/app", {"name": "Other", "uid": "other"})
    work.endpoint("x", "other")
    mine = work.started(RECOVER, {"since": since(work)})
    theirs = work.started("/app/other/endpoint/x/recover", {"since": since(work)})
    purge = work.started("/app/shop/msg/expunge-all-contents")
    _, token = work.api.run(work.api.tokens.create(app_id=work.app_id))
    assert ids_of(work.api.get("/background-task", token=token).json()) == [purge, mine]
    assert work.api.get(f"/background-task/{theirs}", token=token).status_code == 404
    assert work.api.post(f"/background-task/{purge}/cancel", token=token).status_code == 403
    assert work.api.post(f"/background-task/{mine}/cancel", token=token).status_code == 200
    assert work.api.post("/app/shop/msg/expunge-all-contents", token=token).status_code == 403


def test_a_repeated_request_begins_one_task(work: Work) -> None:
    key = {"idempotency-key": "one"}
    answers = [work.api.post(RECOVER, {"since": since(work)}, headers=key).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(work.api.get("/background-task").json()["data"]) == 1


def test_old_tasks_are_removed_and_running_ones_stay(work: Work) -> None:
    over = work.started("/stats/usage/event-types", method="PUT")
    work.finished(over)
    running = work.started(RECOVER, {"since": since(work)})

    async def purge() -> int:
        return sum([await work.tasks.purge(work.now_us + DAY_US, 100) for _ in range(3)])

    assert work.api.run(purge()) == 2
    assert [row[0] for row in work.rows("SELECT id FROM task")] == [running]
    assert ids.is_id(ids.TASK, running)
