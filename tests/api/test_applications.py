from __future__ import annotations

import json

import pytest


def detail(response):
    """The problems of a 422, as (loc, msg, type)."""
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["msg"], problem["type"]) for problem in response.json()["detail"]]


def test_a_new_application_is_shown_whole(api):
    response = api.post("/app", {"name": "Café", "uid": "cafe-1", "throttleRate": 20, "metadata": {"plan": "größte"}})
    assert response.status_code == 201
    made = response.json()
    assert made.pop("id").startswith("app_")
    assert made.pop("createdAt") == made.pop("updatedAt")
    assert made == {"name": "Café", "uid": "cafe-1", "throttleRate": 20, "rateLimit": 20, "metadata": {"plan": "größte"}}
    assert api.get("/app/cafe-1").json() == response.json()
    assert api.get("/app/" + response.json()["id"]).json() == response.json()


def test_what_is_left_out_or_null_has_its_default(api):
    for body in ({"name": "a"}, {"name": "a", "uid": None, "throttleRate": None, "metadata": None}):
        made = api.made("/app", body)
        assert (made["uid"], made["throttleRate"], made["metadata"]) == (None, None, {})


def test_the_older_name_of_the_rate_is_taken_and_the_newer_one_wins(api):
    assert api.made("/app", {"name": "a", "rateLimit": 7})["throttleRate"] == 7
    assert api.made("/app", {"name": "a", "rateLimit": 7, "throttleRate": 8})["throttleRate"] == 8
    assert detail(api.post("/app", {"name": "a", "rateLimit": 0})) == [(["body", "rateLimit"], "Expected `int` >= 1", "value_error")]


def test_every_wrong_field_of_a_new_application_is_named(api):
    response = api.post("/app", {"name": 5, "uid": "app_mine", "throttleRate": 65536, "metadata": {"a": "x", "b": 1}})
    assert detail(response) == [
        (["body", "name"], "Expected `str`, got `int`", "value_error.jsondecode"),
        (["body", "uid"], "'app_mine' begins with 'app_', as the ids made by the server do; choose another uid", "value_error"),
        (["body", "throttleRate"], "Expected `int` <= 65535", "value_error"),
        (["body", "metadata", "b"], "Expected `str`, got `int`", "value_error.jsondecode"),
    ]


@pytest.mark.parametrize("uid", ["", "a b", "ü", "a\n", "x" * 257, "a/b"])
def test_a_uid_outside_the_alphabet_is_refused(api, uid):
    assert [loc for loc, _, _ in detail(api.post("/app", {"name": "a", "uid": uid}))] == [["body", "uid"]]


def test_metadata_over_4096_bytes_is_refused(api):
    assert api.post("/app", {"name": "a", "metadata": {"k": "x" * 4088}}).status_code == 201
    response = api.post("/app", {"name": "a", "metadata": {"k": "x" * 4089}})
    message = "the metadata has 4097 bytes as compact JSON; at most 4096 are allowed"
    assert detail(response) == [(["body", "metadata"], message, "value_error")]


def test_a_uid_is_unique_among_the_living(api):
    api.made("/app", {"name": "a", "uid": "one"})
    other = api.made("/app", {"name": "b", "uid": "two"})
    conflict = {
        "code": "conflict",
        "detail": "An application with the uid 'one' exists already; choose another uid, or update that one",
    }
    for response in (
        api.post("/app", {"name": "c", "uid": "one"}),
        api.put("/app/two", {"name": "b", "uid": "one"}),
        api.patch("/app/two", {"uid": "one"}),
    ):
        assert (response.status_code, response.json()) == (409, conflict)
    assert api.patch("/app/two", {"uid": "two"}).json() == other
    assert api.delete("/app/one").status_code == 204
    assert api.patch("/app/two", {"uid": "one"}).json()["uid"] == "one"


def test_get_if_exists_returns_the_stored_application_untouched(api):
    stored = api.made("/app", {"name": "a", "uid": "one"})
    again = api.post("/app?get_if_exists=true", {"name": "other", "uid": "one"})
    assert (again.status_code, again.json()) == (200, stored)
    fresh = [api.post("/app?get_if_exists=true", {"name": "a"}) for _ in range(2)]
    assert [response.status_code for response in fresh] == [201, 201]
    assert fresh[0].json()["id"] != fresh[1].json()["id"]


def test_a_wrong_boolean_in_the_query_is_400(api):
    response = api.post("/app?get_if_exists=yes", {"name": "a"})
    message = "query parameter get_if_exists: 'yes' is not a boolean; use true or false"
    assert (response.status_code, response.json()) == (400, {"code": "generic_error", "detail": message})


