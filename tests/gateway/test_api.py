"""Sources through the API of a running server: made, read, changed, deleted; their events and what is in quarantine."""

from __future__ import annotations

import base64
import hmac
import json
import re
import sqlite3
import time
import typing
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringback.api.queries import Query
from ringback.api.received import routes
from ringback.api.routing import Call
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.providers.setup import source_of
from ringback.signing.tokens import Unsigned
from tests.gateway.conftest import WHO, Running
from tests.gateway.door import ORDINARY, SECRET, Door, github, opened, stripe
from tests.gateway.signing import NOW_S
from tests.waiting import wait_until

BODY = b'{"id":"evt_1","type":"charge.succeeded","data":{}}'


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("api"))


def call(door: Door, method: str, rest: str, body: object = None, **headers: str) -> tuple[int, typing.Any]:
    return door.server.call(method, f"/app/{door.app_id}/source{rest}", body, headers)


# -- made, read, changed, deleted


def test_a_source_is_made_read_listed_changed_and_deleted(door: Door) -> None:
    wanted = {
        "name": "Payments",
        "uid": "payments",
        "type": "stripe",
        "secrets": [SECRET, {"text": "old", "expiresAt": "2099-01-01T00:00:00Z"}],
        "route": "webhooks/payments",
        "metadata": {"team": "money"},
        "toleranceS": 60,
        "publicUrl": "https://hooks.example.com/webhooks/payments",
        "allowedIps": ["3.18.12.63", "2001:db8::/32"],
        "requiredHeaders": {"User-Agent": "Stripe/*"},
        "maxBodyBytes": 1_000_000,
        "eventTypes": ["charge.succeeded"],
        "schema": {"type": "object"},
        "schemaMode": "quarantine",
        "rateLimit": 100,
        "answer": {
            "status": 202,
            "body": "[accepted]",
            "contentType": "text/plain",
            "headers": {"X-A": "b"},
            "template": False,
            "signature": None,
        },
        "deduplication": {"by": ["json:id", "header:x-a"], "windowS": 300_000, "onFailed": "ignore", "without": ["sent_at"]},
        "silenceS": 3_600,
        "allowedIpsFrom": ["https://api.github.com/meta#hooks"],
        "allowedIpsUnknown": "allow",
        "clientCertificate": {"X-Client-Verify": "SUCCESS"},
        "retentionHours": 48,
    }
    status, made = call(door, "POST", "", wanted)
    assert status == 201
    for name, value in wanted.items():
        if name != "secrets":
            assert made[name] == value, name
    old = {"encoding": None, "expiresAt": "2099-01-01T00:00:00.000000Z", "sender": None}
    assert made["secrets"] == [{"encoding": None, "expiresAt": None, "sender": None}, old]
    assert made["ingestUrl"].startswith(f"{door.server.url}/ingest/api/v1/source/{made['id']}/in/")
    assert made["routeUrl"] == f"{door.server.url}/webhooks/payments"
    for reference in ("payments", made["id"]):
        status, got = call(door, "GET", f"/{reference}")
        assert status == 200 and {name: value for name, value in got.items() if name != "activity"} == made
    assert made in call(door, "GET", "?limit=250")[1]["data"]
    # What is left out goes back to its default; the secrets alone stay.
    status, changed = call(door, "PUT", "/payments", {"name": "Renamed", "type": "stripe"})
    assert (status, changed["name"], changed["uid"], changed["rateLimit"], len(changed["secrets"])) == (200, "Renamed", "payments", None, 2)
    assert changed["ingestUrl"] == made["ingestUrl"]
    assert call(door, "DELETE", "/payments")[0] == 204
    assert call(door, "GET", "/payments")[0] == 404
    assert call(door, "DELETE", "/payments")[0] == 404


def test_no_secret_is_ever_shown(door: Door) -> None:
    made = door.source("stripe", secrets=["needle-1", {"text": "needle-2", "encoding": "utf8"}], verifyToken="needle-3")
    shown = json.dumps([made, call(door, "GET", f"/{made['id']}"), call(door, "GET", "?limit=250")])
    assert "needle" not in shown


