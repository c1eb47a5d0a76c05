"""Calls that never came: found in the list of the provider, and taken in once, whatever happens meanwhile."""

from __future__ import annotations

import json
import pathlib
import signal
import sqlite3
import subprocess
import sys
import threading
import typing
import urllib.request

import pytest

from benchmarks.server import Server, free_port
from tests.acceptance.comparing import Play, Watched
from tests.acceptance.provider import event_id, send
from tests.acceptance.provider_api import CREDENTIAL, Asked, GithubDeliveries, Said, StripeList, refused
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

HTML = (("content-type", "text/html; charset=utf-8"),)


def metrics(running: Server) -> str:
    with urllib.request.urlopen(f"{running.url}/metrics") as answer:
        text: str = answer.read().decode()
        return text


def names(count: int) -> list[str]:
    return sorted(event_id(number) for number in range(1, count + 1))


def test_what_the_provider_lists_and_never_sent_is_taken_in_once_and_delivered_with_a_mark(
    shared: Shared, receiver: Receiver, play: Play
) -> None:
    running, api = shared(), play(StripeList(7))
    watched = Watched(running, api)
    running.make(f"/app/{watched.app_id}/endpoint", {"url": f"{receiver.url}/in"})
    assert watched.put()[0] == 201
    last = watched.ran()
    assert (last["lookedAt"], last["missing"], last["added"], last["pages"]) == (7, 7, 7, 3)
    assert watched.names == names(7)
    assert {tuple(event["flags"]) for event in watched.events} == {("reconciled",)}
    wait_until(lambda: len(receiver.arrivals) == 7, what="all are delivered")
    assert {arrival.headers["ringback-reconciled"] for arrival in receiver.arrivals} == {"true"}
    again = watched.run()
    assert (again["lookedAt"], again["missing"]) == (7, 0)
    assert (watched.names, watched.state["found"], watched.state["state"]) == (names(7), 7, "waiting")


def test_what_came_is_not_missing_and_a_late_call_of_what_was_missing_is_a_duplicate_and_no_conflict(shared: Shared, play: Play) -> None:
    """A list lays bodies out otherwise than calls do: the id alone tells."""
    running = shared()
    watched = Watched(running, play(StripeList(6)))
    assert [send(running, watched.called, number) for number in (2, 4)] == [200, 200]
    watched.put()
    assert watched.ran()["missing"] == 4
    assert [send(running, watched.called, number) for number in range(1, 7)] == [200] * 6
    assert watched.names == names(6)
    assert not any("conflict" in event["flags"] for event in watched.events)


def test_a_dry_run_says_how_many_are_missing_and_changes_nothing(shared: Shared, play: Play) -> None:
    watched = Watched(shared(), play(StripeList(5)))
    watched.put(paused=True)
    found = watched.running.make(f"{watched.path}/run", {"dryRun": True})
    assert (found["lookedAt"], found["missing"], found["complete"]) == (5, 5, True)
    assert sorted(found["missingIds"]) == names(5)
    assert watched.names == [] and watched.state["last"] is None and watched.state["state"] == "paused"
    assert watched.running.call("POST", f"{watched.path}/run", {})[0] == 409


def test_a_list_without_end_is_looked_at_so_far_and_no_further(shared: Shared, play: Play) -> None:
    def endless(asked: Asked) -> Said:
        number = int((asked.one("starting_after") or "evt_9000").removeprefix("evt_"))
        return Said({"has_more": True, "data": [listed.event(f"evt_{number - 1}", listed.events[0]["created"])]})

    listed = StripeList(1)
    watched = Watched(shared(), play(endless))
    watched.put(paused=True)
    found = watched.running.make(f"{watched.path}/run", {"dryRun": True})
    assert found["complete"] is False and found["lookedAt"] == len(watched.api.asked) == 50


def test_calls_and_two_runs_that_race_for_the_same_events_make_one_of_each(shared: Shared, play: Play) -> None:
    running, listed = shared(), StripeList(12, page=4)

    def racing(asked: Asked) -> Said:
        said = listed(asked)
        # The calls come while the page that holds the same events is on its way.
        for item in typing.cast(dict[str, typing.Any], said.body)["data"][::2]:
            number = int(item["id"].removeprefix("evt_"))
            threads.append(threading.Thread(target=send, args=(running, watched.called, number)))
            threads[-1].start()
        return said

    threads: list[threading.Thread] = []
    watched = Watched(running, play(racing))
    watched.put()
    for _ in range(2):
        running.make(f"{watched.path}/run", {})
    wait_until(lambda: watched.state["state"] == "waiting" and watched.state["last"] is not None, what="the runs are over")
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert watched.names == names(12)
    assert not any("conflict" in event["flags"] for event in watched.events)


