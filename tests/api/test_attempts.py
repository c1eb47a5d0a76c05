from __future__ import annotations

from typing import Any

import pytest

from ringback import ids
from ringback.clock import rfc3339
from ringback.model.deliveries import AttemptStatus
from ringback.store.operations import retention
from tests.api.history import DAY_US, SECOND_US, History, ids_of, walked


@pytest.fixture
def history(api: Any) -> History:
    return History(api)


def standings(history: History, **query: Any) -> list[tuple[str, int]]:
    return [(item["id"], item["status"]) for item in history.get("/endpoint/first/msg", **query)["data"]]


def test_an_attempt_is_shown_with_all_its_facts(history):
    message = history.message()
    attempt = history.attempt(message)
    assert history.get(f"/msg/{message.id}/attempt/{attempt.id}") == {
        "id": attempt.id,
        "msgId": message.id,
        "endpointId": history.endpoint_id,
        "url": "https://first.example/hook",
        "timestamp": rfc3339(attempt.started_at),
        "status": 0,
        "statusText": "success",
        "triggerType": 0,
        "response": "ok",
        "responseStatusCode": 200,
        "responseDurationMs": 256,
        "msg": None,
        "attempt": 1,
        "sequence": 1,
        "errorClass": None,
        "cause": "the endpoint answered 200",
        "address": "203.0.113.7:443",
        "waitCause": None,
        "nextDueAt": None,
        "nextCause": None,
        "phasesMs": {"dns": 1.2, "connect": 3.4, "tls": None, "send": 0.05, "wait": 250.0, "body": 0.01},
        "responseHeaders": [["Server", "shop"], ["Set-Cookie", "a"], ["Set-Cookie", "b"]],
        "requestHeaders": [["webhook-id", "x"]],
        "requestBody": None,
    }


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("größe".encode(), "größe"),
        ("größe €".encode()[:-1], "größe "),
        ("größe 😀".encode()[:-1], "größe "),
        (b"\xff\xfe", "//4="),
        (b"a\xc3b", "YcNi"),
        (b"", ""),
        (b"nul \x00", "nul \x00"),
    ],
)
def test_a_response_is_shown_as_text_or_as_base64(history, body, shown):
    message = history.message()
    attempt = history.attempt(message, response=body)
    assert history.get(f"/msg/{message.id}/attempt/{attempt.id}")["response"] == shown


def test_without_an_answer_the_response_is_the_cause(history):
    message = history.message()
    attempt = history.attempt(message, code=0, error="dns", detail="no such host", response=b"", retry_in_us=SECOND_US)
    shown = history.get(f"/msg/{message.id}/attempt/{attempt.id}")
    assert (shown["response"], shown["responseStatusCode"], shown["errorClass"]) == ("no such host", 0, "dns")


def test_an_expunged_response_is_gone_and_the_attempt_stays(history):
    message = history.message()
    attempt = history.attempt(message)
    path = f"/app/shop/msg/{message.id}/attempt/{attempt.id}/content"
    assert history.api.delete(path).status_code == 204
    shown = history.get(f"/msg/{message.id}/attempt/{attempt.id}")
    assert (shown["response"], shown["responseHeaders"], shown["responseStatusCode"]) == ("EXPUNGED", [], 200)


def test_what_a_transformation_made_of_a_payload_is_gone_with_the_payload(history):
    message = history.message()
    old, expunged = history.message(expires_at=history.now_us - 1), history.message()
    made = {m.id: history.attempt(m, sent=b'{"b": 2}').id for m in (message, old, expunged)}
    assert history.get(f"/msg/{expunged.id}/attempt/{made[expunged.id]}")["requestBody"] == '{"b": 2}'
    history.api.delete(f"/app/shop/msg/{expunged.id}/content")
    # The time of a payload is over when it is, and not when its row is swept away.
    shown = [history.get(f"/msg/{id}/attempt/{attempt}")["requestBody"] for id, attempt in made.items()]
    assert shown == ['{"b": 2}', None, None]
    assert history.rows("SELECT message_id FROM attempt_body") == [(message.id,), (old.id,)]


