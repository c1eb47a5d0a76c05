from __future__ import annotations

import concurrent.futures
import sqlite3
import typing

import pytest

from tests.api.live import Live, error, opened, problems

CODE = "function handler(webhook) { return webhook; }"
NOTHING = {"code": None, "enabled": False, "variables": None, "updatedAt": None}
NO_ENGINE = (
    "a transformation cannot be run: the server is set to run no transformations (transformation_workers); code and variables are kept, "
    "and messages are sent unchanged; leave `enabled` out, or set it to false"
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("transformations"))


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    """A server that runs none."""
    yield from opened(tmp_path_factory.mktemp("without"), {"transformation_workers": "0"})


def made_path(live: Live) -> str:
    app = live.app()
    wanted = {"url": "https://user:pass@a.example", "uid": "first", "headers": {"Authorization": "Bearer s3cret", "X-Team": "shop"}}
    assert live.made(f"/app/{app}/endpoint", wanted)["uid"] == "first"
    return f"/app/{app}/endpoint/first/transformation"


@pytest.fixture
def path(live: Live) -> str:
    return made_path(live)


@pytest.fixture
def ingest(live: Live) -> str:
    source = live.made("/ingest/api/v1/source", {"name": "anything", "type": "generic-webhook"})
    endpoint = live.made(f"/ingest/api/v1/source/{source['id']}/endpoint", {"url": "https://a.example"})
    return f"/ingest/api/v1/source/{source['id']}/endpoint/{endpoint['id']}/transformation"


