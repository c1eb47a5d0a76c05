from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback import ids
from tests.api.conftest import Api
from tests.api.history import SECOND_US, History

PATHS = (
    "/msg",
    "/msg/{message}",
    "/msg/{message}/attempt/{attempt}",
    "/attempt/endpoint/first",
    "/attempt/msg/{message}",
    "/msg/{message}/endpoint/first/attempt",
    "/endpoint/first/msg",
    "/msg/{message}/endpoint",
    "/endpoint/first/stats",
    "/dead-letter",
)
NAMES = [
    "limit",
    "iterator",
    "before",
    "after",
    "channel",
    "tag",
    "event_types",
    "event_types[]",
    "status",
    "status_code_class",
    "with_content",
    "with_msg",
    "expanded_statuses",
    "endpoint_id",
    "since",
    "until",
    "cause",
]
PREFIXES = (ids.MESSAGE, ids.ATTEMPT, ids.ENDPOINT, ids.DEAD_LETTER)

times = st.datetimes().map(lambda at: at.isoformat() + "Z") | st.sampled_from(
    ("2024-01-02T03:04:05 02:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-14:00")
)
cursors = st.tuples(st.sampled_from(("", "-")), st.sampled_from(PREFIXES), st.integers(0, 2**160 - 1)).map(
    lambda parts: parts[0] + parts[1] + ids.encode(parts[2])
)
values = (
    times
    | cursors
    | st.integers(-5, 600).map(str)
    | st.sampled_from(("true", "false", "", "order.created", '"', "%", "first"))
    | st.text(max_size=10)
)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    with asyncio.Runner() as runner:
        api = Api(runner, tmp_path_factory.mktemp("history") / "ringback.db")
        yield History(api)
        api.close()


@pytest.fixture(scope="module")
def known(history: History) -> dict[str, str]:
    message = history.message(age_us=SECOND_US, channels=("c",), tags=("t",))
    return {"message": message.id, "attempt": history.attempt(message, code=500, dead="http_500").id}


@settings(max_examples=300)
@given(st.sampled_from(PATHS), st.lists(st.tuples(st.sampled_from(NAMES), values), max_size=4))
def test_whatever_is_asked_of_history_is_answered_or_refused(history, known, path, query):
    response = history.api.get("/app/shop" + path.format(**known), params=query)
    assert response.status_code in (200, 400, 404, 422), (path, query, response.text)
    page = response.json()
    if response.status_code == 200 and "data" in page:
        assert set(page) == {"data", "iterator", "prevIterator", "done"}
        if page["data"]:
            assert (page["iterator"], page["prevIterator"]) == (page["data"][-1]["id"], "-" + page["data"][0]["id"])
