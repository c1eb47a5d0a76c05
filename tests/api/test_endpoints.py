from __future__ import annotations

import base64
import secrets

import pytest

HMAC = "whsec_" + base64.b64encode(b"k" * 24).decode()
URL = "https://hooks.example/in"


@pytest.fixture
def app(api):
    api.made("/app", {"name": "Shop", "uid": "shop"})
    api.made("/event-type", {"name": "order.paid", "description": ""})
    return "/app/shop/endpoint"


def detail(response):
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["msg"], problem["type"]) for problem in response.json()["detail"]]


def test_a_new_endpoint_is_shown_whole(api, app):
    body = {
        "url": "HTTPS://User:pa%20ss@Hooks.EXAMPLE:443",
        "description": "billing",
        "uid": "billing",
        "disabled": True,
        "eventTypes": ["order.paid"],
        "channels": ["eu:1", "a+b"],
        "metadata": {"team": "x"},
        "throttleRate": 9,
    }
    response = api.post(app, body)
    assert response.status_code == 201, response.text
    made = response.json()
    assert api.get(app + "/billing").json() == made
    assert made.pop("id").startswith("ep_")
    assert made.pop("createdAt") == made.pop("updatedAt")
    assert made == {
        **body,
        "url": "https://User:pa%20ss@hooks.example/",
        "filterTypes": ["order.paid"],
        "rateLimit": 9,
        "version": 1,
    }


def test_a_new_endpoint_needs_only_a_url(api, app):
    made = api.made(app, {"url": URL})
    assert (made["description"], made["disabled"], made["eventTypes"], made["channels"], made["uid"]) == ("", False, None, None, None)
    assert api.get(f"{app}/{made['id']}/secret").json()["key"].startswith("whsec_")


def test_older_names_of_fields_are_taken(api, app):
    made = api.made(app, {"url": URL, "filterTypes": ["order.paid"], "rateLimit": 4, "version": 3})
    assert (made["eventTypes"], made["throttleRate"], made["version"]) == (["order.paid"], 4, 3)
    patched = api.patch(f"{app}/{made['id']}", {"filterTypes": None, "rateLimit": None}).json()
    assert (patched["eventTypes"], patched["throttleRate"], patched["version"]) == (None, None, 3)


def test_every_wrong_field_of_a_new_endpoint_is_named(api, app):
    body = {
        "url": "ftp://hooks.example",
        "description": "bell\x07",
        "uid": "ep_mine",
        "eventTypes": [],
        "channels": ["ok", "not ok", "ok"],
        "secret": "whsec_dG9vIHNob3J0",
        "headers": {"X-Ok": "1", "Content-Length": "5", "x-ok": "2", "bad name": "3", "X-Line": "a\r\nb"},
    }
    found = detail(api.post(app, body))
    assert [loc for loc, _, _ in found] == [
        ["body", "url"],
        ["body", "description"],
        ["body", "uid"],
        ["body", "eventTypes"],
        ["body", "channels", "[2]"],
        ["body", "channels", "[1]"],
        ["body", "secret"],
        ["body", "headers", "Content-Length"],
        ["body", "headers", "x-ok"],
        ["body", "headers", "bad name"],
        ["body", "headers", "X-Line"],
    ]
    assert "dG9vIHNob3J0" not in str(found)


def test_unknown_and_archived_event_types_are_named(api, app):
    api.made("/event-type", {"name": "old", "description": "", "archived": True})
    response = api.post(app, {"url": URL, "eventTypes": ["order.paid", "nope", "old"]})
    message = "no live event type is named 'nope', 'old'; create it first, or leave it out"
    assert detail(response) == [(["body", "eventTypes"], message, "value_error")]


def test_an_event_type_archived_later_may_stay_chosen(api, app):
    api.made(app, {"url": URL, "uid": "e", "eventTypes": ["order.paid"]})
    api.delete("/event-type/order.paid")
    assert api.put(app + "/e", {"url": URL, "uid": "e", "eventTypes": ["order.paid"]}).status_code == 200
    assert api.post(app, {"url": URL, "eventTypes": ["order.paid"]}).status_code == 422


