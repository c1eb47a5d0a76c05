"""Subscriptions that end: renewed at the provider well before, whatever happens meanwhile, and told when that does not work."""

from __future__ import annotations

import hashlib
import hmac
import json
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing
import urllib.parse
import urllib.request

import pytest

from benchmarks.server import Server
from tests.acceptance.provider_api import CREDENTIAL, Asked, ProviderApi, Said, refused
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve, Shared
from tests.waiting import wait_until

AIRTABLE = {"parameters": {"base": "app1", "webhook": "ach1"}}


def text(seconds: float) -> str:
    """A time so many seconds from now, in words."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


class Refresh:
    """Airtable's refresh: a webhook lives for seven days more. `says` is what it answers instead."""

    def __init__(self) -> None:
        self.says: Said | None = None

    def __call__(self, asked: Asked) -> Said:
        if self.says is not None:
            return self.says
        if asked.headers.get("authorization") != f"Bearer {CREDENTIAL}":
            return refused(401)
        return Said({"expirationTime": text(604_800)})


class Kept:
    """A source of a running server whose subscription is renewed."""

    def __init__(self, running: Server, api_url: str, kind: str = "airtable") -> None:
        self.running, self.api_url = running, api_url
        self.app_id = running.make("/app", {"name": "shop"})["id"]
        made = running.make(f"/app/{self.app_id}/source", {"name": kind, "type": kind, "secrets": ["c2VjcmV0LW9mLXRoZS1zb3VyY2U="]})
        self.source_id, self.url = made["id"], made["ingestUrl"]
        self.path = f"/app/{self.app_id}/source/{self.source_id}/subscription"

    def put(self, **wanted: typing.Any) -> tuple[int, typing.Any]:
        return self.running.call("PUT", self.path, {"credential": CREDENTIAL, "baseUrl": self.api_url, **AIRTABLE, **wanted})

    @property
    def state(self) -> dict[str, typing.Any]:
        status, answer = self.running.call("GET", self.path)
        assert status == 200, answer
        return typing.cast(dict[str, typing.Any], answer)

    def renewed(self, times: int = 1) -> dict[str, typing.Any]:
        wait_until(lambda: self.state["renewals"] >= times or self.state["failures"], what="it is renewed, or fails")
        assert self.state["renewals"] == times, self.state
        return self.state

    def failed(self, times: int = 1) -> dict[str, typing.Any]:
        wait_until(lambda: self.state["failures"] >= times, what="it fails")
        return self.state


@pytest.fixture
def refresh() -> Refresh:
    return Refresh()


@pytest.fixture
def api(refresh: Refresh) -> typing.Iterator[ProviderApi]:
    made = ProviderApi(refresh)
    yield made
    made.close()


def metrics(running: Server) -> str:
    with urllib.request.urlopen(f"{running.url}/metrics") as answer:
        found: str = answer.read().decode()
        return found


@pytest.mark.parametrize("what", ["subscription", "reconciliation"])
def test_what_was_never_set_up_says_so_whatever_is_asked_of_it(shared: Shared, api: ProviderApi, what: str) -> None:
    kept = Kept(shared(), api.url)
    path = kept.path.removesuffix("subscription") + what
    act = "renew" if what == "subscription" else "run"
    said = {kept.running.call(*asked)[1]["detail"] for asked in (("GET", path), ("DELETE", path), ("POST", f"{path}/{act}"))}
    assert len(said) == 1 and "first" in said.pop()


def test_a_subscription_is_renewed_at_once_and_again_when_a_third_of_its_life_is_left(shared: Shared, api: ProviderApi) -> None:
    kept = Kept(shared(), api.url)
    status, made = kept.put()
    assert (status, made["credentialSet"], made["baseUrl"]) == (201, True, api.url)
    state = kept.renewed()
    (asked,) = api.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/bases/app1/webhooks/ach1/refresh", b"")
    assert asked.headers["authorization"] == f"Bearer {CREDENTIAL}"
    assert (state["state"], state["failures"], state["cause"]) == ("waiting", 0, None)
    left = {name: (parsed(state[name]) - time.time()) / 86_400 for name in ("expiresAt", "nextAt")}
    assert 6.9 < left["expiresAt"] < 7.1 and 4.6 < left["nextAt"] < 4.7
    assert CREDENTIAL not in json.dumps(state)
    assert kept.running.call("POST", f"{kept.path}/renew")[0] == 202
    kept.renewed(2)
    assert 'ringback_subscription_renewals_total{outcome="renewed"}' in metrics(kept.running)


def parsed(stamp: str) -> float:
    return time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone


