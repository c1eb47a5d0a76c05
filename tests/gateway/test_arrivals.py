"""What comes and makes no message, in the journal of its source: duplicates, questions of providers, what is turned away, and floods."""

from __future__ import annotations

import hashlib
import hmac
import json
import typing
from typing import Any

import pytest

from ringback.engine.sweeper import Sweeper
from ringback.model.arrivals import DUPLICATE, HANDSHAKE, IGNORED, REJECTED, SIGNAL
from ringback.model.messages import Remote
from ringback.policy.sources import handshakes_of
from ringback.services.arrivals import Came, Journal, JournalBounds
from ringback.store.operations import arrivals
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.door import ORDINARY, SECRET, Door, opened, stripe
from tests.gateway.signing import event, signed
from tests.gateway.test_handshakes import NOW_S, PAIRS, SETUP
from tests.gateway.test_handshakes import signed as proven
from tests.waiting import wait_until

REMOTE = Remote("203.0.113.9")


def test_a_duplicate_is_noted_with_what_it_is_a_duplicate_of(running: Running) -> None:
    source = running.made(type="slack", secrets=["slack"], verify="observe")
    body = b'{"event_id":"Ev1","type":"event_callback"}'
    for number in range(3):
        assert running.ask(path_of(source), body, {"x-slack-retry-num": str(number)}).status == 200
    (message,) = running.messages()
    second, first = running.arrived(source)
    assert [first.redelivery, second.redelivery] == ["1", "2"]
    assert (first.outcome, first.message_id, first.event_id, first.event_type) == (DUPLICATE, message.id, "Ev1", "event_callback")
    assert (first.status, first.method, first.body_bytes, first.remote) == (200, "POST", len(body), REMOTE)


def test_each_duplicate_of_a_batch_is_noted_with_its_own_id(running: Running) -> None:
    source = running.made(type="hubspot", secrets=["s"], verify="observe")
    one, two, three = ({"eventId": number, "subscriptionType": "contact.creation"} for number in (1, 2, 3))
    running.ask(path_of(source), json.dumps([one, two]).encode())
    assert running.arrived(source) == []
    running.ask(path_of(source), json.dumps([one, two, three]).encode())
    first, second, third = running.messages()
    assert third.payload is not None
    assert {entry.message_id for entry in running.arrived(source)} == {first.id, second.id}


def test_the_journal_tells_the_answer_that_a_duplicate_got(running: Running) -> None:
    source = running.made(processedBy="nobody")
    for _ in range(2):
        assert running.ask(path_of(source), event(), signed(event())).status == 503
    assert [entry.status for entry in running.arrived(source)] == [503]


# One of the pairs has a wrong signature: that is in quarantine.
ANSWERED = [pair for pair in PAIRS if pair["id"] in SETUP and pair["response"]["status"] != 401]


@pytest.mark.parametrize("pair", ANSWERED, ids=lambda pair: pair["id"])
def test_a_handshake_is_noted_with_its_name_and_answer_and_nothing_secret(running: Running, pair: dict[str, Any]) -> None:
    source = running.made(**{"secrets": [], **SETUP[pair["id"]]})
    running.clock.set(NOW_S)
    asked = pair["request"]
    body, query = asked.get("body", "").encode(), asked.get("query", "").encode()
    headers = {**asked.get("headers", {}), **proven(pair["id"], body)}
    answer = running.ask(path_of(source), body, headers, method=asked["method"], query=query)
    (entry,) = running.arrived(source)
    assert (entry.outcome, entry.status, entry.method) == (HANDSHAKE, answer.status, asked["method"])
    assert entry.what in handshakes_of(source)
    assert entry.settled is (answer.status < 300)
    text = repr(entry)
    assert source.tokens[0].text not in text
    for part in query.decode().split("&"):
        name, _, value = part.partition("=")
        if value and not name.startswith(("hub.mode", "hub.topic", "hub.lease")):
            assert f"{name}={value}" not in text
    for value in (SETUP[pair["id"]].get("verifyToken"), headers.get("x-hook-secret"), headers.get("x-adobesign-clientid")):
        assert value is None or value not in text


def test_a_question_that_gets_no_consent_is_noted_as_not_settled(running: Running) -> None:
    source = running.made(type="websub", secrets=["s"], topics=["https://example.com/feed"])
    query = b"hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Fother&hub.challenge=abc"
    assert running.ask(path_of(source), method="GET", query=query).status == 404
    (entry,) = running.arrived(source)
    assert (entry.what, entry.status, entry.settled) == ("websub", 404, False)
    assert entry.target.endswith("/in/***?hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Fother&hub.challenge=***")