def test_a_run_that_is_killed_between_pages_goes_on_where_it_was_and_doubles_nothing(serve: Serve, receiver: Receiver, play: Play) -> None:
    listed, third, go_on = StripeList(10, page=2), threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if asked.one("starting_after") == "evt_7":
            third.set()
            go_on.wait(30)
        return listed(asked)

    running = serve()
    watched = Watched(running, play(slow))
    running.make(f"/app/{watched.app_id}/endpoint", {"url": f"{receiver.url}/in"})
    watched.put()
    assert third.wait(20)
    running.stop(signal.SIGKILL)
    go_on.set()
    before = len(watched.api.asked)
    watched.running = serve(port=running.port)
    assert watched.ran()["added"] == 10
    assert watched.names == names(10)
    assert [asked.one("starting_after") for asked in watched.api.asked[before:]] == ["evt_7", "evt_5", "evt_3"]
    wait_until(lambda: len({arrival.id for arrival in receiver.arrivals}) == 10, what="all are delivered")


def test_a_run_of_too_many_pages_is_cut_and_says_so(serve: Serve, play: Play) -> None:
    listed, second, go_on = StripeList(9), threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if asked.one("starting_after") is not None:
            second.set()
            go_on.wait(30)
        return listed(asked)

    running = serve()
    watched = Watched(running, play(slow))
    watched.put()
    assert second.wait(20)
    running.stop(signal.SIGKILL)
    go_on.set()
    # As if it had read 999 pages by now.
    with sqlite3.connect(running.database) as database:
        (text,) = database.execute("SELECT progress FROM reconciliation").fetchone()
        progress = json.loads(text)
        progress["run"]["pages"] = 999
        database.execute("UPDATE reconciliation SET progress = ?", (json.dumps(progress),))
    database.close()
    watched.running = serve(port=running.port)
    last = watched.ran()
    assert "1000 pages" in last["cut"] and watched.state["coveredUntil"] is None
    assert watched.run()["cut"] is None and watched.names == names(9)


@pytest.mark.parametrize(
    ("said", "cause", "words"),
    [
        (refused(401), "credential", "401"),
        (refused(403), "credential", "403"),
        (refused(404), "refused", "404"),
        (refused(429, retry_after="7200"), "rate_limited", "429"),
        (refused(503), "provider", "503"),
        (refused(302, location="https://elsewhere.example/"), "redirected", "302"),
        (Said(b"<!doctype html><h1>Down for maintenance</h1>", headers=HTML), "unreadable", "text/html"),
        (Said(b"{"), "unreadable", "no JSON"),
        (Said({"error": "no list here"}), "unreadable", "data[]"),
        (Said({"data": {"id": "evt_1"}}), "unreadable", "data[]"),
        (Said(b"[" * 100_000), "unreadable", "no JSON"),
        (Said(b'{"data":[' + b'"' + b"x" * (9 * 1024 * 1024) + b'"]}'), "too_large", "8388608"),
        (Said({"data": [{"id": f"evt_{n}"} for n in range(2_001)]}), "unreadable", "more than 2000 items"),
    ],
)
def test_what_is_wrong_with_the_provider_is_told_in_words(shared: Shared, play: Play, said: Said, cause: str, words: str) -> None:
    watched = Watched(shared(), play(lambda asked: said))
    watched.put()
    state = watched.failed()
    assert (state["state"], state["cause"], state["last"]) == ("failing", cause, None)
    assert words in state["detail"], state["detail"]
    assert state["nextAt"] > state["failedAt"] and watched.names == []
    answered, problem = watched.running.call("POST", f"{watched.path}/run", {"dryRun": True})
    assert (answered, problem["code"]) == (409, "provider_failed") and words in problem["detail"]


def test_a_provider_that_cannot_be_reached_is_told_in_words_too(shared: Shared, play: Play) -> None:
    watched = Watched(shared(), play(StripeList(1)))
    watched.put(baseUrl=f"http://127.0.0.1:{free_port()}")
    assert watched.failed()["cause"] == "unreachable"


def test_settings_that_change_while_a_page_is_on_its_way_begin_anew(shared: Shared, play: Play) -> None:
    listed, second, go_on = StripeList(6, page=2), threading.Event(), threading.Event()

    def slow(asked: Asked) -> Said:
        if asked.one("starting_after") == "evt_5" and not go_on.is_set():
            second.set()
            go_on.wait(30)
        return listed(asked)

    watched = Watched(shared(), play(slow))
    watched.put()
    assert second.wait(20)
    assert watched.put(lookbackS=7_200)[1]["run"] is None
    go_on.set()
    last = watched.ran()
    # The page that was on its way was taken in, and its run forgotten.
    assert (last["lookedAt"], last["pages"], last["missing"]) == (6, 3, 2)
    assert watched.names == names(6)