def test_an_access_token_is_asked_for_first_where_the_provider_wants_one(shared: Shared) -> None:
    """Microsoft Graph: learn.microsoft.com/graph/auth-v2-service."""

    def answer(asked: Asked) -> Said:
        if asked.path == "/token":
            assert b"client_secret=" + CREDENTIAL.encode() in asked.body
            return Said({"access_token": "short-lived", "expires_in": 3_599})
        if asked.headers.get("authorization") != "Bearer short-lived":
            return refused(401)
        return Said({"id": "sub-1", "expirationDateTime": json.loads(asked.body)["expirationDateTime"]})

    graph = ProviderApi(answer)
    kept = Kept(shared(), f"{graph.url}/v1.0", "ms-graph")
    parameters = {"subscription": "sub-1", "tenant": "t", "client_id": "c"}
    assert kept.put(tokenUrl=f"{graph.url}/token", parameters=parameters, periodS=7_200)[0] == 201
    state = kept.renewed()
    assert [(asked.method, asked.path) for asked in graph.asked] == [("POST", "/token"), ("PATCH", "/v1.0/subscriptions/sub-1")]
    assert 7_100 < parsed(state["expiresAt"]) - time.time() < 7_300
    graph.close()


def test_a_renewal_of_ones_own_knows_the_url_of_its_source_and_lives_as_long_as_it_says(shared: Shared) -> None:
    channel = ProviderApi(lambda asked: Said(b"", 204))
    kept = Kept(shared(), channel.url, "stripe")
    own = {
        "base": channel.url,
        "path": "/watch/{topic}",
        "method": "PUT",
        "auth": {"x-key": "{credential}"},
        "body": '{"to": "{url}", "id": "{unique}", "s": {period_s}}',
        "periodS": 600,
    }
    assert kept.put(renewal=own, parameters={"topic": "a/b"}, baseUrl=None)[0] == 201
    state = kept.renewed()
    (asked,) = channel.asked
    sent = json.loads(asked.body)
    assert (asked.method, asked.path, asked.headers["x-key"]) == ("PUT", "/watch/a%2Fb", CREDENTIAL)
    assert (sent["to"], sent["s"], len(sent["id"])) == (kept.url, 600, 32)
    assert 590 < parsed(state["expiresAt"]) - time.time() < 610
    channel.close()


def test_a_renewal_that_fails_is_told_once_and_tried_again_until_it_works(
    shared: Shared, receiver: Receiver, api: ProviderApi, refresh: Refresh
) -> None:
    running = shared()
    running.make("/operational-webhook/endpoint", {"url": f"{receiver.url}/ops", "eventTypes": ["source.subscription.failing"]})
    refresh.says = refused(403)
    kept = Kept(running, api.url)
    kept.put()
    state = kept.failed()
    assert (state["state"], state["cause"]) == ("failing", "credential")
    wait_until(lambda: receiver.arrivals, what="the owner is told")
    (told,) = [json.loads(arrival.body) for arrival in receiver.arrivals]
    assert told["type"] == "source.subscription.failing"
    assert (told["data"]["sourceId"], told["data"]["cause"]) == (kept.source_id, "credential")
    assert CREDENTIAL not in json.dumps(told)
    # A second failure is no news.
    running.call("POST", f"{kept.path}/renew")
    kept.failed(2)
    refresh.says = None
    running.call("POST", f"{kept.path}/renew")
    wait_until(lambda: kept.state["renewals"] == 1, what="it is renewed")
    assert (kept.state["state"], kept.state["failures"]) == ("waiting", 0)
    assert len(receiver.arrivals) == 1


def test_a_subscription_that_has_ended_is_told(shared: Shared, receiver: Receiver, api: ProviderApi, refresh: Refresh) -> None:
    running = shared()
    running.make("/operational-webhook/endpoint", {"url": f"{receiver.url}/ops", "eventTypes": ["source.subscription.ended"]})
    refresh.says = refused(500)
    kept = Kept(running, api.url)
    ends = text(-60)
    kept.put(expiresAt=ends)
    assert kept.failed()["state"] == "ended"
    wait_until(lambda: receiver.arrivals, what="the owner is told")
    (told,) = [json.loads(arrival.body) for arrival in receiver.arrivals]
    assert (told["type"], parsed(told["data"]["expiresAt"])) == ("source.subscription.ended", parsed(ends))


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (refused(404), "refused"),
        (refused(429, retry_after="7200"), "rate_limited"),
        (refused(302, location="http://127.0.0.1:1/"), "redirected"),
        (Said({"expirationTime": "2020-01-01T00:00:00Z"}), "unreadable"),
        (Said({"expirationTime": "<script>"}), "unreadable"),
    ],
)
def test_answers_that_renew_nothing_are_failures(shared: Shared, api: ProviderApi, refresh: Refresh, said: Said, cause: str) -> None:
    refresh.says = said
    kept = Kept(shared(), api.url)
    kept.put()
    state = kept.failed()
    assert (state["cause"], state["renewals"], state["expiresAt"]) == (cause, 0, None)
    if cause == "rate_limited":
        assert parsed(state["nextAt"]) - time.time() > 7_000