def test_what_was_sent_in_place_of_payloads_is_swept_with_its_attempts_slice_by_slice(history):
    for _ in range(3):
        history.attempt(history.message(), sent=b'{"b": 2}')
    left = []
    for _ in range(2):
        history.api.run(history.api.store.write(lambda tx: retention.purge_attempts(tx, history.now_us + 3600 * SECOND_US, 2)))
        left.append(history.rows("SELECT COUNT(*) FROM attempt_body")[0][0])
    assert left == [1, 0]


def test_what_was_sent_in_place_of_payloads_is_swept_with_its_messages(history):
    history.attempt(history.message(), sent=b'{"b": 2}')
    history.api.run(history.api.store.write(lambda tx: retention.purge_messages(tx, history.now_us + 3600 * SECOND_US, 2)))
    assert history.rows("SELECT COUNT(*) FROM attempt_body") == [(0,)]


def test_an_attempt_of_another_message_is_not_found(history):
    message, other = history.message(), history.message()
    attempt = history.attempt(message)
    assert history.api.get(f"/app/shop/msg/{other.id}/attempt/{attempt.id}").status_code == 404
    assert history.api.delete(f"/app/shop/msg/{other.id}/attempt/{attempt.id}/content").status_code == 404


def test_lists_show_attempts_by_endpoint_and_by_message(history):
    second = history.endpoint("second")
    message, other = history.message(history.endpoint_id, second), history.message()
    failed = history.attempt(message, code=500, retry_in_us=0)
    won = history.attempt(message)
    elsewhere = history.attempt(message, second)
    others = history.attempt(other)
    assert ids_of(history.get("/attempt/endpoint/first")) == sorted([failed.id, won.id, others.id], reverse=True)
    assert walked(history, f"/attempt/msg/{message.id}", 1) == sorted([failed.id, won.id, elsewhere.id], reverse=True)
    for path in (f"/attempt/msg/{message.id}?endpoint_id=second", f"/msg/{message.id}/attempt?endpoint_id={second}"):
        assert ids_of(history.api.get(f"/app/shop{path}").json()) == [elsewhere.id]
    assert ids_of(history.get(f"/msg/{message.id}/endpoint/second/attempt")) == [elsewhere.id]
    assert history.api.get(f"/app/shop/attempt/msg/{message.id}?endpoint_id=nobody").status_code == 404
    assert history.api.get("/app/shop/attempt/endpoint/nobody").status_code == 404


def test_attempt_lists_go_back_with_the_other_cursor(history):
    made = [history.attempt(history.message()).id for _ in range(5)]
    made.sort(reverse=True)
    page = history.get("/attempt/endpoint/first", limit=2, iterator=made[3])
    assert (ids_of(page), page["done"]) == ([made[4]], True)
    page = history.get("/attempt/endpoint/first", limit=2, iterator=page["prevIterator"])
    assert (ids_of(page), page["done"]) == ([made[2], made[3]], False)


def test_lists_without_content_hold_no_responses(history):
    message = history.message()
    history.attempt(message)
    shown = history.get("/attempt/endpoint/first", with_content="false")["data"][0]
    assert (shown["response"], shown["responseHeaders"], shown["requestHeaders"]) == ("{}", None, None)


def test_with_msg_adds_the_message_without_its_payload(history):
    message = history.message(tags=("t",))
    history.attempt(message)
    shown = history.get("/attempt/endpoint/first", with_msg="true")["data"][0]["msg"]
    assert (shown["id"], shown["tags"], shown["payload"]) == (message.id, ["t"], {})
    assert history.get("/attempt/endpoint/first")["data"][0]["msg"] is None


