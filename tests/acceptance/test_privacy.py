"""Is a person's data gone when it was erased: out of the database, its log and the index of searches, as they lie on the disk?"""

from __future__ import annotations

import dataclasses
import datetime
import hmac
import http.client
import json
import os
import random
import signal
import socket
import threading
import typing
import urllib.parse

from benchmarks.server import Server
from tests.acceptance.provider import SECRET, make_source
from tests.acceptance.receiver import FAILED, Answer, Arrival, Receiver
from tests.acceptance.serving import Serve, Shared
from tests.api.fuzz_client import read_answers
from tests.cli.running import ringback
from tests.waiting import wait_until

MAIL: typing.Final = "jo.subject@example.com"
CUSTOMER: typing.Final = "cust-884213"
OTHER: typing.Final = "bijo.subject@example.com"
# How else it may stand somewhere.
WRITTEN: typing.Final = (MAIL, MAIL.replace("@", r"\u0040"), urllib.parse.quote(MAIL), CUSTOMER)
# The index of searches knows single words.
WORD: typing.Final = "884213"
SETTINGS: typing.Final = {"retry_schedule": "50ms", "bins": "true"}
ROUNDS: typing.Final = int(os.environ.get("RINGBACK_CRASH_ROUNDS", "50")) // 20
SEED: typing.Final = int(os.environ.get("RINGBACK_CRASH_SEED", "1"))


def files(running: Server) -> dict[str, bytes]:
    """Every file of the server: the database, its log, the index and its log, and what it printed."""
    return {path.name: path.read_bytes() for path in running.database.parent.iterdir() if path.is_file()}


def standing(running: Server, *texts: str) -> set[tuple[str, str]]:
    """In which files which texts stand, as whole words."""
    found = set[tuple[str, str]]()
    for name, content in files(running).items():
        content = content.replace(OTHER.encode(), b"")
        found |= {(name, text) for text in texts if text.encode() in content}
    return found


def request(running: Server, url: str, body: bytes, headers: dict[str, str]) -> int:
    parts = urllib.parse.urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    lines = [f"POST {target} HTTP/1.1", "host: ringback", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers.items())]
    with socket.create_connection((running.host, running.port), timeout=20) as connection:
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        (answer,) = read_answers(connection, 1, 20.0).answers
    return answer.status


def signed(body: bytes) -> dict[str, str]:
    """The headers with which a call of Stripe is believed."""
    at = int(datetime.datetime.now(datetime.UTC).timestamp())
    return {"stripe-signature": f"t={at},v1={hmac.digest(SECRET.encode(), b'%d.%b' % (at, body), 'sha256').hex()}"}


def ended(running: Server, task_id: str) -> typing.Any:
    """A task, once it is over."""
    task = wait_until(
        lambda: (found := running.call("GET", f"/background-task/{task_id}")[1])["status"] != "running" and found, what="the task ends"
    )
    assert task["status"] == "finished", task
    return task["data"]


def erased(running: Server, **wanted: typing.Any) -> typing.Any:
    return ended(running, running.make("/privacy/erase", wanted)["id"])


def exported(running: Server, **wanted: typing.Any) -> list[dict[str, typing.Any]]:
    connection = http.client.HTTPConnection(running.host, running.port, timeout=30)
    headers = {"authorization": f"Bearer {running.token}", "content-type": "application/json"}
    connection.request("POST", "/api/v1/privacy/export", json.dumps(wanted), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.read().splitlines()]
    connection.close()
    return lines