def test_another_organisation_sees_and_changes_nothing_of_it(shared: Shared, play: Play) -> None:
    watched, stranger = Watched(shared(), play(StripeList(1))), shared()
    watched.put(paused=True)
    for method, path, body in (("GET", "", None), ("PUT", "", {"credential": "x"}), ("DELETE", "", None), ("POST", "/run", {})):
        assert stranger.call(method, watched.path + path, body)[0] == 404
    assert watched.state["state"] == "paused"


def test_the_rest_that_the_provider_asks_for_is_kept(shared: Shared, play: Play) -> None:
    watched = Watched(shared(), play(lambda asked: refused(429, retry_after="7200")))
    watched.put()
    state = watched.failed()
    hours = [int(state[name][11:13]) for name in ("failedAt", "nextAt")]
    assert (hours[1] - hours[0]) % 24 == 2


def test_pages_that_go_round_in_a_circle_end_the_run(shared: Shared, play: Play) -> None:
    """Two pages that name each other, with events that are new each time."""
    listed = StripeList(4, page=2)

    def circle(asked: Asked) -> Said:
        first = asked.one("starting_after") in (None, "evt_1")
        return Said({"has_more": True, "data": [listed.events[3], listed.events[2]] if first else [listed.events[1], listed.events[0]]})

    watched = Watched(shared(), play(circle))
    watched.put()
    state = watched.failed()
    assert state["cause"] == "unreadable" and "circle" in state["detail"]
    assert len(watched.api.asked) <= 4 and watched.names == names(4)


def test_ids_that_a_page_repeats_are_one_event_and_items_without_an_id_are_counted(shared: Shared, play: Play) -> None:
    listed = StripeList(2)
    items = [*listed.events, *listed.events, {"created": listed.events[0]["created"], "type": "charge.succeeded"}]
    watched = Watched(shared(), play(lambda asked: Said({"has_more": False, "data": items})))
    watched.put()
    last = watched.ran()
    assert (last["lookedAt"], last["added"], last["skipped"]) == (5, 2, 1)
    assert watched.names == names(2)


def test_types_that_the_source_does_not_take_and_calls_that_may_be_on_their_way_are_not_missing(shared: Shared, play: Play) -> None:
    listed = StripeList(3)
    listed.events[1]["type"] = "charge.failed"
    listed.events.append(listed.event("evt_young", listed.events[0]["created"] + 3_600))
    watched = Watched(shared(), play(listed), eventTypes=["charge.succeeded"])
    watched.put(settleS=1_800)
    assert watched.ran()["missing"] == 2
    assert watched.names == ["evt_1", "evt_3"]
    assert watched.api.asked[0].query["types[]"] == ["charge.succeeded"]


def test_a_provider_that_hangs_keeps_no_other_from_being_asked(shared: Shared, play: Play) -> None:
    running, over = shared(), threading.Event()

    def hanging(asked: Asked) -> Said:
        over.wait(30)
        return refused(500)

    for _ in range(4):
        Watched(running, play(hanging)).put()
    watched = Watched(running, play(StripeList(2)))
    watched.put()
    assert watched.ran()["added"] == 2
    over.set()


def test_what_is_found_is_counted_and_the_credential_goes_to_the_provider_alone(serve: Serve, play: Play, tmp_path: pathlib.Path) -> None:
    running = serve(settings={"metrics_access": "open"})
    watched = Watched(running, play(StripeList(2)))
    _, made = watched.put()
    watched.ran()
    counted = metrics(running)
    assert 'ringback_reconciliation_events_total{kind="missing"} 2.0' in counted
    assert 'ringback_reconciliation_runs_total{outcome="completed"} 1.0' in counted
    wait_until(lambda: "ringback_reconciliation_lag_seconds 0.0" not in metrics(running), what="the lag is shown")
    kept = watched.running.call("PUT", watched.path, {"baseUrl": watched.api.url, "intervalS": 60})[1]
    assert (kept["credentialSet"], kept["intervalS"]) == (True, 60)
    # Another place would have the credential sent there.
    status, problem = watched.running.call("PUT", watched.path, {"baseUrl": "https://elsewhere.example"})
    assert (status, problem["detail"][0]["loc"]) == (422, ["body", "credential"])
    shown = json.dumps([made, kept, watched.state, running.call("GET", f"/app/{watched.app_id}/source/{watched.source_id}")[1]])
    running.stop()
    kept_bytes = b"".join(path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file())
    assert CREDENTIAL not in shown and CREDENTIAL.encode() not in kept_bytes
    assert {asked.headers["authorization"] for asked in watched.api.asked} == {f"Bearer {CREDENTIAL}"}


