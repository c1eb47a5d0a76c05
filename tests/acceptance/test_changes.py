"""Changes that a provider lists and no call brings: read from where the last reading ended, each taken in once, whatever is killed."""

from __future__ import annotations

import base64
import hmac
import json
import signal
import threading
import typing
import urllib.request

import pytest

from benchmarks.server import Server
from tests.acceptance.comparing import Play, Watched
from tests.acceptance.provider import SECRET
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said, refused
from tests.acceptance.provider_changes import AirtablePayloads, AsanaEvents, DropboxEntries, GraphDelta
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

KEY = b"the secret of the webhook, which Airtable chose"
AIRTABLE = {"secrets": [base64.b64encode(KEY).decode()]}


def airtable(running: Server, api: ProviderApi, **wanted: typing.Any) -> Watched:
    """A source of Airtable's, whose payloads are read."""
    watched = Watched(running, api, "airtable", **AIRTABLE)
    assert watched.put(parameters=AirtablePayloads.PARAMETERS, **wanted)[0] == 201
    return watched


def call(watched: Watched, body: bytes, **headers: str) -> int:
    """Call the source, as its provider does; how that was answered."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(watched.url, body, {"content-type": "application/json", **named})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def ping(watched: Watched, at: str) -> int:
    """Have Airtable say that something changed at that time; how that was answered."""
    body = json.dumps({"base": {"id": "app1"}, "webhook": {"id": "ach1"}, "timestamp": at}).encode()
    mac = f"hmac-sha256={hmac.digest(KEY, body, 'sha256').hex()}"
    return call(watched, body, x_airtable_content_mac=mac)


def changes(watched: Watched) -> list[str]:
    """The ids of the changes that were taken in."""
    return [event["providerEventId"] for event in watched.events if "reconciled" in event["flags"]]


def dropbox(running: Server, api: ProviderApi) -> Watched:
    """A source of Dropbox's, whose entries are read from now on."""
    watched = Watched(running, api, "dropbox")
    status, answer = watched.put(parameters=DropboxEntries.PARAMETERS, clientSecret="secret-of-the-app", tokenUrl=f"{api.url}/token")
    assert status == 201, answer
    assert watched.ran()["lookedAt"] == 0
    return watched


def graph(running: Server, api: ProviderApi) -> Watched:
    """A source of Microsoft Graph's, whose users are read from now on."""
    watched = Watched(running, api, "ms-graph")
    places = {"baseUrl": f"{api.url}/v1.0", "tokenUrl": f"{api.url}/token"}
    status, answer = watched.put(parameters=GraphDelta.PARAMETERS, **places)
    assert status == 201, answer
    watched.ran()
    return watched


def payloads(watched: Watched) -> list[typing.Any]:
    """What the messages hold, in order."""
    path = f"/app/{watched.app_id}/msg"
    return [watched.running.call("GET", f"{path}/{event['id']}")[1]["payload"] for event in watched.events]


def test_a_call_that_only_says_that_something_changed_has_the_changes_read_and_delivered(
    shared: Shared, receiver: Receiver, play: Play
) -> None:
    running, listed = shared(), AirtablePayloads(3)
    watched = airtable(running, play(listed), intervalS=86_400)
    # What it listed before is read from the beginning, as far back as one may look.
    assert watched.ran()["added"] == 3
    running.make("/event-type", {"name": "airtable.change", "description": "Something changed in a base"})
    running.make(f"/app/{watched.app_id}/endpoint", {"url": f"{receiver.url}/in", "filterTypes": ["airtable.change"]})
    listed.change(2)
    assert ping(watched, "2026-11-27T10:00:00.000Z") == 200
    wait_until(lambda: changes(watched) == ["1", "2", "3", "4", "5"], what="the changes are taken in")
    assert {event["eventType"] for event in watched.events} == {"airtable.change", "airtable.webhook"}
    wait_until(lambda: len(receiver.arrivals) == 2, what="what came since there is an endpoint is delivered")
    assert {arrival.headers["ringback-reconciled"] for arrival in receiver.arrivals} == {"true"}
    assert sorted(json.loads(arrival.body)["baseTransactionNumber"] for arrival in receiver.arrivals) == [4, 5]
    assert [asked.one("cursor") for asked in watched.api.asked][:3] == [None, "3", "4"]


