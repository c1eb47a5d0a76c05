"""`ringback trigger`: what is sent for each provider, and what is told of it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringback.cli.main import main
from ringback.cli.samples import sample, samples, signed
from ringback.clock import SECOND_US, SystemClock
from ringback.receiver.testing import Unsignable
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.tokens import Unsigned
from ringback.signing.verify import prepare_provider

# Readable as text, as hex and as base64: some provider wants each.
SECRET = "ab" * 32
URL = "https://hooks.example.com/in?a=1"
BEST_KNOWN = {"stripe", "github", "slack", "shopify", "twilio", "standard-webhooks"}
# They sign with a private key (or, for rfc9421, in ways that only its two sides agree on).
ONLY_THEMSELVES = {
    "paypal", "plaid", "wechatpay", "ebay", "wix", "sendgrid", "discord", "telnyx", "google-pubsub-push", "aws-sns", "rfc9421"
}  # fmt: skip
UNSIGNED = {name for name, row in PROVIDERS.items() if isinstance(row.schemes[0], Unsigned)}


class Program:
    """Keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        program = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                program.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(program.status)
                self.send_header("content-length", "5")
                self.end_headers()
                self.wfile.write(b"heard")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: the test says what is wrong."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/in"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def program() -> Iterator[Program]:
    started = Program()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - ONLY_THEMSELVES - UNSIGNED))
@pytest.mark.parametrize("event", [None, "something.happened"])
def test_what_is_sent_is_believed_by_the_verifier_of_that_provider(name: str, event: str | None) -> None:
    row, now_us = PROVIDERS[name], SystemClock().now_us()
    request = signed(row, sample(row, event, "0123456789abcdef", now_us, SECRET), SECRET, URL)
    inbound = InboundRequest(Headers.of(request.headers), request.body, b"POST", request.url.encode())
    verdict = prepare_provider(row, [Secret(SECRET)]).verify(inbound, now_s=now_us / SECOND_US)
    assert verdict.key_index == 0


