from __future__ import annotations

import sqlite3
import typing

import pytest

from tests.api.live import Live, error, opened, problems

CODE = "function handler(webhook) { return webhook; }"
NOTHING = {"code": None, "enabled": False, "variables": None, "updatedAt": None}
NO_ENGINE = (
    "a transformation runs in a JavaScript engine, and this version has none: code and variables are kept, and messages are sent "
    "unchanged; leave `enabled` out, or set it to false"
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("transformations"))


@pytest.fixture
def path(live: Live) -> str:
    app = live.app()
    endpoint = live.made(f"/app/{app}/endpoint", {"url": "https://a.example", "uid": "first"})
    assert endpoint["uid"] == "first"
    return f"/app/{app}/endpoint/first/transformation"


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


@pytest.mark.parametrize("where", ["path", "ingest"])
def test_enabling_says_what_is_missing_and_keeps_nothing(live: Live, where: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(where)
    assert error(live.patch(path, {"enabled": True, "code": CODE})) == (501, "not_implemented", NO_ENGINE)
    assert live.get(path).json() == NOTHING


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
    for response in (live.get(missing), live.patch(missing, {}), live.get(elsewhere), live.get(source), live.patch(source, {})):
        assert error(response) == (404, "not_found", "Entity not found")


def test_a_portal_token_needs_the_capability_to_write(live: Live, path: str) -> None:
    app = path.split("/")[2]
    reader = live.portal_token(app, capabilities=["ViewBase"])
    writer = live.portal_token(app, capabilities=["ManageTransformations"])
    assert live.get(path, token=reader).status_code == 200
    detail = "This token may not do that: it lacks the capability ManageTransformations"
    assert error(live.patch(path, {"code": CODE}, token=reader)) == (403, "insufficient access", detail)
    assert live.patch(path, {"code": CODE}, token=writer).status_code == 204


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