def test_attempts_are_narrowed_by_status_class_and_message(history):
    won = history.attempt(history.message(channels=("eu",), tags=("t",), event_type="a.b"))
    moved = history.attempt(history.message(), code=301, dead="http_301")
    silent = history.attempt(history.message(), code=0, dead="timeout")
    early = history.attempt(history.message(), code=99, dead="http_99")

    def found(**query: Any) -> set[str]:
        return set(walked(history, "/attempt/endpoint/first", 2, **query))

    assert found(status=0) == {won.id}
    assert found(status=2) == {moved.id, silent.id, early.id}
    assert found(status=1) == found(status=3) == set()
    assert found(status_code_class=0) == {silent.id, early.id}
    assert found(status_code_class=300) == {moved.id}
    assert found(channel="eu") == found(tag="t") == found(event_types="a.b,c") == {won.id}
    assert found(channel="eu", status=2) == set()
    assert set(ids_of(history.get(f"/attempt/msg/{won.message_id}", tag="t", status_code_class=200))) == {won.id}
    assert history.api.get("/app/shop/attempt/endpoint/first?status=7").status_code == 422
    assert history.api.get("/app/shop/attempt/endpoint/first?status=x").status_code == 400
    assert history.api.get("/app/shop/attempt/endpoint/first?status_code_class=600").status_code == 422


def test_a_canceled_attempt_is_a_success_unless_statuses_are_expanded(history):
    message = history.message()
    attempt = history.attempt(message, code=0, status=4)

    def shown(**query: Any) -> list[tuple[int, str]]:
        return [(item["status"], item["statusText"]) for item in history.get("/attempt/endpoint/first", **query)["data"]]

    assert shown() == shown(status=0) == shown(status=4) == [(0, "success")]
    assert shown(expanded_statuses="true") == shown(expanded_statuses="true", status=4) == [(4, "canceled")]
    assert shown(expanded_statuses="true", status=0) == []
    assert history.get(f"/msg/{message.id}/attempt/{attempt.id}", expanded_statuses="true")["status"] == 4
    assert standings(history) == standings(history, status=0) == standings(history, status=4) == [(message.id, 0)]
    assert standings(history, expanded_statuses="true") == standings(history, expanded_statuses="true", status=4) == [(message.id, 4)]
    assert standings(history, expanded_statuses="true", status=0) == []


def test_each_attempted_message_has_one_standing_and_the_filters_agree(history):
    won, dead, retrying, waiting = (history.message() for _ in range(4))
    history.attempt(won, code=500, retry_in_us=0)
    history.attempt(won)
    history.attempt(dead, code=500, dead="http_500")
    history.attempt(retrying, code=500, retry_in_us=60 * SECOND_US)
    assert standings(history) == [(retrying.id, 3), (dead.id, 2), (won.id, 0)]
    by_filter = {status: standings(history, status=int(status)) for status in AttemptStatus}
    assert by_filter == {0: [(won.id, 0)], 1: [(waiting.id, 1)], 2: [(dead.id, 2)], 3: [(retrying.id, 3)], 4: []}
    shown = {item["id"]: item for item in history.get("/endpoint/first/msg")["data"]}
    assert shown[retrying.id]["nextAttempt"] == rfc3339(history.now_us + 60 * SECOND_US)
    assert shown[dead.id]["nextAttempt"] is shown[won.id]["nextAttempt"] is None
    assert (shown[won.id]["statusText"], shown[won.id]["payload"], shown[won.id]["timestamp"]) == (
        "success",
        {"a": 1},
        rfc3339(won.created_at),
    )


def test_a_failed_attempt_after_a_success_changes_nothing(history):
    message = history.message()
    history.attempt(message)
    assert history.post(f"/msg/{message.id}/endpoint/first/resend").status_code == 202
    history.attempt(message, code=500, manual=True, ended_at=history.now_us + SECOND_US)
    assert standings(history) == standings(history, status=0) == [(message.id, 0)]


