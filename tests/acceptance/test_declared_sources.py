"""Sources that stand in the file of settings: made at the start, changed there alone, and shown as such."""

from __future__ import annotations

import pathlib
import urllib.parse

import httpx
import pytest

from benchmarks.server import Server, StartFailed
from tests.acceptance.serving import Serve
from tests.gateway.door import stripe
from tests.gateway.talking import post

FILE = """
log_level = "warning"

[[sources]]
uid = "payments"
app = "shop"
name = "Payments"
type = "stripe"
secrets = ["${STRIPE_SECRET}", {text = "old", expiresAt = 2099-01-01T00:00:00Z}]
route = "webhooks/stripe"
allowedIps = ["127.0.0.0/8", "::1"]
deduplication = {windowS = 300000}
orderingKeyAt = ["json:data.object.customer"]

[[sources]]
uid = "open"
name = "Open"
type = "generic-webhook"
"""
BODY = b'{"id":"evt_1","type":"charge.succeeded"}'


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "ringback.toml"
    path.write_text(FILE)
    return path


def started(serve: Serve, file: pathlib.Path, **settings: str) -> Server:
    return serve(settings={"config": str(file), "STRIPE_SECRET": "whsec_test", **settings})


def test_sources_of_the_file_are_there_and_change_with_it_alone(serve: Serve, file: pathlib.Path) -> None:
    server = started(serve, file)
    _, made = server.call("GET", "/app/shop/source/payments")
    assert (made["name"], made["declaredIn"], made["deduplication"]["windowS"]) == ("Payments", "the settings", 300_000)
    assert made["orderingKeyAt"] == ["json:data.object.customer"]
    assert [secret["expiresAt"] for secret in made["secrets"]] == [None, "2099-01-01T00:00:00.000000Z"]
    assert post(server, "/webhooks/stripe", BODY, stripe(BODY)) == 200
    for method, path, body in (
        ("PUT", "", {"name": "Other", "type": "stripe"}),
        ("DELETE", "", None),
        ("POST", "/secret/rotate", {"secret": "other"}),
    ):
        status, answer = server.call(method, f"/app/shop/source/payments{path}", body)
        assert (status, answer["detail"]) == (409, "The source is declared in the settings; change it there, and start the server again")
    server.stop()

    file.write_text(FILE.replace('"Payments"', '"Money"').replace('uid = "open"', 'uid = "other"'))
    server = started(serve, file)
    _, changed = server.call("GET", "/app/shop/source/payments")
    assert (changed["id"], changed["ingestUrl"].rpartition("/")[2], changed["name"]) == (
        made["id"],
        made["ingestUrl"].rpartition("/")[2],
        "Money",
    )
    assert post(server, "/webhooks/stripe", BODY, stripe(BODY)) == 200
    assert len(server.call("GET", "/app/shop/source/payments/event")[1]["data"]) == 1, "what came before the restart is still known"
    server.stop()

    file.write_text('log_level = "warning"\n')
    server = started(serve, file)
    assert server.call("GET", "/app/shop/source/payments")[1]["declaredIn"] is None, "one that was taken out is the API's"
    assert server.call("DELETE", "/app/shop/source/payments")[0] == 204


def test_sources_without_an_application_are_those_of_the_ingest_api(serve: Serve, file: pathlib.Path) -> None:
    server = started(serve, file)
    owner = {"authorization": f"Bearer {server.token}"}
    source = httpx.get(f"{server.url}/ingest/api/v1/source/open", headers=owner).json()
    assert post(server, urllib.parse.urlsplit(source["ingestUrl"]).path, b"x", []) == 200
    refused = httpx.delete(f"{server.url}/ingest/api/v1/source/open", headers=owner)
    assert (refused.status_code, "declared in the settings" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("STRIPE_SECRET", "MISSING_SECRET"), "names the variable MISSING_SECRET, which is not set"),
        (('uid = "open"', 'uid = "payments"'), "'payments' is the uid of two of them"),
        (('uid = "open"\n', ""), "each needs a uid"),
        (('type = "stripe"', 'type = "strype"'), "'payments' cannot be used: type: 'strype' is no type of source"),
        (("allowedIps", "allowedIp"), "'payments' has allowedIp, which is no field of a source"),
        (('secrets = ["${STRIPE_SECRET}"', 'verify = "none"\nsecrets = ["x"'), "'payments' cannot be used: route: an unverified source"),
    ],
)
def test_a_source_that_cannot_be_ends_the_start_with_its_name(serve: Serve, file: pathlib.Path, change: tuple[str, str], said: str) -> None:
    file.write_text(FILE.replace(*change))
    with pytest.raises(StartFailed) as failed:
        started(serve, file)
    assert said in str(failed.value) and "exit code 2" in str(failed.value)
    assert "whsec_test" not in str(failed.value)