class Life:
    """A server that has the same two texts in everything that it keeps."""

    def __init__(self, running: Server, receiver: Receiver) -> None:
        self.running, self.receiver = running, receiver
        receiver.decide = self._decide
        self.app = running.make("/app", {"name": "Shop"})["id"]
        self.endpoint = running.make(f"/app/{self.app}/endpoint", {"url": f"{receiver.url}/in"})["id"]
        self.dead = running.make(f"/app/{self.app}/endpoint", {"url": f"{receiver.url}/dead"})["id"]
        running.call("PUT", f"/app/{self.app}/endpoint/{self.dead}/ordering", {"mode": "key", "keyPath": "customer.id"})
        code = "function handler(webhook) { webhook.payload = {told: webhook.payload.mail}; return webhook; }"
        changed = running.make(f"/app/{self.app}/endpoint", {"url": f"{receiver.url}/changed"})["id"]
        assert running.call("PATCH", f"/app/{self.app}/endpoint/{changed}/transformation", {"code": code, "enabled": True})[0] == 204
        self._messages()
        self._received()
        stream = running.make("/stream", {"name": "Orders"})["id"]
        events = [{"eventType": "a.b", "payload": json.dumps({"mail": mail})} for mail in (MAIL, OTHER)]
        assert running.call("POST", f"/stream/{stream}/events", {"events": events})[0] == 202
        assert request(running, f"{running.url}/in/c_{'b' * 20}", b"hello " + MAIL.encode(), {}) == 502, "kept; nobody listens"
        wait_until(lambda: self._settled(), what="all was delivered or is dead")

    @staticmethod
    def _decide(arrival: Arrival) -> Answer:
        return FAILED if arrival.path == "/dead" else Answer(200, body=b"got " + arrival.body)

    def _messages(self) -> None:
        app = self.app
        self.kept = self.post({"mail": OTHER, "text": "somebody else"})
        self.about = [
            self.post(
                {"mail": MAIL, "customer": {"id": CUSTOMER}}, eventId=f"order.{CUSTOMER}", tags=[CUSTOMER, "vip"], channels=[CUSTOMER]
            ),
            self.post({"mail": MAIL, "large": "x" * 60_000, "customer": {"id": CUSTOMER}}, orderingKey=CUSTOMER),
        ]
        raw = json.dumps({"eventType": "a.b", "payload": {"mail": MAIL}}).replace("@", r"\u0040")
        headers = {"authorization": f"Bearer {self.running.token}", "content-type": "application/json"}
        assert request(self.running, f"{self.running.url}/api/v1/app/{app}/msg", raw.encode(), headers) == 202
        later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
        self.about.append(self.post({"mail": MAIL}, deliverAt=later))
        # On pages of its own, which are free then.
        gone = self.post({"gone": "y" * 30_000, "mail": MAIL})
        assert self.running.call("DELETE", f"/app/{app}/msg/{gone}/content")[0] == 204

    def _received(self) -> None:
        source, _ = make_source(self.running, self.app)
        self.source = source
        url = self.running.call("GET", f"/app/{self.app}/source/{source}")[1]["ingestUrl"]
        body = json.dumps({"id": f"evt_{CUSTOMER}", "type": "charge", "mail": MAIL}).encode()
        for _ in range(2):
            assert request(self.running, f"{url}?who={CUSTOMER}", body, signed(body)) == 200
        assert request(self.running, url, body, {"stripe-signature": "t=1,v1=00"}) >= 400

    def post(self, payload: typing.Any, **more: typing.Any) -> str:
        """The id of a new message."""
        return str(self.running.make(f"/app/{self.app}/msg", {"eventType": "a.b", "payload": payload, **more})["id"])

    def _settled(self) -> bool:
        letters = self.running.call("GET", f"/app/{self.app}/dead-letter")[1]["data"]
        # Until the index is there, a search is refused.
        status, found = self.running.call("GET", f"/search?q={urllib.parse.quote(MAIL.split('@')[0])}")
        return len(letters) >= 4 and status == 200 and found["lag"] == 0 and len(found["data"]) >= 4


def test_after_an_erasure_nothing_of_a_person_is_on_the_disk(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings=SETTINGS)
    life = Life(running, receiver)
    before = standing(running, *WRITTEN, WORD)
    assert {text for _, text in before} >= {MAIL, CUSTOMER, WRITTEN[1]}, "the test would show nothing"
    assert {name for name, text in before if text == WORD} & {"ringback.db.search", "ringback.db.search-wal"}

    counted = erased(running, subject=MAIL, dryRun=True)
    assert standing(running, MAIL), "counting erases nothing"
    found = exported(running, subject=MAIL)
    assert found[-1] == {"kind": "end", "counts": {name: counted.get(name, 0) for name in found[-1]["counts"]}}
    assert {line["kind"] for line in found[:-1]} >= {"messages", "attempts", "quarantine", "streamEvents", "binRequests"}
    data = erased(running, subject=MAIL)
    assert data["messages"] > 0 and MAIL not in json.dumps(data)
    command = ("erase", "--subject", CUSTOMER, "--token", running.token)
    refused = ringback(serve.directory, *command)
    assert refused.returncode == 2 and "nobody is there to confirm it; nothing was erased" in refused.stderr
    done = ringback(serve.directory, *command, "--yes")
    assert done.returncode == 0 and "found" in done.stdout and "erased" in done.stdout
    assert ringback(serve.directory, *command, "--dry-run").stdout == "nothing found\n"
    assert standing(running, *WRITTEN, WORD) == set()

    assert exported(running, subject=MAIL)[:-1] == exported(running, subject=CUSTOMER)[:-1] == []
    status, message = running.call("GET", f"/app/{life.app}/msg/{life.about[0]}")
    assert (status, message["eventId"], message["tags"], message["payload"]) == (200, None, ["vip"], {"expired": True})
    kept = running.call("GET", f"/app/{life.app}/msg/{life.kept}")[1]
    assert kept["payload"] == {"mail": OTHER, "text": "somebody else"}
    found = wait_until(lambda: running.call("GET", "/search?q=somebody")[1].get("data"), what="others are found still")
    assert found[0]["msg"]["id"] == life.kept
    running.stop(signal.SIGTERM)
    assert standing(running, *WRITTEN, WORD) == set()