def test_an_upsert_never_touches_secret_and_headers(api, app):
    made = api.made(app, {"url": URL, "uid": "e", "secret": HMAC, "headers": {"X-Team": "a"}, "throttleRate": 3})
    replaced = api.put(app + "/e", {"url": "https://other.example/", "uid": "e", "secret": "ignored", "headers": 5})
    assert (replaced.status_code, replaced.json()["id"], replaced.json()["throttleRate"]) == (200, made["id"], None)
    assert api.get(app + "/e/secret").json() == {"key": HMAC}
    assert api.get(app + "/e/headers").json() == {"headers": {"X-Team": "a"}, "sensitive": []}


def test_an_upsert_of_an_unknown_uid_makes_the_endpoint_once(api, app):
    first, second, third = (api.put(app + "/mine", {"url": URL}) for _ in range(3))
    assert (first.status_code, first.json()["uid"]) == (201, "mine")
    assert (second.status_code, second.json()) == (third.status_code, third.json()) == (200, first.json())
    by_id = api.put(f"{app}/{first.json()['id']}", {"url": URL})
    assert (by_id.status_code, by_id.json()["uid"]) == (200, None)
    assert detail(api.put(app + "/other", {})) == [(["body", "url"], "the field is missing; it is required", "value_error.jsondecode")]


def test_more_event_types_than_can_be_looked_up_in_a_moment_are_refused(api, app):
    names = [f"t.{number}" for number in range(5_001)]
    expected = [(["body", "eventTypes"], "5001 names; at most 5000 are allowed", "value_error")]
    assert detail(api.post(app, {"url": URL, "eventTypes": names})) == expected
    api.made(app, {"url": URL, "uid": "e"})
    assert detail(api.patch(app + "/e", {"eventTypes": names})) == expected
    # So many are looked up, and named as unknown.
    assert "t.4999" in detail(api.post(app, {"url": URL, "eventTypes": names[:5_000]}))[0][1]


def test_a_patch_changes_what_it_names(api, app):
    made = api.made(app, {"url": URL, "uid": "e", "channels": ["a"]})
    patched = api.patch(app + "/e", {"disabled": True, "channels": None}).json()
    assert (patched["disabled"], patched["channels"], patched["url"]) == (True, None, URL)
    assert patched["updatedAt"] > made["updatedAt"]
    assert detail(api.patch(app + "/e", {"url": None, "disabled": "yes", "channels": ["c"] * 11})) == [
        (["body", "url"], "Expected `str`, got `null`", "value_error.jsondecode"),
        (["body", "disabled"], "Expected `bool`, got `str`", "value_error.jsondecode"),
        (["body", "channels"], "11 channels; at most 10 are allowed", "value_error"),
    ]


