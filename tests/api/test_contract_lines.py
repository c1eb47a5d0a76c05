"""Is what the HTTP contract says of single values true, line by line?

Bounds, alphabets and words of its sections 1 to 3, just inside and just outside.
"""

from __future__ import annotations

import base64
import datetime
import json
import pathlib
import typing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import server
from tests.api.live import Live, opened

# A request, and how it is answered: the status, or the status and a word that stands in the answer.
Line = tuple[str, str, typing.Any, typing.Any]

URL: typing.Final = "https://a.example"
APP: typing.Final = "/app/a"
ENDPOINTS: typing.Final = f"{APP}/endpoint"
ENDPOINT: typing.Final = f"{ENDPOINTS}/e"
HEADERS: typing.Final = f"{ENDPOINT}/headers"
MESSAGES: typing.Final = f"{APP}/msg"
ACCESS: typing.Final = "/auth/app-portal-access/a"
EXPIRE: typing.Final = "/auth/app/a/expire-all"
_NOW: typing.Final = datetime.datetime.now(datetime.UTC)
# Names of headers that nobody may set.
FORBIDDEN: typing.Final = (
    "user-agent keep-alive proxy-authenticate proxy-authorization te trailers transfer-encoding upgrade age cache-control "
    "clear-site-data expires pragma warning content-length content-type content-encoding content-language content-location x-amz-a "
    "x-amzn-a x-google-a x-goog-a x-gfe-a x-azure-a x-fd-a x-svix-a svix-a webhook-id webhook-timestamp webhook-signature host "
    "connection"
)


def at(**ahead: float) -> str:
    """A time as clients write it."""
    return (_NOW + datetime.timedelta(**ahead)).isoformat().replace("+00:00", "Z")


def secret(size: int) -> str:
    """A secret of so many bytes."""
    return "whsec_" + base64.b64encode(bytes(size)).decode()


def app(**fields: typing.Any) -> typing.Any:
    """The body of an application."""
    return {"name": "x", **fields}


def endpoint(**fields: typing.Any) -> typing.Any:
    """The body of an endpoint."""
    return {"url": URL, **fields}


def message(**fields: typing.Any) -> typing.Any:
    """The body of a message."""
    return {"eventType": "t", "payload": {}, **fields}


