from __future__ import annotations

from typing import Any

import pytest

from ringback.api import destinations
from ringback.api.app import Settings, build

NOT_FOUND = {"code": "not_found", "detail": "Entity not found"}
# Of every client's list: a type that is built leaves it, and is tested by what it does.
TYPES = [
    "pollingEndpoint",
    "azureBlobStorage",
    "otelTracing",
    "fifoEndpoint",
    "amazonS3",
    "googleCloudStorage",
    "googleCloudPubSub",
    "sqs",
    "sns",
    "bigQuery",
    "clickhouse",
    "eventBridge",
    "snowflake",
    "rabbitMq",
    "redshift",
    "postgres",
    "elasticSearch",
]


@pytest.fixture
def shop(api: Any) -> Any:
    api.app = build(api.services, api.reader, Settings(), more=destinations.routes(api.services.applications))
    api.made("/app", {"name": "Shop", "uid": "shop"})
    return api


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_that_is_not_built_is_refused_by_name(shop: Any, kind: str) -> None:
    message = f"destinations of type {kind!r} are not built, nor are those of any other type yet; create an endpoint instead"
    for response in (
        shop.post("/app/shop/destination", {"type": kind, "config": {"url": "https://a.example"}}),
        shop.put("/app/shop/destination/mine", {"type": kind}),
    ):
        assert (response.status_code, response.json()) == (
            422,
            {"detail": [{"loc": ["body", "type"], "msg": message, "type": "value_error"}]},
        )


def test_a_type_that_nobody_knows_is_refused(shop: Any) -> None:
    response = shop.post("/app/shop/destination", {"type": "fax"})
    message = f"'fax' is not one of {', '.join(sorted(TYPES))}"
    assert response.json() == {"detail": [{"loc": ["body", "type"], "msg": message, "type": "value_error"}]}
    assert shop.post("/app/shop/destination", {}).json()["detail"][0]["msg"] == "the field is missing; it is required"


def test_there_are_no_destinations(shop: Any) -> None:
    empty = {"data": [], "iterator": None, "prevIterator": None, "done": True}
    assert shop.get("/app/shop/destination?limit=10&order=ascending").json() == empty
    assert shop.get("/app/shop/destination?limit=0").status_code == 422
    assert shop.get("/app/nobody/destination").json() == NOT_FOUND


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/secret/rotate"),
        ("GET", "/transformation"),
        ("PATCH", "/transformation"),
    ],
)
def test_none_is_found(shop: Any, method: str, path: str) -> None:
    response = shop.call(method, f"/app/shop/destination/mine{path}", None if method in ("GET", "DELETE") else {"type": "sqs"})
    assert (response.status_code, response.json()) == (404, NOT_FOUND)