def test_a_page_that_could_not_be_visited_is_noted_as_not_settled(running: Running) -> None:
    source = running.made(type="custom", verify="none", secrets=[], handshakes=["aws-sns"])
    running.published.answers = False
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:t&Token=abc"
    assert running.ask(path_of(source), json.dumps({"Type": "SubscriptionConfirmation", "SubscribeURL": url}).encode()).status == 503
    assert running.published.visited == [url]
    (entry,) = running.arrived(source, HANDSHAKE)
    assert (entry.what, entry.status, entry.settled) == ("aws-sns", 503, False)


def test_what_nobody_wanted_and_what_was_turned_away_is_noted_with_its_reason(running: Running) -> None:
    source = running.made(eventTypes=["a"], maxBodyBytes=300, rateLimit=3)
    assert running.ask(path_of(source), event(), signed(event())).status == 200
    looked = running.ask(path_of(source), method="GET", query=b"hub.verify_token=WRONG&%61ccess_toke%6E=WRONG")
    assert (looked.status, looked.json["detail"]) == (405, "this method is not allowed here; use POST")
    assert running.ask(path_of(source), b" " * 301).status == 413
    running.ask(path_of(source))
    assert running.ask(path_of(source)).status == 429
    assert [entry.outcome for entry in running.arrived(source, IGNORED)] == [IGNORED]
    reasons = [(entry.what, entry.status) for entry in running.arrived(source, REJECTED)]
    assert reasons == [("rate_limited", 429), ("too_large", 413), ("method_not_allowed", 405)]
    assert "WRONG" not in repr(running.arrived(source))
    # What is in quarantine has no second entry.
    assert [item.reason for item in running.quarantined(source)] == ["missing_header"]


def test_both_addresses_are_noted_behind_a_proxy(running: Running) -> None:
    source = running.made()
    headers = {**signed(event()), "x-forwarded-for": "198.51.100.7, 10.9.9.9"}
    for _ in range(2):
        assert running.ask(path_of(source), event(), headers, peer="10.1.2.3").status == 200
    expected = Remote("10.1.2.3", "198.51.100.7")
    (message,) = running.messages()
    assert message.origin is not None and message.origin.remote == expected
    assert [entry.remote for entry in running.arrived(source)] == [expected]


def test_a_released_request_keeps_the_addresses_that_it_came_from(running: Running) -> None:
    source = running.made()
    running.ask(path_of(source), event(), {"x-forwarded-for": "198.51.100.7"}, peer="10.1.2.3")
    (item,) = running.quarantined(source)
    ready = running.known.ready(source.id)
    assert ready is not None
    running.run(running.receiver.release(ready, item, believe=True))
    (message,) = running.messages()
    assert message.origin is not None and message.origin.remote == Remote("10.1.2.3", "198.51.100.7")


# -- what providers say of themselves


def twitch(body: bytes) -> dict[str, str]:
    at = "2023-11-14T22:13:20Z"
    mac = hmac.new(b"twitch-secret", b"id-1" + at.encode() + body, hashlib.sha256).hexdigest()
    return {
        "twitch-eventsub-message-id": "id-1",
        "twitch-eventsub-message-timestamp": at,
        "twitch-eventsub-message-signature": f"sha256={mac}",
        "twitch-eventsub-message-type": "revocation",
        "twitch-eventsub-subscription-type": "stream.online",
    }