def test_what_a_disabled_endpoint_never_got_reads_as_failed(history):
    retrying, waiting = history.message(), history.message()
    history.attempt(retrying, code=500, retry_in_us=60 * SECOND_US)
    history.api.patch("/app/shop/endpoint/first", {"disabled": True})
    assert standings(history) == standings(history, status=2) == [(retrying.id, 2)]
    assert standings(history, status=1) == standings(history, status=3) == []
    assert history.get("/endpoint/first/msg")["data"][0]["nextAttempt"] is None
    assert history.get(f"/msg/{retrying.id}/endpoint")["data"][0]["status"] == 2
    assert history.get(f"/msg/{waiting.id}/endpoint")["data"] == []


def test_attempted_messages_page_both_ways_and_are_narrowed_by_message_and_time(history):
    made = [history.message(channels=("odd",) if n % 2 else None, age_us=(9 - n) * 60 * SECOND_US) for n in range(9)]
    for message in made:
        history.attempt(message)
    newest = [message.id for message in reversed(made)]
    assert walked(history, "/endpoint/first/msg", 2) == newest
    assert walked(history, "/endpoint/first/msg", 2, status=0, channel="odd") == newest[1::2]
    page = history.get("/endpoint/first/msg", limit=2, iterator="-" + newest[5])
    assert (ids_of(page), page["done"]) == (newest[3:5], False)
    assert ids_of(history.get("/endpoint/first/msg", before=rfc3339(made[1].created_at))) == newest[-1:]


def test_the_time_window_of_attempted_messages_is_that_of_the_message(history):
    message = history.message(age_us=91 * DAY_US)
    history.attempt(message, ended_at=history.now_us)
    assert standings(history) == []
    assert standings(history, before=rfc3339(history.now_us - 90 * DAY_US)) == [(message.id, 0)]


def test_the_destinations_of_a_message_include_deleted_endpoints(history):
    others = [history.endpoint(f"n{n}") for n in range(3)]
    message = history.message(history.endpoint_id, *others[:2])
    history.attempt(message, code=500, retry_in_us=60 * SECOND_US)
    history.attempt(message, others[0])
    history.attempt(message, others[1], code=500, retry_in_us=60 * SECOND_US)
    history.api.delete("/app/shop/endpoint/n1")
    page = history.get(f"/msg/{message.id}/endpoint")
    assert [(item["id"], item["status"]) for item in page["data"]] == [(history.endpoint_id, 3), (others[0], 0), (others[1], 2)]
    assert page["data"][0]["url"] == "https://first.example/hook"
    assert "metadata" not in page["data"][0]
    assert walked(history, f"/msg/{message.id}/endpoint", 1) == [history.endpoint_id, *others[:2]]
    page = history.get(f"/msg/{message.id}/endpoint", limit=1, iterator="-" + others[1])
    assert (ids_of(page), page["done"]) == ([others[0]], False)


def test_a_resend_is_one_manual_delivery_due_now_under_the_same_sequence(history):
    history.attempt(history.message())
    message = history.message()
    history.attempt(message, code=500, retry_in_us=60 * SECOND_US)
    response = history.post(f"/msg/{message.id}/endpoint/first/resend")
    assert (response.status_code, response.json()) == (202, {})
    assert history.handoff.woken == [(history.endpoint_id, history.app_id)]
    assert history.delivery(message, manual=True).sequence == history.delivery(message).sequence == 2
    assert standings(history, status=3) == [(message.id, 3)]
    history.attempt(message, manual=True, ended_at=history.now_us + SECOND_US)
    assert history.rows("SELECT * FROM delivery") == []
    assert standings(history)[0] == (message.id, 0)


