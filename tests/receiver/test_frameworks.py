"""Every framework, under a real server, gives the receiver the bytes as they came, and the sender the receiver's answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from ringback.receiver import Event, Receiver, Reply
from ringback.receiver.testing import SignedRequest, sign
from tests.receiver import frameworks
from tests.receiver.serving import Running

SECRET = "whsec_test"
LIMIT = 4_000
# Bytes that any parser would write otherwise: blanks, an escape, a number past the precision of floats.
EXACT = b'{ "id":"evt_1", "type" : "invoice.paid", "big": 9007199254740993, "e": "\\u00e9" }'


class Shop:
    """A program that receives from four providers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.stripe = Receiver("stripe", SECRET, max_body_bytes=LIMIT)
        self.twilio = Receiver("twilio", "token")
        self.slack = Receiver("slack", "secret")
        self.x = Receiver("x-twitter", "consumer")

        @self.stripe.on("invoice.*")
        def invoice(event: Event) -> None:
            self.events.append(event)

        @self.stripe.on("charge.failed")
        async def failing(event: Event) -> None:
            await frameworks.nap()
            raise RuntimeError("the database is down")

        @self.twilio.on("*")
        def call(event: Event) -> str:
            return f"<Response><Say>{event.data['From']}</Say></Response>"

        @self.slack.on("*")
        async def message(event: Event) -> dict[str, str]:
            await frameworks.nap()
            return {"text": "é"}

    @property
    def receivers(self) -> dict[str, Receiver]:
        return {"/hooks/stripe": self.stripe, "/hooks/twilio": self.twilio, "/hooks/slack": self.slack, "/hooks/x": self.x}


SHOP = Shop()


@pytest.fixture(scope="module", params=frameworks.ALL)
def framework(request: pytest.FixtureRequest) -> Iterator[tuple[str, Running]]:
    running = frameworks.ALL[request.param](SHOP.receivers)
    yield request.param, running
    running.close()


@pytest.fixture
def running(framework: tuple[str, Running]) -> Iterator[Running]:
    SHOP.events.clear()
    logging.getLogger("ringback.receiver").setLevel(logging.CRITICAL)
    yield framework[1]
    logging.getLogger("ringback.receiver").setLevel(logging.NOTSET)


def stripe(body: bytes = EXACT, secret: str = SECRET) -> SignedRequest:
    return sign("stripe", secret, body)


def test_the_handler_gets_the_bytes_as_they_came(running: Running) -> None:
    request = stripe()
    answer = running.call("POST", "/hooks/stripe", request.headers, request.body)
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json"
    (event,) = SHOP.events
    assert (event.raw, event.id, event.type) == (EXACT, "evt_1", "invoice.paid")
    assert event.data["big"] == 9007199254740993
    assert event.header("Stripe-Signature") == request.headers["stripe-signature"]


def test_a_stranger_learns_nothing(running: Running) -> None:
    for request in (stripe(secret="whsec_other"), SignedRequest("POST", "", {"content-type": "application/json"}, b"{}")):
        answer = running.call("POST", "/hooks/stripe", request.headers, request.body)
        assert (answer.status, answer.body) == (401, b"")
    assert not SHOP.events


HEAD = "POST /hooks/stripe HTTP/1.1\nhost: a\ncontent-type: application/json\n"


def test_a_body_over_the_limit_is_refused_by_its_length_before_it_is_read(framework: tuple[str, Running], running: Running) -> None:
    # Not all of the body comes: whoever reads it first never answers. Django under ASGI, and code that asked before, do read it first.
    reads_first = framework[0] in ("django_asgi", "flask_blueprints")
    sent = b"x" * (LIMIT + 1 if reads_first else 10)
    assert running.begin(f"{HEAD}content-length: {LIMIT + 1}\n\n", sent) == 413


