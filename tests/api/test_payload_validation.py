from __future__ import annotations

import concurrent.futures
import os
import pathlib
import re
import typing

import httpx
import pytest

from tests.acceptance.receiver import Receiver
from tests.api.live import Live, arrived, error, opened, problems
from tests.waiting import wait_until

ORDER = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "string"}, "lines": {"type": "array", "items": {"type": "integer"}}},
}
GOOD = {"id": "a", "lines": [1]}
BAD = {"lines": [1, "two"]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("validation"))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    """A server that refuses what does not fit, unless the event type says otherwise."""
    yield from opened(tmp_path_factory.mktemp("strict"), {"payload_validation": "reject"})


def event_type(live: Live, schema: typing.Any = ORDER, **more: typing.Any) -> str:
    """The name of a new event type."""
    name = live.name("order")
    live.made("/event-type", {"name": name, "description": "", "schemas": {"1": schema}, **more})
    return name


def sent(live: Live, name: str, payload: typing.Any, app: str | None = None, **more: typing.Any) -> httpx.Response:
    """Publish, to a new application unless one is given."""
    headers = more.pop("headers", None)
    return live.post(f"/app/{app or live.app()}/msg", {"eventType": name, "payload": payload, **more}, headers=headers)


def misfits(live: Live) -> dict[str, float]:
    """What the metrics say."""
    text = live.client.get("/metrics").text
    return {mode: float(value) for mode, value in re.findall(r'^ringback_payload_misfits_total\{mode="(\w+)"\} (\S+)$', text, re.MULTILINE)}


def broken(name: str, rule: str) -> str:
    return f"the value breaks the rule {rule} of the newest schema of event type {name!r}"


def absent(name: str, rule: str) -> str:
    return f"the field is missing; the rule {rule} of the newest schema of event type {name!r} asks for it"


def test_nothing_is_compared_unless_it_is_asked_for(live: Live) -> None:
    before = misfits(live)
    assert sent(live, event_type(live), BAD).status_code == 202
    assert sent(live, event_type(live, payloadValidation="off"), BAD).status_code == 202
    assert misfits(live) == before


def test_a_payload_that_does_not_fit_is_refused_with_every_place(live: Live) -> None:
    name = event_type(live, payloadValidation="reject")
    app = live.app()
    assert sent(live, name, GOOD, app).status_code == 202
    refused = sent(live, name, BAD, app)
    assert problems(refused) == [
        (["body", "payload", "id"], absent(name, "required")),
        (["body", "payload", "lines", "[1]"], broken(name, "properties/lines/items/type")),
    ]
    assert {problem["type"] for problem in refused.json()["detail"]} == {"value_error"}
    assert len(live.get(f"/app/{app}/msg").json()["data"]) == 1


def test_a_warning_lets_the_message_through_and_is_counted_and_logged(live: Live) -> None:
    name = event_type(live, payloadValidation="warn")
    before = misfits(live)["warn"]
    app, receiver = live.app(), Receiver()
    live.made(f"/app/{app}/endpoint", {"url": receiver.url + "/warned"})
    for _ in range(3):
        assert sent(live, name, {**BAD, "id": "a"}, app).status_code == 202
    arrived(receiver, "/warned", 3)
    receiver.close()
    assert misfits(live)["warn"] == before + 3

    def lines() -> list[str]:
        return [line for line in live.server.log.read_text().splitlines() if "payload.misfits" in line and name in line]

    wait_until(lines, what="a warning is logged")
    (line,) = lines()
    assert "lines/[1]" in line and "properties/lines/items/type" in line
    assert "two" not in line, "payloads are never logged"


def test_the_highest_numbered_schema_is_the_one_that_counts(live: Live) -> None:
    schemas = {"9": ORDER, "10": {"required": ["ten"]}, "old": False}
    name = live.name("order")
    live.made("/event-type", {"name": name, "description": "", "schemas": schemas, "payloadValidation": "reject"})
    assert sent(live, name, {"ten": 1}).status_code == 202
    assert problems(sent(live, name, GOOD)) == [(["body", "payload", "ten"], absent(name, "required"))]


