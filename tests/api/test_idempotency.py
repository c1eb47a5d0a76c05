"""A POST with an idempotency-key has its effect once: HTTP contract, section 1.9."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from ringback.services.idempotency import Flights, digest

TOKEN = "sk_test_token_of_the_default_organisation"
KEY = {"idempotency-key": "auto_1"}


def names(api):
    return [application["name"] for application in api.get("/app").json()["data"]]


def test_a_repeated_request_gets_the_same_bytes_and_has_no_second_effect(api):
    first = api.post("/app", {"name": "a"}, headers=KEY)
    again = api.post("/app", {"name": "b"}, headers=KEY)
    assert (again.status_code, again.content, again.headers["content-type"]) == (201, first.content, first.headers["content-type"])
    assert names(api) == ["a"]


def test_the_key_counts_for_its_token_path_and_query_alone(api):
    api.post("/app", {"name": "a"}, headers=KEY)
    api.post("/app?get_if_exists=false", {"name": "b"}, headers=KEY)
    _, other = api.run(api.tokens.create())
    api.post("/app", {"name": "c"}, headers=KEY, token=other)
    api.post("/app", {"name": "d"}, headers={"idempotency-key": "auto_2"})
    assert names(api) == ["a", "b", "c", "d"]


def test_a_key_on_anything_but_post_is_ignored(api):
    assert api.put("/app/x", {"name": "a"}, headers=KEY).status_code == 201
    assert api.put("/app/x", {"name": "b"}, headers=KEY).json()["name"] == "b"


def test_what_failed_is_not_kept(api):
    assert api.post("/app", {"name": 5}, headers=KEY).status_code == 422
    assert api.post("/app", {"name": "a"}, headers=KEY).status_code == 201


def test_an_answer_with_a_secret_is_kept_sealed_and_repeated(api):
    api.made("/app", {"name": "a", "uid": "a"})
    api.made("/app/a/endpoint", {"url": "https://hooks.example/", "uid": "e"})
    first = api.post("/app/a/endpoint/e/secret/rotate", headers=KEY)
    again = api.post("/app/a/endpoint/e/secret/rotate", headers=KEY)
    assert first.json() == again.json() == api.get("/app/a/endpoint/e/secret").json()
    [(body,)] = api.run(api.store.read(lambda tx: tx.rows("SELECT body FROM idempotency")))
    assert first.json()["key"].encode() not in body


def test_an_answer_past_its_time_is_forgotten(api):
    api.post("/app", {"name": "a"}, headers=KEY)
    api.run(api.store.write(lambda tx: tx.run("UPDATE idempotency SET expires_at = 1")))
    api.post("/app", {"name": "b"}, headers=KEY)
    api.post("/app", {"name": "c"}, headers=KEY)
    assert names(api) == ["a", "b"]


def test_an_effect_that_did_not_commit_leaves_no_answer(api):
    api.made("/app", {"name": "a", "uid": "taken"})
    assert api.post("/app", {"name": "b", "uid": "taken"}, headers=KEY).status_code == 409
    api.delete("/app/taken")
    assert api.post("/app", {"name": "b", "uid": "taken"}, headers=KEY).status_code == 201


async def _post_together(api, count):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://127.0.0.1") as client:
        headers = {**KEY, "authorization": f"Bearer {TOKEN}"}
        posts = [client.post("/api/v1/app", json={"name": str(number)}, headers=headers) for number in range(count)]
        return await asyncio.gather(*posts)


def test_requests_at_the_same_time_share_one_effect(api):
    responses = api.run(_post_together(api, 5))
    assert {response.status_code for response in responses} == {201}
    assert len({response.content for response in responses}) == 1
    assert len(names(api)) == 1


def test_a_request_waits_for_the_first_one_and_then_gives_up(api):
    async def scenario():
        # Takes the very key that the request will have, as a request that hangs would.
        token_id = (await api.tokens.authenticate(f"Bearer {TOKEN}".encode())).token_id
        key = digest(token_id, b"auto_1", "POST", b"/api/v1/app?")
        assert api.idempotency.flights.begin(key)
        [refused] = await _post_together(api, 1)
        api.idempotency.flights.finish(key, None)
        [accepted] = await _post_together(api, 1)
        return refused, accepted

    refused, accepted = api.run(scenario())
    detail = "a request with this idempotency-key is still running; try again"
    assert (refused.status_code, refused.json()) == (503, {"code": "idempotency_in_progress", "detail": detail})
    assert refused.headers["retry-after"] == "1"
    assert accepted.status_code == 201
    assert len(api.idempotency.flights) == 0


def test_a_handler_that_breaks_releases_its_key(api):
    assert api.post("/faulty", headers=KEY).status_code == 500
    api.broken = False
    assert api.post("/faulty", headers=KEY).json() == "whole"
    # This one wrote nothing else, and is kept all the same.
    api.broken = True
    assert api.post("/faulty", headers=KEY).json() == "whole"


class TestFlights:
    def test_those_who_wait_are_told_the_answer(self):
        flights: Flights[str] = Flights()
        told = []
        assert flights.begin(b"k")
        assert not flights.begin(b"k")
        flights.wait(b"k", told.append)
        flights.wait(b"k", told.append)
        flights.finish(b"k", "answer")
        assert told == ["answer", "answer"]
        assert flights.begin(b"k")

    def test_who_has_left_is_told_nothing(self):
        flights: Flights[str] = Flights()
        told = []
        flights.begin(b"k")
        flights.wait(b"k", told.append)
        flights.leave(b"k", told.append)
        flights.finish(b"k", None)
        assert told == []

    def test_two_requests_never_share_a_digest(self):
        parts = [("t", b"k", "POST", b"/a"), ("t", b"k", "POST", b"/b"), ("t", b"l", "POST", b"/a"), ("u", b"k", "POST", b"/a")]
        assert len({digest(*part) for part in parts}) == 4
        assert len(digest(*parts[0])) == 16


@pytest.mark.parametrize("key", ["", " "])
def test_an_empty_key_is_no_key(api, key):
    for name in "ab":
        api.post("/app", {"name": name}, headers={"idempotency-key": key})
    assert len(names(api)) == 2