@pytest.mark.parametrize("name", sorted(ONLY_THEMSELVES))
def test_whoever_signs_with_a_key_of_its_own_is_refused_with_why(name: str, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trigger", name, "--secret", SECRET, "--to", program.url]) == 2
    said = capsys.readouterr().err
    assert f"nobody else can send an event of {PROVIDERS[name].name}" in said
    assert "a key that" in said
    assert "have the provider itself send a test event" in said
    assert program.got == []
    # It helps nobody to ask for a secret first.
    assert main(["trigger", name, "--to", program.url]) == 2
    assert "nobody else can send" in capsys.readouterr().err


def test_the_best_known_providers_have_bodies_of_their_own() -> None:
    assert set(samples()) >= BEST_KNOWN
    for name in samples():
        assert PROVIDERS[name].id == name


def test_an_invoice_has_the_sum_that_the_first_example_of_the_documents_reads() -> None:
    made = sample(PROVIDERS["stripe"], "invoice.paid", "0123", 1_700_000_000_000_000)
    assert json.loads(made.body)["data"]["object"]["total"] == 2000


@pytest.mark.parametrize("name", sorted(BEST_KNOWN))
def test_no_placeholder_is_left_in_what_is_sent(name: str) -> None:
    (kept,) = samples()[name].values()
    for event in kept:
        body = sample(PROVIDERS[name], event, "0123", 1_700_000_000_000_000).body
        assert not any(word in body for word in (b"{id}", b"{now", b"{iso}", b"{secret}", b"%7B")), body


def test_an_event_is_signed_sent_and_its_answer_printed(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trigger", "stripe", "--event", "invoice.paid", "--secret", "whsec_test", "--to", f"{program.url}?a=1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert (said[0].startswith("stripe invoice.paid: 200 in "), said[1:]) == (True, ["heard"])
    ((path, headers, body),) = program.got
    assert (path, json.loads(body)["type"], headers["content-type"]) == ("/in?a=1", "invoice.paid", "application/json")
    assert headers["stripe-signature"].startswith("t=")


def test_a_name_of_an_event_stands_where_the_provider_writes_it(program: Program) -> None:
    for provider, event in (("github", "star"), ("stripe", "customer.created"), ("slack", "reaction_added")):
        assert main(["trigger", provider, "--event", event, "--secret", SECRET, "--to", program.url]) == 0
    (_, github, _), (_, _, stripe), (_, _, slack) = program.got
    assert (github["x-github-event"], json.loads(stripe)["type"], json.loads(slack)["event"]["type"]) == (
        "star",
        "customer.created",
        "reaction_added",
    )


def test_a_provider_that_signs_the_url_signs_the_one_that_the_program_is_known_by(program: Program) -> None:
    known = "https://shop.example/webhooks/twilio"
    assert main(["trigger", "twilio", "--secret", SECRET, "--to", program.url, "--signed-url", known]) == 0
    ((path, headers, body),) = program.got
    inbound = InboundRequest(Headers.of(headers), body, b"POST", known.encode())
    assert prepare_provider(PROVIDERS["twilio"], [Secret(SECRET)]).verify(inbound, now_s=0).key_index == 0
    assert path == "/in"


def test_a_body_of_ones_own_is_sent_byte_for_byte(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b'{ "a" : 1.0 }\n')
    assert main(["trigger", "github", "--secret", SECRET, "--to", program.url, "--data", str(file)]) == 0
    assert program.got[0][2] == b'{ "a" : 1.0 }\n'


@pytest.mark.parametrize("status", [301, 400, 500])
def test_anything_but_a_success_is_exit_code_1(status: int, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.status = status
    assert main(["trigger", "github", "--secret", SECRET, "--to", program.url]) == 1
    assert f": {status} in" in capsys.readouterr().out


def test_a_program_that_is_not_there_is_told(program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    program.server.shutdown()
    program.server.server_close()
    assert main(["trigger", "github", "--secret", SECRET, "--to", program.url]) == 1
    assert f"{program.url} does not answer: Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody", "--secret", "x", "--to", "http://localhost"], "nobody"),
        (["github", "--to", "http://localhost"], "give it with --secret"),
        (["github", "--secret", "x", "--to", "localhost:3000"], "write it like http://localhost:3000/webhooks"),
        (["github", "--secret", "x", "--to", "http://localhost", "--app", "a"], "--app names the application of a --source"),
        (["github", "--secret", "x", "--to", "http://localhost", "--data", "/nowhere/at/all"], "cannot be read"),
        (["standard-webhooks", "--secret", "no base64!", "--to", "http://localhost"], "cannot be signed"),
        (["github", "--secret", "x", "--source", "s", "--url", "http://example.com", "--token", "sk"], "use https://"),
        (["github", "--secret", "x", "--source", "s"], "an org token is needed"),
        (["github", "--secret", "x", "--source", "s", "--signed-url", "http://localhost"], "--signed-url belongs to --to"),
    ],
)
def test_a_command_line_that_cannot_be_used_is_told_in_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RINGBACK_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["trigger", *words]) == 2
    assert said in capsys.readouterr().err


def test_unsigned_webhooks_need_no_secret(program: Program) -> None:
    assert main(["trigger", "mollie", "--to", program.url]) == 0
    assert program.got[0][2].startswith(b"id=tr_")


def test_where_to_send_is_said_once() -> None:
    for words in ([], ["--to", "http://localhost", "--source", "s"]):
        with pytest.raises(SystemExit) as ended:
            main(["trigger", "github", "--secret", "x", *words])
        assert ended.value.code == 2


def test_who_can_be_signed_for_is_known_of_every_provider() -> None:
    refused = set()
    for name, row in PROVIDERS.items():
        try:
            signed(row, sample(row, None, "01", 1_700_000_000_000_000, SECRET), SECRET, URL)
        except Unsignable:
            refused.add(name)
    assert refused == ONLY_THEMSELVES