def test_schemas_are_of_draft_7_unless_they_say_otherwise(live: Live) -> None:
    tuples = {"properties": {"pair": {"items": [{"type": "string"}, {"type": "integer"}]}}}
    name = event_type(live, tuples, payloadValidation="reject")
    assert sent(live, name, {"pair": ["a", 1]}).status_code == 202
    assert sent(live, name, {"pair": ["a", "b"]}).status_code == 422
    newer = {"$schema": "https://json-schema.org/draft/2020-12/schema", "properties": {"pair": {"prefixItems": [{"type": "string"}]}}}
    name = event_type(live, newer, payloadValidation="reject")
    assert sent(live, name, {"pair": ["a"]}).status_code == 202
    assert sent(live, name, {"pair": [1]}).status_code == 422


def test_a_change_of_the_event_type_counts_at_once(live: Live) -> None:
    name = event_type(live)
    path = f"/event-type/{name}"
    assert sent(live, name, BAD).status_code == 202
    assert live.patch(path, {"payloadValidation": "reject"}).json()["payloadValidation"] == "reject"
    assert sent(live, name, BAD).status_code == 422
    live.patch(path, {"schemas": {"1": {"required": ["other"]}}})
    assert sent(live, name, GOOD).status_code == 422
    live.patch(path, {"schemas": None})
    assert sent(live, name, BAD).status_code == 202
    live.patch(path, {"schemas": {"1": ORDER}})
    assert sent(live, name, BAD).status_code == 422
    live.patch(path, {"payloadValidation": None})
    assert sent(live, name, BAD).status_code == 202
    live.put(path, {"description": "", "schemas": {"1": ORDER}, "payloadValidation": "reject"})
    assert sent(live, name, BAD).status_code == 422
    live.delete(path)
    assert sent(live, name, BAD).status_code == 422, "an archived type still promises what it promised"
    live.delete(path + "?expunge=true")
    assert sent(live, name, BAD).status_code == 202


def test_an_unknown_mode_is_refused(live: Live) -> None:
    response = live.post("/event-type", {"name": live.name(), "description": "", "payloadValidation": "maybe"})
    assert response.json() == {
        "detail": [{"loc": ["body", "payloadValidation"], "msg": "'maybe' is not one of off, reject, warn", "type": "value_error"}]
    }


@pytest.mark.parametrize("schema", [{"$ref": "https://schemas.example/order.json"}, {"properties": {"a": {"pattern": "("}}}])
def test_a_schema_that_cannot_be_used_is_refused_where_it_is_to_be_used(live: Live, schema: typing.Any) -> None:
    name = event_type(live, schema)
    (problem,) = problems(live.patch(f"/event-type/{name}", {"payloadValidation": "reject"}))
    assert problem[0] == ["body", "schemas"]
    assert problem[1].startswith("the schema cannot be used: ") and problem[1].endswith("; correct it, or set payloadValidation to off")
    assert live.get(f"/event-type/{name}").json()["payloadValidation"] is None


def test_a_body_that_replaces_the_payload_is_not_compared(live: Live) -> None:
    name = event_type(live, payloadValidation="reject")
    assert sent(live, name, BAD, transformationsParams={"rawPayload": "<xml/>"}).status_code == 202


def test_nothing_is_made_for_a_message_that_is_refused(live: Live) -> None:
    name, uid = event_type(live, payloadValidation="reject"), live.name("new")
    assert sent(live, name, BAD, uid, application={"name": "New", "uid": uid}).status_code == 422
    assert live.get(f"/app/{uid}").status_code == 404
    assert sent(live, name, BAD, uid).status_code == 404


