"""How long may a provider dawdle, and how much may all of them together have in memory? Both doors say the same."""

from __future__ import annotations

import contextlib
import socket
import typing

import pytest

from benchmarks import server
from tests.api.fuzz_client import Target, read_answers
from tests.api.test_bad_input import GROWTH_MB, MIB
from tests.gateway.door import ORDINARY, Door, opened, stripe
from tests.waiting import wait_until

# Longest time until a client that stopped in the middle of a request is let go, seconds.
LET_GO_S = 40.0
BODY = b'{"id":"evt_1","type":"charge.succeeded","data":{}}'
# What all bodies together may take in the second server, and what is sent to it.
MEMORY_MIB, CLIENTS = 16, 60


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Door]:
    yield from opened(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Door]:
    running = server.start(tmp_path_factory.mktemp("small") / "ringback.db", {"log_level": "error", "body_memory_max": f"{MEMORY_MIB}MiB"})
    try:
        yield Door(Target(running))
    finally:
        running.stop()


def test_a_body_that_does_not_come_is_answered_408_at_both_doors_while_others_are_served(door: Door) -> None:
    path = door.source("stripe")["path"]
    assert door.send(path, BODY, stripe(BODY)).status == 200
    hot, ordinary = door.request(path, BODY, stripe(BODY)), door.request(path, BODY, [*stripe(BODY), ORDINARY])
    chunked = door.request(path).replace(b"content-length: 0", b"transfer-encoding: chunked") + b"5\r\nab"
    starts = {"hot": hot[:-1], "hot after another": hot + hot[:-1], "ordinary": ordinary[:-1], "chunked": chunked}
    answers = {}
    with contextlib.ExitStack() as stack:
        connections = {name: stack.enter_context(door.target.connect()) for name in starts}
        for name, start in starts.items():
            connections[name].sendall(start)
        assert door.send(path, BODY, stripe(BODY)).status == 200
        for name, connection in connections.items():
            talk = read_answers(connection, 3, LET_GO_S)
            assert talk.closed, name
            answers[name] = talk.answers
    assert [answer.status for answer in answers.pop("hot after another")] == [200, 408]
    said = {(answer.status, answer.headers[1:], answer.body) for (answer,) in answers.values()}
    assert len(said) == 1 and next(iter(said))[0] == 408
    assert len(door.events(path.split("/")[5])) == 1


@pytest.mark.parametrize("extra", [[], [ORDINARY]], ids=["hot", "ordinary"])
def test_bodies_of_all_clients_together_are_bounded_and_free_again_when_they_are_gone(small: Door, extra: list[tuple[str, str]]) -> None:
    path = small.source("stripe")["path"]
    assert small.send(path, BODY, stripe(BODY)).status == 200
    before = small.server.rss_mb()
    raw = small.request(path, b"x" * (2 * MIB), extra)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(small.target.connect()) for _ in range(CLIENTS)]
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sendall(raw[:MIB])
            connection.setblocking(False)
        # Each has sent a mebibyte: no more of them than that can be in memory, and the others hear of it.
        wait_until(lambda: sum(map(_was_answered, connections)) >= CLIENTS - MEMORY_MIB, what="the others are told to come again")
        assert small.server.rss_mb() - before < MEMORY_MIB + GROWTH_MB
        for connection in connections:
            if _was_answered(connection):
                (answer,) = read_answers(connection, 1, 5).answers
                assert (answer.status, answer.header("retry-after")) == (503, "1")
    # They have gone without a word; what they had sent is forgotten.
    assert small.server.healthy()
    body = BODY + b" " * MIB
    assert small.send(path, body, [*stripe(body), *extra]).status == 200


def _was_answered(connection: socket.socket) -> bool:
    """Is there an answer to be read, not counting the word to go on?"""
    try:
        return b"HTTP/1.1 5" in connection.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return False
