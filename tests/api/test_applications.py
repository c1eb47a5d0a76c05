from __future__ import annotations

from typing import Any


def problems(response: Any) -> list[Any]:
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["type"]) for problem in response.json()["detail"]]


def test_a_new_application_is_shown_whole(api):
    response = api.post("/app", {"name": "Café", "uid": "cafe-1", "throttleRate": 20, "metadata": {"plan": "größte"}})
    assert response.status_code == 201
    made = response.json()
    assert made.pop("id").startswith("app_")
    assert made.pop("createdAt") == made.pop("updatedAt")
    assert made == {"name": "Café", "uid": "cafe-1", "throttleRate": 20, "rateLimit": 20, "metadata": {"plan": "größte"}}
    assert api.get("/app/cafe-1").json() == response.json()
    assert api.get("/app/" + response.json()["id"]).json() == response.json()


def test_an_upsert_creates_then_replaces(api):
    first = api.put("/app/shop", {"name": "Shop", "throttleRate": 5})
    second = api.put("/app/shop", {"name": "Shop 2", "uid": "shop"})
    assert (first.status_code, first.json()["uid"]) == (201, "shop")
    assert (second.status_code, second.json()["id"], second.json()["throttleRate"]) == (200, first.json()["id"], None)


def test_a_deleted_application_is_gone_and_its_uid_free(api):
    api.made("/app", {"name": "a", "uid": "u"})
    assert api.delete("/app/u").status_code == 204
    assert api.get("/app/u").json() == {"code": "not_found", "detail": "Entity not found"}
    api.made("/app", {"name": "b", "uid": "u"})
