"""What needs a person: each kind of trouble on one page, with since when, how many and the way to where it is mended."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks import server as servers
from ringback.dashboard.alerts import missed_row, renewal_row, sentence_of, server_rows, source_rows, task_row, urgent_first
from ringback.dashboard.components import Badge
from ringback.model.sources import Activity, Rules, Source, SourceSecret, Verification
from ringback.model.subscriptions import Progress
from ringback.model.tasks import PurgeContent, Task, TaskKind, TaskStatus
from ringback.services.alerts import Missed, Renewal
from ringback.services.server import Process
from ringback.services.source_views import Seen, Traffic
from ringback.telemetry.usage import Usage
from tests.acceptance.receiver import Answer, Arrival, Receiver
from tests.dashboard.conftest import BASE, Person, token_of
from tests.dashboard.equipment import call_source
from tests.dashboard.test_pages import plain
from tests.waiting import wait_until

# A minute, an hour and a moment in microseconds.
MINUTE_US, HOUR_US, NOW_US = 60_000_000, 3_600_000_000, 1_800_000_000_000_000


def answered(arrival: Arrival) -> Answer:
    """Each path does what its name says."""
    return Answer({"/gone": 410, "/down": 503}.get(arrival.path, 200))


@dataclasses.dataclass
class Night:
    """A server with two attempts for each message, the receiver it calls, and the one who is on call."""

    server: servers.Server
    receiver: Receiver
    person: Person

    def endpoint(self, app: str, path: str) -> str:
        """An endpoint that leads to that path of the receiver: its id."""
        return str(self.server.make(f"/app/{app}/endpoint", {"url": f"{self.receiver.url}{path}", "description": f"To {path}"})["id"])

    def send(self, app: str, number: int = 1) -> None:
        """Some messages to all endpoints of an application."""
        for n in range(number):
            self.server.make(f"/app/{app}/msg", {"eventType": "order.created", "payload": {"n": n}})

    def lines(self) -> list[str]:
        """The lines of the page."""
        return [plain_row(row) for row in re.findall(r"<tr class=\"linked\">.*?</tr>", self.person.get("/alerts").text, re.DOTALL)]

    def told(self, *words: str) -> bool:
        """Is there a line with all these words?"""
        return any(all(word in line for word in words) for line in self.lines())


def plain_row(row: str) -> str:
    """A row's words, and where it leads."""
    href = re.search(r'href="([^"]+)"', row)
    assert href is not None
    return f"{re.sub(r'<[^>]+>', ' ', row)} -> {href[1]}"


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    receiver = Receiver(answered)
    server = servers.start(tmp_path / "ringback.db", {"retry_schedule": "50ms", "overload_min_delay": "50ms"})
    person = Person(f"{server.url}{BASE}").log_in()
    yield Night(server, receiver, person)
    person.close()
    server.stop()
    receiver.close()


def test_all_that_is_in_trouble_stands_on_one_page_until_it_is_mended(night: Night) -> None:
    assert "Nothing needs attention" in night.person.get("/alerts").text
    app = night.server.make("/app", {"name": "Customer at night"})["id"]
    well, gone, down = (night.endpoint(app, path) for path in ("/well", "/gone", "/down"))
    assert night.server.call("PUT", f"/app/{app}/endpoint/{down}/ordering", {"mode": "endpoint"})[0] == 200
    night.send(app, 2)
    wait_until(lambda: night.told("disabled", "/gone", "410 Gone", "since", f"/apps/{app}/endpoints/{gone}"), what="the disabled one")
    wait_until(lambda: night.told("giving up", "/down", "answered 503", "since", f"/apps/{app}/endpoints/{down}"), what="the failing one")
    assert night.told("blocked", "/down", "1", "since", f"/dead-letters/list?endpoint={down}")
    assert night.told("dead letters", "answered 503", "1", "newest", f"endpoint={down}&amp;cause=http_503")
    assert not any("/well" in line for line in night.lines())
    words = plain(night.person.get("/alerts"))
    assert "things need attention: " in words and "Customer at night · To /gone" in words

    source = night.server.make(f"/app/{app}/source", {"name": "Payments", "type": "stripe", "secrets": ["whsec_night"]})
    assert call_source(source["ingestUrl"], b"{}", "t=1,v1=00") == 401
    blocked = {"base": "https://192.0.2.1", "path": "/renew", "auth": {"x-key": "{credential}"}}
    subscribed = {"renewal": blocked, "credential": "x", "expiresAt": "2024-01-01T00:00:00Z"}
    assert night.server.call("PUT", f"/app/{app}/source/{source['id']}/subscription", subscribed)[0] == 201
    assert night.told("quarantine", "Payments", "Refused and kept", "1", f"/quarantine/list?source={source['id']}")
    wait_until(lambda: night.told("ended", "Payments", "cannot be renewed", f"/sources/{source['id']}/subscription"), what="the renewal")

    # Another organisation sees nothing of all that.
    other = Person(night.person.url).log_in(token_of(night.server, "elsewhere"))
    assert "Nothing needs attention" in other.get("/alerts").text
    other.close()

    night.receiver.decide = lambda arrival: Answer(200)
    night.person.act(f"/apps/{app}/endpoints/{gone}/enable")
    night.person.act("/dead-letters/replay", app=app)
    night.person.act("/quarantine/drop", source=source["id"])
    assert night.server.call("DELETE", f"/app/{app}/source/{source['id']}/subscription")[0] == 204
    wait_until(lambda: night.lines() == [], what=str(night.lines()))
    assert well not in night.person.get("/alerts").text