def test_a_call_while_the_list_is_read_has_it_read_once_more(shared: Shared, play: Play) -> None:
    listed, reading, go_on = AirtablePayloads(), threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        said = listed(asked)
        if not reading.is_set():
            reading.set()
            go_on.wait(30)
        return said

    watched = airtable(shared(), play(slow), intervalS=86_400)
    assert reading.wait(20)
    # The page that is on its way knows nothing of it.
    listed.change()
    assert ping(watched, "2026-11-27T10:00:00.000Z") == 200
    go_on.set()
    wait_until(lambda: changes(watched) == ["1"], what="the change is taken in")


def test_what_was_called_before_a_kill_is_read_after_it(serve: Serve, play: Play) -> None:
    running, listed = serve(), AirtablePayloads(1)
    watched = airtable(running, play(listed), intervalS=86_400)
    watched.ran()
    running.stop(signal.SIGKILL)
    listed.change(3)
    watched.running = serve(port=running.port)
    wait_until(lambda: changes(watched) == ["1", "2", "3", "4"], what="the changes are taken in")


def test_a_run_that_is_killed_between_pages_goes_on_there_and_doubles_nothing(serve: Serve, play: Play) -> None:
    listed, third, go_on = AirtablePayloads(9), threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if asked.one("cursor") == "5":
            third.set()
            go_on.wait(30)
        return listed(asked)

    running = serve()
    watched = airtable(running, play(slow))
    assert third.wait(20)
    running.stop(signal.SIGKILL)
    go_on.set()
    before = len(watched.api.asked)
    watched.running = serve(port=running.port)
    wait_until(lambda: len(changes(watched)) == 9, what="all changes are taken in")
    assert changes(watched) == [str(number) for number in range(1, 10)]
    assert watched.api.asked[before].one("cursor") == "5"


def test_dropbox_is_read_from_now_on_with_one_token_and_tells_changes_that_look_alike(shared: Shared, play: Play) -> None:
    listed = DropboxEntries()
    listed.change("/before")
    watched = dropbox(shared(), play(listed))
    for path in ("/a", "/b", "/a"):
        listed.change(path)
    assert watched.run()["added"] == 3
    # The same again, later: another change.
    listed.change("/a")
    assert watched.run()["added"] == 1
    assert watched.run()["lookedAt"] == 0
    assert [entry["path_lower"] for entry in payloads(watched)] == ["/a", "/b", "/a", "/a"]
    assert {event["eventType"] for event in watched.events} == {"dropbox.change"}
    assert listed.tokens.given == 1
    state = watched.state
    assert (state["credentialSet"], state["clientSecretSet"], state["lostAt"]) == (True, True, None)
    assert CREDENTIAL not in json.dumps(state) and "secret-of-the-app" not in json.dumps(state)


def test_a_position_that_the_provider_forgot_is_told_and_it_goes_on_from_now(shared: Shared, play: Play) -> None:
    listed = DropboxEntries()
    watched = dropbox(shared(), play(listed))
    listed.reset()
    assert watched.run()["lookedAt"] == 0
    assert watched.state["lostAt"] is not None and watched.state["state"] == "waiting"
    listed.change("/after")
    assert watched.run()["added"] == 1
    assert [entry["path_lower"] for entry in payloads(watched)] == ["/after"]


def test_graph_names_pages_and_positions_by_urls_and_says_410_when_they_ended(serve: Serve, play: Play) -> None:
    listed, running = GraphDelta(), serve()
    listed.change("before")
    watched = graph(running, play(listed))
    for name in ("Ada", "Bob", "Cyd"):
        listed.change("u1", displayName=name)
    listed.change("u2", **{"@removed": {"reason": "deleted"}})
    running.stop(signal.SIGKILL)
    watched.running = serve(port=running.port)
    wait_until(lambda: len(watched.events) == 4, what="the changes are taken in")
    assert [payload.get("displayName") for payload in payloads(watched)] == ["Ada", "Bob", "Cyd", None]
    assert {event["eventType"] for event in watched.events} == {"ms-graph.change"}
    listed.expire()
    watched.run()
    listed.change("u3")
    watched.run()
    assert payloads(watched)[4:] == [{"id": "u3"}] and watched.state["lostAt"] is not None