@pytest.mark.parametrize("where", ["path", "ingest"])
def test_code_and_variables_are_kept_until_they_are_removed(live: Live, where: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(where)
    assert live.get(path).json() == NOTHING
    written = live.patch(path, {"code": CODE, "variables": {"channel": "#shop"}})
    assert (written.status_code, written.content) == (204, b"")
    kept = live.get(path).json()
    assert kept.pop("updatedAt") is not None
    assert kept == {"code": CODE, "enabled": False, "variables": {"channel": "#shop"}}
    assert live.patch(path, {"variables": None}).status_code == 204
    assert live.get(path).json()["code"] == CODE
    assert live.patch(path, {"code": None, "enabled": False}).status_code == 204
    after = live.get(path).json()
    assert (after["code"], after["variables"]) == (None, None)


def test_a_patch_that_changes_nothing_moves_no_time(live: Live, path: str) -> None:
    live.patch(path, {"code": CODE})
    before = live.get(path).json()
    for same in ({"code": CODE}, {}, {"enabled": False}):
        assert live.patch(path, same).status_code == 204
    assert live.get(path).json() == before


def test_enabling_without_code_is_refused(live: Live, path: str) -> None:
    for body in ({"enabled": True}, {"enabled": True, "code": None}):
        assert live.patch(path, body).json() == {
            "detail": [
                {
                    "loc": ["body", "enabled"],
                    "msg": "there is no code to enable; give `code` as well, or set it before",
                    "type": "value_error",
                }
            ]
        }


def test_without_an_engine_enabling_says_what_is_missing_and_keeps_nothing(without: Live) -> None:
    path = made_path(without)
    assert error(without.patch(path, {"enabled": True, "code": CODE})) == (501, "not_implemented", NO_ENGINE)
    assert error(without.post(f"{path}/try", {"code": CODE, "payload": {}})) == (501, "not_implemented", NO_ENGINE)
    assert without.get(path).json() == NOTHING
    assert without.patch(path, {"code": CODE, "enabled": False}).status_code == 204


@pytest.mark.parametrize("where", ["path", "ingest"])
def test_a_transformation_is_enabled_and_disabled(live: Live, where: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(where)
    assert live.patch(path, {"code": CODE}).status_code == 204
    assert live.get(path).json()["enabled"] is False
    assert live.patch(path, {"enabled": True}).status_code == 204
    assert live.patch(path, {"code": CODE + "//"}).status_code == 204
    assert live.get(path).json()["enabled"] is True
    assert live.patch(path, {"enabled": False}).status_code == 204
    assert (live.get(path).json()["enabled"], live.get(path).json()["code"]) == (False, CODE + "//")


def test_code_that_is_removed_is_off_and_what_comes_later_is_not_on(live: Live, path: str) -> None:
    live.patch(path, {"code": CODE, "enabled": True})
    assert live.patch(path, {"code": None}).status_code == 204
    assert live.get(path).json()["enabled"] is False
    live.patch(path, {"code": CODE})
    assert live.get(path).json()["enabled"] is False


TRYING = """function handler(webhook) {
  console.log("team", webhook.variables.team);
  webhook.method = "PUT";
  webhook.url += "?a=1";
  webhook.payload.kind = webhook.eventType;
  webhook.headers["X-Extra"] = "1";
  return webhook;
}"""


@pytest.mark.parametrize("where", ["path", "ingest"])
def test_code_is_tried_on_a_payload_that_is_given(live: Live, where: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(where)
    wanted = {"code": TRYING, "variables": {"team": "shop"}, "payload": {"n": 1}, "eventType": "order.paid"}
    trial = live.post(f"{path}/try", wanted).json()
    assert trial.pop("cpuMs") >= 0
    own = {"Authorization": "***", "X-Team": "shop"} if where == "path" else {}
    assert trial == {
        "outcome": "sent",
        "msgId": None,
        "eventType": "order.paid",
        "request": {
            "method": "PUT",
            # Without the password that it has, as the value of the header.
            "url": "https://a.example/?a=1",
            "headers": own | {"X-Extra": "1"},
            "contentType": "application/json",
            "payload": '{"n":1,"kind":"order.paid"}',
        },
        "error": None,
        "console": ["team shop"],
    }
    # Nothing of it is kept.
    assert live.get(path).json() == NOTHING


def test_code_is_tried_on_a_message_by_its_name_or_on_the_newest(live: Live, path: str) -> None:
    app = path.split("/")[2]
    assert error(live.post(f"{path}/try", {"code": CODE}))[:2] == (400, "no_message")
    first, second = (
        live.made(f"/app/{app}/msg", {"eventType": "a.b", "eventId": name, "payload": {"name": name}})["id"] for name in ("one", "two")
    )
    live.patch(path, {"code": CODE})
    newest = live.post(f"{path}/try", {}).json()
    assert (newest["msgId"], newest["request"]["payload"]) == (second, '{"name": "two"}')
    for name in (first, "one"):
        assert live.post(f"{path}/try", {"msgId": name}).json()["msgId"] == first
    assert live.delete(f"/app/{app}/msg/{second}/content").status_code == 204
    assert live.post(f"{path}/try", {}).json()["msgId"] == first
    assert error(live.post(f"{path}/try", {"msgId": second}))[:2] == (400, "missing_payload")
    (wrong,) = problems(live.post(f"{path}/try", {"msgId": "nobody"}))
    assert wrong == (["body", "msgId"], "the application has no message 'nobody'; give the id of one, or none")


def test_a_trial_says_what_is_wrong_and_at_which_line(live: Live, path: str) -> None:
    code = 'function handler(webhook) {\n  console.log("here");\n  return webhook.a.b;\n}'
    trial = live.post(f"{path}/try", {"code": code, "payload": {}}).json()
    assert (trial["outcome"], trial["request"], trial["console"]) == ("failed", None, ["here"])
    assert trial["error"] == {"message": "TypeError: cannot read property 'b' of undefined", "line": 3, "column": 10}
    trial = live.post(f"{path}/try", {"code": "function handler() { return {payload: 5}; }", "payload": {}}).json()
    words = "`payload` is 5; it must be an object, an array or a text"
    assert trial["error"] == {"message": words, "line": None, "column": None}
    trial = live.post(f"{path}/try", {"code": "function handler() { while (true) {} }", "payload": {}}).json()
    assert trial["error"]["message"] == "it was stopped after 1 s of CPU time"


def test_a_trial_says_that_nothing_would_be_sent(live: Live, path: str) -> None:
    trial = live.post(f"{path}/try", {"code": "function handler() { return {cancel: true}; }", "payload": {}}).json()
    assert (trial["outcome"], trial["request"], trial["error"]) == ("cancelled", None, None)


def test_there_must_be_code_to_try(live: Live, path: str) -> None:
    assert problems(live.post(f"{path}/try", {"payload": {}})) == [(["body", "code"], "the endpoint has no code yet; give some to try")]


def test_every_wrong_field_of_a_transformation_is_named(live: Live, path: str) -> None:
    assert problems(live.patch(path, {"code": "short", "enabled": None, "variables": {"a": 1}})) == [
        (["body", "code"], "Expected `str` of length >= 10"),
        (["body", "enabled"], "Expected `bool`, got `null`"),
        (["body", "variables", "a"], "Expected `str`, got `int`"),
    ]
    assert problems(live.patch(path, {"code": "x" * 51_201, "variables": {"a": "x" * 51_200}})) == [
        (["body", "code"], "Expected `str` of length <= 51200"),
        (["body", "variables"], "the variables have 51208 bytes as compact JSON; at most 51200 are allowed"),
    ]
    assert live.get(path).json() == NOTHING


def test_an_endpoint_that_is_not_there_has_no_transformation(live: Live, path: str, ingest: str) -> None:
    app = path.split("/")[2]
    missing = f"/app/{app}/endpoint/nobody/transformation"
    elsewhere = f"/app/{live.app()}/endpoint/first/transformation"
    source = ingest.rpartition("/endpoint/")[0] + "/endpoint/nobody/transformation"
    tried = live.post(f"{missing}/try", {"code": CODE, "payload": {}})
    for response in (live.get(missing), live.patch(missing, {}), live.get(elsewhere), live.get(source), live.patch(source, {}), tried):
        assert error(response) == (404, "not_found", "Entity not found")


def test_a_portal_token_needs_the_capability_to_write(live: Live, path: str) -> None:
    app = path.split("/")[2]
    reader = live.portal_token(app, capabilities=["ViewBase"])
    writer = live.portal_token(app, capabilities=["ManageTransformations"])
    assert live.get(path, token=reader).status_code == 200
    detail = "This token may not do that: it lacks the capability ManageTransformations"
    assert error(live.patch(path, {"code": CODE}, token=reader)) == (403, "insufficient access", detail)
    assert error(live.post(f"{path}/try", {"code": CODE, "payload": {}}, token=reader)) == (403, "insufficient access", detail)
    assert live.patch(path, {"code": CODE}, token=writer).status_code == 204
    assert live.post(f"{path}/try", {"payload": {}}, token=writer).status_code == 200


def test_the_portal_token_of_a_source_reaches_the_transformations_of_its_endpoints(live: Live, ingest: str) -> None:
    source = ingest.rpartition("/endpoint/")[0]
    token = live.made(f"{source}/dashboard", {})["token"]
    reader = live.made(f"{source}/dashboard", {"readOnly": True})["token"]
    assert live.patch(ingest, {"code": CODE}, token=token).status_code == 204
    assert live.get(ingest, token=reader).json()["code"] == live.get(ingest, token=token).json()["code"] == CODE
    assert live.post(f"{ingest}/try", {"payload": {}}, token=token).status_code == 200
    detail = "This token may not do that: it lacks the capability ManageTransformations"
    assert error(live.patch(ingest, {"code": None}, token=reader)) == (403, "insufficient access", detail)
    other = live.made("/ingest/api/v1/source", {"name": "another", "type": "generic-webhook"})["id"]
    stranger = live.made(f"/ingest/api/v1/source/{other}/dashboard", {})["token"]
    assert [live.call(method, ingest, {}, token=stranger).status_code for method in ("GET", "PATCH")] == [404, 404]


def test_code_and_variables_are_sealed_at_rest(live: Live, path: str) -> None:
    live.patch(path, {"code": CODE + "// s3cret-code", "variables": {"key": "s3cret-value"}})
    with sqlite3.connect(f"file:{live.server.database}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT code, variables FROM endpoint_transformation WHERE code IS NOT NULL").fetchall()
    stored = b"".join(bytes(code) + bytes(variables or b"") for code, variables in rows)
    assert rows and b"s3cret" not in stored


def test_a_deleted_endpoint_takes_its_transformation_along(live: Live, path: str) -> None:
    live.patch(path, {"code": CODE})
    live.delete(path.removesuffix("/transformation"))
    assert live.get(path).status_code == 404
    app = path.split("/")[2]
    live.made(f"/app/{app}/endpoint", {"url": "https://b.example", "uid": "first"})
    assert live.get(path).json() == NOTHING


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    """A server that gives code little time."""
    yield from opened(tmp_path_factory.mktemp("hasty"), {"transformation_timeout": "300ms"})


def test_an_application_tries_a_few_transformations_at_once_and_no_more(hasty: Live) -> None:
    path = made_path(hasty)
    wanted = {"code": "function handler() { while (true) {} }", "payload": {}}
    with concurrent.futures.ThreadPoolExecutor(24) as threads:
        answers = list(threads.map(lambda _: hasty.post(f"{path}/try", wanted), range(24)))
    refused = [answer.json() for answer in answers if answer.status_code == 400]
    tried = [answer.json() for answer in answers if answer.status_code == 200]
    assert len(refused) + len(tried) == 24 and len(tried) >= 8
    words = "8 transformations of this application are being tried; wait until one has ended"
    assert {(answer["code"], answer["detail"]) for answer in refused} == {("too_many_trials", words)}
    assert {answer["outcome"] for answer in tried} == {"failed"}
    # Others may try theirs, and so may the application once those have ended.
    for other in (made_path(hasty), path):
        assert hasty.post(f"{other}/try", {"code": CODE, "payload": {}}).json()["outcome"] == "sent"
