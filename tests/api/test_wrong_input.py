"""Does every operation say exactly what is wrong with its input? The table is `wrong_inputs.py`; none is left out of it."""

from __future__ import annotations

import collections
import re
import typing

import pytest

from ringback.config.running import find
from tests.acceptance.receiver import Receiver
from tests.api.everything import SETTINGS, Everything
from tests.api.live import opened
from tests.api.wrong_inputs import BODIES, METHODS, PAGES, QUERIES, STRANGERS, UNKNOWN, Wrong, in_query

Asked = tuple[int, typing.Any]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Everything]:
    receiver = Receiver()
    for live in opened(tmp_path_factory.mktemp("wrong"), SETTINGS):
        yield Everything(live, receiver)
    receiver.close()


def ask(there: Everything, method: str, path: str, body: typing.Any = None, token: str | None = None) -> Asked:
    """The status and the whole body of the answer."""
    operator = find(str(there.live.server.database)) if "/operator/" in path else None
    chosen = token or (there.live.server.token if operator is None else operator.token)
    response = there.live.client.request(method, path, json=body, headers={"authorization": f"Bearer {chosen}"})
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()


def test_no_operation_is_left_out(there: Everything) -> None:
    paths = there.live.get("/openapi.json").json()["paths"]
    served = {f"{method.upper()} {path}" for path, item in paths.items() for method in item}
    listed = [*PAGES, *UNKNOWN, *STRANGERS, *METHODS, *QUERIES, *(name for wrong in BODIES for name in wrong.operations)]
    assert collections.Counter(listed) == dict.fromkeys(served, 1)


@pytest.mark.parametrize("operation", PAGES)
def test_a_page_of_nothing_is_refused(there: Everything, operation: str) -> None:
    method, template = operation.split()
    assert ask(there, method, f"{there.path(template)}?limit=0") == (422, in_query("limit", "0 is too low; at least 1"))


@pytest.mark.parametrize("operation", UNKNOWN)
def test_what_does_not_exist_is_not_found(there: Everything, operation: str) -> None:
    method, template = operation.split()
    last = re.findall(r"\{(\w+)\}", template)[-1]
    thing = "no token has the id 'nobody'" if last == "token_id" else "Entity not found"
    assert ask(there, method, there.path(template, **{last: "nobody"})) == (404, {"code": "not_found", "detail": thing})


@pytest.mark.parametrize("operation", STRANGERS)
def test_a_stranger_is_refused(there: Everything, operation: str) -> None:
    method, template = operation.split()
    assert ask(there, method, template, token="nobody") == (401, {"code": "authentication_failed", "detail": "Invalid token"})


@pytest.mark.parametrize("operation", METHODS)
def test_another_method_is_refused(there: Everything, operation: str) -> None:
    detail = "POST is not allowed here; use one of GET, HEAD, OPTIONS"
    assert ask(there, "POST", operation.split()[1]) == (405, {"code": "method_not_allowed", "detail": detail})


@pytest.mark.parametrize("operation", QUERIES)
def test_a_wrong_query_is_refused(there: Everything, operation: str) -> None:
    method, template = operation.split()
    query, status, answer = QUERIES[operation]
    assert ask(there, method, f"{there.path(template)}?{query}") == (status, answer)


@pytest.mark.parametrize(("operation", "wrong"), [(name, wrong) for wrong in BODIES for name in wrong.operations])
def test_every_fault_of_a_body_is_told(there: Everything, operation: str, wrong: Wrong) -> None:
    method, template = operation.split()
    assert ask(there, method, there.path(template), wrong.body) == (422, {"detail": wrong.problems})