def test_a_body_without_a_length_is_refused_where_it_passes_the_limit(framework: tuple[str, Running], running: Running) -> None:
    head = f"{HEAD}transfer-encoding: chunked\n\n"
    if framework[0] not in frameworks.CHUNKED:
        # A WSGI server that does not take chunks apart cannot say where the body ends.
        assert running.begin(head) == 411
        return
    end = b"0\r\n\r\n" if framework[0] == "django_asgi" else b""
    assert running.begin(head, b"%x\r\n%b\r\n" % (LIMIT + 1, b"x" * (LIMIT + 1)) + end) == 413
    assert not SHOP.events


def test_a_body_without_a_length_is_taken_where_the_server_can(framework: tuple[str, Running], running: Running) -> None:
    request = stripe()
    if framework[0] in frameworks.CHUNKED:
        answer = running.call("POST", "/hooks/stripe", request.headers, iter([request.body[:10], request.body[10:]]))
        assert (answer.status, [event.raw for event in SHOP.events]) == (200, [EXACT])
    else:
        assert running.begin(f"{HEAD}transfer-encoding: chunked\n\n") == 411


def test_other_methods_are_not_allowed_and_other_paths_not_found(running: Running) -> None:
    for method in ("GET", "OPTIONS"):
        answer = running.call(method, "/hooks/stripe")
        assert (answer.status, answer.headers["allow"]) == (405, "POST"), method
    assert running.call("PUT", "/hooks/stripe", {}, b"{}").status == 405
    assert running.call("POST", "/hooks/unknown", {}, b"{}").status == 404


def test_a_handler_that_fails_lets_the_provider_try_again(running: Running) -> None:
    request = stripe(b'{"id":"evt_2","type":"charge.failed"}')
    answer = running.call("POST", "/hooks/stripe", request.headers, request.body)
    assert (answer.status, answer.body) == (500, b"")


def test_an_unknown_type_is_acknowledged(running: Running) -> None:
    request = stripe(b'{"id":"evt_3","type":"payout.paid"}')
    assert running.call("POST", "/hooks/stripe", request.headers, request.body).status == 200
    assert not SHOP.events


def test_a_form_is_verified_under_the_url_that_was_called(running: Running) -> None:
    request = sign("twilio", "token", b"From=%2B123&Body=a+b", url=f"http://127.0.0.1:{running.port}/hooks/twilio?a=1&b=%C3%A9%27")
    answer = running.call("POST", request.target, request.headers, request.body)
    assert (answer.status, answer.body) == (200, b"<Response><Say>+123</Say></Response>")
    assert answer.headers["content-type"].startswith("text/xml")


def test_an_odd_path_is_no_failure_of_the_program(running: Running) -> None:
    for path in ("/hooks/%E2%82%AC", "/hooks/%FF%00", "/hooks/stripe/%2e%2e?%"):
        assert running.call("POST", path, {}, b"{}").status == 404


def test_a_signed_question_is_answered_once_it_is_believed(running: Running) -> None:
    question = b'{"type":"url_verification","challenge":"3eZbrw1a"}'
    request = sign("slack", "secret", question)
    answer = running.call("POST", "/hooks/slack", request.headers, request.body)
    assert (answer.status, json.loads(answer.body)) == (200, {"challenge": "3eZbrw1a"})
    unsigned = running.call("POST", "/hooks/slack", {"content-type": "application/json"}, question)
    assert (unsigned.status, unsigned.body) == (401, b"")


def test_an_answer_for_people_goes_back(running: Running) -> None:
    request = sign("slack", "secret", b"command=%2Fweather&text=94070")
    answer = running.call("POST", "/hooks/slack", request.headers, request.body)
    assert (answer.status, json.loads(answer.body)) == (200, {"text": "é"})


def test_a_question_by_get_is_answered(running: Running) -> None:
    answer = running.call("GET", "/hooks/x?crc_token=abc&nonce=1")
    assert answer.status == 200
    assert json.loads(answer.body)["response_token"].startswith("sha256=")
    assert Reply.json({}).content_type == answer.headers["content-type"]