def test_a_uid_belongs_to_one_endpoint_of_the_application(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    api.made(app, {"url": URL, "uid": "f"})
    for response in (
        api.post(app, {"url": URL, "uid": "e"}),
        api.patch(app + "/f", {"uid": "e"}),
        api.put(app + "/f", {"url": URL, "uid": "e"}),
    ):
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
    api.made("/app", {"name": "Other", "uid": "other"})
    api.made("/app/other/endpoint", {"url": URL, "uid": "e"})


def test_an_endpoint_of_another_application_is_not_found(api, app):
    made = api.made(app, {"url": URL, "uid": "e"})
    api.made("/app", {"name": "Other", "uid": "other"})
    for path in ("e", made["id"]):
        assert api.get(f"/app/other/endpoint/{path}").status_code == 404
        assert api.delete(f"/app/other/endpoint/{path}").status_code == 404
    assert api.get("/app/nope/endpoint").json() == {"code": "not_found", "detail": "Entity not found"}


def test_a_deleted_endpoint_is_gone_and_its_uid_free(api, app):
    made = api.made(app, {"url": URL, "uid": "e"})
    assert api.delete(app + "/e").status_code == 204
    assert [api.get(f"{app}/{ref}").status_code for ref in ("e", made["id"])] == [404, 404]
    assert api.get(app).json()["data"] == []
    api.made(app, {"url": URL, "uid": "e"})


def test_endpoints_are_listed_newest_first(api, app):
    made = [api.made(app, {"url": URL})["id"] for _ in range(3)]
    assert [endpoint["id"] for endpoint in api.get(app).json()["data"]] == made[::-1]
    assert [endpoint["id"] for endpoint in api.get(app + "?order=ascending").json()["data"]] == made


def test_every_change_reaches_the_directory(api, app):
    app_id = api.get("/app/shop").json()["id"]
    changes = [
        lambda: api.post(app, {"url": URL, "uid": "e"}),
        lambda: api.put(app + "/e", {"url": URL, "uid": "e", "description": "x"}),
        lambda: api.patch(app + "/e", {"disabled": True}),
        lambda: api.post(app + "/e/secret/rotate"),
        lambda: api.put(app + "/e/headers", {"headers": {"A": "b"}}),
        lambda: api.patch(app + "/e/headers", {"headers": {"A": None}}),
        lambda: api.delete(app + "/e"),
    ]
    for change in changes:
        api.directory.changed_ids.clear()
        assert change().status_code < 300
        assert api.directory.changed_ids == [app_id]


def test_a_given_ed25519_secret_shows_only_its_public_half(api, app):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    seed = secrets.token_bytes(32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    made = api.made(app, {"url": URL, "secret": "whsk_" + base64.b64encode(seed + public).decode()})
    assert api.get(f"{app}/{made['id']}/secret").json() == {"key": "whpk_" + base64.b64encode(public).decode()}


def test_a_rotation_answers_the_new_key_and_keeps_the_old_one_signing(api, app):
    made = api.made(app, {"url": URL, "uid": "e", "secret": HMAC})
    rotated = api.post(app + "/e/secret/rotate", {"gracePeriodSeconds": 60})
    assert rotated.status_code == 200
    assert rotated.json() == api.get(app + "/e/secret").json() != {"key": HMAC}
    from ringback.services.tokens import Principal

    who = Principal("org", "org_23rb8YdGqMT0qIzpgGwdXfHirMu", None, "t")
    endpoint = api.run(api.services.endpoints.get(who, "shop", made["id"]))
    now = endpoint.updated_at
    assert endpoint.signing_secrets(now) == (rotated.json()["key"], HMAC)
    assert endpoint.signing_secrets(now + 61_000_000) == (rotated.json()["key"],)


def test_a_rotation_without_grace_drops_the_old_key_and_the_body_may_be_absent(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    assert api.post(app + "/e/secret/rotate").status_code == 200
    given = "whsec_" + base64.b64encode(b"n" * 32).decode()
    assert api.post(app + "/e/secret/rotate", {"key": given, "gracePeriodSeconds": 0}).json() == {"key": given}
    assert api.post(app + "/e/secret/rotate", {"key": given}).json() == {"key": given}


def test_the_eleventh_old_key_is_refused(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    for _ in range(10):
        assert api.post(app + "/e/secret/rotate").status_code == 200
    refused = api.post(app + "/e/secret/rotate")
    message = "10 former secrets still sign; wait until one expires, or rotate with gracePeriodSeconds 0"
    assert (refused.status_code, refused.json()) == (400, {"code": "limit_reached", "detail": message})


def test_a_wrong_rotation_is_explained(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    found = detail(api.post(app + "/e/secret/rotate", {"key": "whpk_AAAA", "gracePeriodSeconds": 604801}))
    assert [(loc, kind) for loc, _, kind in found] == [
        (["body", "key"], "value_error"),
        (["body", "gracePeriodSeconds"], "value_error"),
    ]


def test_credentials_in_headers_are_never_shown(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    headers = {"Authorization": "Bearer s3cret", "X-Api-Key": "s3cret", "X-Team": "a", "Proxy-Auth-Thing": "s3cret"}
    assert api.put(app + "/e/headers", {"headers": headers}).status_code == 204
    shown = api.get(app + "/e/headers").json()
    assert shown["headers"] == {"X-Team": "a"}
    assert sorted(shown["sensitive"]) == ["Authorization", "Proxy-Auth-Thing", "X-Api-Key"]


def test_a_header_patch_sets_and_removes_whatever_the_case(api, app):
    api.made(app, {"url": URL, "uid": "e", "headers": {"X-One": "1", "X-Two": "2", "X-Three": "3"}})
    change = {"headers": {"x-one": "new", "X-TWO": None, "X-Four": "4", "X-Five": "5"}, "deleteHeaders": ["x-three", "x-five"]}
    assert api.patch(app + "/e/headers", change).status_code == 204
    assert api.get(app + "/e/headers").json()["headers"] == {"x-one": "new", "X-Four": "4"}


def test_a_header_patch_cannot_make_too_many(api, app):
    api.made(app, {"url": URL, "uid": "e", "headers": {f"X-{n}": "" for n in range(50)}})
    message = "51 headers; at most 50 are allowed"
    assert detail(api.patch(app + "/e/headers", {"headers": {"X-More": ""}})) == [(["body", "headers"], message, "value_error")]


def test_wrong_headers_are_explained(api, app):
    api.made(app, {"url": URL, "uid": "e"})
    assert detail(api.put(app + "/e/headers", {"headers": {"A": 1}})) == [
        (["body", "headers", "A"], "Expected `str`, got `int`", "value_error.jsondecode")
    ]
    message = "the header 'webhook-ID' belongs to the delivery itself and cannot be set"
    assert detail(api.put(app + "/e/headers", {"headers": {"webhook-ID": "1"}})) == [
        (["body", "headers", "webhook-ID"], message, "value_error")
    ]
    assert detail(api.patch(app + "/e/headers", {"deleteHeaders": "X"}))[1:] == [
        (["body", "deleteHeaders"], "Expected `array`, got `str`", "value_error.jsondecode")
    ]


def test_secrets_headers_and_urls_are_sealed_at_rest(api, app):
    api.made(app, {"url": "https://user:passw0rd@hooks.example/", "secret": HMAC, "headers": {"Authorization": "s3cret"}})
    row = api.run(api.store.read(lambda tx: tx.row("SELECT * FROM endpoint")))
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    for text in (b"passw0rd", HMAC.encode()[6:], b"s3cret"):
        assert text not in stored


def test_an_application_token_reaches_the_endpoints_of_its_application_alone(api, app):
    api.made("/app", {"name": "Other", "uid": "other"})
    app_id = api.get("/app/shop").json()["id"]
    _, token = api.run(api.tokens.create(app_id=app_id))
    assert api.post(app, {"url": URL}, token=token).status_code == 201
    assert api.get(app, token=token).status_code == 200
    assert api.get("/app/other/endpoint", token=token).status_code == 404


def test_an_application_token_cannot_choose_what_is_behind_a_flag_it_lacks(api):
    app_id = api.made("/app", {"name": "a"})["id"]
    for name, flags in (("open", None), ("beta", ["beta"])):
        api.made("/event-type", {"name": name, "description": "", "featureFlags": flags})
    _, token = api.run(api.tokens.create(app_id=app_id))
    body = {"url": "https://a.example", "eventTypes": ["open", "beta"]}
    refused = api.post(f"/app/{app_id}/endpoint", body, token=token)
    message = "no live event type is named 'beta'; create it first, or leave it out"
    assert (refused.status_code, refused.json()["detail"]) == (
        422,
        [{"loc": ["body", "eventTypes"], "msg": message, "type": "value_error"}],
    )
    chosen = api.made(f"/app/{app_id}/endpoint", body)["id"]
    kept = api.patch(f"/app/{app_id}/endpoint/{chosen}", {"description": "x"}, token=token)
    assert (kept.status_code, kept.json()["eventTypes"]) == (200, ["open", "beta"]), "what the organisation chose stays"
