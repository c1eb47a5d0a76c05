"""What does `Receiver.verify` believe? What the gateway believes, with one family of errors for everything else."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.receiver import Event, Receiver, Secret, VerificationError
from ringback.receiver.testing import SignedRequest, sign
from ringback.signing.fetched import KeyUnavailable
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.scheme import Signed
from ringback.signing.verdict import REASONS
from tests.receiver.clocks import NOW_S, StandingClock

AT = datetime.fromtimestamp(NOW_S, UTC)
URL = "https://example.com/webhooks"
VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "providers.json").read_text("utf-8"))["vectors"]
# Providers whose requests nobody else can make: they sign with a private key, or in a way that only they need.
ONLY_THEY = {
    "paypal", "plaid", "mollie", "wechatpay", "ebay", "wix", "salesforce-outbound", "sendgrid", "discord", "telnyx",
    "google-pubsub-push", "aws-sns", "rfc9421",
}  # fmt: skip
SECRETS = ["whsec_" + b64encode(b"k" * 32).decode(), "ab" * 32, b64encode(b"k" * 32).decode()]
BODIES = {
    "adyen": {"notificationItems": [{"NotificationRequestItem": {"pspReference": "x", "eventCode": "AUTHORISATION"}}]},
    "ms-graph": {"value": [{"clientState": SECRETS[0]}]},
}


def receiver_of(provider: str, secrets: str | list[str | Secret], **options: Any) -> Receiver:
    return Receiver(provider, secrets, url=URL, clock=StandingClock(), **options)


def made(provider: str) -> tuple[Receiver, SignedRequest]:
    """A receiver of the provider, and a request for it, with a secret as that provider writes them."""
    for secret in SECRETS:
        try:
            receiver = receiver_of(provider, secret)
        except ValueError:
            continue
        body = BODIES.get(provider, {"id": "evt_1", "type": "thing.made", "data": {"a": 1}})
        return receiver, sign(provider, secret, body, url=URL, at=AT, event_type="thing.made")
    raise AssertionError(f"no secret fits {provider}")


def refused(check: Callable[[], object]) -> str:
    with pytest.raises(VerificationError) as caught:
        check()
    return caught.value.reason


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - ONLY_THEY))
def test_a_request_that_was_signed_for_a_test_is_believed_and_one_that_was_changed_is_not(provider: str) -> None:
    receiver, request = made(provider)
    event = receiver.verify(request.headers, request.body, request.method, request.url)
    assert event.provider == provider and event.verified and event.secret_index == 0 and event.raw == request.body
    other = {name: value.swapcase() if "signature" in name or name == "authorization" else value for name, value in request.headers.items()}
    if other != request.headers:
        assert refused(lambda: receiver.verify(other, request.body, request.method, request.url)) in REASONS
    assert refused(lambda: receiver.verify({}, b"{}", request.method, URL)) in REASONS


@pytest.mark.parametrize("provider", sorted(ONLY_THEY))
def test_what_only_the_provider_can_sign_is_not_pretended(provider: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be made here|the provider alone has"):
        sign(provider, SECRETS[0], {})


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector["expected"] is not None], ids=lambda vector: str(vector["id"]))
def test_known_answers(vector: dict[str, Any]) -> None:
    texts = vector["secret"] if isinstance(vector["secret"], list) else [vector["secret"]]
    clock = StandingClock(vector.get("now") or NOW_S)
    try:
        secrets = [Secret(text, vector.get("secret_encoding")) for text in texts]
        receiver = Receiver(scheme=vector["scheme"], secrets=secrets, clock=clock)
        event: Event | str = receiver.verify(vector["headers"], b64decode(vector["body_b64"]), vector["method"], vector.get("url") or "")
    except VerificationError as error:
        event = error.reason
    except (ValueError, KeyUnavailable):
        # The scheme refuses the secret, or its key is published: tests/unit/signing has these.
        return
    assert isinstance(event, Event) is vector["expected"], event


def test_any_of_several_secrets_may_have_signed_and_the_event_says_which() -> None:
    receiver = receiver_of("github", ["new", "old"])
    for index, secret in enumerate(("new", "old")):
        request = sign("github", secret, b"{}", event_id="d-1", event_type="push")
        event = receiver.verify(request.headers, request.body)
        assert (event.secret_index, event.id, event.type) == (index, "d-1", "push")


def test_a_signed_time_is_checked_both_ways_with_the_boundary_in() -> None:
    receiver, body = receiver_of("stripe", "whsec_a", tolerance=timedelta(seconds=10)), b'{"id":"evt_1"}'
    for age_s, reason in ((11, "timestamp_too_old"), (-11, "timestamp_in_future")):
        request = sign("stripe", "whsec_a", body, at=AT - timedelta(seconds=age_s))
        assert refused(lambda request=request: receiver.verify(request.headers, request.body)) == reason  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
    for age_s in (10, -10):
        request = sign("stripe", "whsec_a", body, at=AT - timedelta(seconds=age_s))
        assert receiver.verify(request.headers, request.body).signed_at == AT - timedelta(seconds=age_s)


def test_a_signature_header_that_came_twice_is_refused() -> None:
    request = sign("stripe", "whsec_a", b"{}", at=AT)
    fields = [*request.headers.items(), ("Stripe-Signature", "t=1,v1=aa")]
    assert refused(lambda: receiver_of("stripe", "whsec_a").verify(fields, request.body)) == "malformed_header"


def test_the_public_url_is_what_was_registered_with_the_query_that_came() -> None:
    receiver = Receiver("twilio", "token", url="https://shop.example/hooks")
    request = sign("twilio", "token", b"From=a", url="https://shop.example/hooks?x=1")
    assert receiver.verify(request.headers, request.body, "POST", "http://10.0.0.7:8000/hooks?x=1").data == {"From": "a"}
    assert refused(lambda: receiver.verify(request.headers, request.body, "POST", "http://10.0.0.7:8000/hooks?x=2")) == "signature_mismatch"


def test_a_batch_is_one_event_without_an_id_here() -> None:
    items = [{"eventId": 1, "subscriptionType": "contact.creation"}, {"eventId": 2, "subscriptionType": "deal.creation"}]
    request = sign("hubspot", "secret", items, url=URL, at=AT)
    event = receiver_of("hubspot", "secret").verify(request.headers, request.body, "POST", URL)
    assert (event.id, len(event.data)) == (None, 2)


def test_data_is_parsed_when_it_is_asked_for_and_into_a_type_of_ones_own() -> None:
    class Invoice(msgspec.Struct):
        id: str
        total: int

    request = sign("stripe", "whsec_a", b'{"id":"evt_1","total":9007199254740993}', at=AT)
    event = receiver_of("stripe", "whsec_a").verify(request.headers, request.body)
    assert event.decode(Invoice) == Invoice("evt_1", 9007199254740993)
    garbled = sign("stripe", "whsec_a", b"no json", at=AT)
    event = receiver_of("stripe", "whsec_a").verify(garbled.headers, garbled.body)
    with pytest.raises(ValueError, match="JSON"):
        _ = event.data
    assert event.type == "stripe.webhook"


def test_a_compressed_body_is_verified_as_it_came_and_read_unpacked() -> None:
    packed = gzip.compress(b'{"id":"evt_1","type":"a"}')
    request = sign("stripe", "whsec_a", packed, at=AT, headers={"content-encoding": "gzip"})
    event = receiver_of("stripe", "whsec_a").verify(request.headers, request.body)
    assert (event.id, event.raw) == ("evt_1", b'{"id":"evt_1","type":"a"}')
    bomb = sign("stripe", "whsec_a", gzip.compress(bytes(30_000_000)), at=AT, headers={"content-encoding": "gzip"})
    assert refused(lambda: receiver_of("stripe", "whsec_a").verify(bomb.headers, bomb.body)) == "unreadable_coding"
    unknown = sign("stripe", "whsec_a", b"{}", at=AT, headers={"content-encoding": "br"})
    assert refused(lambda: receiver_of("stripe", "whsec_a").verify(unknown.headers, unknown.body)) == "unreadable_coding"


def test_a_scheme_of_ones_own_is_described_not_programmed() -> None:
    scheme = Signed(
        name="acme", headers=("x-acme-signature",), content="{timestamp}:{body}", timestamp="header:x-acme-time", tolerance_s=60
    )
    receiver = Receiver(scheme=scheme, secrets=["s"], event_id_at=["json:nr"], event_type_at=["json:what"], clock=StandingClock())
    request = sign(scheme=scheme, secret="s", body={"nr": 7, "what": "order"}, at=AT)
    event = receiver.verify(request.headers, request.body)
    assert (event.id, event.type, event.provider) == ("7", "order", "custom")
    late = sign(scheme=scheme, secret="s", body={}, at=AT - timedelta(seconds=61))
    assert refused(lambda: receiver.verify(late.headers, late.body)) == "timestamp_too_old"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"provider": "stripe"}, "needs at least one secret"),
        ({"provider": "stripe", "secrets": [""]}, "empty"),
        ({"provider": "stripe", "secrets": [" \n"]}, "empty"),
        ({"provider": "strip", "secrets": ["a"]}, "did you mean stripe"),
        ({}, "needs a provider or a scheme"),
        ({"provider": "stripe", "secrets": ["a"], "mode": "stored"}, "SqliteInbox"),
        ({"provider": "stripe", "secrets": ["a"], "max_body_bytes": 0}, "max_body_bytes"),
        ({"provider": "stripe", "secrets": ["a"], "keep": timedelta(hours=74)}, "75 hours"),
        ({"provider": "stripe", "secrets": ["a"], "deadline": timedelta(seconds=2)}, "a deadline needs an inbox"),
        ({"provider": "stripe", "secrets": ["a"], "event_id_at": ["id"]}, "is no place"),
        ({"provider": "standard-webhooks", "secrets": ["not base64!"]}, "cannot be read"),
        ({"provider": "trello-like"}, "no provider"),
    ],
)
def test_a_receiver_that_could_not_verify_is_not_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Receiver(**options)


def test_a_receiver_believes_everybody_only_when_it_is_told_so_and_marks_the_events() -> None:
    event = Receiver("generic-hmac", unverified=True, event_id_at=["json:id"]).verify({}, b'{"id":"1"}')
    assert (event.verified, event.id, event.secret_index) == (False, "1", None)


def test_a_body_that_was_parsed_is_no_body() -> None:
    with pytest.raises(TypeError, match="bytes of the body as they came"):
        receiver_of("stripe", "whsec_a").verify({}, "{}")  # type: ignore[arg-type]  # the mistake that is meant


def test_a_body_over_the_limit_is_refused() -> None:
    receiver = receiver_of("stripe", "whsec_a", max_body_bytes=10)
    request = sign("stripe", "whsec_a", b"x" * 11, at=AT)
    assert refused(lambda: receiver.verify(request.headers, request.body)) == "too_large"


def test_secrets_and_bodies_are_in_no_repr() -> None:
    receiver = receiver_of("stripe", "whsec_a_secret")
    request = sign("telegram", "a_secret", b'{"update_id": 1, "text": "private"}')
    event = Receiver("telegram", "a_secret").verify(request.headers, request.body)
    shown = f"{receiver!r}{Secret('a_secret')!r}{event!r}"
    assert "a_secret" not in shown and "private" not in shown


HOSTILE = [receiver_of(name, SECRETS[0]) for name in ("stripe", "slack", "standard-webhooks", "twilio", "github", "hubspot", "shopify")]
NAMES = st.sampled_from(
    [
        "stripe-signature",
        "x-slack-signature",
        "x-slack-request-timestamp",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-twilio-signature",
        "x-hub-signature-256",
        "content-type",
        "content-encoding",
        "x-hubspot-signature-v3",
        "ÿ",
    ]
)


@given(
    st.sampled_from(HOSTILE),
    st.lists(st.tuples(NAMES, st.text(max_size=40)), max_size=6),
    st.binary(max_size=60),
    st.text(st.characters(), max_size=20),
)
def test_strangers_can_cause_one_family_of_errors_only(receiver: Receiver, headers: list[tuple[str, str]], body: bytes, url: str) -> None:
    with pytest.raises(VerificationError):
        receiver.verify(headers, body, "POST", url)


def test_an_item_of_a_form_is_read_as_the_json_that_it_is() -> None:
    receiver, read = Receiver("mandrill", unverified=True), list[object]()

    @receiver.on("*")
    def keep(event: Event) -> None:
        read.append(event.data)

    body = b"mandrill_events=" + quote('[{"event":"send","_id":"1"},{"event":"open","_id":"2"}]').encode()
    assert receiver.handle(receiver.request({"Content-Type": "application/x-www-form-urlencoded"}, body, "POST", "")).status == 200
    assert read == [{"event": "send", "_id": "1"}, {"event": "open", "_id": "2"}]


def test_what_a_stranger_had_signed_by_a_handshake_is_no_event() -> None:
    receiver = receiver_of("x-twitter", "s")
    asked = receiver.handle(receiver.request({}, b"", "GET", f"{URL}?crc_token=12345"))
    headers = {"x-twitter-webhooks-signature": json.loads(asked.body)["response_token"]}
    assert refused(lambda: receiver.verify(headers, b"12345")) == "signature_mismatch"
    assert receiver.handle(receiver.request(headers, b"12345", "POST", URL)).status == 401
