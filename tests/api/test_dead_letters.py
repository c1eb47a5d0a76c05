from __future__ import annotations

from typing import Any

import pytest

from ringback import ids
from ringback.clock import rfc3339
from ringback.model.messages import Message
from ringback.services import dead_letters
from tests.api.history import SECOND_US, History, ids_of


@pytest.fixture
def history(api: Any) -> History:
    return History(api)


def died(history: History, cause: str = "http_500", *, age_s: int = 5, endpoint: str | None = None, **more: Any) -> tuple[str, Message]:
    """A message whose only delivery has no attempts left: its dead letter and itself."""
    message = history.message(*([] if endpoint is None else [endpoint]), age_us=age_s * SECOND_US, **more)
    history.attempt(message, endpoint, code=500, dead=cause)
    return str(history.rows("SELECT id FROM dead_letter WHERE message_id = ?", (message.id,))[0][0]), message


def listed(history: History, path: str = "/app/shop/dead-letter", **query: Any) -> list[str]:
    response = history.api.get(path, params=query)
    assert response.status_code == 200, response.text
    return ids_of(response.json())


def done(history: History, verb: str, body: Any = None, path: str = "/app/shop/dead-letter", status: int = 202) -> Any:
    response = history.api.post(f"{path}/{verb}", body)
    assert response.status_code == status, response.text
    return response.json()


def test_a_dead_letter_is_shown_with_its_cause(history):
    letter_id, message = died(history, "timeout")
    shown = history.get(f"/dead-letter/{letter_id}")
    assert shown == {
        "id": letter_id,
        "appId": history.app_id,
        "endpointId": history.endpoint_id,
        "msgId": message.id,
        "eventType": "order.created",
        "cause": "timeout",
        "detail": "the endpoint answered 500",
        "attempts": 1,
        "sequence": 1,
        "timestamp": rfc3339(message.created_at + SECOND_US),
    }
    assert history.api.get(f"/dead-letter/{letter_id}").json() == shown
    assert history.get("/dead-letter")["data"] == [shown]


def test_lists_are_of_one_application_or_of_the_organisation(history):
    other = history.api.made("/app", {"name": "Other", "uid": "other"})["id"]
    elsewhere = history.endpoint("x", "other")
    here, _ = died(history, age_s=60)
    there, _ = died(history, endpoint=elsewhere, app_id=other, age_s=30)
    assert listed(history) == [here]
    assert listed(history, "/app/other/dead-letter") == [there]
    assert listed(history, "/dead-letter") == [there, here]
    assert listed(history, "/dead-letter", limit=1, iterator=there) == [here]
    assert listed(history, "/dead-letter", iterator=f"-{here}") == [there]
    assert history.api.get(f"/app/other/dead-letter/{here}").status_code == 404
    assert history.api.get("/app/other/dead-letter", params={"endpoint_id": history.endpoint_id}).status_code == 404


def test_an_endpoint_of_an_application_may_be_named_by_its_uid(history):
    named = history.api.made("/app/shop/endpoint", {"url": "https://example.com/", "uid": "orders"})["id"]
    died(history, age_s=60)
    letter_id, _ = died(history, endpoint=named, age_s=30)
    assert listed(history, endpoint_id="orders") == listed(history, endpoint_id=named) == [letter_id]
    assert done(history, "replay", {"endpointId": "orders", "dryRun": True}, status=200)["count"] == 1
    assert done(history, "discard", {"endpointId": "orders"})["count"] == 1
    assert history.api.get("/app/shop/dead-letter", params={"endpoint_id": "unknown"}).status_code == 404
    # Of the whole organisation, a uid names one in each application.
    assert history.api.get("/dead-letter", params={"endpoint_id": "orders"}).status_code == 404


def test_another_organisation_sees_nothing(history):
    letter_id, _ = died(history)
    _, token = history.api.run(history.api.tokens.create("Elsewhere"))
    assert history.api.get("/dead-letter", token=token).json()["data"] == []
    assert history.api.get(f"/dead-letter/{letter_id}", token=token).status_code == 404
    assert history.api.get(f"/dead-letter?endpoint_id={history.endpoint_id}", token=token).status_code == 404
    assert history.api.post("/dead-letter/discard", {}, token=token).json()["count"] == 0
    _, portal = history.api.run(history.api.tokens.create(app_id=history.app_id))
    assert history.api.get("/dead-letter", token=portal).status_code == 403
    assert ids_of(history.api.get("/app/shop/dead-letter", token=portal).json()) == [letter_id]


def test_dead_letters_are_narrowed(history):
    second = history.endpoint("second")
    slow, _ = died(history, "timeout", age_s=300)
    broken, _ = died(history, "http_500", age_s=200, event_type="order.paid")
    other, _ = died(history, "http_500", age_s=100, endpoint=second)
    at = {"slow": rfc3339(ids.created_us(slow)), "broken": rfc3339(ids.created_us(broken))}
    assert listed(history, cause="timeout") == [slow]
    assert listed(history, event_types="order.paid,nothing") == [broken]
    assert listed(history, endpoint_id=second) == [other]
    assert listed(history, since=at["broken"]) == [other, broken]
    assert listed(history, until=at["broken"]) == [slow]
    assert listed(history, since=at["slow"], until=at["broken"], cause="http_500") == []
    assert history.api.get("/app/shop/dead-letter?since=yesterday").status_code == 400