def test_a_key_that_made_a_message_is_answered_with_it_whatever_the_schema_says_now(live: Live) -> None:
    name, app = event_type(live), live.app()
    key = {"idempotency-key": "once"}
    first = sent(live, name, BAD, app, headers=key)
    live.patch(f"/event-type/{name}", {"payloadValidation": "reject"})
    again = sent(live, name, BAD, app, headers=key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert sent(live, name, BAD, app, headers={"idempotency-key": "another"}).status_code == 422
    assert sent(live, name, GOOD, app, headers={"idempotency-key": "another"}).status_code == 202, "a refusal is not kept"


def test_many_problems_are_cut_to_twenty(live: Live) -> None:
    name = event_type(live, payloadValidation="reject")
    assert len(problems(sent(live, name, {"id": "a", "lines": ["x"] * 100}))) == 20


def test_a_large_payload_is_compared_by_a_process_of_its_own(live: Live) -> None:
    name = event_type(live, payloadValidation="reject")
    filler = [1] * 100_000
    assert sent(live, name, {"id": "a", "lines": filler}).status_code == 202
    assert problems(sent(live, name, {"id": "a", "lines": [*filler, "x"]})) == [
        (["body", "payload", "lines", "[100000]"], broken(name, "properties/lines/items/type"))
    ]
    assert len(children(live)) == 1
    os.kill(children(live)[0], 9)
    assert sent(live, name, {"id": "a", "lines": [*filler, "x"]}).status_code in (422, 503), "it may have been asked while it died"
    assert sent(live, name, {"id": "a", "lines": [*filler, "x"]}).status_code == 422, "another one takes its place"


def children(live: Live) -> list[int]:
    """The processes that the server started."""
    pid = live.server.process.pid
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_a_large_schema_is_used_by_that_process_too(live: Live) -> None:
    large = {**ORDER, "description": "x" * 100_000}
    name = event_type(live, large, payloadValidation="reject")
    assert sent(live, name, GOOD).status_code == 202
    assert sent(live, name, BAD).status_code == 422


def test_a_schema_that_never_comes_to_an_end_costs_its_own_publishers_alone(live: Live) -> None:
    levels = {f"A{n}": {"allOf": [{"$ref": f"#/definitions/A{n + 1}"}] * 2} for n in range(60)}
    endless = {"$ref": "#/definitions/A0", "definitions": {**levels, "A60": {"type": "object"}}}
    warned = event_type(live, endless, payloadValidation="warn")
    strict = event_type(live, endless, payloadValidation="reject")
    plain, app = event_type(live), live.app()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = pool.submit(sent, live, strict, GOOD)
        assert sent(live, plain, GOOD, app).status_code == 202
        assert not waiting.done(), "others go on while it is compared"
        assert error(waiting.result()) == (
            503,
            "unavailable",
            "the payload could not be compared with the schema of its event type in time; try again",
        )
    assert sent(live, warned, GOOD, app).status_code == 202, "a warning that cannot be given costs no message"


def test_a_schema_that_refers_to_itself_is_followed(live: Live) -> None:
    node = {"properties": {"next": {"$ref": "#/definitions/node"}, "value": {"type": "integer"}}}
    name = event_type(live, {**node, "definitions": {"node": node}}, payloadValidation="reject")
    assert sent(live, name, {"next": {"next": {"value": 1}}}).status_code == 202
    assert [loc for loc, _ in problems(sent(live, name, {"next": {"next": {"value": "x"}}}))] == [
        ["body", "payload", "next", "next", "value"]
    ]


def test_the_setting_is_for_types_that_say_nothing(strict: Live) -> None:
    assert sent(strict, event_type(strict), BAD).status_code == 422
    assert sent(strict, event_type(strict, payloadValidation="off"), BAD).status_code == 202
    assert sent(strict, event_type(strict, payloadValidation="warn"), BAD).status_code == 202
    assert sent(strict, "nobody.registered", BAD).status_code == 202
    name = strict.name()
    strict.made("/event-type", {"name": name, "description": ""})
    assert sent(strict, name, BAD).status_code == 202, "a type without a schema promises nothing"


def test_what_is_watched_is_known_after_a_restart(tmp_path: pathlib.Path) -> None:
    for start in opened(tmp_path):
        name = event_type(start, payloadValidation="reject")
    for again in opened(tmp_path):
        assert sent(again, name, BAD).status_code == 422
        assert sent(again, name, GOOD).status_code == 202


def test_a_schema_that_is_no_longer_usable_lets_messages_through_and_says_so(tmp_path: pathlib.Path) -> None:
    for lenient in opened(tmp_path):
        name = event_type(lenient, {"$ref": "https://schemas.example/order.json"})
    for strict in opened(tmp_path, {"payload_validation": "reject"}):
        assert sent(strict, name, BAD).status_code == 202
        assert "payload.schema_unusable" in strict.server.log.read_text()
