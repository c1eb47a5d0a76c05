"""How long may a client dawdle? Requests that never end are answered 408 or cut, while others are served."""

from __future__ import annotations

import contextlib
import typing

import pytest

from tests.api.fuzz_client import Target, assert_error_shape, read_answers, serving

# Longest time until a client that stopped in the middle of a request is let go, seconds.
LET_GO_S = 40.0

GOOD = b'{"eventType":"order.paid","payload":{"a":1}}'


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Target]:
    yield from serving(tmp_path_factory.mktemp("slow"))


def test_clients_that_stop_in_the_middle_of_a_request_are_let_go(target: Target) -> None:
    publish = target.request(GOOD)
    ordinary = target.request(b'{"name":"a"}', path="/api/v1/app")
    chunked = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked") + b"5\r\nab"
    stops = [b"", b"P", publish[:30], publish[:-1], publish[: -len(GOOD)], ordinary[:-1], chunked, publish + publish[:-5]]
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(target.connect()) for _ in stops]
        for connection, start in zip(connections, stops, strict=True):
            connection.sendall(start)
        assert target.ask(GOOD).status == 202
        for connection, start in zip(connections, stops, strict=True):
            talk = read_answers(connection, 3, LET_GO_S)
            assert talk.closed, start
            for answer in talk.answers:
                if answer.status != 202:
                    assert answer.status == 408, (start, answer)
                    assert_error_shape(answer)
    assert target.ask(GOOD).status == 202
