"""Does a token reach what is not its own? Every operation that is declared, asked with every kind of token that has no right to it.

A new operation is asked by itself. It fails here when what it is about cannot be made, when its body is not known (`POSTS`, `BODIES`), and
when it answers a stranger, or changes a row of the database for one.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import hmac
import json
import sqlite3
import typing
import urllib.parse

import pytest

from ringback.api.auth import Access
from ringback.api.routing import Operation
from ringback.config.running import find
from tests.acceptance.receiver import Receiver
from tests.api.everything import APPLICATION, INGEST, POSTS, SETTINGS, SINK, STREAM_AUTH, Everything
from tests.api.live import opened
from tests.api.operations import operations
from tests.waiting import wait_until

# Bodies where what GET answers is not one.
BODIES: typing.Final[dict[str, typing.Any]] = {
    "PUT /api/v1/app/{app_id}/autoconfig/{autoconfig_id}/endpoint": {"url": "https://example.com/"},
    "PUT /api/v1/app/{app_id}/autoconfig/{autoconfig_id}/destination": {"type": "pollingEndpoint"},
    "PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config": {"endpoint": {"url": "https://example.com/"}},
    "PUT /api/v1/app/{app_id}/integration/{integ_id}": {"name": "taken"},
    "PUT /api/v1/app/{app_id}/source/{source_id}": {"name": "taken", "type": "github"},
    "PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/filter": {"filter": {"taken": True}},
    "PUT /api/v1/app/{app_id}/destination/{destination_id}/filter": {"filter": {"taken": True}},
    "PUT /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter": {"filter": {"taken": True}},
    "PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}/headers": {"headers": {"x-taken": "1"}},
    "POST /api/v1/privacy/export": {"subject": "nobody@example.com"},
    "PUT /api/v1/stream/{stream_id}/sink/{sink_id}": {"type": "http", "config": {"url": "https://example.com/"}},
    "PATCH /api/v1/stream/{stream_id}/sink/{sink_id}": {"type": "http", "config": {"url": "https://example.com/"}},
    "PATCH /api/v1/stream/{stream_id}/sink/{sink_id}/headers": {"headers": {"x-taken": "1"}},
}
# What moves by itself: sums, what is done in the background, and who was here when.
MOVING: typing.Final = (
    "trend_",
    "search_",
    "source_traffic",
    "source_activity",
    "source_refusal",
    "stat_",
    "expectation_scan",
    "sqlite_",
    "message_block",
)
JWT_SECRET: typing.Final = "a-secret-that-another-server-knows"
# The operations with these paths end the very token that asks, whoever that is.
LOGOUTS: typing.Final = ("/api/v1/auth/logout", "/api/v1/auth/stream-logout")

Rows = dict[str, collections.Counter[str]]


def signed(claims: dict[str, typing.Any]) -> str:
    """A token signed with the secret that the server knows."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
    signature = hmac.digest(JWT_SECRET.encode(), b".".join(parts), "sha256")
    return b".".join((*parts, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


def everything() -> list[Operation]:
    """Every operation, what reads before what deletes, and before what a stranger may make for itself."""
    found = {(operation.method, operation.path): operation for operation in operations()}.values()
    return sorted(found, key=lambda one: (is_made_here(one), one.method == "DELETE", -one.path.count("/"), one.path))


def is_made_here(operation: Operation) -> bool:
    """An upsert of something that stands by itself: an id that is nobody's there is made new (contract, 1.8)."""
    return operation.method == "PUT" and operation.path.count("{") == 1 and operation.path.endswith("}")


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens that have no right to what the owner has, or to part of it."""

    stranger: str
    neighbour: str
    viewer: str
    integration: str
    subscriber: str
    other_source: str
    poller: str
    other_poller: str
    other_stream: str
    other_sink: str
    logged_out: str
    ended: str
    expired: str
    of_deleted: str
    stream_logged_out: str
    stream_ended: str
    of_deleted_stream: str
    of_deleted_sink: str
    of_nobody: str


class World:
    """One of everything, those who do not own it, and the rows of the database."""

    def __init__(self, there: Everything) -> None:
        self.there, self.live = there, there.live
        live = self.live
        operator = find(str(live.server.database))
        assert operator is not None
        stranger = live.made("/operator/token", {"org": "strangers"}, token=operator.token)["token"]
        org, stranger_org = (live.get("/auth/whoami", token=token).json()["envId"] for token in (live.server.token, stranger))
        neighbour, deleted = live.app(), live.app()
        source = live.made(INGEST, {"name": "door", "type": "github", "config": {"secret": "x"}})["id"]
        autoconfig = live.made(f"/app/{neighbour}/autoconfig", {})
        integration = live.made(f"/app/{neighbour}/integration", {"name": "i"})["id"]
        gone_stream = live.made("/stream", {"name": "gone"})["id"]
        gone_sink, gone_key = self._key_of_another_sink(there.id(SINK, "stream_id"))
        self.tokens = Tokens(
            stranger=stranger,
            neighbour=live.portal_token(neighbour),
            viewer=live.portal_token(there.app, capabilities=["ViewBase"]),
            integration=live.made(f"/app/{neighbour}/integration/{integration}/key/rotate")["key"],
            subscriber=json.loads(base64.b64decode(autoconfig["token"].removeprefix("auto_v1_")))["tok"],
            other_source=live.made(f"{INGEST}/{source}/dashboard", {})["token"],
            poller=self._key_of_another(neighbour),
            other_poller=self._key_of_another(there.app),
            other_stream=self._stream_token(live.made("/stream", {"name": "other"})["id"]),
            other_sink=self._key_of_another_sink(there.id(SINK, "stream_id"))[1],
            logged_out=live.portal_token(there.app),
            ended=live.portal_token(there.app, sessionId="s"),
            expired=signed({"org": org, "sub": there.app, "exp": 1_500_000_000}),
            of_deleted=live.portal_token(deleted),
            stream_logged_out=self._stream_token(there.id(SINK, "stream_id")),
            stream_ended=self._stream_token(there.id(SINK, "stream_id"), sessionId="s"),
            of_deleted_stream=self._stream_token(gone_stream),
            of_deleted_sink=gone_key,
            of_nobody=signed({"org": stranger_org, "sub": there.app}),
        )
        assert live.post("/auth/logout", token=self.tokens.logged_out).status_code == 204
        assert live.delete(f"/app/{deleted}").status_code == 204
        assert live.post("/auth/stream-logout", token=self.tokens.stream_logged_out).status_code == 204
        expire = there.path(f"{STREAM_AUTH}/expire-all")
        assert live.post(expire, {"sessionIds": ["s"], "expiry": 0}).status_code == 204
        assert live.delete(f"/stream/{gone_stream}").status_code == 204
        assert live.delete(there.path(SINK, sink_id=gone_sink)).status_code == 204
        self._deleted = (deleted, gone_stream, gone_sink)
        self._database = sqlite3.connect(f"file:{live.server.database}?mode=ro", uri=True)
        self._version: object = None
        self._rows: Rows = {}
        assert live.post(f"/auth/app/{there.app}/expire-all", {"sessionIds": ["s"], "expiry": 0}).status_code == 204
        secret = live.get(f"/app/{there.app}/endpoint/{there.id(f'{APPLICATION}/endpoint/{{endpoint_id}}', 'endpoint_id')}/secret")
        self.secrets = [secret.json()["key"], "whsec_"]
        self._bodies: dict[tuple[str, str], typing.Any] = {}
        for operation in everything():
            self._bodies[operation.method, operation.path] = self._body(operation)
        # What goes on by itself is held, and its settings are there to be read and changed.
        for sources in (f"{APPLICATION}/source", INGEST):
            path = f"{sources}/{{source_id}}/reconciliation"
            settings = live.get(there.path(path)).json()
            assert live.put(there.path(path), settings | {"credential": "x", "paused": True}).status_code == 200
            self._bodies["PUT", path] = settings | {"credential": "x"}
        self.org = org
        self.markers = {found for name, found in there._ids.items() if name not in ("event_type_name", "connector_id", "name")}

    def _key_of_another(self, app: str) -> str:
        """The key of a polling endpoint that is not the owner's."""
        sink = self.live.made(f"/app/{app}/destination", {"type": "pollingEndpoint"})["id"]
        return str(self.live.made(f"/auth/app/{app}/poller/{sink}/token/rotate", {})["token"])

    def _key_of_another_sink(self, stream: str) -> tuple[str, str]:
        """A new sink of a stream, and its key."""
        sink = self.live.made(f"/stream/{stream}/sink", {"type": "poller"})["id"]
        return sink, str(self.live.get(f"/auth/stream/{stream}/sink/{sink}/poller/token").json()["token"])

    def _stream_token(self, stream: str, **grant: typing.Any) -> str:
        """A token of a stream."""
        return str(self.live.made(f"/auth/stream-portal-access/{stream}", grant)["token"])

    def _body(self, operation: Operation) -> typing.Any:
        """A body that the owner could send."""
        if operation.body is None or operation.method == "GET":
            return None
        known = BODIES.get(f"{operation.method} {operation.path}")
        if known is not None:
            return known
        if operation.method == "POST":
            return POSTS[operation.path](self.there) if operation.path in POSTS else {}
        if operation.method == "PATCH":
            return {}
        answer = self.live.get(self.there.path(operation.path))
        return answer.json() | {"credential": "x"} if answer.status_code == 200 else {}

    def ask(self, operation: Operation, token: str) -> tuple[int, str]:
        """Ask for an operation on what is the owner's: status and text of the answer."""
        body = self._bodies[operation.method, operation.path]
        path = self.there.path(operation.path)
        response = self.live.client.request(
            operation.method,
            path,
            content=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {token}"} if token else {},
        )
        return response.status_code, response.text

    def told(self, text: str, operation: Operation) -> list[str]:
        """Ids of the owner in a text, but for those that the request itself has named."""
        asked = self.there.path(operation.path)
        return [marker for marker in self.markers if marker in text and marker not in asked]

    def rows(self) -> Rows:
        """What is kept, by table, but for what was deleted before: it goes when the server finds the time. Read again after each commit."""
        database = self._database
        version = database.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            self._rows = {
                table: collections.Counter(
                    row
                    for row in map(repr, database.execute(f"SELECT {self._columns(database, table)} FROM {table}"))
                    if not any(deleted in row for deleted in self._deleted)
                )
                for table in tables
                if not table.startswith(MOVING)
            }
        return self._rows

    @staticmethod
    def _columns(database: sqlite3.Connection, table: str) -> str:
        """All columns but the time at which a token was last used."""
        return ", ".join(name for _, name, *_ in database.execute(f"PRAGMA table_info({table})") if name != "last_used_at")

    def close(self) -> None:
        """Let the database go."""
        self._database.close()

    def settled(self) -> Rows:
        """What is kept, once nothing is under way, and no task of anybody."""
        seen: list[Rows] = [self.rows()]

        def still() -> bool:
            seen.append(self.rows())
            (running,) = self._database.execute("SELECT COUNT(*) FROM task WHERE status = 'running'").fetchone()
            return seen[-1] == seen[-2] and not running

        wait_until(still, what="all is done")
        return seen[-1]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[World]:
    receiver = Receiver()
    for live in opened(tmp_path_factory.mktemp("tenancy"), SETTINGS | {"jwt_secret": JWT_SECRET}):
        world = World(Everything(live, receiver))
        yield world
        world.close()
    receiver.close()


def differences(before: Rows, after: Rows) -> dict[str, list[str]]:
    """Which rows came or went, by table."""
    found = {table: sorted(((before[table] - after[table]) + (after[table] - before[table])).elements()) for table in before}
    return {table: rows for table, rows in found.items() if rows}


def named(chosen: typing.Iterable[Operation]) -> pytest.MarkDecorator:
    """One test for each of these operations."""
    return pytest.mark.parametrize("operation", [pytest.param(one, id=f"{one.method} {one.path}") for one in chosen])


# Tokens that were good once, or never were; and those that are good for one thing alone.
DEAD: typing.Final = (
    *("logged_out", "ended", "expired", "of_deleted", "of_nobody"),
    *("stream_logged_out", "stream_ended", "of_deleted_stream", "of_deleted_sink"),
)
NARROW: typing.Final = ("subscriber", "poller", "other_poller", "other_sink")

closed = named(one for one in everything() if one.access is not Access.OPEN and one.path not in LOGOUTS)


@named(one for one in everything() if one.access is not Access.OPEN)
def test_nobody_is_answered_without_a_token_that_is_alive(world: World, operation: Operation) -> None:
    before = world.settled()
    for who in ("", "nonsense", *DEAD):
        status, text = world.ask(operation, getattr(world.tokens, who, who))
        assert (status, json.loads(text)["code"]) == (401, "authentication_failed"), who
    assert differences(before, world.rows()) == {}


@closed
def test_another_organisation_reads_and_changes_nothing(world: World, operation: Operation) -> None:
    before = world.settled()
    status, text = world.ask(operation, world.tokens.stranger)
    if "{" in operation.path and not is_made_here(operation):
        assert status == 404, text
    else:
        assert 200 <= status < 300, text
        assert world.told(text, operation) == [] and world.org not in text
    after = world.rows()
    # Its own rows may come and go.
    assert {
        table: rows
        for table, rows in differences(before, after).items()
        if world.org in "".join(rows) or world.told("".join(rows), operation)
    } == {}


@closed
def test_the_token_of_something_else_reaches_nothing_of_the_others(world: World, operation: Operation) -> None:
    before = world.settled()
    for who in (*NARROW, "neighbour", "integration", "other_source", "other_stream"):
        status, text = world.ask(operation, getattr(world.tokens, who))
        if operation.access is Access.ORGANISATION:
            assert (status, json.loads(text)["code"]) == (403, "insufficient access"), who
        elif any(f"{{{whose}}}" in operation.path for whose in ("app_id", "source_id", "task_id", "stream_id")):
            assert status in (403, 404), (who, text)
        elif who in NARROW:
            assert status == 403, who
        else:
            # What belongs to all applications of the organisation, and who one is.
            assert operation.method == "GET" and status in (200, 403), who
            assert world.told(text, operation) == []
    assert differences(before, world.rows()) == {}


@closed
def test_who_may_only_look_changes_nothing_and_sees_no_secret(world: World, operation: Operation) -> None:
    before = world.settled()
    status, text = world.ask(operation, world.tokens.viewer)
    if operation.access is Access.ORGANISATION or operation.method != "GET" or operation.path.endswith(("/secret", "/key")):
        assert status in (403, 404), text
    else:
        assert status in (200, 403, 404, 501), text
        assert not any(secret in text for secret in world.secrets)
    # A GET by a consumer remembers what it was given, and the contract (section 2) lets everybody who may look have all GETs.
    consuming = operation.method == "GET" and "{consumer_id}" in operation.path
    assert {table for table in differences(before, world.rows()) if not (consuming and table.startswith("poll_"))} == set()


@named(one for one in everything() if one.path.startswith("/api/v1/operator/"))
def test_what_is_the_operators_is_nobody_elses(world: World, operation: Operation) -> None:
    before = world.settled()
    others = [getattr(world.tokens, field.name) for field in dataclasses.fields(Tokens)]
    for token in ("", world.live.server.token, *others):
        assert world.ask(operation, token)[0] in (401, 403)
    assert differences(before, world.rows()) == {}


@pytest.mark.parametrize("sources", [f"{APPLICATION}/source", INGEST])
def test_the_url_of_one_source_is_no_way_into_another(world: World, sources: str) -> None:
    live, there = world.live, world.there
    mine, other = (there.make(sources)["ingestUrl"].rsplit("/in/", 1) for _ in range(2))
    before = world.settled()
    answer = live.client.post(f"{urllib.parse.urlsplit(mine[0]).path}/in/{other[1]}", content=b"{}")
    assert answer.status_code == 404
    assert differences(before, world.rows()) == {}