def test_a_page_at_another_host_is_not_asked_for(shared: Shared, play: Play) -> None:
    stranger = play(lambda asked: Said([]))
    link = (("content-type", "application/json"), ("link", f'<{stranger.url}/repos/a/b/hooks/1/deliveries?cursor=2>; rel="next"'))
    watched = Watched(shared(), play(lambda asked: Said([], headers=link)), "github")
    watched.put(parameters={"owner": "a", "repo": "b", "hook": "1"})
    state = watched.failed()
    assert state["cause"] == "unreadable" and "another host" in state["detail"]
    assert stranger.asked == []


def test_an_address_that_may_not_be_reached_is_not_reached_for_a_credential_either(shared: Shared, play: Play) -> None:
    watched = Watched(shared(), play(StripeList(1)))
    assert watched.put(baseUrl="https://169.254.169.254")[0] == 201
    assert watched.failed()["cause"] == "blocked"


@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ({"baseUrl": "http://api.example.com"}, "baseUrl"),
        ({"baseUrl": "https://api.example.com?x=1"}, "baseUrl"),
        ({"listing": "nobody"}, "listing"),
        ({"credential": "a\nb"}, "credential"),
        ({"credential": None}, "credential"),
        ({"intervalS": 59}, "intervalS"),
        ({"lookbackS": 3_600, "settleS": 3_600}, "settleS"),
        ({"missing": "redeliver"}, "missing"),
        ({"listing": "github"}, "parameters"),
        ({"listing": {"base": "https://a.example", "path": "events", "auth": {"authorization": "Bearer {credential}"}}}, "listing"),
        ({"listing": {"base": "https://a.example", "path": "/events", "auth": {"authorization": "Bearer"}}}, "listing"),
        ({"listing": {"path": "/events"}}, "listing"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_the_field(
    shared: Shared, play: Play, wanted: dict[str, typing.Any], where: str
) -> None:
    watched = Watched(shared(), play(StripeList(1)))
    status, problem = watched.put(**wanted)
    assert status == 422, problem
    assert where in {detail["loc"][1] for detail in problem["detail"]}, problem
    assert CREDENTIAL not in json.dumps(problem)


def test_github_is_asked_for_the_payload_of_what_is_missing(shared: Shared, play: Play) -> None:
    listed = GithubDeliveries(["guid-1", "guid-2", "guid-3"], page=2)
    watched = Watched(shared(), play(listed), "github")
    watched.put(parameters=GithubDeliveries.PARAMETERS)
    assert watched.ran()["added"] == 3
    assert watched.names == ["guid-1", "guid-2", "guid-3"]
    assert {event["providerEventType"] for event in watched.events} == {"issues"}
    one = watched.running.call("GET", f"/app/{watched.app_id}/msg/{watched.events[0]['id']}")[1]
    assert one["payload"]["action"] == "opened"
    assert listed.redelivered == []
    assert watched.run()["missing"] == 0


def test_one_event_whose_payload_cannot_be_had_keeps_no_other_waiting(shared: Shared, play: Play) -> None:
    listed = GithubDeliveries(["guid-1", "guid-2", "guid-3"], page=3)
    watched = Watched(shared(), play(lambda asked: refused(404) if asked.path.endswith("/2") else listed(asked)), "github")
    watched.put(parameters=GithubDeliveries.PARAMETERS)
    last = watched.ran()
    assert (last["missing"], last["added"], last["skipped"]) == (3, 2, 1)
    assert watched.names == ["guid-1", "guid-3"]


def test_github_is_asked_to_send_again_what_is_missing_once_in_a_run(shared: Shared, play: Play) -> None:
    listed = GithubDeliveries(["guid-1", "guid-2", "guid-1"], page=1)
    watched = Watched(shared(), play(listed), "github")
    assert watched.put(listing="github-organization", parameters={"org": "acme", "hook": "7"}, missing="redeliver")[0] == 201
    last = watched.ran()
    assert (last["asked"], last["added"], watched.names) == (2, 0, [])
    assert sorted(listed.redelivered) == ["2", "3"]


def test_things_instead_of_events_are_compared_by_what_tells_their_versions_apart(shared: Shared, play: Play) -> None:
    orders = [{"id": 1, "updated_at": StripeList.text(-4_000)}, {"id": 2, "updated_at": StripeList.text(-3_900)}]

    def shop(asked: Asked) -> Said:
        assert asked.headers["x-shopify-access-token"] == CREDENTIAL
        at = int(asked.one("page_info") or 0)
        more = f'<{api.url}/admin/api/2024-10/orders.json?limit=250&page_info={at + 1}>; rel="next"'
        headers = (("content-type", "application/json"), *((("link", more),) if at + 1 < len(orders) else ()))
        return Said({"orders": [orders[at]]}, headers=headers)

    api = play(shop)
    running = shared()
    wanted = {"shop": "acme", "version": "2024-10", "resource": "orders", "topic": "orders/updated"}
    status, problem = Watched(running, api, "shopify").put(parameters=wanted)
    assert (status, problem["detail"][0]["loc"]) == (422, ["body", "listing"])
    assert "deduplication.by" in problem["detail"][0]["msg"]
    watched = Watched(running, api, "shopify", deduplication={"by": ["json:id", "json:updated_at"]})
    assert watched.put(parameters=wanted)[0] == 201
    assert watched.ran()["added"] == 2
    assert {event["eventType"] for event in watched.events} == {"orders.updated"}
    orders[0]["updated_at"] = StripeList.text(-3_800)
    assert watched.run()["added"] == 1 and len(watched.events) == 3


def test_a_provider_that_nobody_knows_is_described_by_its_owner(shared: Shared, play: Play) -> None:
    def listed(asked: Asked) -> Said:
        assert asked.headers["x-key"] == f"key {CREDENTIAL}"
        at = int(asked.one("page") or 0)
        item = {"meta": {"when": StripeList.text(-4_000 + at)}, "body": {"ref": f"r{at}", "kind": "order/paid"}}
        return Said({"list": {"rows": [item]}, "follow": str(at + 1) if at < 2 else None})

    own = {
        "base": "https://api.example.com/v2",
        "path": "/sent/{account}",
        "query": {"from": "{since_at}"},
        "auth": {"x-key": "key {credential}"},
        "items": "list.rows[]",
        "payload": "body",
        "time": "meta.when",
        "next": "cursor:page:follow",
    }
    watched = Watched(
        shared(), play(listed), "custom", verify="none", secrets=[], eventTypeAt=["json:kind"], deduplication={"by": ["json:ref"]}
    )
    assert watched.put(listing=own, parameters={"account": "a-1"})[0] == 201
    assert watched.ran()["added"] == 3
    assert {(event["providerEventId"], event["eventType"]) for event in watched.events} == {(f"r{n}", "order.paid") for n in range(3)}
    assert watched.api.asked[0].path == "/sent/a-1" and watched.state["listing"]["items"] == "list.rows[]"


def test_what_the_schema_of_the_source_refuses_is_not_taken_from_the_list(shared: Shared, play: Play) -> None:
    schema = {"type": "object", "required": ["amount"]}
    watched = Watched(shared(), play(StripeList(2)), schema=schema, schemaMode="reject")
    watched.put()
    last = watched.ran()
    assert (last["missing"], last["added"], last["skipped"]) == (2, 0, 2)


def ringback(running: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringback.cli.main", "reconcile", *words, "--database", str(running.database)]
    environment = {"PYTHONPATH": str(pathlib.Path(__file__).parent.parent.parent / "src"), "RINGBACK_TOKEN": running.token}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_the_command_line_says_what_is_missing_and_takes_it_in(shared: Shared, play: Play) -> None:
    running = shared()
    watched = Watched(running, play(StripeList(4)))
    watched.put(paused=True)
    words = (watched.source_id, "--app", watched.app_id)
    looked = ringback(running, *words, "--dry-run")
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.splitlines()[0] == "4 looked at, 4 missing" and sorted(looked.stdout.splitlines()[1:]) == names(4)
    assert "paused" in ringback(running, *words).stderr
    assert ringback(running, watched.source_id, "--dry-run").stdout == looked.stdout, "the application need not be named"
    for nowhere in (("nobody",), ("nobody", "--app", watched.app_id)):
        unknown = ringback(running, *nowhere)
        assert unknown.returncode == 2 and "no source 'nobody'" in unknown.stderr
    watched.put(intervalS=86_400)
    watched.ran()
    assert ringback(running, *words).stdout == "4 looked at, 0 missing, 0 added, 0 asked for again\n"
    watched.api.answer = lambda asked: refused(401)
    failed = ringback(running, *words)
    assert failed.returncode == 1 and "answered 401" in failed.stderr