def test_an_endpoint_that_fails_is_told_before_its_messages_are_given_up(tmp_path: Path) -> None:
    receiver = Receiver(answered)
    server = servers.start(tmp_path / "ringback.db", {"retry_schedule": "50ms,1h"})
    person = Person(f"{server.url}{BASE}").log_in()
    night = Night(server, receiver, person)
    try:
        app = server.make("/app", {"name": "Customer"})["id"]
        down = night.endpoint(app, "/down")
        night.send(app)
        wait_until(lambda: night.told("failing", "2 of 2 attempts", "answered 503", "since", down), what="it is told")
        overview = person.get("/").text
        assert f'href="{BASE}/alerts"' in overview and "What needs attention" in overview
    finally:
        person.close()
        server.stop()
        receiver.close()


def source_of(**given: typing.Any) -> Source:
    """A source of an hour ago."""
    known = {"uid": None, "type": "stripe", "route": None, "disabled": False, "metadata": {}, "tokens": (), "rules": Rules()}
    made = {"created_at": NOW_US - HOUR_US, "updated_at": NOW_US - HOUR_US, "verification": Verification()}
    return Source(id="src_1", org_id="org_1", app_id="app_1", ingest=False, name="Payments", **(known | made | given))


def test_sources_that_are_silent_or_signed_with_an_old_secret_are_told() -> None:
    heard = Activity(last_at=NOW_US - 30 * MINUTE_US, gap_us=MINUTE_US)
    (silent,) = source_rows([Seen(source_of(), heard, 30 * MINUTE_US, Traffic())], NOW_US)
    assert (silent.badge.word, silent.word, silent.href) == ("silent", "last", f"{BASE}/sources/src_1")
    assert "Nothing has come for 30 min" in silent.why and silent.at is not None and silent.at.words == "30 min ago"
    (never,) = source_rows([Seen(source_of(), Activity(), HOUR_US, Traffic())], NOW_US)
    assert never.word == "since" and never.at is not None and never.at.words == "1 h ago"

    secrets = (SourceSecret("new"), SourceSecret("old", expires_at=NOW_US + HOUR_US))
    used = Activity(old_secret_at=NOW_US - MINUTE_US)
    rotated = source_of(verification=Verification(secrets=secrets))
    (old,) = source_rows([Seen(rotated, used, None, Traffic())], NOW_US)
    assert old.badge.word == "old secret" and "Give it the new one before" in old.why
    ended = source_of(verification=Verification(secrets=secrets[:1]))
    for nothing in (
        Seen(rotated, Activity(), None, Traffic()),
        Seen(ended, used, None, Traffic()),
        Seen(replace(rotated, disabled=True), used, None, Traffic()),
    ):
        assert source_rows([nothing], NOW_US) == []


def test_a_renewal_that_fails_is_worse_once_its_subscription_has_ended() -> None:
    progress = Progress(failures=3, detail="the provider answered 401", failed_at=NOW_US - MINUTE_US, expires_at=NOW_US + HOUR_US)
    before = renewal_row(Renewal("src_1", "Mail", "inbox", progress), NOW_US)
    assert (before.badge, before.where, before.number) == (Badge("retry", "not renewed"), "inbox", "3")
    assert before.why == "The subscription at the provider cannot be renewed: the provider answered 401. It ends in 1 h."
    after = renewal_row(Renewal("src_1", "Mail", "", replace(progress, expires_at=NOW_US - HOUR_US)), NOW_US)
    assert after.badge == Badge("dead", "ended") and after.why.endswith("It ended 1 h ago.")
    missing = missed_row(Missed("src_1", "Mail", 2, NOW_US - MINUTE_US), NOW_US)
    assert urgent_first([before, missing, after]) == [missing, after, before]
    assert sentence_of([before, missing, missing]) == "3 things need attention: not renewed and missing (2)."
    assert sentence_of([before]) == "1 thing needs attention: not renewed."


def test_a_full_disk_and_a_spool_that_fills_are_told_to_whoever_runs_the_server() -> None:
    process = Process("1", 0, 0, 0, 0, 0.0, 0, None, None, Usage(0, 0.0), 0, 0, 5_000_000, True, False, 0, 0, 0, 7, 1_000)
    assert [row.badge.word for row in server_rows(process)] == ["disk full", "store failing"]
    assert "Only 5 MB are free" in server_rows(process)[0].why and server_rows(process)[1].number == "7"
    assert server_rows(replace(process, disk_low=False, spooled=0)) == server_rows(None) == []


def test_a_task_that_stopped_says_why_and_since_when() -> None:
    purge = PurgeContent("app_1", "msg_1")
    task = Task(
        "qtask_1", "org_1", None, TaskKind.PURGE_CONTENT, TaskStatus.FAILED, purge, "", {"error": "the disk was full"}, NOW_US - HOUR_US
    )
    row = task_row(task, "Expunge all payloads", NOW_US)
    assert (row.what, row.href) == ("Expunge all payloads", f"{BASE}/tasks/qtask_1")
    assert row.why == "It stopped before its end: the disk was full. Begin it again when that is mended."