@pytest.mark.parametrize(
    ("wanted", "place"),
    [
        ({"secrets": []}, ["body", "secrets"]),
        ({"type": "strype"}, ["body", "type"]),
        ({"route": "api/v1"}, ["body", "route"]),
        ({"verify": "none", "route": "hooks/x"}, ["body", "route"]),
        ({"secrets": ["s"], "scheme": {"type": "signed", "headers": ["x"], "content": "{nothing}"}}, ["body", "scheme"]),
        ({"answer": {"status": 302}}, ["body", "answer", "status"]),
        ({"deduplication": {"windowS": 1}}, ["body", "deduplication", "windowS"]),
        ({"deduplication": {"by": ["x"]}}, ["body", "deduplication", "by"]),
        ({"schema": {"$ref": "http://127.0.0.1/"}}, ["body", "schema"]),
        ({"allowedIps": ["nowhere"]}, ["body", "allowedIps", "[0]"]),
        ({"rateLimit": 0}, ["body", "rateLimit"]),
        ({"deadlineS": 26}, ["body", "deadlineS"]),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_with_its_place(door: Door, wanted: dict[str, typing.Any], place: list[str]) -> None:
    status, answer = call(door, "POST", "", {"name": "s", "type": "stripe", "secrets": [SECRET], **wanted})
    assert status == 422
    assert [problem["loc"][: len(place)] for problem in answer["detail"]] == [place], answer


@pytest.mark.parametrize(
    ("mistyped", "place", "told"),
    [
        ({"allowedIp": ["192.0.2.1"]}, ["body", "allowedIp"], "there is no such field here; did you mean allowedIps?"),
        ({"sensitive_fields": ["card"]}, ["body", "sensitive_fields"], "there is no such field here; did you mean sensitiveFields?"),
        ({"deduplication": {"window": 1}}, ["body", "deduplication"], "Object contains unknown field `window`"),
    ],
)
def test_a_name_that_is_mistyped_leaves_nothing_open(door: Door, mistyped: dict[str, typing.Any], place: list[str], told: str) -> None:
    status, problem = call(door, "POST", "", {"name": "A", "type": "stripe", "secrets": [SECRET], **mistyped})
    assert (status, problem["detail"][0]["loc"]) == (422, place) and told in problem["detail"][0]["msg"]


def test_what_is_read_of_a_source_may_be_changed_and_sent_back(door: Door) -> None:
    wanted = {"name": "Back", "type": "stripe", "secrets": [SECRET], "answer": {"status": 202}, "allowedIps": ["192.0.2.1"]}
    made = call(door, "POST", "", wanted)[1]
    read = {name: value for name, value in call(door, "GET", f"/{made['id']}")[1].items() if name != "secrets"}
    status, changed = call(door, "PUT", f"/{made['id']}", {**read, "name": "Changed"})
    assert status == 200, changed
    assert {name: changed[name] for name in read if name not in ("name", "updatedAt", "activity")} == {
        name: value for name, value in read.items() if name not in ("name", "updatedAt", "activity")
    }


def test_a_source_that_verifies_nothing_must_say_so_and_is_marked(door: Door) -> None:
    status, answer = call(door, "POST", "", {"name": "s", "type": "custom"})
    assert status == 422 and "verify none" in answer["detail"][0]["msg"]
    made = door.source("custom", verify="none", secrets=[])
    assert made["warnings"] == ["nothing is verified: whoever knows the URL can send events"]
    assert door.send(made["path"], b"x").status == 200
    (event,) = door.events(made["id"])
    assert (event["secret"], event["flags"]) == (None, ["unverified"])


def test_every_provider_of_the_catalogue_can_be_a_source_or_says_why_not(door: Door) -> None:
    for name, row in PROVIDERS.items():
        status, answer = call(door, "POST", "", {"name": name, "type": name, "secrets": []})
        if any(isinstance(scheme, Unsigned) for scheme in row.schemes):
            assert status == 422 and "prove nothing" in answer["detail"][0]["msg"], name
            status, answer = call(door, "POST", "", {"name": name, "type": name, "secrets": [], "verify": "none"})
        assert status in (201, 422), (name, answer)
        if status == 422:
            assert answer["detail"][0]["loc"] == ["body", "secrets"], (name, answer)
        elif row.confidence != "high":
            assert any("not confirmed" in warning for warning in answer["warnings"]), name


HOW_TO = (Path(__file__).parents[2] / "docs/how-to/receive-webhooks.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", HOW_TO, re.DOTALL)]


@pytest.mark.parametrize("wanted", EXAMPLES, ids=lambda wanted: wanted["name"])
def test_the_examples_of_the_documentation_make_sources(door: Door, wanted: dict[str, typing.Any]) -> None:
    status, answer = call(door, "POST", "", wanted)
    assert status == 201, answer


def test_a_scheme_of_ones_own_verifies_as_the_documentation_says(door: Door) -> None:
    made = door.server.make(f"/app/{door.app_id}/source", EXAMPLES[0])
    path, at = "/" + made["ingestUrl"].split("/", 3)[3], str(int(time.time()))
    signature = hmac.digest(b"the secret", f"{at}.".encode() + BODY, "sha256").hex()
    headers = [("x-signature", signature), ("x-timestamp", at), ("x-event-id", "own-1")]
    assert door.send(path, BODY, headers).status == 200
    assert door.send(path, BODY + b" ", headers).status == 401
    (event,) = door.events(made["id"])
    assert (event["providerEventId"], event["eventType"], event["secret"]) == ("own-1", "charge.succeeded", 0)


SPKI = base64.b64encode(
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
RSA_PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
# Public keys as providers give them.
KEYS = ["ab" * 32, base64.b64encode(b"k" * 32).decode(), SPKI, RSA_PEM]


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_example_of_each_provider_makes_a_source(door: Door, name: str) -> None:
    wanted = source_of(PROVIDERS[name])
    status, answer = call(door, "POST", "", wanted)
    for key in KEYS if wanted.get("secrets") == ["the public key"] else ():
        if status != 201:
            status, answer = call(door, "POST", "", {**wanted, "secrets": [key]})
    assert status == 201, answer
    assert answer["warnings"] or PROVIDERS[name].confidence == "high"


def test_a_repeated_request_makes_one_source(door: Door) -> None:
    wanted = {"name": "once", "type": "stripe", "secrets": [SECRET]}
    answers = [call(door, "POST", "", wanted, **{"idempotency-key": "source-once"}) for _ in range(2)]
    assert answers[0][0] == 201 and answers[0] == answers[1]


def test_a_uid_and_a_route_belong_to_one_source(door: Door) -> None:
    door.source("stripe", uid="one", route="hooks/one")
    for wanted in ({"uid": "one"}, {"route": "hooks/one"}):
        status, answer = call(door, "POST", "", {"name": "s", "type": "stripe", "secrets": [SECRET], **wanted})
        assert (status, answer["code"]) == (409, "conflict")


def test_an_old_secret_in_use_is_told_until_it_ends(door: Door) -> None:
    made = door.source("stripe", secrets=["old"])
    status, changed = call(door, "POST", f"/{made['id']}/secret/rotate", {"secret": "new", "gracePeriodSeconds": 3600})
    assert status == 200 and len(changed["secrets"]) == 2
    assert door.send(made["path"], BODY, stripe(BODY, secret="old")).status == 200
    (event,) = door.events(made["id"])
    assert (event["secret"], event["flags"]) == (1, ["old_secret"])
    wait_until(lambda: door.activity(made["id"])["oldSecretUsedAt"], what="the use is noted")
    (warning,) = call(door, "GET", f"/{made['id']}")[1]["warnings"]
    assert "old secret" in warning
    status, changed = call(door, "POST", f"/{made['id']}/secret/rotate", {"secret": "newest", "gracePeriodSeconds": 0})
    assert len(changed["secrets"]) == 1
    assert call(door, "GET", f"/{made['id']}")[1]["warnings"] == []
    assert door.send(made["path"], BODY, stripe(BODY, secret="new")).status == 401


# -- what came


def test_events_are_listed_with_what_is_known_of_them(door: Door) -> None:
    made = door.source("stripe", schema={"required": ["must"]})
    for number, kind in ((1, "a/b"), (2, "c"), (3, "d")):
        body = b'{"id":"evt_%d","type":"%b"%b}' % (number, kind.encode(), b',"must":1' if number == 2 else b"")
        headers = [*stripe(body), ("x-retry", "7"), ("authorization", "Bearer needle"), ("content-type", "application/x-odd")]
        assert door.send(made["path"], body, headers).status == 200
    first, second, third = door.events(made["id"])
    assert (first["providerEventId"], first["providerEventType"], first["eventType"], first["secret"]) == ("evt_1", "a/b", "a.b", 0)
    assert (first["contentType"], first["bodyBytes"]) == ("application/x-odd", len(b'{"id":"evt_1","type":"a/b"}'))
    flagged = call(door, "GET", f"/{made['id']}/event?flag=schema")[1]["data"]
    assert [event["id"] for event in flagged] == [third["id"], first["id"]]
    page = call(door, "GET", f"/{made['id']}/event?limit=2")[1]
    assert [event["id"] for event in page["data"]] == [third["id"], second["id"]] and not page["done"]
    rest = call(door, "GET", f"/{made['id']}/event?limit=2&iterator={page['iterator']}")[1]
    assert [event["id"] for event in rest["data"]] == [first["id"]] and rest["done"]
    detail = call(door, "GET", f"/{made['id']}/event/{first['id']}")[1]
    assert {"name": "x-retry", "value": "7"} in detail["headers"] and "needle" not in json.dumps(detail)
    other = door.source("stripe")
    assert call(door, "GET", f"/{other['id']}/event/{first['id']}")[0] == 404
    assert door.events(other["id"]) == []
    assert call(door, "GET", f"/{made['id']}/event?flag=nonsense")[0] == 400


def test_another_body_under_the_same_id_is_flagged_and_told(door: Door) -> None:
    made = door.source("github")
    for body in (b'{"a":1}', b'{"a":2}'):
        assert door.send(made["path"], body, [*github(body), ("x-github-delivery", "guid-1")]).status == 200
    assert [event["flags"] for event in door.events(made["id"])] == [[], ["conflict"]]


# -- what was not believed


def test_a_secret_in_the_query_is_shown_nowhere_however_its_name_is_written_and_answers_are_for_its_sender_alone(door: Door) -> None:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#32-uri-query-parameter ."""
    made = door.source("cloudevents", secrets=["needle"])
    own = door.source("custom", secrets=["needle"], scheme={"type": "token", "name": "own", "places": ["query:pin"]})
    odd = door.source("custom", secrets=["needle"], scheme={"type": "jwt", "name": "own", "place": "query:jwt"})
    for extra in ([], [ORDINARY]):
        for query in ("access_token=needle", "%61ccess%5ftoken=needle"):
            answer = door.send(f"{made['path']}?{query}", BODY, extra)
            assert (answer.status, dict(answer.headers)["cache-control"]) == (200, "private")
        assert door.send(f"{made['path']}?access_token=needle.", BODY, extra).status == 401
    for source, name in ((made, "acces%73_t%6fken"), (own, "p%69n"), (odd, "jwt"), (odd, "jw%74")):
        assert door.send(f"{source['path']}?{name}=other-needle", BODY).status == 401
        (item, *_) = call(door, "GET", f"/{source['id']}/quarantine")[1]["data"]
        assert call(door, "GET", f"/{source['id']}/quarantine/{item['id']}")[1]["url"].endswith(f"?{name}=***")
        assert door.send(f"{source['path']}?{name}=other-needle", BODY, method="DELETE").status == 405
    entries = wait_until(lambda: call(door, "GET", f"/{odd['id']}/arrival")[1]["data"])
    assert "needle" not in json.dumps(entries) and entries


def test_what_is_exported_of_a_person_holds_a_refused_request_without_its_credentials(door: Door) -> None:
    scheme = {"type": "token", "name": "own", "places": ["header:x-pin"]}
    made = door.source("custom", secrets=["s"], scheme=scheme)
    headers = [("authorization", "Bearer needle"), ("x-pin", "needle"), ("x-plain", "seen")]
    assert door.send(f"{made['path']}?access_token=needle", b"mail=jo@exported.example", headers).status == 401
    url = f"http://{door.server.host}:{door.server.port}/api/v1/privacy/export"
    said, head = {"subject": "jo@exported.example"}, {"authorization": f"Bearer {door.server.token}"}
    text = httpx.post(url, json=said, headers=head, trust_env=False).text
    (line,) = [found for found in map(json.loads, text.splitlines()) if found["kind"] == "quarantine"]
    assert ["x-plain", "seen"] in line["headers"] and line["body"] == "mail=jo@exported.example"
    assert line["url"].endswith("/in/***?access_token=***") and "needle" not in text and made["path"] not in text


def test_a_refused_request_shows_why_and_comes_in_once_the_source_is_mended(door: Door) -> None:
    made = door.source("stripe", secrets=["wrong"])
    headers = [*stripe(BODY), ("authorization", "Bearer needle"), ("x-plain", "seen")]
    assert door.send(f"{made['path']}?access_token=needle&plain=1", BODY, headers).status == 401
    assert door.send(made["path"], b"other", [("stripe-signature", "nonsense")]).status == 401
    listed = call(door, "GET", f"/{made['id']}/quarantine")[1]["data"]
    assert [item["reason"] for item in listed] == ["malformed_header", "signature_mismatch"]
    status, item = call(door, "GET", f"/{made['id']}/quarantine/{listed[1]['id']}")
    assert status == 200
    assert (item["method"], item["remote"], item["bodyBytes"], item["body"]) == ("POST", "127.0.0.1", len(BODY), BODY.decode())
    assert item["url"] == f"http://ringback/ingest/api/v1/source/{made['id']}/in/***?access_token=***&plain=1"
    assert {"name": "x-plain", "value": "seen"} in item["headers"] and "needle" not in json.dumps(item)
    assert item["providerSigns"] and item["likelyCauses"] == []
    filtered = call(door, "GET", f"/{made['id']}/quarantine?reason=malformed_header")[1]["data"]
    assert [found["id"] for found in filtered] == [listed[0]["id"]]
    status, answer = call(door, "POST", f"/{made['id']}/quarantine/{item['id']}/release", {})
    assert (status, answer["code"]) == (409, "still_refused") and "signature_mismatch" in answer["detail"]
    assert call(door, "PUT", f"/{made['id']}", {"name": "s", "type": "stripe", "secrets": [SECRET]})[0] == 200
    status, done = call(door, "POST", f"/{made['id']}/quarantine/release", {})
    assert (status, done) == (200, {"released": 1, "refused": {"malformed_header": 1}, "iterator": None})
    (event,) = door.events(made["id"])
    assert event["flags"] == ["released"]
    assert call(door, "DELETE", f"/{made['id']}/quarantine/{listed[0]['id']}")[0] == 204
    assert call(door, "GET", f"/{made['id']}/quarantine")[1]["data"] == []


def test_one_request_may_be_let_in_by_a_person_without_a_signature(door: Door) -> None:
    made = door.source("stripe")
    assert door.send(made["path"], BODY).status == 401
    (item,) = call(door, "GET", f"/{made['id']}/quarantine")[1]["data"]
    status, done = call(door, "POST", f"/{made['id']}/quarantine/{item['id']}/release", {"verify": False})
    assert status == 200
    (event,) = door.events(made["id"])
    assert done == {"messageIds": [event["id"]]} and set(event["flags"]) == {"released", "unverified"}


def test_ingest_sources_have_their_quarantine_and_events_too(door: Door) -> None:
    def ingest(method: str, rest: str, body: object = None) -> typing.Any:
        raw = b"" if body is None else json.dumps(body).encode()
        answer = door.target.ask(raw, method=method, path=f"/ingest/api/v1/source{rest}")
        assert 200 <= answer.status < 300, answer
        return answer.json()

    made = ingest("POST", "", {"name": "my ingest", "type": "stripe", "config": {"secret": "wrong"}})
    path = "/" + made["ingestUrl"].split("/", 3)[3]
    assert door.send(path, BODY, stripe(BODY)).status == 401
    (item,) = ingest("GET", f"/{made['id']}/quarantine")["data"]
    assert ingest("GET", f"/{made['id']}/quarantine/{item['id']}")["body"] == BODY.decode()
    ingest("PUT", f"/{made['id']}", {"name": "my ingest", "type": "stripe", "config": {"secret": SECRET}})
    assert ingest("POST", f"/{made['id']}/quarantine/{item['id']}/release", {})["messageIds"]
    (event,) = ingest("GET", f"/{made['id']}/event")["data"]
    assert ingest("GET", f"/{made['id']}/event/{event['id']}")["providerEventId"] == "evt_1"


def test_who_changed_a_source_and_let_something_in_is_in_the_audit_log(door: Door) -> None:
    made = door.source("stripe")
    assert door.send(made["path"], BODY).status == 401
    (item,) = call(door, "GET", f"/{made['id']}/quarantine")[1]["data"]
    for method, rest, body in (
        ("PUT", "", {"name": "s", "type": "stripe"}),
        ("POST", "/secret/rotate", {"secret": "needle"}),
        ("POST", "/token/rotate", None),
        ("POST", f"/quarantine/{item['id']}/release", {"verify": False}),
        ("DELETE", "", None),
    ):
        assert call(door, method, f"/{made['id']}{rest}", body)[0] in (200, 204)
    with sqlite3.connect(door.server.database) as database:
        rows = database.execute(
            "SELECT action, object FROM audit_entry WHERE object IN (?, ?) ORDER BY id", (made["id"], item["id"])
        ).fetchall()
    database.close()
    wanted = ["created", "updated", "secret_rotated", "url_rotated", "quarantine.released", "deleted"]
    assert [action.removeprefix("source.") for action, _ in rows] == wanted
    assert "needle" not in str(rows)


def test_metrics_tell_of_sources(door: Door) -> None:
    made = door.source("stripe")
    assert door.send(made["path"], BODY, stripe(BODY)).status == 200
    assert door.send(made["path"], BODY, stripe(BODY)).status == 200
    assert door.send(made["path"], BODY).status == 401

    def told() -> bool:
        text = door.target.ask(b"", method="GET", path="/metrics").body.decode()
        wanted = ('requests_total{outcome="accepted"}', 'requests_total{outcome="duplicate"}', 'rejections_total{reason="missing_header"}')
        values = {line.split(" ")[0]: float(line.split(" ")[1]) for line in text.splitlines() if not line.startswith("#")}
        return all(values.get(f"ringback_source_{name}", 0) >= 1 for name in wanted)

    wait_until(told, what="the requests are counted")


def test_what_has_fallen_silent_is_listed(running: Running) -> None:
    source = running.made(name="quiet", silenceS=60)
    running.clock.set(NOW_S + 100)
    (operation,) = [operation for operation in routes(running.received) if operation.path.endswith("silent-source")]
    (found,) = json.loads(running.run(operation.handler(Call(WHO, {}, Query(b""), b"", {}))).body)["data"]
    assert (found["sourceId"], found["appId"], found["name"], found["type"]) == (source.id, running.app_id, "quiet", "stripe")
    assert (found["lastEventAt"], found["silentForS"], found["allowedS"]) == (None, 100, 60)


@pytest.mark.parametrize(("content", "warned"), [("{body}", True), ("{header:X-Id}.{body}", False)])
def test_an_id_that_is_not_signed_is_warned_of(door: Door, content: str, warned: bool) -> None:
    scheme = {"type": "signed", "name": "own", "headers": ["x-s"], "idHeader": "x-id", "content": content}
    status, made = call(door, "POST", "", {"name": "s", "type": "custom", "secrets": ["k"], "scheme": scheme})
    assert status == 201, made
    assert any("does not cover the id" in warning for warning in made["warnings"]) is warned