def test_sensitive_fields_of_a_source_are_delivered_and_not_shown(shared: Shared, receiver: Receiver) -> None:
    running = shared()
    app = running.make("/app", {"name": "Shop"})["id"]
    running.make(f"/app/{app}/endpoint", {"url": f"{receiver.url}/in"})
    source, _ = make_source(running, app, sensitiveFields=["customer.email", "items[].card"])
    shown = running.call("GET", f"/app/{app}/source/{source}")[1]
    assert shown["sensitiveFields"] == ["customer.email", "items[].card"]
    body = (
        b'{"id":"evt_1","type":"a","customer": {"email":"secretive@example.com"},"items":[{"card":"4242zebra"}],"n":12345678901234567890}'
    )
    assert request(running, shown["ingestUrl"], body, signed(body)) == 200
    assert request(running, shown["ingestUrl"], body, {"stripe-signature": "t=1,v1=00"}) >= 400
    (arrival,) = wait_until(lambda: receiver.arrivals, what="it is delivered")
    assert arrival.body == body, "as it came"

    (message,) = running.call("GET", f"/app/{app}/msg")[1]["data"]
    assert message["payload"] == json.loads(body), "whose it is sees all of it"
    masked = json.loads(body) | {"customer": {"email": "***"}, "items": [{"card": "***"}]}
    portal = dataclasses.replace(running, token=running.make(f"/auth/app-portal-access/{app}", {})["token"])
    assert portal.call("GET", f"/app/{app}/msg")[1]["data"][0]["payload"] == masked
    assert portal.call("GET", f"/app/{app}/msg/{message['id']}")[1]["payload"] == masked
    endpoint = running.call("GET", f"/app/{app}/endpoint")[1]["data"][0]["id"]
    assert portal.call("GET", f"/app/{app}/endpoint/{endpoint}/msg")[1]["data"][0]["payload"] == masked
    (refused,) = running.call("GET", f"/app/{app}/source/{source}/quarantine")[1]["data"]
    kept = running.call("GET", f"/app/{app}/source/{source}/quarantine/{refused['id']}")[1]
    assert json.loads(kept["body"]) == masked
    found = wait_until(lambda: (hits := running.call("GET", "/search?q=evt_1")[1]).get("data") and hits, what="it is indexed")
    assert "***" in found["data"][0]["excerpt"]["text"] and "zebra" not in json.dumps(found)
    assert running.call("GET", "/search?q=4242zebra")[1]["data"] == running.call("GET", "/search?q=secretive")[1]["data"] == []
    assert b"4242zebra" not in running.log.read_bytes()


def test_an_erasure_goes_on_where_it_was_however_often_the_server_is_killed(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings=SETTINGS)
    life = Life(running, receiver)
    for number in range(150):
        life.post({"mail": MAIL, "number": number})
    task_id = running.make("/privacy/erase", {"subject": MAIL})["id"]
    moments, interrupted = random.Random(SEED), 0
    for _ in range(ROUNDS):
        threading.Timer(moments.uniform(0.0, 0.15), running.process.send_signal, [signal.SIGKILL]).start()
        running.process.wait(10)
        running = serve(settings=SETTINGS, port=running.port)
        interrupted += running.call("GET", f"/background-task/{task_id}")[1]["status"] == "running"
    assert interrupted, "the task was over too soon: the test shows nothing"
    data = ended(running, task_id)
    assert data["messages"] == 150 + len(life.about) + 2, "each is counted once"
    assert standing(running, *WRITTEN[:3]) == set()