LINES: typing.Final[dict[str, list[Line]]] = {
    "1.1 addressing": [
        ("GET", "/app/", None, 200),
        ("GET", "/app/a/", None, 200),
        ("GET", "/app/%61", None, 200),
        *[("POST", "/app", app(uid=uid), 422) for uid in ("app_x", "a b", "", "x" * 257, "é")],
        *[("POST", "/app", app(uid=uid), 201) for uid in ("ep_x", "A-._9", "x" * 256)],
        ("POST", "/app", app(uid="a"), (409, "conflict")),
        ("PUT", "/app/a", app(uid="a"), 200),
        ("PATCH", "/app/a", {"uid": "a"}, 200),
        ("PATCH", "/app/a", {"uid": "taken"}, (409, "conflict")),
        ("PUT", "/app/a", app(uid="taken"), (409, "conflict")),
        ("DELETE", "/app/taken", None, 204),
        ("POST", "/app", app(uid="taken"), 201),
    ],
    "1.2 requests": [
        ("POST", ACCESS, None, 200),
        ("POST", "/app", None, 422),
        ("POST", "/app", app(nope=1), 201),
        ("GET", "/app?nope=1", None, 200),
        ("POST", "/app", b'{"name":"' + b"a" * 2_097_152 + b'"}', (413, "payload_too_large")),
        ("GET", "/event-type?with_content=TRUE", None, (400, "generic_error")),
        ("POST", "/app", app(metadata=None), 201),
        ("POST", "/app", app(metadata={"a": 1}), 422),
        ("POST", "/app", app(metadata={"a": "x" * 4_088}), 201),
        ("POST", "/app", app(metadata={"a": "x" * 4_089}), 422),
        *[("POST", ENDPOINTS, endpoint(description=f"a{chr(code)}"), 422) for code in range(9)],
        ("POST", ENDPOINTS, endpoint(description="a\t\x0b"), 201),
        *[
            ("GET", f"{MESSAGES}?after=2024-01-02T03:04:05{rest}", None, 200)
            for rest in ("Z", "+00:00", ".123456789Z", ".1-11:30", "%2B02:00", "%2002:00")
        ],
        *[("GET", f"{MESSAGES}?after={text}", None, (400, "generic_error")) for text in ("2024-01-02", "soon", "1700000000")],
        *[
            ("POST", f"{ENDPOINT}/recover", {"since": text}, (422, "write it as 2024-01-02T03:04:05Z"))
            for text in ("2024-01-02", "soon", "2024-01-02T03:04:05")
        ],
    ],
    "1.6 pagination": [
        ("GET", "/app?limit=abc", None, (400, "generic_error")),
        ("GET", "/app?limit=1.5", None, (400, "generic_error")),
        ("GET", "/app?limit=0", None, 422),
        ("GET", "/app?limit=-1", None, 422),
        ("GET", "/app?limit=250", None, 200),
        ("GET", "/app?limit=251", None, (422, "must not exceed 250")),
        ("GET", f"/app?limit={'9' * 30}", None, (422, "must not exceed 250")),
        ("GET", f"/app?limit=-{'9' * 30}", None, (422, "at least 1")),
        ("GET", "/app?order=sideways", None, (400, "generic_error")),
        ("GET", "/app?iterator=zz", None, 422),
        ("GET", f"/app?iterator=msg_{'0' * 27}", None, 422),
        ("GET", f"/app?iterator=app_{'0' * 27}", None, 200),
        ("GET", f"/app?iterator=-app_{'0' * 27}", None, 200),
    ],
    "1.8 PATCH and PUT": [
        *[("PATCH", APP, {name: None}, 200) for name in ("throttleRate", "rateLimit")],
        *[("PATCH", APP, {name: None}, 422) for name in ("name", "metadata")],
        *[("PATCH", ENDPOINT, {name: None}, 200) for name in ("throttleRate", "rateLimit", "eventTypes", "filterTypes", "channels")],
        *[("PATCH", ENDPOINT, {name: None}, 422) for name in ("url", "description", "disabled", "metadata")],
        *[("PATCH", "/event-type/t", {name: None}, 200) for name in ("schemas", "featureFlags", "featureFlag", "groupName")],
        *[("PATCH", "/event-type/t", {name: None}, 422) for name in ("description", "archived", "deprecated")],
        ("PATCH", APP, {"throttleRate": 0}, (200, '"throttleRate":null')),
        *[("POST", "/app", app(throttleRate=rate), status) for rate, status in ((0, 422), (1, 201), (65_535, 201), (65_536, 422))],
    ],
    "3.2 endpoints": [
        *[
            ("POST", ENDPOINTS, {"url": url}, 422)
            for url in ("a.example", "ftp://a", "http://", "javascript:alert(1)", "//a.example", 1, "")
        ],
        ("POST", ENDPOINTS, {"url": f"https://a.example/{'a' * 65_536}"}, 422),
        ("POST", ENDPOINTS, {"url": "http://127.0.0.1/"}, 201),
        ("POST", ENDPOINTS, {"url": "HTTPS://user:pa%20ss@Example.COM:443"}, (201, '"url":"https://user:pa%20ss@example.com/"')),
        ("POST", ENDPOINTS, {"url": "http://[::1]:80"}, (201, '"url":"http://[::1]/"')),
        ("POST", ENDPOINTS, endpoint(eventTypes=["t", "nope"]), (422, "nope")),
        ("POST", ENDPOINTS, endpoint(channels=[str(number) for number in range(11)]), 422),
        ("POST", ENDPOINTS, endpoint(channels=["a" * 129]), 422),
        ("POST", ENDPOINTS, endpoint(channels=["a" * 128, "a:b+c"]), 201),
        *[("POST", ENDPOINTS, endpoint(secret=secret(size)), status) for size, status in ((23, 422), (24, 201), (75, 201), (76, 422))],
        *[
            ("POST", f"{ENDPOINT}/secret/rotate", {"gracePeriodSeconds": grace}, status)
            for grace, status in ((-1, 422), (0, 200), (604_800, 200), (604_801, 422))
        ],
        *[("PUT", HEADERS, {"headers": {name.title(): "x"}}, 422) for name in FORBIDDEN.split(" ")],
        *[("PUT", HEADERS, {"headers": {"x": value}}, 422) for value in ("a" * 4_097, "a\rb", "a\nb", "a\x00b")],
        ("PUT", HEADERS, {"headers": {"x": "a" * 4_096}}, 204),
        ("GET", f"{ENDPOINT}/stats?since={at(days=-29)}", None, (400, "invalid_range")),
        ("GET", f"{ENDPOINT}/stats?since={at(days=-28)}&until={at()}", None, 200),
        ("GET", f"{ENDPOINT}/stats?until={at(days=1)}", None, (400, "invalid_range")),
        ("POST", f"{ENDPOINT}/send-example", {"eventType": "svix.ping"}, (202, '"payload":{"success":true}')),
        ("POST", f"{ENDPOINT}/send-example", {"eventType": "nope"}, 404),
        ("POST", f"{ENDPOINT}/send-example", {"eventType": "t"}, (400, "invalid_scheme")),
    ],
    "3.3 event types": [
        ("POST", "/event-type", {"name": "t", "description": ""}, (409, "event_type_exists")),
        *[("POST", "/event-type", {"name": name, "description": ""}, 422) for name in ("a b", "", "a" * 257)],
        ("POST", "/event-type", {"name": "a" * 256, "description": ""}, 201),
        ("POST", "/event-type", {"name": "b", "description": "", "schemas": {"1": {"type": "nope"}}}, 422),
        *[
            ("POST", "/event-type/import/openapi", body, (400, "invalid_spec"))
            for body in ({}, {"spec": {}, "specRaw": "x"}, {"specRaw": "{{{"})
        ],
    ],
    "3.4 messages": [
        *[("POST", MESSAGES, message(payload=payload), 422) for payload in ([], "x", 1, None)],
        ("POST", MESSAGES, b'{"eventType":"t","payload":{"b": 1.50,  "a":2}}', (202, '{"b": 1.50,  "a":2}')),
        ("POST", f"{MESSAGES}?with_content=false", message(payload={"a": 1}), (202, '"payload":{}')),
        ("POST", MESSAGES, message(eventId="once"), 202),
        ("POST", MESSAGES, message(eventId="once"), (409, "conflict")),
        *[("POST", MESSAGES, message(**{name: ["a", "a"]}), 422) for name in ("tags", "channels")],
        *[("POST", MESSAGES, message(payloadRetentionPeriod=days), status) for days, status in ((0, 422), (1, 202), (90, 202), (91, 422))],
        *[
            ("POST", MESSAGES, message(payloadRetentionHours=hours), status)
            for hours, status in ((0, 422), (1, 202), (2_160, 202), (2_161, 422))
        ],
        ("POST", MESSAGES, message(payloadRetentionPeriod=5, payloadRetentionHours=5), 422),
        *[("POST", MESSAGES, message(deliverAt=at(hours=hours)), status) for hours, status in ((0, 422), (1, 202), (23, 202), (25, 422))],
        ("POST", "/app/new/msg", message(application=app()), (422, "application_uid_missing")),
        ("POST", "/app/new/msg", message(application=app(uid="other")), (422, "application_uid_mismatch")),
        ("POST", "/app/new/msg", message(), (404, "not_found")),
        ("POST", "/app/new/msg", message(application=app(uid="new")), 202),
        ("POST", MESSAGES, message(eventType="never.seen"), 202),
        ("POST", f"{MESSAGES}/bulk-expunge", {"ids": ["x"] * 1_001}, 422),
    ],
    "3.6 authentication": [
        *[("POST", ACCESS, {"expiry": expiry}, status) for expiry, status in ((3_599, 422), (3_600, 200), (604_800, 200), (604_801, 422))],
        *[
            ("POST", ACCESS, {"featureFlags": [str(number) for number in range(count)]}, status)
            for count, status in ((0, 200), (25, 200), (26, 422))
        ],
        *[
            ("POST", ACCESS, {"sessionId": name}, status)
            for name, status in (("a" * 64, 200), ("a" * 65, 422), ("a@b_-", 200), ("a.b", 422))
        ],
        ("POST", "/auth/app-portal-access/nobody", {}, (404, "not_found")),
        ("POST", "/auth/logout", None, (403, "insufficient access")),
        *[("POST", EXPIRE, {"expiry": expiry}, status) for expiry, status in ((-1, 422), (0, 204), (259_200, 204), (259_201, 422))],
        ("POST", EXPIRE, {"sessionIds": ["a"] * 1_001}, 422),
    ],
    "3.8 to 3.11 the rest": [
        ("POST", "/operational-webhook/endpoint", endpoint(eventTypes=["nope"]), (422, "nope")),
        ("PUT", "/operational-webhook/endpoint/o", endpoint(disabled=True), (200, '"uid":"o"')),
        ("PUT", f"/app/a/integration/integ_{'0' * 27}", {"name": "x"}, (404, "not_found")),
        ("POST", "/app/a/integration", {"name": "x", "featureFlags": [str(number) for number in range(26)]}, 422),
        ("POST", "/environment/import", None, 204),
        ("PUT", "/stats/usage/event-types", None, (202, "event-type.aggregate")),
        ("POST", "/stats/usage/app", {"since": at(), "until": at()}, 422),
        ("POST", "/stats/usage/app", {"since": at(days=-1), "until": at(), "appIds": ["nope"]}, 422),
        ("POST", "/stats/usage/app", {"since": at(days=-1), "until": at(), "appIds": ["a", "nope"]}, (202, '"unresolvedAppIds":["nope"]')),
    ],
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Live]:
    for live in opened(tmp_path_factory.mktemp("lines")):
        live.app(uid="a")
        live.app(uid="taken")
        live.made("/event-type", {"name": "t", "description": ""})
        live.made(ENDPOINTS, endpoint(uid="e", eventTypes=["t"], disabled=True))
        yield live


