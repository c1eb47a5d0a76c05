"""How does a provider call a running server? In bytes, signed at the moment, at sources that are made through the API."""

from __future__ import annotations

import base64
import hashlib
import hmac
import pathlib
import time
import typing
import urllib.parse

from tests.api.fuzz_client import Answer, Talk, Target, serving

SECRET = "whsec_test"
# A secret that can be read in every way: as text, and as base64 of 24 bytes.
STANDARD_SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
# Chooses the ordinary route: the hot one leaves requests with it alone, and it is the only difference between the two.
ORDINARY = ("expect", "100-continue")

Headers = list[tuple[str, str]]
Sign = typing.Callable[[bytes, str, str], Headers]


def _mac(key: bytes, content: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(key, content, algorithm)


def stripe(body: bytes, url: str = "", secret: str = SECRET) -> Headers:
    """Stripe's headers; the URL is not signed."""
    at = int(time.time())
    return [("stripe-signature", f"t={at},v1={_mac(secret.encode(), b'%d.%b' % (at, body)).hex()}")]


def github(body: bytes, url: str = "", secret: str = SECRET) -> Headers:
    """GitHub's headers."""
    return [("x-hub-signature-256", "sha256=" + _mac(secret.encode(), body).hex()), ("x-github-event", "push")]


def slack(body: bytes, url: str = "", secret: str = SECRET) -> Headers:
    """Slack's headers."""
    at = int(time.time())
    signature = _mac(secret.encode(), b"v0:%d:%b" % (at, body)).hex()
    return [("x-slack-request-timestamp", str(at)), ("x-slack-signature", f"v0={signature}")]


def shopify(body: bytes, url: str = "", secret: str = SECRET) -> Headers:
    """Shopify's headers."""
    signature = base64.b64encode(_mac(secret.encode(), body)).decode()
    return [
        ("x-shopify-hmac-sha256", signature),
        ("x-shopify-topic", "orders/create"),
        ("x-shopify-event-id", hashlib.md5(body).hexdigest()),
    ]


def standard(body: bytes, url: str = "", secret: str = STANDARD_SECRET) -> Headers:
    """The headers of Standard Webhooks."""
    at, message_id = int(time.time()), "msg_" + hashlib.md5(body).hexdigest()
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(_mac(key, b"%b.%d.%b" % (message_id.encode(), at, body))).decode()
    return [("webhook-id", message_id), ("webhook-timestamp", str(at)), ("webhook-signature", f"v1,{signature}")]


def twilio(body: bytes, url: str = "", secret: str = SECRET) -> Headers:
    """Twilio's headers, for a form."""
    fields = urllib.parse.parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    content = url + "".join(name + value for name, value in sorted(set(fields)))
    signature = base64.b64encode(_mac(secret.encode(), content.encode("latin-1"), "sha1")).decode()
    return [("x-twilio-signature", signature), ("content-type", "application/x-www-form-urlencoded")]


def unsigned(body: bytes, url: str = "", secret: str = "") -> Headers:
    """No headers at all."""
    return []


SIGNERS: dict[str, Sign] = {
    "stripe": stripe,
    "github": github,
    "slack": slack,
    "shopify": shopify,
    "standard-webhooks": standard,
    "twilio": twilio,
    "generic-webhook": unsigned,
}


class Door:
    """The sources of a running server."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.server = target.server
        self.app_id = target.app_id

    def source(self, kind: str = "stripe", **wanted: typing.Any) -> dict[str, typing.Any]:
        """A new source: its representation, and `path`, where its provider calls."""
        secret = STANDARD_SECRET if kind == "standard-webhooks" else SECRET
        given = {"name": kind, "type": kind, "secrets": [] if kind == "generic-webhook" else [secret], **wanted}
        made: dict[str, typing.Any] = self.server.make(f"/app/{self.app_id}/source", given)
        return {**made, "path": urllib.parse.urlsplit(made["ingestUrl"]).path}

    def activity(self, source_id: str) -> dict[str, typing.Any]:
        """What came from a source so far, to within some seconds."""
        found: dict[str, typing.Any] = self.server.call("GET", f"/app/{self.app_id}/source/{source_id}")[1]["activity"]
        return found

    def events(self, source_id: str) -> list[dict[str, typing.Any]]:
        """All that was taken from a source, the oldest first."""
        found: list[dict[str, typing.Any]] = []
        at = ""
        while True:
            query = f"?limit=250&order=ascending{at}"
            status, page = self.server.call("GET", f"/app/{self.app_id}/source/{source_id}/event{query}")
            assert status == 200, page
            found += page["data"]
            if page["done"]:
                return found
            at = f"&iterator={page['iterator']}"

    def request(self, path: str, body: bytes = b"", headers: typing.Sequence[tuple[str, str]] = (), method: str = "POST") -> bytes:
        """The bytes of a request without an authorization of ours."""
        return self.target.request(body, method=method, path=path, headers=headers, token="")

    def send(self, path: str, body: bytes = b"", headers: typing.Sequence[tuple[str, str]] = (), method: str = "POST") -> Answer:
        """Send one well-formed request and return its answer."""
        talk: Talk = self.target.talk(self.request(path, body, headers, method))
        (answer,) = talk.answers
        return answer

    def url(self, path: str) -> str:
        """The URL that a provider is given; requests name their host as `Target.request` does."""
        return f"http://ringback{path}"


def opened(directory: pathlib.Path) -> typing.Iterator[Door]:
    """A server of its own for a test module."""
    for target in serving(directory):
        yield Door(target)
