from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api
from tests.services.searched import Searched


@pytest.fixture
def history(tmp_path: Path) -> Iterator[Searched]:
    with asyncio.Runner() as runner:
        database = tmp_path / "ringback.db"
        api = Api(runner, database)
        searched = Searched(api, database)
        searched.serve()
        yield searched
        searched.close()
        api.close()


def get(history: Searched, path: str = "/search", **query: Any) -> Any:
    return history.api.get(path, params=query)


def test_a_hit_shows_its_message_and_where_the_words_are(history):
    known = history.said({"order": "ord_123", "note": "paid late"}, event_type="order.paid", tags=("vip",))
    history.follow()
    answer = get(history, q="late ord_12*").json()
    (hit,) = answer["data"]
    assert (hit["appId"], hit["msg"]["id"], hit["msg"]["tags"], hit["msg"]["payload"]) == (history.app_id, known, ["vip"], {})
    text = hit["excerpt"]["text"]
    assert [text[start:end] for start, end in hit["excerpt"]["marks"]] == ["ord_123", "late"]
    assert (answer["iterator"], answer["done"], answer["lag"], answer["behindSince"]) == (None, True, 0, None)


def test_pages_and_lag(history):
    for _ in range(5):
        history.said("word")
    history.follow()
    history.said("word")
    history.metrics.search_lag, history.metrics.search_behind_since_us = 1, history.now_us
    first = get(history, q="word", limit=3).json()
    assert (len(first["data"]), first["done"], first["lag"]) == (3, False, 1)
    assert first["behindSince"].endswith("Z")
    second = get(history, q="word", limit=3, iterator=first["iterator"]).json()
    assert (len(second["data"]), second["done"]) == (2, True)


def test_an_application_is_searched_alone(history):
    history.said("word")
    history.api.made("/app", {"name": "Other", "uid": "other"})
    history.follow()
    assert len(get(history, "/app/shop/search", q="word").json()["data"]) == 1
    assert get(history, "/app/other/search", q="word").json()["data"] == []
    assert get(history, "/app/nobody/search", q="word").status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"q": "typ:x"}, 422, "did you mean type:?"),
        ({"q": '"open'}, 422, "is not closed"),
        ({"q": "word", "limit": "0"}, 422, "0 is not between 1 and 100"),
        ({"q": "word", "limit": "many"}, 400, ""),
        ({"q": "word", "iterator": "msg_1"}, 400, "is no cursor of a search"),
        ({"q": "app:nobody word"}, 404, ""),
    ],
)
def test_what_cannot_be_searched_is_refused(history, query, status, said):
    response = get(history, **query)
    assert response.status_code == status
    assert said in response.text


def test_without_an_index_searches_are_refused(history):
    history.close()
    history.open(wanted=False)
    history.serve()
    response = get(history, q="word")
    assert (response.status_code, response.json()["code"]) == (400, "search_disabled")