def test_addresses_that_deliveries_may_not_go_to_are_not_asked_either(shared: Shared) -> None:
    kept = Kept(shared(), "http://127.0.0.2:9")
    assert kept.put()[0] == 201
    assert kept.failed()["cause"] == "blocked"


def test_what_is_due_is_renewed_after_a_kill_and_a_paused_one_is_not(
    serve: Serve, tmp_path: pathlib.Path, api: ProviderApi, refresh: Refresh
) -> None:
    refresh.says = refused(500)
    running = serve()
    kept, paused = Kept(running, api.url), Kept(running, api.url)
    kept.put()
    paused.put(paused=True)
    kept.failed()
    running.stop(signal.SIGKILL)
    refresh.says = None
    again = serve(running.database)
    kept.running = paused.running = again
    state = kept.state
    assert state["failures"] >= 1 and state["credentialSet"]
    again.call("POST", f"{kept.path}/renew")
    wait_until(lambda: kept.state["renewals"] == 1, what="it is renewed")
    assert (paused.state["state"], paused.state["renewals"], paused.state["nextAt"]) == ("paused", 0, None)
    assert again.call("POST", f"{paused.path}/renew")[0] == 409
    assert CREDENTIAL.encode() not in again.database.read_bytes()


def test_a_credential_does_not_follow_to_another_place(shared: Shared, api: ProviderApi) -> None:
    kept = Kept(shared(), api.url)
    kept.put()
    kept.renewed()
    wanted = {"baseUrl": api.url, **AIRTABLE, "periodS": 1_000}
    assert kept.running.call("PUT", kept.path, wanted)[0] == 200
    status, problem = kept.running.call("PUT", kept.path, {**wanted, "baseUrl": "https://evil.example"})
    assert status == 422 and "give it again" in json.dumps(problem)
    status, problem = kept.put(parameters={"base": 'a"b'})
    assert status == 422 and "ends a text" in json.dumps(problem) and "the id of the webhook" in json.dumps(problem)
    status, problem = kept.put(baseUrl="http://example.com")
    assert status == 422 and "https://" in json.dumps(problem)
    assert kept.running.call("DELETE", kept.path)[0] == 204
    assert kept.running.call("GET", kept.path)[0] == 404