@pytest.mark.parametrize("section", LINES)
def test_every_line_holds(live: Live, section: str) -> None:
    wrong = []
    for method, path, body, expected in LINES[section]:
        status, word = expected if isinstance(expected, tuple) else (expected, "")
        answer = live.call(method, path, body)
        if answer.status_code != status or word not in answer.text:
            wrong.append(f"{method} {path} {json.dumps(body, default=str)[:200]}: {answer.status_code} {answer.text[:200]}, not {expected}")
    assert wrong == []


def test_a_secret_is_shown_with_its_prefix_and_of_a_pair_the_public_half_alone(live: Live) -> None:
    def shown(given: str) -> str:
        made = live.made(ENDPOINTS, endpoint(secret=given))["id"]
        return str(live.get(f"{ENDPOINTS}/{made}/secret").json()["key"])

    assert shown(secret(24)) == shown(secret(24).removeprefix("whsec_")) == secret(24)
    pair = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public = pair.public_key().public_bytes_raw()
    for prefix in ("whsk_", "whsk1_"):
        assert shown(prefix + base64.b64encode(bytes(32) + public).decode()) == f"whpk_{base64.b64encode(public).decode()}"


def test_credentials_among_headers_are_named_and_not_shown(live: Live) -> None:
    hidden = ["Authorization", "X-Auth-Token", "x-api-key", "www-authenticate", "Proxy-AuthX"]
    assert live.put(HEADERS, {"headers": {**dict.fromkeys(hidden, "1"), "X-Case": "v"}}).status_code == 204
    shown = live.get(HEADERS).json()
    assert (shown["headers"], sorted(shown["sensitive"])) == ({"X-Case": "v"}, sorted(hidden))
    assert live.patch(HEADERS, {"headers": {"x-case": "new"}, "deleteHeaders": ["X-CASE"]}).status_code == 204
    assert live.get(HEADERS).json()["headers"] == {}


def test_settings_of_the_contract_choose_the_kind_of_secret_and_of_url(tmp_path: pathlib.Path) -> None:
    running = server.start(tmp_path / "ringback.db", {"endpoint_https_only": "true", "default_signature_type": "ed25519"})
    try:
        running.make("/app", app(uid="a"))
        made = running.make(ENDPOINTS, endpoint())["id"]
        keys = [
            running.call("GET", f"{ENDPOINTS}/{made}/secret")[1]["key"],
            running.call("POST", f"{ENDPOINTS}/{made}/secret/rotate", {})[1]["key"],
        ]
        assert [key[:5] for key in keys] == ["whpk_", "whpk_"] and keys[0] != keys[1]
        plain = {"url": "http://a.example"}
        refusals = [
            running.call("POST", ENDPOINTS, plain),
            running.call("PUT", f"{ENDPOINTS}/{made}", plain),
            running.call("PATCH", f"{ENDPOINTS}/{made}", plain),
            running.call("POST", "/operational-webhook/endpoint", plain),
        ]
        assert {(status, answer["detail"][0]["msg"]) for status, answer in refusals} == {
            (422, "the URL must start with https:// on this server (setting endpoint_https_only)")
        }
    finally:
        running.stop()