def test_a_resend_before_the_first_scheduled_attempt_leaves_that_as_the_retry(history):
    lost, won = history.message(deliver_at=history.now_us + 60 * SECOND_US), history.message()
    for message, code in ((lost, 500), (won, 200)):
        assert history.post(f"/msg/{message.id}/endpoint/first/resend").status_code == 202
        history.attempt(message, code=code, manual=True, ended_at=history.now_us + SECOND_US)
    assert standings(history) == [(won.id, 0), (lost.id, 3)]
    assert standings(history, status=3) == [(lost.id, 3)]
    assert standings(history, status=1) == standings(history, status=2) == []
    assert history.get("/endpoint/first/msg")["data"][1]["nextAttempt"] == rfc3339(history.now_us + 60 * SECOND_US)
    assert history.rows("SELECT message_id FROM delivery") == [(lost.id,)]


def test_resends_at_the_same_instant_are_as_many_attempts(history):
    message = history.message()
    history.attempt(message)
    for _ in range(3):
        assert history.post(f"/msg/{message.id}/endpoint/first/resend").status_code == 202
    assert history.rows("SELECT COUNT(*) FROM delivery WHERE trigger = 1") == [(3,)]


def test_a_resend_to_an_endpoint_that_never_got_the_message_takes_the_next_number(history):
    second = history.endpoint("second")
    history.attempt(history.message(second), second)
    message = history.message()
    assert history.post(f"/msg/{message.id}/endpoint/second/resend").status_code == 202
    assert history.delivery(message, second, manual=True).sequence == 2
    assert history.delivery(history.message(second), second).sequence == 3


def test_a_resend_with_a_repeated_key_happens_once(history):
    message = history.message()
    for _ in range(2):
        path = f"/app/shop/msg/{message.id}/endpoint/first/resend"
        response = history.api.post(path, headers={"idempotency-key": "again"})
        assert (response.status_code, response.json()) == (202, {})
    assert history.rows("SELECT COUNT(*) FROM delivery WHERE trigger = 1") == [(1,)]


def test_a_resend_is_refused_when_it_cannot_be_made(history):
    message, gone = history.message(), history.message(expires_at=history.now_us - 1)
    assert history.post(f"/msg/{gone.id}/endpoint/first/resend").json()["code"] == "missing_payload"
    history.api.delete(f"/app/shop/msg/{message.id}/content")
    assert history.post(f"/msg/{message.id}/endpoint/first/resend").json()["code"] == "missing_payload"
    other = history.message()
    assert history.post("/msg/msg_nothing/endpoint/first/resend").status_code == 404
    assert history.post(f"/msg/{other.id}/endpoint/nobody/resend").status_code == 404
    history.api.patch("/app/shop/endpoint/first", {"disabled": True})
    response = history.post(f"/msg/{other.id}/endpoint/first/resend")
    assert (response.status_code, response.json()["code"]) == (400, "endpoint_disabled")
    history.api.delete("/app/shop/endpoint/first")
    assert history.post(f"/msg/{other.id}/endpoint/first/resend").status_code == 404
    assert history.handoff.woken == []


def test_stats_count_attempts_by_outcome_and_what_waits(history):
    history.attempt(history.message(age_us=60 * SECOND_US))
    history.attempt(history.message(age_us=50 * SECOND_US), code=500, dead="http_500")
    history.attempt(history.message(age_us=40 * SECOND_US), code=500, retry_in_us=SECOND_US)
    history.attempt(history.message(age_us=30 * SECOND_US), code=0, status=4)
    history.message()
    history.handoff.flying = 2
    assert history.get("/endpoint/first/stats") == {"success": 1, "fail": 2, "canceled": 1, "pending": 1, "sending": 2}


