"""What every operation shares: HTTP contract, sections 1 and 2."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.api.bodies import MAX_DEPTH, Body, _is_deeper, check_text
from ringback.api.intake import BodyReader
from ringback.api.pagination import walk_of
from ringback.api.queries import Query
from ringback.errors import InvalidField, PayloadTooLarge, RingbackError, Unavailable
from ringback.policy.paging import cut
from ringback.services.applications import ApplicationIn


def error(response):
    return response.status_code, response.json()


def test_unknown_routes_answer_json(api):
    for path in ("/nope", "/app/a/b/c/d", "/app/a%2Fmsg/x"):
        response = api.get(path)
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_an_encoded_slash_is_part_of_a_name_and_no_name_but_a_consumers_has_one(api):
    for method, path in (("GET", "/app/a%2Fb"), ("DELETE", "/app/a%2fb/endpoint/c"), ("GET", "/event-type/a%2Fb/")):
        assert error(api.call(method, path)) == (404, {"code": "not_found", "detail": "Entity not found"})
    (problem,) = api.put("/app/a%2Fb", {"name": "A"}).json()["detail"]
    assert (problem["loc"], problem["msg"]) == (["path", "app_id"], "'a/b' is not allowed; use letters, digits, '-', '_' and '.'")


def test_other_methods_name_those_that_are_allowed(api):
    response = api.call("PATCH", "/app")
    assert response.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    detail = "PATCH is not allowed here; use one of GET, HEAD, OPTIONS, POST"
    assert error(response) == (405, {"code": "method_not_allowed", "detail": detail})
    assert api.call("BREW", "/app/x").status_code == 405


def test_what_is_not_built_yet_says_so(api):
    detail = "POST /api/v1/stream is part of the API, and this version does not have it yet"
    assert error(api.post("/stream", {})) == (501, {"code": "not_implemented", "detail": detail})
    assert api.get("/app/x/integration").status_code == 501
    assert api.delete("/stream").status_code == 405


def test_one_trailing_slash_is_the_same_path_and_two_are_not(api):
    made = api.made("/app/", {"name": "a", "uid": "one"})
    assert api.get("/app/one/").json() == made
    assert api.get("/app/one//").status_code == 404


def test_path_parameters_are_decoded_once(api):
    made = api.made("/app", {"name": "a", "uid": "a.b-c"})
    assert api.get("/app/a%2Eb%2Dc").json() == made
    assert api.get("/app/a%252Eb%252Dc").status_code == 404


def test_head_is_answered_like_get_without_the_body(api):
    api.made("/app", {"name": "a", "uid": "one"})
    for path in ("/app", "/app/one", "/health"):
        full, head = api.get(path), api.call("HEAD", path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == full.headers["content-length"]
    missing = api.call("HEAD", "/app/nope")
    assert (missing.status_code, missing.content) == (404, b"")


def test_the_request_id_of_a_client_is_echoed_and_otherwise_made(api):
    assert api.get("/health", headers={"svix-req-id": "12345"}).headers["x-request-id"] == "12345"
    made = {api.get("/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert api.get("/nope", headers={"svix-req-id": "x" * 1000}).headers["x-request-id"] != "x" * 1000


def test_browsers_may_call_from_anywhere(api):
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, x-y",
    }
    preflight = api.call("OPTIONS", "/app", token=None, headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization, x-y"
    assert "PATCH" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-max-age"] == "600"
    for response in (api.get("/app", headers=asked), api.get("/nope", headers=asked), api.get("/app", token="no", headers=asked)):
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize(
    "value", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer nope", "Bearer \x7f", "sk_test_token_of_the_default_organisation"]
)
def test_without_a_known_token_nothing_is_answered(api, value):
    response = api.get("/app", token=None, headers={} if value is None else {"authorization": value})
    assert error(response) == (401, {"code": "authentication_failed", "detail": "Invalid token"})


def test_the_scheme_of_a_token_has_no_case(api):
    assert api.get("/app", token=None, headers={"authorization": "bearer sk_test_token_of_the_default_organisation"}).status_code == 200


def test_authentication_comes_before_everything_else_of_a_request(api):
    assert api.post("/app?get_if_exists=x", b"{", token="nope").status_code == 401


def test_an_application_token_may_not_do_what_is_the_organisations(api):
    app_id = api.made("/app", {"name": "a"})["id"]
    _, token = api.run(api.tokens.create(app_id=app_id))
    assert api.get(f"/app/{app_id}", token=token).status_code == 200
    for response in (api.get("/app", token=token), api.post("/app", {"name": "b"}, token=token), api.delete(f"/app/{app_id}", token=token)):
        assert (response.status_code, response.json()["code"]) == (403, "insufficient access")
    api.delete(f"/app/{app_id}")
    assert api.get(f"/app/{app_id}", token=token).status_code == 401


def test_nothing_of_one_organisation_is_visible_to_another(api):
    made = api.made("/app", {"name": "a", "uid": "one"})
    api.made("/event-type", {"name": "a", "description": ""})
    _, token = api.run(api.tokens.create("rival"))
    for path in ("/app/one", f"/app/{made['id']}", "/app/one/endpoint", "/event-type/a"):
        assert api.get(path, token=token).status_code == 404
    assert api.get("/app", token=token).json()["data"] == []
    assert api.post("/app", {"name": "b", "uid": "one"}, token=token).status_code == 201


def test_a_fault_of_ours_is_logged_and_not_described(api, caplog):
    response = api.post("/faulty", headers={"svix-req-id": "77"})
    detail = "The server failed to answer; its log says why, under request id 77"
    assert error(response) == (500, {"code": "server_error", "detail": detail})
    (logged,) = (record for record in caplog.records if record.getMessage() == "request.failed")
    assert logged.fields["request_id"] == "77"
    assert str(logged.exc_info[1]) == "a secret detail"


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"{", "the body is not JSON: Input data was truncated"),
            (b"[]", "the body must be a JSON object: Expected `object`, got `array`"),
            (b"null", "the body must be a JSON object: Expected `object`, got `null`"),
            (b'{"name": "\xff"}', "the body is not UTF-8: byte 0xff at offset 10; encode it as UTF-8"),
            (b'{"name": "\xed\xa0\x80"}', "the body is not UTF-8: byte 0xed at offset 10; encode it as UTF-8"),
            (b'{"name": "a", "other": "\xff"}', "the body is not UTF-8: byte 0xff at offset 24; encode it as UTF-8"),
            (b'{"name": "a\x00"}', "the body is not JSON: JSON is malformed: invalid character (byte 11)"),
            (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the body is larger than 65536 bytes"),
            (b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}", f"the body is nested deeper than {MAX_DEPTH} levels; flatten it"),
            (b'{"x": ' + b'{"a":' * 64 + b"1" + b"}" * 65, f"the body is nested deeper than {MAX_DEPTH} levels; flatten it"),
        ],
    )
    def test_what_cannot_be_read_is_explained(self, api, body, message):
        response = api.post("/app", body)
        if response.status_code == 413:
            assert message in response.text
        else:
            assert error(response) == (422, {"detail": [{"loc": ["body"], "msg": message, "type": "value_error.jsondecode"}]})

    def test_lone_surrogates_are_no_text(self, api):
        for body in (rb'{"name": "\ud800"}', rb'{"name": "a", "other": "\ud800 and more"}'):
            assert api.post("/app", body).status_code == 422
        assert api.post("/app", rb'{"name": "\ud83d\ude00"}').json()["name"] == "😀"

    def test_unknown_fields_are_ignored_and_any_content_type_is_taken(self, api):
        for content_type in ("text/plain", "application/xml", ""):
            response = api.post("/app", {"name": "a", "whatever": [1, {"x": None}]}, headers={"content-type": content_type})
            assert response.status_code == 201

    def test_a_field_given_twice_is_named(self, api):
        response = api.post("/app", b'{"name": "a", "metadata": {"name": "x"}, "name": "b"}')
        message = "the field stands in the body more than once; give it once"
        assert error(response) == (422, {"detail": [{"loc": ["body", "name"], "msg": message, "type": "value_error.jsondecode"}]})
        assert api.post("/app", b'{"name": "name", "metadata": {"name": "\\"name\\"", "uid": "uid"}}').status_code == 201

    def test_numbers_out_of_range_are_named(self, api):
        for number in ("1e999", "9" * 5000, "1.5", "-1"):
            response = api.post("/app", b'{"name": "a", "throttleRate": %s}' % number.encode())
            assert (response.status_code, response.json()["detail"][0]["loc"]) == (422, ["body", "throttleRate"])

    def test_a_body_over_the_limit_is_refused_unread(self, api):
        response = api.post("/app", b'{"name": "' + b"a" * 65_536 + b'"}')
        detail = "the body is larger than 65536 bytes (setting max_body_bytes); send less"
        assert error(response) == (413, {"code": "payload_too_large", "detail": detail})
        assert response.headers["connection"] == "close"

    def test_a_body_over_the_limit_without_a_length_is_refused_at_the_limit(self):
        reader = BodyReader(100, 1000)
        sent = []

        async def receive():
            sent.append(60)
            return {"type": "http.request", "body": b"x" * 60, "more_body": True}

        async def scenario():
            with pytest.raises(PayloadTooLarge):
                await reader.read({}, receive)
            assert len(sent) == 2
            with pytest.raises(PayloadTooLarge):
                await reader.read({b"content-length": b"101"}, receive)
            assert len(sent) == 2
            reader.take(1000)

        asyncio.run(scenario())

    def test_all_bodies_together_are_bounded(self):
        reader = BodyReader(100, 150)

        async def receive():
            return {"type": "http.request", "body": b"x" * 100, "more_body": False}

        async def scenario():
            held = await reader.read({}, receive)
            with pytest.raises(Unavailable) as refused:
                await reader.read({}, receive)
            assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
            reader.release(held)
            await reader.read({}, receive)

        asyncio.run(scenario())

    @given(
        st.recursive(
            st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
        )
    )
    def test_the_depth_of_any_document_is_counted_right(self, value):
        def depth(value):
            if isinstance(value, dict):
                return 1 + max(map(depth, value.values()), default=0)
            return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

        for raw in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")):
            # Asked only about documents that hold brackets.
            assert depth(value) == 0 or not _is_deeper(raw, depth(value))
            assert depth(value) == 0 or _is_deeper(raw, depth(value) - 1)

    @given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 70))
    def test_the_depth_of_long_runs_of_brackets_is_counted_right(self, depths, outside):
        """Lists in lists, of every shape that taking leaves away leaves behind."""
        inside = b",".join(b"[" * depth + b"]" * depth for depth in depths)
        raw = b'{"a":' * outside + b"[" + inside + b"]" + b"}" * outside
        deepest = outside + 1 + max(depths, default=0)
        assert not _is_deeper(raw, deepest)
        assert _is_deeper(raw, deepest - 1)

    @given(st.text(alphabet='{}[]"\\', max_size=200).map(str.encode))
    def test_brackets_that_do_not_match_are_looked_at_to_an_end(self, raw):
        assert _is_deeper(raw, 0) >= _is_deeper(raw, MAX_DEPTH)

    @given(st.binary() | st.text().map(str.encode) | st.text(alphabet='{}[]":,\\a1 ').map(str.encode))
    def test_any_bytes_are_parsed_or_explained(self, raw):
        try:
            assert isinstance(Body(ApplicationIn).parse(raw), ApplicationIn)
        except InvalidField as error:
            assert error.problems
            assert all(problem.loc[0] == "body" for problem in error.problems)

    @given(
        st.dictionaries(
            st.sampled_from(["name", "uid", "throttleRate", "metadata"]), st.none() | st.integers() | st.text() | st.lists(st.text())
        )
    )
    def test_both_ways_of_parsing_agree(self, value):
        raw = json.dumps(value).encode()
        body = Body(ApplicationIn)
        try:
            fast = body.parse(raw)
        except InvalidField:
            with pytest.raises(InvalidField):
                body._parse_fields(raw)
        else:
            assert body._parse_fields(raw) == fast

    def test_a_deep_document_of_the_largest_size_is_refused_in_no_time(self):
        raw = (b"[" * 500 + b"]" * 500) * 2_000
        with pytest.raises(InvalidField):
            check_text(b"[" + b",".join([raw]) + b"]")


class TestQueries:
    @pytest.mark.parametrize(
        "text", ["types=a,b&types=b", "types[]=a&types[]=b", "types[0]=a&types[1]=b,a", "types%5B%5D=a&types=b", "types=a%2Cb"]
    )
    def test_every_spelling_of_a_list_is_taken(self, text):
        assert Query(text.encode()).words("types") == ("a", "b")

    def test_an_absent_list_is_none(self):
        assert Query(b"types=&typesX=a").words("types") is None

    @pytest.mark.parametrize(
        "text",
        [
            "2024-01-02T03:04:05Z",
            "2024-01-02T05:04:05+02:00",
            "2024-01-02T05:04:05%2B02:00",
            "2024-01-02T03:04:05.000000000Z",
            "2024-01-01T20:04:05.0-07:00",
        ],
    )
    def test_a_time_is_read_with_any_offset(self, text):
        assert Query(f"before={text}".encode()).instant("before") == 1_704_164_645_000_000

    @pytest.mark.parametrize("text", ["2024-01-02", "2024-01-02T03:04:05", "yesterday", "2024-13-01T00:00:00Z", "1704164645"])
    def test_what_is_no_time_is_400(self, text):
        with pytest.raises(RingbackError) as refused:
            Query(f"before={text}".encode()).instant("before")
        assert (refused.value.status, refused.value.code) == (400, "generic_error")

    def test_a_query_that_is_no_text_is_400(self, api):
        assert error(api.get("/app?limit=%ff"))[0] == 400
        assert api.get("/app?" + "&".join(["a=1"] * 2000)).status_code == 400


class TestPages:
    @given(st.integers(0, 12), st.integers(1, 5), st.booleans())
    def test_walking_down_and_up_again_meets_every_row_once(self, count, limit, descending):
        keys = [f"{number:03}" for number in range(count)]

        def page(iterator):
            query = Query(f"limit={limit}{f'&iterator={iterator}' if iterator else ''}".encode())
            walk = walk_of(query, lambda text: True, descending=descending)
            rows = [key for key in keys if walk.above < key < walk.below]
            rows.sort(reverse=walk.direction == "DESC")
            return cut(rows[: walk.fetch], walk)

        down, iterator = [], None
        while True:
            part = page(iterator)
            down += part.items
            if part.done:
                break
            iterator = part.items[-1]
        assert down == sorted(keys, reverse=descending)
        if not down:
            return
        up, iterator = [], f"-{down[-1]}"
        while True:
            part = page(iterator)
            up = part.items + up
            if part.done:
                break
            iterator = f"-{part.items[0]}"
        assert up == down[:-1]

    def test_both_iterators_are_on_every_page_that_is_not_empty(self, api):
        made = [api.made("/app", {"name": str(n)})["id"] for n in range(3)]
        page = api.get("/app?limit=3").json()
        assert (page["iterator"], page["prevIterator"], page["done"]) == (made[2], f"-{made[0]}", True)
        empty = api.get(f"/app?iterator={made[2]}").json()
        assert empty == {"data": [], "iterator": None, "prevIterator": None, "done": True}

    def test_a_cursor_is_a_position_whose_row_may_be_gone(self, api):
        made = [api.made("/app", {"name": str(n)})["id"] for n in range(3)]
        api.delete(f"/app/{made[1]}")
        assert [item["id"] for item in api.get(f"/app?iterator={made[1]}").json()["data"]] == [made[2]]
        assert [item["id"] for item in api.get(f"/app?iterator=-{made[1]}").json()["data"]] == [made[0]]


class TestHealth:
    def test_a_well_server_says_so_to_anybody(self, api):
        ok = {"status": "ok"}
        assert error(api.get("/health", token=None)) == (200, {"database": ok, "queue": ok, "cache": ok})
        assert api.get("/health/ping", token=None).status_code == 204
        assert error(api.get("/ready", token=None)) == (200, {"ready": True})

    def test_a_store_that_fails_shows(self, api):
        api.run(api.store.close())
        response = api.get("/health", token=None)
        assert (response.status_code, response.json()["database"]) == (500, {"status": "error"})
        assert error(api.get("/ready", token=None)) == (503, {"ready": False})

    def test_metrics_are_for_loopback_and_org_tokens(self, api):
        async def scrape(client_address, **headers):
            transport = httpx.ASGITransport(api.app, client=(client_address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get("/metrics", headers=headers)

        local = api.run(scrape("127.0.0.1"))
        assert (local.status_code, local.text) == (200, "up 1\n")
        assert local.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert api.run(scrape("192.0.2.1")).status_code == 401
        assert api.run(scrape("127.0.0.1", forwarded="for=192.0.2.1")).status_code == 401
        assert api.run(scrape("192.0.2.1", authorization="Bearer sk_test_token_of_the_default_organisation")).status_code == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/api/v1/nope", "no such route: /api/v1/nope"),
        ("/app", "no such route: /app; the API is below /api/v1/, the dashboard at /dashboard/"),
        ("/", "no such route: /; the API is below /api/v1/, the dashboard at /dashboard/"),
        (
            "/api/v1/api/v1/app",
            "no such route: /api/v1/api/v1/app; clients add /api/v1 themselves, so give them the server's URL without it",
        ),
    ],
)
def test_a_path_that_is_no_route_says_where_the_api_is(api, path, told):
    response = api.run(api._call("GET", path))
    assert error(response) == (404, {"code": "not_found", "detail": told})
