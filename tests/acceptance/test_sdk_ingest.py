"""Do the ingest operations of the official Svix SDK work, from a source of each type to the delivered event?"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import time
import typing
import urllib.parse

import pytest
import standardwebhooks
import svix.webhooks
from svix.api import Svix, SvixOptions
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import (
    IngestEndpointHeadersIn,
    IngestEndpointIn,
    IngestEndpointSecretIn,
    IngestEndpointUpsertIn,
    IngestSourceConsumerPortalAccessIn,
    IngestSourceIn,
    IngestSourceOut,
)

from benchmarks.server import Server
from tests.acceptance.receiver import Receiver, verify
from tests.acceptance.serving import Shared
from tests.api.fuzz_client import Answer, Target
from tests.waiting import wait_until

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
# Types that are made with a secret and nothing else.
SECRET_ALONE = (
    *("svix", "beehiiv", "brex", "clerk", "guesty", "incident-io", "lithic", "nash", "pleo", "psi-fi", "replicate", "resend", "safebase"),
    *(
        "sardine",
        "stych",
        "open-ai",
        "render",
        "stripe",
        "github",
        "shopify",
        "slack",
        "zoom",
        "hubspot",
        "docusign",
        "easypost",
        "segment",
    ),
    *("vapi", "airwallex", "veriff"),
)
# What each type of the contract is made with.
CONFIGS: dict[str, dict[str, typing.Any]] = {
    "generic-webhook": {},
    **{kind: {"secret": SECRET} for kind in SECRET_ALONE},
    "tailscale": {"secret": SECRET, "timestampGraceSeconds": 60},
    "meta": {"secret": SECRET, "verifyToken": "v"},
    "telnyx": {"publicKey": base64.b64encode(bytes(32)).decode()},
    "adobe-sign": {"clientId": "c"},
}


class Ingest:
    """An owner of ingest sources, with the official SDK."""

    def __init__(self, running: Server) -> None:
        self.server = running
        self.target = Target(running)
        self.svix = Svix(running.token, SvixOptions(server_url=running.url))

    def source(self, kind: str, config: dict[str, typing.Any], **more: typing.Any) -> IngestSourceOut:
        return self.svix.ingest.source.create(IngestSourceIn.model_validate({"name": f"my {kind}", "type": kind, "config": config, **more}))

    def send(
        self, source: IngestSourceOut | str, body: bytes, headers: typing.Sequence[tuple[str, str]] = (), method: str = "POST"
    ) -> Answer:
        url = source if isinstance(source, str) else source.ingest_url
        assert url is not None
        parts = urllib.parse.urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        (answer,) = self.target.talk(self.target.request(body, method=method, path=path, headers=headers, token="")).answers
        return answer


@pytest.fixture
def ingest(shared: Shared) -> Ingest:
    return Ingest(shared())


def stripe(body: bytes) -> list[tuple[str, str]]:
    at = int(time.time())
    return [("stripe-signature", f"t={at},v1={hmac.digest(SECRET.encode(), b'%d.%b' % (at, body), 'sha256').hex()}")]


def test_a_source_of_every_type_is_made_shown_and_found_again(ingest: Ingest) -> None:
    made = {kind: ingest.source(kind, config, metadata={"kind": kind}) for kind, config in CONFIGS.items()}
    for kind, source in made.items():
        assert (source.type, source.name, source.metadata) == (kind, f"my {kind}", {"kind": kind})
        assert source.ingest_url is not None and source.ingest_url.startswith(f"{ingest.server.url}/ingest/api/v1/source/{source.id}/in/")
        assert "k" * 8 not in source.model_dump_json() and SECRET not in source.model_dump_json()
        assert ingest.svix.ingest.source.get(source.id) == source
    listed = ingest.svix.ingest.source.list()
    assert {source.id for source in listed.data} == {source.id for source in made.values()}


def test_a_source_of_type_cron_has_its_schedule_and_no_url_and_says_what_is_wrong_with_it(ingest: Ingest) -> None:
    config = {"schedule": "0 6 * * mon-fri", "payload": '{"report": "daily"}', "contentType": "application/vnd.report+json"}
    made = ingest.source("cron", config, uid="daily")
    assert made.ingest_url is None
    assert made.config is not None and made.model_dump(by_alias=True)["config"] == config
    assert ingest.svix.ingest.source.get("daily") == made
    changed = IngestSourceIn.model_validate({"name": "my cron", "type": "cron", "config": {"schedule": "* * * * *", "payload": "x"}})
    assert ingest.svix.ingest.source.upsert("daily", changed).model_dump(by_alias=True)["config"]["payload"] == "x"
    for wrong, where in (({"schedule": "* * * *", "payload": "x"}, "schedule"), ({"schedule": "* * * * *"}, "payload")):
        answer = ingest.target.ask(
            json.dumps({"name": "my source", "type": "cron", "config": wrong}).encode(), path="/ingest/api/v1/source"
        )
        assert (answer.status, answer.json()["detail"][0]["loc"]) == (422, ["body", "config", where])
    with pytest.raises(HttpError) as refused:
        ingest.svix.ingest.source.rotate_token("daily")
    assert "has no URL" in str(refused.value.to_dict())


@pytest.mark.parametrize("kind", ["checkbook", "nango", "orum-io"])
def test_a_type_that_is_not_built_is_refused_by_name(ingest: Ingest, kind: str) -> None:
    config = {"secret": "s", "publicKey": "k"}
    with pytest.raises(HTTPValidationError) as refused:
        ingest.source(kind, config)
    assert kind in str(refused.value.to_dict())


def test_a_source_without_the_secret_that_its_type_needs_is_refused(ingest: Ingest) -> None:
    for kind, field in (("stripe", "secret"), ("telnyx", "publicKey"), ("adobe-sign", "clientId"), ("meta", "secret")):
        answer = ingest.target.ask(json.dumps({"name": "my source", "type": kind, "config": {}}).encode(), path="/ingest/api/v1/source")
        assert answer.status == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "config", field]


def test_an_optional_secret_left_out_takes_in_what_is_not_signed(ingest: Ingest) -> None:
    for kind in ("github", "hubspot", "docusign", "easypost", "segment"):
        source = ingest.source(kind, {})
        assert ingest.send(source, b"{}").status == 200


def test_an_event_goes_from_the_provider_to_the_endpoint_with_its_bytes_and_headers(ingest: Ingest, receiver: Receiver) -> None:
    source = ingest.source("stripe", {"secret": SECRET}, uid="payments")
    wanted = IngestEndpointIn(url=f"{receiver.url}/in", headers={"x-mine": "1"}, description="d", metadata={"a": "b"})
    endpoint = ingest.svix.ingest.endpoint.create("payments", wanted)
    assert (endpoint.url, endpoint.description, endpoint.metadata) == (f"{receiver.url}/in", "d", {"a": "b"})
    body = b'{ "id": "evt_1",\r\n "type": "charge/succeeded" }\n'
    headers = [
        *stripe(body),
        ("content-type", "application/vnd.stripe+json; charset=utf-8"),
        ("webhook-id", "theirs"),
        ("x-their_own", "2"),
    ]
    answer = ingest.send(source, body, headers)
    assert (answer.status, answer.body) == (200, b"{}")
    assert ingest.send(source, body, [*stripe(body), ("x-later", "3")]).status == 200
    (arrival,) = wait_until(lambda: receiver.at("/in"), what="the event is delivered")
    assert arrival.body == body
    assert arrival.headers["content-type"] == "application/vnd.stripe+json; charset=utf-8"
    assert (arrival.headers["x-mine"], arrival.headers["x-their_own"]) == ("1", "2")
    assert arrival.headers["stripe-signature"].startswith("t=")
    assert arrival.id.startswith("msg_"), "the signing headers must be ours"
    secret = ingest.svix.ingest.endpoint.get_secret(source.id, endpoint.id).key
    verify(arrival, secret)
    svix.webhooks.Webhook(secret).verify(arrival.body, arrival.headers)
    assert ingest.send(source, body, [("stripe-signature", "t=1,v1=00")]).status == 401


def test_standard_webhooks_of_another_server_are_taken_in_with_either_set_of_headers(ingest: Ingest) -> None:
    source = ingest.source("svix", {"secret": SECRET})
    at, body = time.time(), b'{"type":"a"}'
    for family in ("webhook", "svix"):
        signed = standardwebhooks.Webhook(SECRET)
        signature = signed.sign(f"msg_{family}", datetime.datetime.fromtimestamp(at, datetime.UTC), body.decode())
        headers = [(f"{family}-id", f"msg_{family}"), (f"{family}-timestamp", str(int(at))), (f"{family}-signature", signature)]
        assert ingest.send(source, body, headers).status == 200
        assert ingest.send(source, body + b" ", headers).status == 401


def test_handshakes_of_ingest_sources_are_answered(ingest: Ingest) -> None:
    meta = ingest.source("meta", {"secret": SECRET, "verifyToken": "v"})
    answer = ingest.send(f"{meta.ingest_url}?hub.mode=subscribe&hub.verify_token=v&hub.challenge=1158201444", b"", method="GET")
    assert (answer.status, answer.body) == (200, b"1158201444")
    assert ingest.send(f"{meta.ingest_url}?hub.mode=subscribe&hub.verify_token=w&hub.challenge=1", b"", method="GET").status == 405
    zoom = ingest.source("zoom", {"secret": "s"})
    at = int(time.time())
    body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": "p"}}).encode()
    signature = hmac.digest(b"s", b"v0:%d:%b" % (at, body), "sha256").hex()
    answer = ingest.send(zoom, body, [("x-zm-request-timestamp", str(at)), ("x-zm-signature", f"v0={signature}")])
    assert answer.json() == {"plainToken": "p", "encryptedToken": hmac.new(b"s", b"p", hashlib.sha256).hexdigest()}
    adobe = ingest.source("adobe-sign", {"clientId": "c"})
    answer = ingest.send(adobe, b"", [("x-adobesign-clientid", "c")], method="GET")
    assert (answer.status, answer.header("x-adobesign-clientid")) == (200, "c")


def test_a_source_changes_its_type_and_keeps_its_url(ingest: Ingest) -> None:
    source = ingest.source("stripe", {"secret": SECRET})
    assert ingest.send(source, b"{}", stripe(b"{}")).status == 200
    wanted = IngestSourceIn.model_validate({"name": "renamed", "type": "github", "config": {"secret": "other"}})
    changed = ingest.svix.ingest.source.upsert(source.id, wanted)
    assert (changed.id, changed.type, changed.name, changed.ingest_url) == (source.id, "github", "renamed", source.ingest_url)
    assert ingest.send(source, b"{}", stripe(b"{}")).status == 401
    signature = "sha256=" + hmac.digest(b"other", b"{}", "sha256").hex()
    assert ingest.send(source, b"{}", [("x-hub-signature-256", signature)]).status == 200


def test_the_url_rotates_three_times_and_the_former_ones_go_on(ingest: Ingest) -> None:
    source = ingest.source("generic-webhook", {})
    urls = [source.ingest_url, *(ingest.svix.ingest.source.rotate_token(source.id).ingest_url for _ in range(3))]
    assert len(set(urls)) == 4
    for url in urls:
        assert url is not None and ingest.send(url, b"x").status == 200
    with pytest.raises(HttpError):
        ingest.svix.ingest.source.rotate_token(source.id)
    ingest.svix.ingest.source.delete(source.id)
    for url in urls:
        assert url is not None and ingest.send(url, b"x").status == 404
    with pytest.raises(HttpError) as missing:
        ingest.svix.ingest.source.get(source.id)
    assert missing.value.status_code == 404


def test_endpoints_of_a_source_are_made_changed_and_deleted(ingest: Ingest, receiver: Receiver) -> None:
    source = ingest.source("generic-webhook", {})
    endpoints = ingest.svix.ingest.endpoint
    endpoint = endpoints.create(source.id, IngestEndpointIn(url=f"{receiver.url}/a", uid="mine"))
    assert [listed.id for listed in endpoints.list(source.id).data] == [endpoint.id]
    changed = endpoints.upsert(source.id, "mine", IngestEndpointUpsertIn(url=f"{receiver.url}/b"))
    assert (changed.id, changed.url) == (endpoint.id, f"{receiver.url}/b")
    endpoints.set_headers(source.id, endpoint.id, IngestEndpointHeadersIn(headers={"x-a": "1", "authorization": "Bearer b"}))
    found = endpoints.get_headers(source.id, endpoint.id)
    assert (found.headers, found.sensitive) == ({"x-a": "1"}, ["authorization"])
    old = endpoints.get_secret(source.id, endpoint.id).key
    endpoints.rotate_secret(source.id, endpoint.id, IngestEndpointSecretIn())
    assert endpoints.get_secret(source.id, endpoint.id).key != old
    assert ingest.send(source, b"x").status == 200
    (arrival,) = wait_until(lambda: receiver.at("/b"), what="the event is delivered")
    assert arrival.headers["authorization"] == "Bearer b"
    endpoints.delete(source.id, endpoint.id)
    assert endpoints.list(source.id).data == []


def test_a_token_of_a_source_reaches_that_source_alone(ingest: Ingest) -> None:
    source, other = ingest.source("generic-webhook", {}), ingest.source("generic-webhook", {})
    portal = ingest.svix.ingest.authentication.consumer_portal_access(source.id, IngestSourceConsumerPortalAccessIn(expiry=3_600))
    assert portal.url.startswith(f"{ingest.server.url}/portal/#")
    holder = Svix(portal.token, SvixOptions(server_url=ingest.server.url)).ingest
    assert holder.source.get(source.id).id == source.id
    endpoint = holder.endpoint.create(source.id, IngestEndpointIn(url="https://example.com/"))
    assert holder.endpoint.get(source.id, endpoint.id).id == endpoint.id
    for status, forbidden in (
        (404, lambda: holder.source.get(other.id)),
        (404, lambda: holder.endpoint.list(other.id)),
        (403, holder.source.list),
        (403, lambda: holder.source.delete(source.id)),
        (403, lambda: holder.source.rotate_token(source.id)),
    ):
        with pytest.raises(HttpError) as refused:
            forbidden()
        assert refused.value.status_code == status
    reader = ingest.svix.ingest.authentication.consumer_portal_access(source.id, IngestSourceConsumerPortalAccessIn(read_only=True))
    watching = Svix(reader.token, SvixOptions(server_url=ingest.server.url)).ingest
    assert watching.endpoint.list(source.id).data[0].id == endpoint.id
    with pytest.raises(HttpError) as refused:
        watching.endpoint.delete(source.id, endpoint.id)
    assert refused.value.status_code == 403