def test_stats_are_exact_at_the_edges_of_a_window(history):
    minute = (history.now_us // 60_000_000 - 10) * 60_000_000
    times = [minute + offset * SECOND_US for offset in (0, 30, 59, 60, 61, 120, 150, 179, 180)]
    for at_us in times:
        history.attempt(history.message(age_us=history.now_us - at_us), ended_at=at_us)
    for since in times:
        for until in times:
            expected = sum(since <= at < until for at in times)
            response = history.api.get("/app/shop/endpoint/first/stats", params={"since": rfc3339(since), "until": rfc3339(until)})
            assert response.status_code == (200 if since <= until else 400)
            if since <= until:
                assert response.json()["success"] == expected, (since, until)


def test_a_window_of_stats_that_is_none_is_refused(history):
    def code(**query: int) -> Any:
        return history.api.get("/app/shop/endpoint/first/stats", params={k: rfc3339(v) for k, v in query.items()}).json().get("code")

    now = history.now_us
    assert code(until=now + 60 * SECOND_US) == "invalid_range"
    assert code(since=now - 28 * DAY_US - 400 * SECOND_US) == "invalid_range"
    assert code(since=now - 28 * DAY_US - 200 * SECOND_US) is None
    assert code(since=now - 40 * DAY_US, until=now - 20 * DAY_US) is None
    assert code(since=now - 20 * DAY_US, until=now - 40 * DAY_US) == "invalid_range"
    assert history.api.get("/app/shop/endpoint/nobody/stats").status_code == 404


def test_a_foreign_cursor_of_each_list_is_refused(history):
    message = history.message()
    for path, prefix in (
        ("/attempt/endpoint/first", ids.MESSAGE),
        (f"/attempt/msg/{message.id}", ids.ENDPOINT),
        ("/endpoint/first/msg", ids.ATTEMPT),
        (f"/msg/{message.id}/endpoint", ids.MESSAGE),
    ):
        assert history.api.get(f"/app/shop{path}", params={"iterator": ids.start_id(prefix, 0)}).status_code == 422


def test_a_filtered_list_of_a_long_history_answers_in_parts_and_loses_nothing(history):
    history.attempt(history.message(age_us=SECOND_US), code=500, dead="http_500")
    ((first,),) = history.rows("SELECT MAX(seq) FROM attempt")

    async def copy_to(count: int) -> None:
        # 60,000 more messages of the minute before, with one successful attempt each; too many to be made one by one. They are older than
        # all blocks, so nothing but a look at each tells what they are.
        made = [
            (start[:-6] + f"{n:06}", start.replace("msg_", "atmpt_")[:-6] + f"{n:06}")
            for start in [ids.start_id("msg_", history.now_us - 60 * SECOND_US)]
            for n in range(count)
        ]
        columns = [row[1] for row in await history.api.store.read(lambda tx: tx.rows("PRAGMA table_info(attempt)"))]
        kept = ", ".join(column for column in columns if column not in ("seq", "id", "message_id", "status"))
        of_message = "app_id, event_type, created_at, expires_at, content_type, raw, matched"

        def write(tx: Any) -> None:
            tx.run_many(
                f"INSERT INTO message (id, {of_message}) SELECT ?, {of_message} FROM message WHERE seq = 1",
                [(message_id,) for message_id, _ in made],
            )
            tx.run_many(
                f"INSERT INTO attempt (id, message_id, status, {kept}) SELECT ?, ?, 0, {kept} FROM attempt WHERE seq = {first}",
                [(attempt_id, message_id) for message_id, attempt_id in made],
            )

        await history.api.store.write(write)

    oldest = history.message(age_us=120 * SECOND_US)
    history.attempt(oldest, code=500, dead="http_500")
    history.api.run(copy_to(60_000))
    for path, query, at_once in (
        ("/endpoint/first/msg", {"status": 2}, 2),
        ("/endpoint/first/msg", {"event_types": "order.created", "status": 2}, 2),
        ("/attempt/endpoint/first", {"status": 2}, 1),
    ):
        assert len(history.get(path, **query)["data"]) == at_once, path
        assert len(walked(history, path, 50, **query)) == 2, path
    assert walked(history, "/msg", 50, channel="none") == []
    shown = history.get("/msg", channel="none")
    assert (shown["data"], shown["done"], shown["iterator"] is None) == ([], False, False)