def test_an_upsert_creates_then_replaces_as_a_whole(api):
    first = api.put("/app/shop", {"name": "Shop", "throttleRate": 5, "metadata": {"a": "b"}})
    assert (first.status_code, first.json()["uid"]) == (201, "shop")
    second = api.put("/app/shop", {"name": "Shop 2"})
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
    assert (second.json()["uid"], second.json()["throttleRate"], second.json()["metadata"]) == ("shop", None, {})
    assert second.json()["updatedAt"] > first.json()["updatedAt"]


def test_an_upsert_by_an_unknown_id_makes_a_fresh_one_and_another_uid_in_the_body_wins(api):
    unknown = "app_" + "1" * 27
    made = api.put(f"/app/{unknown}", {"name": "a"})
    assert (made.status_code, made.json()["uid"]) == (201, None)
    assert made.json()["id"] != unknown
    assert api.put("/app/path", {"name": "a", "uid": "body"}).json()["uid"] == "body"
    assert api.get("/app/path").status_code == 404


def test_an_upsert_names_what_is_missing(api):
    assert detail(api.put("/app/shop")) == [(["body", "name"], "the field is missing; it is required", "value_error.jsondecode")]


def test_a_patch_changes_what_it_names_and_null_unsets(api):
    api.made("/app", {"name": "a", "uid": "one", "throttleRate": 3, "metadata": {"a": "b"}})
    assert api.patch("/app/one", {}).json() == api.get("/app/one").json()
    assert api.patch("/app/one", {"name": "b"}).json()["throttleRate"] == 3
    assert api.patch("/app/one", {"throttleRate": 0}).json()["throttleRate"] is None
    assert api.patch("/app/one", {"metadata": {"c": "d"}}).json()["metadata"] == {"c": "d"}
    unset = api.patch("/app/one", {"uid": None}).json()
    assert unset["uid"] is None
    assert api.get(f"/app/{unset['id']}").status_code == 200


def test_a_patch_names_every_field_that_may_not_be_null(api):
    api.made("/app", {"name": "a", "uid": "one"})
    assert detail(api.patch("/app/one", {"name": None, "metadata": None})) == [
        (["body", "name"], "Expected `str`, got `null`", "value_error.jsondecode"),
        (["body", "metadata"], "Expected `object`, got `null`", "value_error.jsondecode"),
    ]


def test_what_is_not_there_is_404(api):
    gone = {"code": "not_found", "detail": "Entity not found"}
    for response in (api.get("/app/nope"), api.patch("/app/nope", {}), api.delete("/app/nope")):
        assert (response.status_code, response.json()) == (404, gone)


def test_a_deleted_application_is_gone_and_its_uid_free(api):
    made = api.made("/app", {"name": "a", "uid": "u"})
    assert (api.delete("/app/u").status_code, api.delete("/app/u").status_code) == (204, 404)
    assert api.get("/app").json()["data"] == []
    assert made["id"] in api.directory.changed_ids
    api.made("/app", {"name": "b", "uid": "u"})


def test_a_list_can_leave_out_applications_by_their_endpoints(api):
    for uid, urls in {
        "none": (),
        "off": ("https://a.example/off",),
        "bin": ("https://play.svix.com/in/x",),
        "real": ("https://a.example/",),
    }.items():
        api.made("/app", {"name": uid, "uid": uid})
        for url in urls:
            api.made(f"/app/{uid}/endpoint", {"url": url, "disabled": uid == "off"})

    def listed(query):
        return [application["uid"] for application in api.get(f"/app?{query}").json()["data"]]

    assert listed("") == ["none", "off", "bin", "real"]
    assert listed("exclude_apps_with_no_endpoints=true") == ["off", "bin", "real"]
    assert listed("exclude_apps_with_disabled_endpoints=true") == ["none", "bin", "real"]
    assert listed("exclude_apps_with_svix_play_endpoints=true") == ["none", "off", "real"]
    assert listed("exclude_apps_with_no_endpoints=true&exclude_apps_with_disabled_endpoints=true&limit=1") == ["bin"]


def test_a_list_refuses_a_foreign_cursor_an_odd_order_and_wrong_limits(api):
    assert [loc for loc, _, _ in detail(api.get("/app?iterator=ep_" + "1" * 27))] == [["query", "iterator"]]
    assert detail(api.get("/app?limit=251")) == [(["query", "limit"], "251 must not exceed 250", "value_error")]
    assert detail(api.get("/app?limit=0")) == [(["query", "limit"], "0 is too low; at least 1", "value_error")]
    # As far as it is read.
    assert detail(api.get("/app?limit=" + "9" * 5000)) == [(["query", "limit"], f"{'9' * 20} must not exceed 250", "value_error")]
    for query in ("limit=abc", "limit=1.5", "order=sideways"):
        assert (api.get(f"/app?{query}").status_code, api.get(f"/app?{query}").json()["code"]) == (400, "generic_error")


def test_an_answer_is_compact_json(api):
    response = api.post("/app", {"name": "a"})
    assert response.content == json.dumps(response.json(), separators=(",", ":")).encode()
