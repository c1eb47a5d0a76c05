from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringback.model.endpoints import DisableCause, DisabledBy, Disabling
from ringback.store.operations import endpoints, retention
from tests.api.conftest import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        opened = Api(runner, tmp_path / "ringback.db")
        opened.made("/app", {"name": "Shop", "uid": "shop"})
        yield opened
        opened.close()


def why(api: Api, endpoint_id: str) -> Disabling | None:
    (found,) = api.run(api.store.read(lambda tx: endpoints.by_ids(tx, api.vault, [endpoint_id]))).values()
    return found.disabling


def test_who_disables_an_endpoint_by_hand_is_remembered_until_it_is_enabled(api):
    endpoint_id = api.made("/app/shop/endpoint", {"url": "https://a.example/"})["id"]
    assert why(api, endpoint_id) is None
    assert api.patch(f"/app/shop/endpoint/{endpoint_id}", {"disabled": True}).status_code == 200
    disabling = why(api, endpoint_id)
    assert disabling is not None
    assert (disabling.by, disabling.cause, disabling.fail_since) == (DisabledBy.MANUAL, DisableCause.MANUAL, None)
    # Whatever else is changed leaves it as it is.
    assert api.patch(f"/app/shop/endpoint/{endpoint_id}", {"description": "off"}).status_code == 200
    assert api.patch(f"/app/shop/endpoint/{endpoint_id}", {"disabled": True}).status_code == 200
    assert why(api, endpoint_id) == disabling
    assert api.patch(f"/app/shop/endpoint/{endpoint_id}", {"disabled": False}).status_code == 200
    assert why(api, endpoint_id) is None


def test_an_endpoint_may_be_made_disabled(api):
    endpoint_id = api.made("/app/shop/endpoint", {"url": "https://a.example/", "disabled": True})["id"]
    disabling = why(api, endpoint_id)
    assert disabling is not None
    assert disabling.by is DisabledBy.MANUAL


def test_nothing_of_it_is_left_when_the_endpoint_is_purged(api):
    endpoint_id = api.made("/app/shop/endpoint", {"url": "https://a.example/", "disabled": True})["id"]
    api.run(api.store.write(lambda tx: tx.run("INSERT INTO endpoint_failure VALUES (?, 1)", (endpoint_id,))))
    while api.run(api.store.write(lambda tx: retention.purge_endpoint(tx, endpoint_id, 100))):
        pass
    for table in ("endpoint_disabling", "endpoint_failure"):
        assert api.run(api.store.read(lambda tx, table=table: tx.rows(f"SELECT * FROM {table}"))) == []