def test_a_replay_is_one_manual_attempt_and_its_success_ends_the_letter(history):
    letter_id, message = died(history)
    assert done(history, "replay", {"dryRun": True}, status=200) == {"count": 1, "skipped": 0, "remaining": 0, "iterator": None}
    assert history.rows("SELECT * FROM delivery") == []
    assert done(history, "replay") == {"count": 1, "skipped": 0, "remaining": 0, "iterator": None}
    assert history.handoff.woken == [(history.endpoint_id, history.app_id)]
    assert history.delivery(message, manual=True).sequence == 1
    assert listed(history) == [letter_id]
    history.attempt(message, manual=True, ended_at=history.now_us + SECOND_US)
    assert listed(history) == []


def test_a_replay_that_fails_leaves_the_letter(history):
    letter_id, message = died(history)
    done(history, "replay")
    history.attempt(message, code=500, manual=True, ended_at=history.now_us + SECOND_US)
    assert listed(history) == [letter_id]


def test_letters_that_cannot_be_replayed_are_skipped(history):
    second = history.endpoint("second")
    died(history)
    _, gone = died(history)
    history.api.delete(f"/app/shop/msg/{gone.id}/content")
    died(history, endpoint=second)
    history.api.patch("/app/shop/endpoint/second", {"disabled": True})
    counted = {"count": 1, "skipped": 2, "remaining": 0, "iterator": None}
    assert done(history, "replay", {"dryRun": True}, status=200) == counted
    assert done(history, "replay") == counted
    assert done(history, "replay") == {**counted, "count": 0, "skipped": 3}
    assert history.rows("SELECT COUNT(*) FROM delivery") == [(1,)]


def test_picked_letters_alone_are_replayed(history):
    slow, _ = died(history, "timeout")
    other, _ = died(history, event_type="order.paid")
    died(history)
    assert done(history, "replay", {"ids": [slow, "dead_nothing"]})["count"] == 1
    assert done(history, "replay", {"eventTypes": ["order.paid"]})["count"] == 1
    replayed = {row[0] for row in history.rows("SELECT message_id FROM delivery")}
    assert replayed == {row[0] for row in history.rows("SELECT message_id FROM dead_letter WHERE id IN (?, ?)", (slow, other))}


def test_discarded_letters_disappear(history):
    kept, _ = died(history, "timeout")
    died(history)
    assert done(history, "discard", {"cause": "http_500", "dryRun": True}, status=200)["count"] == 1
    assert done(history, "discard", {"cause": "http_500"})["count"] == 1
    assert listed(history) == [kept]
    assert done(history, "discard", path="/dead-letter")["count"] == 1
    assert listed(history) == []
    assert history.api.get(f"/dead-letter/{kept}").status_code == 404


def test_more_letters_than_a_step_and_than_a_request_takes(history):
    count = 2 * dead_letters.STEP + 7
    for _ in range(count):
        died(history)
    assert done(history, "replay", {"dryRun": True}, status=200)["count"] == count
    first = history.api.run(_limited(history, 2 * dead_letters.STEP))
    assert (first.count, first.skipped, first.remaining) == (2 * dead_letters.STEP, 0, 7)
    rest = done(history, "replay", {"iterator": first.iterator})
    assert (rest["count"], rest["skipped"], rest["remaining"]) == (7, 0, 0)
    assert history.rows("SELECT COUNT(*) FROM delivery") == [(count,)]


async def _limited(history: History, most: int) -> Any:
    service = dead_letters.DeadLetters(history.api.store, history.clock, history.handoff, most=most)
    who = await history.api.tokens.authenticate(b"Bearer sk_test_token_of_the_default_organisation")
    return await service.replay(who, "shop", dead_letters.Picked(), dry_run=False)


def test_a_selection_that_makes_no_sense_is_refused(history):
    for body in ({"ids": []}, {"since": "yesterday"}, {"iterator": "msg_x"}, {"dryRun": 1}, [], {"ids": ["x"] * 1001}):
        assert history.api.post("/app/shop/dead-letter/replay", body).status_code == 422, body
    assert history.api.post("/app/shop/dead-letter/replay", {"endpointId": "ep_nothing"}).status_code == 404


@pytest.mark.parametrize("verb", ["replay", "discard"])
def test_a_selection_with_a_name_that_is_mistyped_selects_nothing_instead_of_all(history, verb):
    letter_id, _ = died(history)
    response = history.api.post(f"/app/shop/dead-letter/{verb}", {"endpointid": history.endpoint_id})
    [problem] = response.json()["detail"]
    assert (response.status_code, problem["loc"]) == (422, ["body", "endpointid"])
    assert "endpointId" in problem["msg"]
    assert listed(history) == [letter_id]
    assert history.rows("SELECT COUNT(*) FROM delivery") == [(0,)]