def test_a_token_that_is_not_taken_any_more_is_asked_for_again(shared: Shared, play: Play) -> None:
    listed, is_revoked = GraphDelta(), threading.Event()

    def revoking(asked: Asked) -> Said:
        return refused(401) if is_revoked.is_set() and asked.path != "/token" else listed(asked)

    watched = graph(shared(), play(revoking))
    is_revoked.set()
    watched.running.make(f"{watched.path}/run", {})
    assert watched.failed()["cause"] == "credential"
    is_revoked.clear()
    listed.change("u1")
    assert watched.run()["added"] == 1
    assert listed.tokens.given == 2


def test_asana_is_compared_with_what_came_by_calls_and_not_before_they_had_their_time(shared: Shared, play: Play) -> None:
    running, listed = shared(), AsanaEvents()
    status, problem = Watched(running, play(listed), "asana").put(parameters=AsanaEvents.PARAMETERS)
    assert status == 422 and "deduplication.by" in json.dumps(problem)
    watched = Watched(running, play(listed), "asana", deduplication={"by": AsanaEvents.BY})
    assert watched.put(parameters=AsanaEvents.PARAMETERS, settleS=600)[0] == 201
    assert watched.ran()["lookedAt"] == 0
    came, missed, young = AsanaEvents.event("1"), AsanaEvents.event("2"), AsanaEvents.event("3", age_s=5)
    listed.events += [came, missed, young]
    body = json.dumps({"events": [came]}).encode()
    assert call(watched, body, x_hook_signature=hmac.digest(SECRET.encode(), body, "sha256").hex()) == 200
    last = watched.run()
    assert (last["missing"], last["added"]) == (1, 1)
    assert [event["resource"]["gid"] for event in payloads(watched)] == ["1", "2"]
    # Once no call can be on its way any more, it is missing too: its page was read again.
    young["created_at"] = AsanaEvents.event("3")["created_at"]
    assert watched.run()["added"] == 1
    assert [event["resource"]["gid"] for event in payloads(watched)] == ["1", "2", "3"]
    assert watched.state["lostAt"] is None


def test_settings_that_were_read_may_be_changed_and_sent_back(shared: Shared, play: Play) -> None:
    watched = airtable(shared(), play(AirtablePayloads()))
    status, answer = watched.running.call("PUT", watched.path, {**watched.state, "intervalS": 7_200})
    assert (status, answer["intervalS"], answer["credentialSet"]) == (200, 7_200, True), answer


def test_a_dry_run_says_what_changed_and_moves_nothing(shared: Shared, play: Play) -> None:
    listed = AirtablePayloads(5)
    watched = airtable(shared(), play(listed), paused=True)
    for _ in range(2):
        found = watched.running.make(f"{watched.path}/run", {"dryRun": True})
        assert (found["lookedAt"], found["missing"], found["complete"]) == (5, 5, True)
    assert watched.events == []


@pytest.mark.parametrize(
    ("kind", "wanted", "where"),
    [
        ("dropbox", {"parameters": DropboxEntries.PARAMETERS}, "clientSecret"),
        (
            "dropbox",
            {"parameters": DropboxEntries.PARAMETERS, "clientSecret": "x", "tokenUrl": "http://elsewhere.example/token"},
            "tokenUrl",
        ),
        ("ms-graph", {"parameters": {"tenant": "t-1", "resource": "users"}}, "parameters"),
        ("airtable", {"parameters": AirtablePayloads.PARAMETERS, "missing": "redeliver"}, "missing"),
        ("airtable", {"parameters": AirtablePayloads.PARAMETERS, "interval": 60}, "interval"),
    ],
)
def test_settings_of_a_list_of_changes_that_cannot_work_are_refused_with_the_field(
    shared: Shared, play: Play, kind: str, wanted: dict[str, typing.Any], where: str
) -> None:
    more = AIRTABLE if kind == "airtable" else {}
    status, problem = Watched(shared(), play(AirtablePayloads()), kind, **more).put(**wanted)
    assert status == 422, problem
    assert where in {detail["loc"][1] for detail in problem["detail"]}, problem
