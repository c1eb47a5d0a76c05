"""Does a program on a developer's machine get every event? Real servers, a real listener as a process of its own, and kills."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import typing
import urllib.request

import pytest
import standardwebhooks

from benchmarks.server import Server, command, environment, free_port
from tests.acceptance.provider import SECRET
from tests.acceptance.receiver import OK, Answer, Arrival, Receiver, verify
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until


class Listener:
    """`ringback listen` as a process; what it printed is in a file."""

    def __init__(self, running: Server, log: pathlib.Path, *words: str) -> None:
        self.log = log
        with log.open("ab") as out:
            self.began = out.tell()
            self.process = subprocess.Popen(
                [*command(), "listen", "--url", running.url, *words],
                env=environment({"token": running.token}),
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: "Ctrl-C ends it" in self.said or self.process.poll() is not None, what="it listens")
        assert self.process.poll() is None, self.said

    @property
    def said(self) -> str:
        return self.log.read_bytes()[self.began :].decode()

    @property
    def secret(self) -> str:
        found = re.search(r"whsec_\S+", self.said)
        assert found is not None, self.said
        return found[0]

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


Listen = typing.Callable[..., Listener]


@pytest.fixture
def listen(tmp_path: pathlib.Path) -> typing.Iterator[Listen]:
    begun: list[Listener] = []

    def begin(running: Server, *words: str) -> Listener:
        begun.append(Listener(running, tmp_path / "listen.log", *words))
        return begun[-1]

    yield begin
    for listener in begun:
        if listener.process.poll() is None:
            listener.process.kill()
            listener.process.wait(20)


def shop(running: Server) -> str:
    name: str = running.make("/app", {"name": "shop"})["id"]
    return name


def publish(running: Server, app: str, count: int, event_type: str = "order.paid") -> list[str]:
    return [running.make(f"/app/{app}/msg", {"eventType": event_type, "payload": {"number": number}})["id"] for number in range(count)]


def arrived(receiver: Receiver) -> list[str]:
    """The ids of what came, in order, each once."""
    return list(dict.fromkeys(arrival.id for arrival in list(receiver.arrivals)))


def trigger(running: Server, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(), "trigger", *words], env=environment({"token": running.token}), capture_output=True, text=True, timeout=60, check=False
    )


def test_what_was_published_while_it_was_off_arrives_signed_when_it_starts_again(
    shared: Shared, receiver: Receiver, listen: Listen
) -> None:
    running = shared()
    app = shop(running)
    words = ("--app", app, "--name", "me", f"{receiver.url}/webhooks?from=ringback")
    first = listen(running, *words)
    before = publish(running, app, 2)
    wait_until(lambda: arrived(receiver) == before and before[-1] in first.said, what="they arrive while it listens")
    assert first.end(signal.SIGINT) == 0
    assert "stopped" in first.said
    meanwhile = publish(running, app, 5)
    assert arrived(receiver) == before
    second = listen(running, *words)
    wait_until(lambda: arrived(receiver) == before + meanwhile, what="what came meanwhile arrives")
    # One that was answered at the moment it was ended may come again.
    assert len(receiver.arrivals) <= 8
    assert second.secret == first.secret
    for arrival in receiver.arrivals:
        assert (arrival.method, arrival.path) == ("POST", "/webhooks?from=ringback")
        verify(arrival, second.secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(second.secret).verify(arrival.body + b" ", arrival.headers)
    wait_until(lambda: meanwhile[-1] in second.said, what="it says so")
    assert re.search(rf"^\d\d:\d\d:\d\d  order\.paid  {meanwhile[-1]}  200  \d+ ms$", second.said, re.MULTILINE)
    assert "\x1b" not in second.said


def test_two_listeners_of_one_name_miss_nothing_between_them(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)
    words = ("--app", app, "--name", "me", receiver.url)
    both = [listen(running, *words) for _ in range(2)]
    published = publish(running, app, 40)
    # They share a place, so that some may come to both: an order of their own is more than they can keep.
    wait_until(lambda: set(arrived(receiver)) == set(published), what="all arrive")
    assert [listener.end(signal.SIGINT) for listener in both] == [0, 0]


def test_a_listener_that_is_killed_again_and_again_misses_nothing(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)
    words = ("--app", app, "--name", "me", receiver.url)
    assert listen(running, *words).end(signal.SIGKILL) != 0
    published = publish(running, app, 60)
    for enough in (10, 25, 45):
        listener = listen(running, *words)
        wait_until(lambda enough=enough: len(arrived(receiver)) >= enough, what="some arrive")
        listener.end(signal.SIGKILL)
    listen(running, *words)
    wait_until(lambda: len(arrived(receiver)) >= len(published), what="all arrive")
    assert arrived(receiver) == published
    # Only what was being answered when it was killed comes twice.
    assert len(receiver.arrivals) <= len(published) + 3


def test_a_program_that_is_down_is_waited_for_and_said_once(shared: Shared, listen: Listen) -> None:
    running = shared()
    app, port = shop(running), free_port()
    listener = listen(running, "--app", app, f"http://127.0.0.1:{port}/in")
    published = publish(running, app, 3)
    wait_until(lambda: "does not answer" in listener.said, what="it says that nobody is there")
    with program(port) as got:
        wait_until(lambda: len(got) == 3, what="all arrive")
    assert got == published
    assert listener.said.count("does not answer") == 1
    assert "answers again" in listener.said


@contextlib.contextmanager
def program(port: int) -> typing.Iterator[list[str]]:
    """A program that comes up at a port that was named before; the ids that it was sent."""
    got: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            got.append(self.headers["webhook-id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test says what is wrong."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield got
        server.shutdown()


def test_it_goes_on_when_the_server_comes_back(serve: Serve, receiver: Receiver, listen: Listen) -> None:
    running = serve()
    app = shop(running)
    listener = listen(running, "--app", app, receiver.url)
    first = publish(running, app, 1)
    wait_until(lambda: arrived(receiver) == first, what="it listens")
    running.stop(signal.SIGKILL)
    wait_until(lambda: "the server does not answer" in listener.said, what="it says that the server is away")
    again = serve(port=running.port)
    then = publish(again, app, 3)
    wait_until(lambda: arrived(receiver) == first + then, what="it went on")
    assert listener.said.count("the server does not answer") == 1


def test_a_refusal_of_the_program_is_an_answer_and_holds_nothing_up(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)

    def decide(arrival: Arrival) -> Answer:
        return Answer(500) if json.loads(arrival.body)["number"] == 0 else OK

    receiver.decide = decide
    listener = listen(running, "--app", app, receiver.url)
    published = publish(running, app, 2)
    wait_until(lambda: published[1] in listener.said, what="the second is told")
    assert [arrival.id for arrival in receiver.arrivals] == published
    assert re.search(rf"{published[0]}  500  ", listener.said)


def test_only_types_that_are_asked_for_are_handed_on(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)
    listen(running, "--app", app, "--types", "order.*", "--types", "user.created", receiver.url)
    wanted = publish(running, app, 1, "order.paid")
    publish(running, app, 70, "invoice.paid")
    wanted += publish(running, app, 1, "user.created") + publish(running, app, 1, "order.shipped")
    wait_until(lambda: len(arrived(receiver)) == 3, what="they arrive")
    assert arrived(receiver) == wanted


def test_what_a_source_receives_arrives_byte_for_byte_with_its_headers(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)
    made = running.make(f"/app/{app}/source", {"name": "any", "type": "github", "secrets": [SECRET]})
    other = running.make(f"/app/{app}/source", {"name": "other", "type": "github", "secrets": [SECRET]})
    listen(running, "--source", made["id"], receiver.url)
    for body in (b'\n {"a": 1.0 , "b":"\\u00e9"}\n', b'{"rawPayload": "x"}', b"a=1&b=%20", b"\xff\x00\xfe", b"[1]"):
        for source in (other, made):
            sent = subprocess.run(
                [*command(), "trigger", "github", "--secret", SECRET, "--to", source["ingestUrl"], "--data", "-"],
                input=body,
                capture_output=True,
                timeout=60,
                env=environment({}),
                check=False,
            )
            assert sent.returncode == 0, sent.stderr
        wait_until(lambda body=body: any(arrival.body == body for arrival in receiver.arrivals), what=f"{body!r} arrives")
    assert len(arrived(receiver)) == 5
    assert {arrival.headers["x-github-event"] for arrival in receiver.arrivals} == {"push"}


def test_an_ingest_source_is_listened_to_by_its_name_alone(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    made = ingest_source(running)
    listener = listen(running, "--source", made["id"], receiver.url)
    done = trigger(running, "github", "--secret", SECRET, "--source", made["id"], "--url", running.url, "--event", "ping")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: arrived(receiver), what="it arrives")
    verify(receiver.arrivals[0], listener.secret)
    assert json.loads(receiver.arrivals[0].body)["zen"] == "Keep it logically awesome."


def ingest_source(running: Server) -> typing.Any:
    wanted = {"name": "github", "type": "github", "config": {"secret": SECRET}}
    headers = {"authorization": f"Bearer {running.token}", "content-type": "application/json"}
    asked = urllib.request.Request(f"{running.url}/ingest/api/v1/source", json.dumps(wanted).encode(), headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


def test_it_can_go_back_to_what_it_has_handed_on(shared: Shared, receiver: Receiver, listen: Listen) -> None:
    running = shared()
    app = shop(running)
    words = ("--app", app, "--name", "me", receiver.url)
    first = listen(running, *words)
    published = publish(running, app, 3)
    wait_until(lambda: arrived(receiver) == published, what="they arrive")
    assert first.end(signal.SIGINT) == 0
    receiver.arrivals.clear()
    listen(running, *words, "--since", "1h")
    wait_until(lambda: arrived(receiver) == published, what="they arrive again")


def test_on_a_terminal_lines_have_colours_and_ctrl_c_ends_it(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    app = shop(running)
    controller, terminal = os.openpty()
    words = [*command(), "listen", "--url", running.url, "--app", app, receiver.url]
    env = environment({"token": running.token}) | {"TERM": "xterm-256color"}
    process = subprocess.Popen(words, env=env, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    os.set_blocking(controller, False)
    said = bytearray()

    def shows(what: bytes) -> bool:
        with contextlib.suppress(OSError):
            said.extend(os.read(controller, 65_536))
        return what in said

    try:
        wait_until(lambda: shows(b"Ctrl-C ends it"), what="it listens")
        (sent,) = publish(running, app, 1)
        wait_until(lambda: shows(f"{sent}  200".encode()), what="the event is shown")
        assert re.search(rb"\x1b\[32m\d\d:\d\d:\d\d  order\.paid  ", said), said
        process.send_signal(signal.SIGINT)
        wait_until(lambda: shows(b"stopped"), what="it says that it ends")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(20)
        os.close(controller)


KNOWN: typing.Final = {
    "stripe": "whsec_test",
    "github": SECRET,
    "slack": "8f742231b10e8888abcd99yyyzzz85a5",
    "shopify": SECRET,
    "twilio": "12345",
    "standard-webhooks": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}


@pytest.mark.parametrize("provider", sorted(KNOWN))
def test_an_event_that_is_triggered_is_believed_by_a_source_of_that_provider(shared: Shared, provider: str) -> None:
    running = shared()
    app = shop(running)
    wanted = {"name": provider, "type": provider, "secrets": [KNOWN[provider]], "publicUrl": "https://hooks.example.com/here"}
    source = running.make(f"/app/{app}/source", wanted)
    where = ("--app", app, "--source", source["id"], "--url", running.url)
    # Twice, as two events: neither is a duplicate of the other.
    for _ in range(2):
        done = trigger(running, provider, "--secret", KNOWN[provider], *where)
        assert done.returncode == 0, (done.stdout, done.stderr)
    events = running.call("GET", f"/app/{app}/source/{source['id']}/event")[1]["data"]
    assert len(events) == 2
    assert {event["secret"] for event in events} == {0}
    assert {event["providerEventType"] for event in events} == {done.stdout.split()[1].rstrip(":")}
    wrong = trigger(running, provider, "--secret", KNOWN["standard-webhooks"][:-4] + "AAAA", *where)
    assert (wrong.returncode, wrong.stdout.split()[2]) == (1, "401")
    assert "the quarantine of the source says why" in wrong.stderr