def test_an_owner_hears_that_the_provider_calls_no_more(shared: Shared, receiver: Receiver) -> None:
    """Slack: docs.slack.dev/apis/events-api, rate limiting."""
    running = shared()
    running.make("/operational-webhook/endpoint", {"url": f"{receiver.url}/ops", "eventTypes": ["source.signal"]})
    app_id = running.make("/app", {"name": "chat"})["id"]
    source = running.make(f"/app/{app_id}/source", {"name": "Slack", "type": "slack", "secrets": ["s3cret"], "uid": f"slack-{app_id}"})
    body, at = b'{"type": "app_rate_limited", "team_id": "T123", "minute_rate_limited": 1518467820}', int(time.time())
    mac = hmac.new(b"s3cret", b"v0:%d:%b" % (at, body), hashlib.sha256).hexdigest()
    headers = {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={mac}", "content-type": "application/json"}
    for _ in range(2):
        with urllib.request.urlopen(urllib.request.Request(source["ingestUrl"], body, headers)) as answer:
            assert answer.status == 200
    wait_until(lambda: receiver.arrivals, what="the owner is told")
    (told,) = [json.loads(arrival.body) for arrival in receiver.arrivals]
    data = {"appId": app_id, "sourceId": source["id"], "sourceUid": source["uid"], "signal": "app_rate_limited"}
    assert told == {"type": "source.signal", "data": {**data, "detail": "team_id T123, minute_rate_limited 1518467820"}}


def test_refresh_tokens_that_change_with_each_use_are_kept_over_a_kill(serve: Serve) -> None:
    """RFC 6749, 6: www.rfc-editor.org/rfc/rfc6749#section-6."""
    tokens, refused_ones = [CREDENTIAL], list[str]()

    def answer(asked: Asked) -> Said:
        if asked.path == "/token":
            given = urllib.parse.parse_qs(asked.body.decode())["refresh_token"][0]
            if given != tokens[-1]:
                refused_ones.append(given)
                return refused(400)
            tokens.append(f"refresh-{len(tokens)}")
            return Said({"access_token": f"for-{given}", "refresh_token": tokens[-1]})
        return Said({"data": {"expires_at": text(259_200)}})

    clio = ProviderApi(answer)
    running = serve()
    kept = Kept(running, clio.url, "stripe")
    parameters = {"webhook": "7", "client_id": "c"}
    assert kept.put(renewal="clio", clientSecret="s", tokenUrl=f"{clio.url}/token", parameters=parameters)[0] == 201
    kept.renewed(1)
    running.call("POST", f"{kept.path}/renew")
    kept.renewed(2)
    running.stop(signal.SIGKILL)
    kept.running = serve(running.database)
    kept.running.call("POST", f"{kept.path}/renew")
    kept.renewed(3)
    assert (len(tokens), refused_ones) == (4, [])
    stored = b"".join(path.read_bytes() for path in running.database.parent.iterdir() if path.is_file() and "ringback.db" in path.name)
    assert not [token for token in tokens if token.encode() in stored]
    clio.close()


class Hub:
    """A WebSub hub: it asks the callback whether that subscribed, before it answers (`at_once`) or afterwards, and sends what is new."""

    def __init__(self, lease_s: int, *, at_once: bool) -> None:
        self.lease_s, self.at_once, self.asked, self.form = lease_s, at_once, 0, dict[str, str]()
        self.verifying: list[threading.Thread] = []
        self.api = ProviderApi(self.answer)

    def answer(self, asked: Asked) -> Said:
        if asked.method == "GET":
            # A topic of the publisher beside it.
            links = f'<link rel="hub" href="/hub"/><link rel="self" href="{self.api.url}{asked.path}/as-atom"/>'
            return Said(f"<feed>{links}</feed>".encode(), 200, (("content-type", "application/atom+xml"),))
        self.form = {name: values[0] for name, values in urllib.parse.parse_qs(asked.body.decode()).items()}
        self.asked += 1
        thread = threading.Thread(target=self.verify)
        self.verifying.append(thread)
        thread.start()
        if self.at_once:
            thread.join(20)
        return Said(b"", 202)

    def verify(self) -> None:
        challenge = f"challenge-{self.asked}"
        said = {"hub.mode": "subscribe", "hub.topic": self.form["hub.topic"], "hub.challenge": challenge}
        query = urllib.parse.urlencode({**said, "hub.lease_seconds": str(self.lease_s)})
        with urllib.request.urlopen(f"{self.form['hub.callback']}?{query}") as answered:
            assert answered.read().decode() == challenge

    def distribute(self, content: bytes) -> int:
        signature = hmac.new(self.form["hub.secret"].encode(), content, hashlib.sha256).hexdigest()
        request = urllib.request.Request(self.form["hub.callback"], content, {"x-hub-signature": f"sha256={signature}"})
        with urllib.request.urlopen(request) as answered:
            return int(answered.status)

    def close(self) -> None:
        for thread in self.verifying:
            thread.join(20)
        self.api.close()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_hub_is_asked_confirms_its_lease_and_sends_and_is_asked_again(shared: Shared, at_once: bool) -> None:
    """www.w3.org/TR/websub, 5."""
    hub, running = Hub(7_200, at_once=at_once), shared()
    app_id = running.make("/app", {"name": "feeds"})["id"]
    topic = "https://example.com/feed?kind=a"
    made = running.make(f"/app/{app_id}/source", {"name": "w", "type": "websub", "secrets": ["hub-secret"], "topics": [topic]})
    path = f"/app/{app_id}/source/{made['id']}/subscription"
    wanted = {"credential": "hub-secret", "baseUrl": f"{hub.api.url}/hub", "parameters": {"topic": topic}, "periodS": 86_400}
    assert running.call("PUT", path, wanted)[0] == 201
    wait_until(lambda: running.call("GET", path)[1]["renewals"] == 1, what="the hub has confirmed")
    state = running.call("GET", path)[1]
    assert (state["state"], state["failures"]) == ("waiting", 0)
    left = {name: parsed(state[name]) - time.time() for name in ("expiresAt", "nextAt")}
    assert 7_100 < left["expiresAt"] < 7_205 and 4_700 < left["nextAt"] < 4_805
    assert hub.form == {
        "hub.mode": "subscribe",
        "hub.topic": topic,
        "hub.callback": made["ingestUrl"],
        "hub.lease_seconds": "86400",
        "hub.secret": "hub-secret",
    }
    assert hub.distribute(b"<feed/>") == 200
    assert running.call("POST", f"{path}/renew")[0] == 202
    wait_until(lambda: running.call("GET", path)[1]["renewals"] == 2, what="the hub has confirmed again")
    assert hub.asked == 2
    hub.close()


def test_the_hub_is_found_by_asking_the_topic_and_the_topic_has_a_url_of_its_own_there(shared: Shared) -> None:
    """www.w3.org/TR/websub, 4."""
    hub, running = Hub(7_200, at_once=True), shared()
    app_id = running.make("/app", {"name": "feeds"})["id"]
    topic = f"{hub.api.url}/blog"
    made = running.make(f"/app/{app_id}/source", {"name": "w", "type": "websub", "secrets": ["hub-secret"], "topics": [topic]})
    path = f"/app/{app_id}/source/{made['id']}/subscription"
    assert running.call("PUT", path, {"credential": "hub-secret", "parameters": {"topic": topic}})[0] == 201
    wait_until(lambda: running.call("GET", path)[1]["renewals"] == 1, what="the hub has confirmed")
    state = running.call("GET", path)[1]
    (one,) = state["topics"]
    assert (state["state"], state["baseUrl"], one["topic"], one["state"]) == ("waiting", "", topic, "waiting")
    assert (one["hub"], one["askedFor"], one["expiresAt"]) == (f"{hub.api.url}/hub", f"{topic}/as-atom", state["expiresAt"])
    assert (hub.form["hub.topic"], hub.form["hub.callback"]) == (f"{topic}/as-atom", made["ingestUrl"])
    assert hub.distribute(b"<feed/>") == 200
    hub.close()


def ringback(running: Server, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringback.cli.main", "renew", *words, "--database", str(running.database)]
    environment = {"PYTHONPATH": str(pathlib.Path(__file__).parent.parent.parent / "src"), "RINGBACK_TOKEN": running.token}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def test_several_topics_of_one_source_have_a_lease_each_also_over_a_kill(serve: Serve) -> None:
    hub, running = Hub(7_200, at_once=True), serve()
    app_id = running.make("/app", {"name": "feeds"})["id"]
    topics = [f"{hub.api.url}/blog", f"{hub.api.url}/news"]
    made = running.make(f"/app/{app_id}/source", {"name": "w", "type": "websub", "secrets": ["hub-secret"], "topics": topics})
    path = f"/app/{app_id}/source/{made['id']}/subscription"
    assert running.call("PUT", path, {"credential": "hub-secret", "topics": topics})[0] == 201
    wait_until(lambda: running.call("GET", path)[1]["renewals"] == 2, what="the hub has confirmed both")
    before = running.call("GET", path)[1]
    assert [(one["topic"], one["askedFor"], one["state"]) for one in before["topics"]] == [(t, f"{t}/as-atom", "waiting") for t in topics]
    running.stop(signal.SIGKILL)
    running = serve(running.database)
    assert running.call("GET", path)[1]["topics"] == before["topics"]
    renewed = ringback(running, made["id"], "--app", app_id)
    assert renewed.returncode == 0, renewed.stderr
    lines = renewed.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == topics and all("lives until" in line for line in lines)
    assert hub.asked == 4
    # One that is left out is renewed no more; the other one keeps its lease.
    kept = running.call("GET", path)[1]["topics"][1]
    assert running.call("PUT", path, {"credential": "hub-secret", "topics": topics[1:]})[0] == 200
    wait_until(lambda: running.call("GET", path)[1]["renewals"] == kept["renewals"] + 1, what="it is renewed")
    (left,) = running.call("GET", path)[1]["topics"]
    assert (left["topic"], hub.form["hub.topic"]) == (topics[1], f"{topics[1]}/as-atom")
    hub.close()


def test_the_command_line_renews_now_and_says_until_when_it_lives(shared: Shared, api: ProviderApi, refresh: Refresh) -> None:
    kept = Kept(shared(), api.url)
    words = (kept.source_id, "--app", kept.app_id)
    assert "no subscription" in ringback(kept.running, *words, "--show").stderr
    kept.put()
    kept.renewed()
    renewed = ringback(kept.running, *words)
    assert renewed.returncode == 0, renewed.stderr
    state = kept.renewed(2)
    assert renewed.stdout == f"waiting, lives until {state['expiresAt']}, next renewal {state['nextAt']}\n"
    refresh.says = refused(403)
    failed = ringback(kept.running, *words)
    assert failed.returncode == 1 and "does not take the credential" in failed.stderr
    shown = ringback(kept.running, *words, "--show")
    assert shown.returncode == 0 and shown.stdout.startswith("failing, lives until") and "failed 1 in a row" in shown.stdout