def slack(body: bytes) -> dict[str, str]:
    mac = hmac.new(b"slack-secret", b"v0:%d:%b" % (NOW_S, body), hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": str(NOW_S), "x-slack-signature": f"v0={mac}"}


SIGNALS: tuple[tuple[str, str, dict[str, Any], str], ...] = (
    ("twitch", "twitch-secret", {"subscription": {"id": "s1", "status": "authorization_revoked", "type": "stream.online"}}, "revocation"),
    ("slack", "slack-secret", {"type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1518467820}, "app_rate_limited"),
    (
        "ms-graph",
        "client-state",
        {"value": [{"clientState": "client-state", "lifecycleEvent": "subscriptionRemoved", "subscriptionId": "x"}]},
        "subscriptionRemoved",
    ),
)


@pytest.mark.parametrize(("kind", "secret", "document", "name"), SIGNALS, ids=[signal[0] for signal in SIGNALS])
def test_a_provider_that_says_that_it_calls_no_more_is_noted_told_and_its_message_kept(
    running: Running, caplog: pytest.LogCaptureFixture, kind: str, secret: str, document: dict[str, Any], name: str
) -> None:
    source = running.made(type=kind, secrets=[secret])
    running.clock.set(NOW_S)
    body = json.dumps(document).encode()
    headers = {"twitch": twitch, "slack": slack}.get(kind, lambda body: {})(body)
    for _ in range(2):
        assert running.ask(path_of(source), body, headers).status < 300
    assert [(entry.what, entry.body_bytes) for entry in running.arrived(source, SIGNAL)] == [(name, len(body))] * 2
    assert len(running.messages()) >= 1
    # Told once an hour, however often it is said.
    assert [record.getMessage() for record in caplog.records].count("source.signal") == 1


@pytest.mark.parametrize(("kind", "secret", "document", "name"), SIGNALS, ids=[signal[0] for signal in SIGNALS])
def test_a_stranger_who_says_so_is_not_believed(running: Running, kind: str, secret: str, document: dict[str, Any], name: str) -> None:
    source = running.made(type=kind, secrets=["another-secret"])
    running.clock.set(NOW_S)
    body = json.dumps(document).encode()
    headers = {"twitch": twitch, "slack": slack}.get(kind, lambda body: {})(body)
    assert running.ask(path_of(source), body, headers).status == 401
    assert running.arrived(source) == []


def test_where_nothing_is_verified_nobody_is_believed_to_call_no_more(running: Running) -> None:
    source = running.made(type="slack", verify="none", secrets=[])
    assert running.ask(path_of(source), b'{"type": "app_rate_limited", "team_id": "T1"}').status == 200
    assert running.arrived(source, SIGNAL) == [] and len(running.messages()) == 1


# -- floods


def rows(running: Running) -> int:
    return typing.cast(int, running.run(running.store.read(arrivals.count)))


def test_a_flood_is_sampled_and_says_how_many_are_not_kept(running: Running) -> None:
    source = running.made(type="dropbox", secrets=["s"])
    for _ in range(130):
        running.ask(path_of(source), method="GET", query=b"challenge=c")
    assert running.ask(path_of(source), event(), signed(event())).status == 401
    kept = running.arrived(source, HANDSHAKE)
    assert len(kept) == JournalBounds().noted
    assert sum(1 + entry.unkept for entry in kept) == 130
    assert running.metrics.journal_dropped == {"sampled": 130 - len(kept), "unwritten": 0, "displaced": 0}
    # After it is written down, the next ones are noted again.
    running.ask(path_of(source), method="GET", query=b"challenge=c")
    assert len(running.arrived(source, HANDSHAKE)) == JournalBounds().noted + 1


def test_a_flood_of_one_kind_pushes_out_no_other_and_the_newest_are_kept(running: Running) -> None:
    journal = Journal(
        running.store, running.clock, running.make_id, running.metrics, JournalBounds(noted=100, held=1_000, kept=5, in_all=1_000)
    )
    source, came = running.made(), Came(b"POST", b"/x", 1, REMOTE)
    journal.note(source, DUPLICATE, came, 200, message_id="msg_1")
    for number in range(40):
        journal.note(source, HANDSHAKE, came, 200, what=str(number))
    running.run(journal.write())
    assert [entry.what for entry in running.arrived(source, HANDSHAKE)] == ["39", "38", "37", "36", "35"]
    assert [entry.message_id for entry in running.arrived(source, DUPLICATE)] == ["msg_1"]
    assert running.metrics.journal_dropped == {"sampled": 0, "unwritten": 0, "displaced": 35}


def test_memory_and_the_whole_table_are_bounded(running: Running) -> None:
    bounds = JournalBounds(noted=100, held=150, kept=100, in_all=120)
    journal = Journal(running.store, running.clock, running.make_id, running.metrics, bounds)
    sources, came = [running.made() for _ in range(4)], Came(b"POST", b"/x", 1, REMOTE)
    for source in sources:
        for _ in range(100):
            journal.note(source, REJECTED, came, 405)
    running.run(journal.write())
    # Two sources filled the memory; of the others one each is noted.
    assert rows(running) == bounds.in_all
    assert sum(1 + entry.unkept for source in sources[2:] for entry in running.arrived(source)) == 200
    for source in sources:
        journal.note(source, REJECTED, came, 405)
    running.run(journal.write())
    assert rows(running) == bounds.in_all
    assert all(running.arrived(source) for source in sources)
    # Of 404 that came each is there, or counted.
    assert sum(running.metrics.journal_dropped.values()) == 404 - bounds.in_all


def test_long_texts_of_strangers_are_cut(running: Running) -> None:
    source = running.made(type="generic-webhook", secrets=[], deduplication={"by": ["header:x-id"]})
    for _ in range(2):
        running.ask(path_of(source), b"x", {"x-id": "i" * 250}, query=b"q=" + b"a" * 4_000)
    (entry,) = running.arrived(source)
    assert entry.event_id is not None and len(entry.event_id) == 200 and entry.event_id.endswith("…")
    assert len(entry.target) == 500


def test_the_journal_of_a_deleted_source_goes_with_it(running: Running) -> None:
    source, other = running.made(type="dropbox", secrets=["s"]), running.made(type="dropbox", secrets=["s"])
    for one in (source, other):
        running.ask(path_of(one), method="GET", query=b"challenge=c")
    running.run(running.journal.write())
    running.ask(path_of(source), method="GET", query=b"challenge=c")
    running.run(running.sources.delete(WHO, running.app_id, source.id))
    running.run(running.journal.write())
    while running.run(running.known.forget()):
        pass
    assert rows(running) == 1 == len(running.arrived(other))
    # What was on its way when it went is not written any more, and nothing twice.
    running.journal.note(source, HANDSHAKE, Came(b"GET", b"/x", 0, REMOTE), 200)
    running.run(running.journal.write())
    (entry,) = running.arrived(other)
    running.run(running.store.write(lambda tx: arrivals.add(tx, [entry], 10)))
    assert rows(running) == 1


def test_entries_past_their_time_are_forgotten(running: Running) -> None:
    source = running.made(type="dropbox", secrets=["s"])
    for at_s in (NOW_S, NOW_S + 10):
        running.clock.set(at_s)
        running.ask(path_of(source), method="GET", query=b"challenge=c")
    running.run(running.journal.write())
    running.run(Sweeper(running.store, running.clock, history_us=5_000_000).sweep())
    assert len(running.arrived(source)) == 1


# -- through a running server


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("arrivals"))


def test_owners_read_the_journal_through_the_api_by_both_doors(door: Door) -> None:
    source = door.source("stripe", route="webhooks/journal")
    body = b'{"id":"evt_9","type":"charge.succeeded","data":{}}'
    base = f"/app/{door.app_id}/source/{source['id']}"
    for more in ((), (), (), (ORDINARY,), (ORDINARY,)):
        door.send("/webhooks/journal", body, [*stripe(body), *more])

    def listed(query: str = "") -> typing.Any:
        status, page = door.server.call("GET", f"{base}/arrival{query}")
        assert status == 200
        return page

    wait_until(lambda: len(listed()["data"]) == 4)
    _, events = door.server.call("GET", f"{base}/event")
    (event,) = events["data"]
    assert (event["peer"], event["address"]) == ("127.0.0.1", "127.0.0.1")
    for entry in listed("?outcome=duplicate")["data"]:
        assert entry["duplicateOf"] == event["id"]
        assert (entry["outcome"], entry["status"], entry["method"], entry["bodyBytes"]) == ("duplicate", 200, "POST", len(body))
        assert (entry["target"], entry["peer"]) == ("/webhooks/journal", "127.0.0.1")
        assert (entry["providerEventId"], entry["providerEventType"]) == ("evt_9", "charge.succeeded")
    assert listed("?outcome=handshake")["data"] == []
    first = listed("?limit=3")
    second = listed(f"?limit=3&iterator={first['iterator']}")
    assert [len(first["data"]), len(second["data"]), second["done"]] == [3, 1, True]
    assert door.server.call("GET", f"{base}/arrival?outcome=accepted")[0] == 400
    metrics = door.target.ask(b"", method="GET", path="/metrics").body.decode()
    assert f'ringback_source_body_bytes_total{{outcome="accepted"}} {float(len(body))}' in metrics
    assert f'ringback_source_body_bytes_total{{outcome="duplicate"}} {float(4 * len(body))}' in metrics
    assert SECRET not in json.dumps(listed())


def test_both_doors_drop_what_is_older_and_answer_it_as_what_is_taken(door: Door) -> None:
    source = door.source(orderingKeyAt=["json:customer"], orderingVersionAt=["json:version"], deduplication={"by": ["body"]})
    sent = 0

    def tell(version: int, more: typing.Sequence[tuple[str, str]]) -> tuple[int, bytes]:
        nonlocal sent
        sent += 1
        body = json.dumps({"customer": "c", "version": version, "sent": sent}).encode()
        answer = door.send(source["path"], body, [*stripe(body), *more])
        return answer.status, answer.body

    answers = {tell(version, more) for version in (10, 9, 11, 8) for more in ([], [ORDINARY])}
    assert answers == {(200, b"{}")}
    assert len(door.events(source["id"])) == 4
    listed = f"/app/{door.app_id}/source/{source['id']}/arrival?outcome=superseded"
    wait_until(lambda: len(door.server.call("GET", listed)[1]["data"]) == 4, what="both doors' requests are in the journal")
    found = door.server.call("GET", listed)[1]["data"]
    newest = [event["id"] for event in door.events(source["id"])]
    assert {entry["supersededBy"] for entry in found} == {newest[1], newest[3]}
    assert {(entry["duplicateOf"], entry["msgId"], entry["status"]) for entry in found} == {(None, None, 200)}
    wait_until(lambda: door.activity(source["id"])["superseded"] == 4, what="they are counted")
