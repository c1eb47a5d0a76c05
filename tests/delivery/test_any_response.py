"""Whatever bytes a server sends, cut wherever the network likes: one fact per attempt, the same for every cutting."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringback.delivery.http import Connection, Done, ResponseLimits
from ringback.delivery.transport import Origin, SealedRequest
from ringback.model.attempts import ErrorClass, Exchange

REQUEST = SealedRequest(Origin(False, "127.0.0.1", 80), b"POST / HTTP/1.1\r\n\r\n", b"{}")
LIMITS = ResponseLimits(head_max_bytes=2_000, body_max_bytes=100)


class Owner:
    """Notes what becomes of the connection."""

    def __init__(self) -> None:
        self.kept = 0
        self.gone = 0

    def first_answer(self, connection: Connection, transport: asyncio.BaseTransport) -> None: ...

    def reusable(self, connection: Connection) -> None:
        self.kept += 1

    def lost(self, connection: Connection) -> None:
        self.gone += 1

    def stale(self, request: SealedRequest, done: Done, started_s: float, deadline_s: float) -> None:
        raise AssertionError("a fresh connection is never stale")


class Wire(asyncio.Transport):
    """The event loop's side of a connection, driven by hand so that every cutting can be tried."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})
        self.cut = False

    def write(self, data: Any) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.cut = True


@pytest.fixture(scope="module")
def sock() -> Iterator[socket.socket]:
    near, far = socket.socketpair()
    with near, far:
        yield near


def receive(sock: socket.socket, pieces: list[bytes]) -> tuple[list[Exchange], Owner]:
    owner, wire, facts = Owner(), Wire(sock), list[Exchange]()
    clock = itertools.count()
    connection = Connection(owner, LIMITS, lambda: float(next(clock)), "127.0.0.1:80")
    connection.connection_made(wire)
    connection.begin(REQUEST, facts.append, 0.0, 1e9)
    for piece in pieces:
        if wire.cut:
            break
        connection.data_received(piece)
    connection.connection_lost(None)
    return facts, owner


def cuttings(data: bytes) -> st.SearchStrategy[list[bytes]]:
    places = st.lists(st.integers(0, len(data)), max_size=6).map(sorted)
    return places.map(lambda cuts: [piece for piece in (data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])) if piece])


STATUS_LINES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 500\r\n",
    b"HTTP/1.0 204 No\r\n",
    b"HTTP/1.1 100 Go\r\n",
    b"HTTP/1.1 99 X\r\n",
    b"HTTP/9.9 200 X\r\n",
    b"ICY 200 OK\r\n",
    b"\r\n",
]
FIELDS = [
    b"content-length: 5\r\n",
    b"content-length: 50000\r\n",
    b"content-length: x\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip\r\n",
    b"connection: close\r\n",
    b"connection: upgrade\r\n",
    b"upgrade: x\r\n",
    b"x: \x00\r\n",
    b" folded\r\n",
    b"x" * 900 + b": y\r\n",
    b":\r\n",
    b"a\r\n",
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nt: 1\r\n\r\n",
    b"zz\r\n",
    b"fffff\r\n" + b"y" * 300,
    b"y" * 300,
    b"\r\n",
]
response = st.builds(
    lambda line, fields, body: line + b"".join(fields) + b"\r\n" + body,
    st.sampled_from(STATUS_LINES),
    st.lists(st.sampled_from(FIELDS), max_size=4),
    st.sampled_from(BODIES),
)
anything = st.one_of(st.lists(response, max_size=3).map(b"".join), st.binary(max_size=200), response.map(lambda r: r[:-3]))


@settings(max_examples=1_500)
@given(data=st.data(), sent=anything)
def test_any_bytes_in_any_cutting_are_one_fact(sock: socket.socket, data: st.DataObject, sent: bytes) -> None:
    pieces = data.draw(cuttings(sent))
    facts, owner = receive(sock, pieces)
    assert len(facts) == 1
    assert owner.gone == 1
    fact = facts[0]
    assert (fact.status == 0) == (fact.error is not None)
    assert fact.error in (None, ErrorClass.PROTOCOL, ErrorClass.RESET)
    assert len(fact.body) <= LIMITS.body_max_bytes
    whole, _ = receive(sock, [sent] if sent else [])
    assert (fact.status, fact.error, fact.head) == (whole[0].status, whole[0].error, whole[0].head)


@pytest.mark.parametrize("fields", [FIELDS[10] * 3, FIELDS[2] + FIELDS[10] * 3, FIELDS[0] * 2 + FIELDS[10] * 3])
def test_a_head_is_too_long_in_one_piece_and_in_many(sock: socket.socket, fields: bytes) -> None:
    sent = STATUS_LINES[0] + fields + b"\r\n"
    for pieces in ([sent], [sent[:10], sent[10:]], [sent[:2_500], sent[2_500:]], [bytes([byte]) for byte in sent]):
        facts, _ = receive(sock, pieces)
        assert [fact.error for fact in facts] == [ErrorClass.PROTOCOL]


@settings(max_examples=300)
@given(data=st.data(), first=response)
@example(data=None, first=b"HTTP/1.1 200 OK\r\n\r\nhello")
def test_a_connection_that_is_kept_has_nothing_left_on_it(sock: socket.socket, data: st.DataObject | None, first: bytes) -> None:
    facts, owner = receive(sock, [first] if data is None else data.draw(cuttings(first)))
    longer, longer_owner = receive(sock, [first + b"H"])
    assert len(facts) == len(longer) == 1
    assert longer_owner.kept == 0
    if owner.kept:
        assert not facts[0].body_truncated or len(facts[0].body) == LIMITS.body_max_bytes
