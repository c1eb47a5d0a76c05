"""Who may find, export and erase what, and what is left when it is done?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ringback import ids
from ringback.api import messages as messages_api
from ringback.api import privacy as privacy_api
from ringback.api import tasks as tasks_api
from ringback.api.app import Settings, build
from ringback.clock import rfc3339
from ringback.ids import IdMaker
from ringback.model.applications import TokenKind
from ringback.model.dashboard import SavedView
from ringback.model.messages import Origin
from ringback.services.messages import Messages
from ringback.services.privacy import EXPORTS_MAX, Privacy, SubjectIn
from ringback.services.tasks import Tasks
from ringback.services.tokens import DEFAULT_ORG_ID, Principal
from ringback.store.base import Transaction
from ringback.store.operations import saved_views
from ringback.store.operations.lanes import PARKED
from ringback.store.spool import Spool
from tests.api.conftest import TOKEN
from tests.api.history import DAY_US, HOUR_US, SECOND_US, History

MAIL = "jo@example.com"


class Kept(History):
    """A history in which people can be looked for; its tasks are done when the test says so."""

    def __init__(self, api: Any) -> None:
        super().__init__(api)
        self.emptied = 0
        self.tasks = Tasks(api.store, self.clock, self._ids, self.handoff)
        self.privacy = Privacy(api.store, api.vault, self.clock, self._ids, self.tasks, self._empty, None, 0)
        api.app = build(
            api.services,
            api.reader,
            Settings(),
            more=[*messages_api.routes(Messages(api.store, self.clock)), *tasks_api.routes(self.tasks), *privacy_api.routes(self.privacy)],
        )

    async def _empty(self) -> bool:
        # Somebody reads in the log the first time.
        self.emptied += 1
        return self.emptied > 1 and await self.api.store.empty_log()

    def said(self, payload: Any, **more: Any) -> str:
        return str(self.message(payload=payload if isinstance(payload, bytes) else json.dumps(payload).encode(), **more).id)

    def begun(self, **wanted: Any) -> str:
        response = self.api.post("/privacy/erase", wanted)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def step(self, task_id: str) -> Any:
        self.api.run(self.tasks.advance(task_id))
        return self.api.get(f"/background-task/{task_id}").json()

    def done(self, task_id: str) -> Any:
        for _ in range(200):
            task = self.step(task_id)
            if task["status"] != "running":
                assert task["status"] == "finished"
                return task["data"]
        raise AssertionError(task)

    def counted(self, **wanted: Any) -> Any:
        return {name: number for name, number in self.done(self.begun(**wanted, dryRun=True)).items() if number}

    def payloads(self) -> list[bytes | None]:
        return [row[0] for row in self.rows("SELECT payload FROM message ORDER BY seq")]

    def exported(self, token: str = TOKEN, **wanted: Any) -> Any:
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        return self.api.run(self.api._call("POST", "/api/v1/privacy/export", content=json.dumps(wanted).encode(), headers=headers))


@pytest.fixture
def kept(api: Any) -> Kept:
    return Kept(api)


def test_only_what_has_the_text_is_erased_and_its_record_stays(kept: Kept) -> None:
    gone = kept.said({"mail": MAIL})
    kept.said({"mail": "bijo@example.com"})
    kept.said(b"mail=jo%40example.com&n=1", raw=True, content_type="application/x-www-form-urlencoded")
    data = kept.done(kept.begun(subject=MAIL))
    assert data["messages"] == 2
    assert kept.payloads() == [None, b'{"mail": "bijo@example.com"}', None]
    assert kept.api.get(f"/app/shop/msg/{gone}").json()["payload"] == {"expired": True}
    assert kept.emptied == 2, "the log is emptied, however often somebody reads in it"
    assert kept.rows("SELECT COUNT(*) FROM filler") == [(0,)]


def test_a_search_counts_what_an_erasure_would_take_and_takes_nothing(kept: Kept) -> None:
    message = kept.message(payload=json.dumps({"mail": MAIL}).encode())
    kept.attempt(message, code=500, dead="http_500", response=f"no {MAIL} here".encode())
    assert kept.counted(subject=MAIL) == {"messages": 1, "attempts": 1}
    assert kept.payloads() == [message.payload] and kept.emptied == 0
    assert kept.counted(subject=MAIL, at="mail") == {"messages": 1}
    assert kept.counted(subject=MAIL, at="other") == {}


def test_app_and_time_narrow_what_is_meant(kept: Kept) -> None:
    other = kept.api.made("/app", {"name": "Other"})["id"]
    kept.said({"mail": MAIL}, age_us=DAY_US)
    kept.said({"mail": MAIL})
    kept.said({"mail": MAIL}, app_id=other)
    hour_ago = rfc3339(kept.now_us - HOUR_US)
    assert kept.counted(subject=MAIL)["messages"] == 3
    assert kept.counted(subject=MAIL, app="shop", since=hour_ago)["messages"] == 1
    assert kept.counted(subject=MAIL, until=hour_ago)["messages"] == 1
    assert kept.counted(subject=MAIL, app=other)["messages"] == 1
    assert kept.api.post("/privacy/erase", {"subject": MAIL, "app": "nobody"}).status_code == 404
    assert kept.api.post("/privacy/erase", {"subject": MAIL, "source": "nobody"}).status_code == 404


def test_an_organisation_finds_nothing_of_another(kept: Kept) -> None:
    _, token = kept.api.run(kept.api.tokens.create("other"))
    kept.said({"mail": MAIL})
    begun = kept.api.post("/privacy/erase", {"subject": MAIL}, token=token).json()["id"]
    for _ in range(30):
        kept.api.run(kept.tasks.advance(begun))
    assert kept.api.get(f"/background-task/{begun}", token=token).json()["data"]["messages"] == 0
    assert kept.payloads() == [b'{"mail": "jo@example.com"}']
    (end,) = kept.exported(token, subject=MAIL).text.splitlines()
    assert json.loads(end)["kind"] == "end"
    assert kept.api.get(f"/background-task/{begun}").status_code == 404


def test_a_token_of_an_application_may_neither_erase_nor_export(kept: Kept) -> None:
    _, portal = kept.api.run(kept.api.tokens.create(app_id=kept.app_id))
    assert kept.api.post("/privacy/erase", {"subject": MAIL}, token=portal).status_code == 403
    assert kept.exported(portal, subject=MAIL).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"subject": "jo"}, "subject"),
        ({"subject": "  jo  "}, "subject"),
        ({"subject": "a\nbcd"}, "subject"),
        ({"subject": "x" * 257}, "subject"),
        ({"subject": MAIL, "at": "a..b"}, "at"),
        ({"subject": MAIL, "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "since"),
        ({}, "subject"),
        # Narrowed by a name that is mistyped, it would be everybody's.
        ({"subject": MAIL, "appId": "shop"}, "appId"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_field(kept: Kept, body: Any, field: str) -> None:
    response = kept.api.post("/privacy/erase", body)
    assert response.status_code == 422 and response.json()["detail"][0]["loc"] == ["body", field]
    assert kept.exported(**body).status_code == 422


@pytest.mark.parametrize("end", ["finish", "cancel", "give up"])
def test_the_text_is_sealed_while_the_task_runs_and_gone_when_it_ends(kept: Kept, end: str) -> None:
    kept.said({"mail": MAIL})
    task_id = kept.begun(subject=MAIL)
    ((stored,),) = kept.rows("SELECT definition FROM task")
    assert MAIL not in stored and json.loads(stored)["sealed"]
    if end == "finish":
        kept.done(task_id)
    elif end == "cancel":
        kept.api.post(f"/background-task/{task_id}/cancel")
    else:
        kept.api.run(kept.tasks.give_up(task_id, "a defect"))
    ((stored,),) = kept.rows("SELECT definition FROM task")
    assert json.loads(stored)["sealed"] == ""


def test_cancelling_stops_the_walk_and_not_the_cleaning_behind_it(kept: Kept) -> None:
    for _ in range(50):
        kept.said({"mail": MAIL})
    task_id = kept.begun(subject=MAIL)
    assert kept.step(task_id)["data"]["messages"] == 40
    assert kept.api.post(f"/background-task/{task_id}/cancel").json()["status"] == "failed"
    assert kept.payloads().count(None) == 40
    task_id = kept.begun(subject=MAIL)
    while kept.step(task_id)["data"]["stage"] != "log":
        pass
    assert kept.api.post(f"/background-task/{task_id}/cancel").json()["status"] == "running"
    assert kept.done(task_id)["messages"] == 10


def test_a_repeated_request_begins_one_task(kept: Kept) -> None:
    first, second = (kept.api.post("/privacy/erase", {"subject": MAIL}, headers={"idempotency-key": "once"}).json() for _ in range(2))
    assert first == second
    assert kept.rows("SELECT COUNT(*) FROM task") == [(1,)]


def test_the_audit_log_has_who_and_how_many_and_a_digest_of_whom(kept: Kept) -> None:
    kept.said({"mail": MAIL})
    kept.done(kept.begun(subject=MAIL))
    kept.exported(subject=MAIL)
    entries = kept.rows("SELECT action, detail, token_id FROM audit_entry ORDER BY id")
    digest = kept.privacy.digest(MAIL)
    assert [(action, detail) for action, detail, _ in entries] == [
        ("privacy.erasure_begun", f"subject {digest}"),
        ("privacy.erased", f"subject {digest}: messages 1"),
        ("privacy.exported", f"subject {digest}"),
    ]
    assert all(token_id for *_, token_id in entries)
    assert kept.privacy.digest("else") != digest


def test_an_export_is_whole_when_its_last_line_is_there_and_gives_things_as_they_came(kept: Kept) -> None:
    kept.said(b'{"mail": "jo@example.com", "n": 12345678901234567890123}', tags=("vip",), event_id="e1")
    kept.said(b"\xff\xfe " + MAIL.encode(), raw=True, content_type="application/octet-stream")
    lines = [json.loads(line) for line in kept.exported(subject=MAIL).text.splitlines()]
    assert [line["kind"] for line in lines] == ["messages", "messages", "end"]
    assert lines[0]["payload"] == '{"mail": "jo@example.com", "n": 12345678901234567890123}'
    assert (lines[0]["tags"], lines[0]["eventId"]) == (["vip"], "e1")
    assert list(lines[1]["payload"]) == ["base64"]
    assert lines[2]["counts"]["messages"] == 2


def test_of_exports_that_begin_at_once_only_a_few_go_on_and_their_places_are_free_again(kept: Kept) -> None:
    async def several() -> list[int]:
        headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        content = json.dumps({"subject": MAIL}).encode()
        calls = [kept.api._call("POST", "/api/v1/privacy/export", content=content, headers=headers) for _ in range(EXPORTS_MAX + 3)]
        return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert sorted(kept.api.run(several())) == [200] * EXPORTS_MAX + [503] * 3
    assert kept.exported(subject=MAIL, app="nobody").status_code == 404
    assert kept.exported(subject=MAIL).status_code == 200


def test_an_export_counts_before_its_first_line_is_read_and_no_more_once_nobody_reads_it(kept: Kept) -> None:
    async def begun() -> Any:
        return await kept.privacy.export(Principal(TokenKind.ORG, DEFAULT_ORG_ID, None, "key_test"), SubjectIn(subject=MAIL))

    open_ones = [kept.api.run(begun()) for _ in range(EXPORTS_MAX)]
    assert kept.exported(subject=MAIL).status_code == 503
    kept.api.run(open_ones.pop().aclose())
    assert kept.exported(subject=MAIL).status_code == 200
    assert kept.exported(subject=MAIL).status_code == 200


def test_nothing_is_begun_while_acknowledged_requests_wait_in_the_spool(kept: Kept, tmp_path: Path) -> None:
    spool = Spool.open(tmp_path / "spool", 1 << 20, kept.api.vault)
    kept.privacy.spooled = spool.waiting
    kept.api.run(spool.append(MAIL.encode()))
    for wanted in ({"dryRun": True}, {}):
        refused = kept.api.post("/privacy/erase", {"subject": MAIL, **wanted})
        assert refused.status_code == 503 and "wait in the spool (1)" in refused.text
    assert kept.exported(subject=MAIL).status_code == 503
    kept.api.run(spool.remove(spool.oldest or ""))
    assert kept.counted(subject=MAIL) == {}
    kept.api.run(spool.close())


def test_names_of_a_message_go_with_its_payload_and_lists_by_them_find_it_no_more(kept: Kept) -> None:
    kept.message(payload=b'{"a": 1}', event_id="evt_cust-77", tags=("cust-77", "vip"), channels=("cust-77",), ordering_key="cust-77")
    kept.done(kept.begun(subject="cust-77"))
    assert kept.rows("SELECT event_id, tags, channels, ordering_key, payload FROM message") == [(None, '["vip"]', None, None, None)]
    assert kept.rows("SELECT COUNT(*) FROM message_event_id") == [(0,)]
    for label in ("tcust-77", "ccust-77"):
        assert kept.rows("SELECT COUNT(*) FROM message_block WHERE label = ?", (label,)) == [(0,)]
    assert kept.rows("SELECT COUNT(*) FROM message_block WHERE label = 'tvip'") == [(1,)]


def test_a_delivery_in_a_lane_named_by_the_person_leaves_it_and_what_stood_behind_goes_on(kept: Kept) -> None:
    lane = f"={MAIL}"
    old = kept.message(payload=json.dumps({"mail": MAIL}).encode(), age_us=DAY_US)
    new = kept.message(payload=json.dumps({"mail": MAIL}).encode(), age_us=60 * SECOND_US)
    for message, parked in ((old, 0), (new, PARKED)):
        row = (lane, parked, message.id)
        kept.api.run(
            kept.api.store.write(lambda tx, row=row: tx.run("UPDATE delivery SET lane = ?, due_at = due_at + ? WHERE message_id = ?", row))
        )
    kept.done(kept.begun(subject=MAIL, until=rfc3339(kept.now_us - HOUR_US)))
    assert kept.rows("SELECT message_id, lane, due_at < ? FROM delivery ORDER BY message_id", (PARKED,)) == [
        (old.id, None, 1),
        (new.id, lane, 1),
    ]
    kept.done(kept.begun(subject=MAIL))
    assert kept.rows("SELECT lane FROM delivery") == [(None,), (None,)]


def test_views_of_lists_that_were_saved_of_somebody_go_of_this_organisation_alone(kept: Kept) -> None:
    (org_id,) = kept.rows("SELECT org_id FROM application")[0]
    address = "/apps/app_1/messages?q=jo%40example.com&status=failed"
    views = [
        (f"Orders of {MAIL}", "/tasks?status=failed", org_id, 0),
        ("What failed", address, org_id, 0),
        ("What is left", "/tasks?status=failed", org_id, 0),
        (f"Orders of {MAIL}", address, "org_other", 0),
        (f"Old orders of {MAIL}", address, org_id, DAY_US),
    ]

    def write(tx: Transaction) -> None:
        for name, to, org, age_us in views:
            saved_views.insert(tx, SavedView(IdMaker().make(ids.SAVED_VIEW, kept.now_us - age_us), org, name, to))

    kept.api.run(kept.api.store.write(write))
    assert kept.counted(subject=MAIL, app="shop") == kept.counted(subject=MAIL, at="mail") == {}
    exported = [json.loads(line) for line in kept.exported(subject=MAIL).text.splitlines()]
    assert sorted(line["name"] for line in exported if line["kind"] == "savedViews") == [
        f"Old orders of {MAIL}",
        f"Orders of {MAIL}",
        "What failed",
    ]
    since = rfc3339(kept.now_us - HOUR_US)
    assert kept.done(kept.begun(subject=MAIL, since=since))["savedViews"] == 2
    left = kept.rows("SELECT name FROM saved_view ORDER BY name")
    assert left == [(f"Old orders of {MAIL}",), (f"Orders of {MAIL}",), ("What is left",)]
    assert kept.done(kept.begun(subject=MAIL))["savedViews"] == 1


def test_what_sinks_say_of_their_last_failure_goes_of_this_organisation_alone(kept: Kept) -> None:
    (org_id,) = kept.rows("SELECT org_id FROM application")[0]

    def write(tx: Transaction) -> None:
        stream = "INSERT INTO stream VALUES (?, ?, ?, NULL, 's', '', '{}', 0, 0, 0, 0, NULL)"
        sink = (
            "INSERT INTO stream_sink (id, stream_id, type, status, metadata, batch_size, max_wait_s, position, attempts, failure, "
            "created_at, updated_at, missed) VALUES (?, ?, 'http', 'enabled', '{}', 1, 1, 0, 1, ?, 0, 0, 0)"
        )
        for number, org in enumerate((org_id, "org_other")):
            tx.run(stream, (f"strm_{number}", number, org))
            tx.run(sink, (f"sink_{number}", f"strm_{number}", f"the transformation threw Error: {MAIL}"))
        tx.run(sink, ("sink_2", "strm_0", "the endpoint answered 500"))

    kept.api.run(kept.api.store.write(write))
    assert kept.counted(subject=MAIL, app="shop") == kept.counted(subject=MAIL, at="mail") == {}
    assert kept.done(kept.begun(subject=MAIL))["sinkFailures"] == 1
    said = [row[0] for row in kept.rows("SELECT failure FROM stream_sink ORDER BY id")]
    assert said == ["erased", f"the transformation threw Error: {MAIL}", "the endpoint answered 500"]


def test_a_page_that_takes_long_to_mask_is_a_short_one_and_the_next_goes_on(kept: Kept) -> None:
    hidden = Origin("src_1", sensitive=("mail",))
    made = [kept.said({"mail": MAIL, "large": "x" * 200_000}, origin=hidden) for _ in range(9)]
    _, token = kept.api.run(kept.api.tokens.create(app_id=kept.app_id))
    first = kept.api.get("/app/shop/msg", params={"limit": 50}, token=token).json()
    assert 0 < len(first["data"]) < 9 and not first["done"]
    assert {message["payload"]["mail"] for message in first["data"]} == {"***"}
    seen = [message["id"] for message in first["data"]]
    while not first["done"]:
        first = kept.api.get("/app/shop/msg", params={"limit": 50, "iterator": first["iterator"]}, token=token).json()
        seen += [message["id"] for message in first["data"]]
    assert sorted(seen) == sorted(made)
