from __future__ import annotations

import asyncio
import contextlib

import pytest

from ringback.delivery.http import ResponseLimits
from ringback.delivery.pool import HttpTransport
from ringback.model.attempts import Exchange
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, HostileServer, Peer, answering, serving
from tests.delivery.sending import request, transport
from tests.waiting import passed, until

LONG = ResponseLimits(body_time_s=15.0)
HEAD = b"HTTP/1.1 200 OK\r\nretry-after: 5\r\ncontent-length: 1000\r\n\r\n"


class Watched:
    """One attempt: what was told before its end, and its end."""

    def __init__(self, through: HttpTransport, server: HostileServer, body: bytes = b"{}") -> None:
        self.told: list[Exchange] = []
        self.ended: list[Exchange] = []
        through.send(request(server.port, body=body), self.ended.append, self)

    def decided(self, exchange: Exchange) -> None:
        assert not self.ended
        self.told.append(exchange)


def dripping(head: bytes = HEAD):
    """Answer each request with the head at once, and with a body that never comes to its end."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(head + b"x")
        await peer.drip(b"y" * 900)

    return script


def test_the_outcome_of_a_response_that_drips_is_told_long_before_its_end(run: Run) -> None:
    async def story() -> None:
        async with serving(dripping()) as server, transport(request_timeout_s=20.0, response=LONG) as client:
            watched = Watched(client, server)
            await until(lambda: watched.told, within_s=5.0)
            assert not watched.ended
            (told,) = watched.told
            assert (told.status, told.error, told.head, told.body_truncated) == (200, None, HEAD, True)
            assert told.duration_us < 5_000_000
            await passed(0.1)
            assert len(watched.told) == 1, "it is told once"

    run(story())


def test_the_end_of_a_response_that_drips_is_told_with_what_came_until_then(run: Run) -> None:
    async def story() -> None:
        async with serving(dripping()) as server, transport() as client:
            watched = Watched(client, server)
            await until(lambda: watched.ended)
            (ended,) = watched.ended
            assert (ended.status, ended.error, ended.body_truncated) == (200, None, True)
            assert ended.body.startswith(b"xy")
            assert len(watched.told) == 1
            await until(lambda: client.open_connections == 0)

    run(story())


def test_a_response_that_comes_in_one_piece_is_told_at_its_end_alone(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, transport() as client:
            for _ in range(20):
                watched = Watched(client, server)
                await until(lambda watched=watched: watched.ended)
                assert not watched.told
                assert watched.ended[0].body == b"ok"
            assert server.connections == 1

    run(story())


def test_a_slow_response_that_ends_well_is_whole_and_its_connection_is_used_again(run: Run) -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            peer.send(b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\n")
            for letter in (b"w", b"h", b"o", b"l", b"e"):
                await passed(0.03)
                peer.send(letter)

    async def story() -> None:
        async with serving(script) as server, transport(request_timeout_s=20.0, response=LONG) as client:
            for _ in range(3):
                watched = Watched(client, server)
                await until(lambda watched=watched: watched.ended)
                (ended,) = watched.ended
                assert (ended.status, ended.body, ended.body_truncated) == (201, b"whole", False)
                assert [told.status for told in watched.told] == [201]
            assert server.connections == 1

    run(story())


def test_bodies_that_drip_are_bounded_per_origin_and_the_oldest_is_cut_first(run: Run) -> None:
    async def story() -> None:
        async with (
            serving(dripping()) as server,
            serving(dripping()) as other,
            transport(request_timeout_s=20.0, response=LONG, slow_bodies_per_origin=4) as client,
        ):
            elsewhere = Watched(client, other)
            await until(lambda: elsewhere.told)
            watched = []
            for number in range(12):
                watched.append(Watched(client, server))
                await until(lambda: watched[-1].told)
                await until(lambda number=number: sum(len(one.ended) for one in watched) == max(0, number + 1 - 4))
            assert [len(one.ended) for one in watched] == [1] * 8 + [0] * 4
            for one in watched[:8]:
                (ended,) = one.ended
                assert (ended.status, ended.body_truncated) == (200, True)
            assert not elsewhere.ended, "each origin has a bound of its own"
            await until(lambda: client.open_connections == 5)

    run(story())


def test_bodies_that_drip_are_bounded_in_all(run: Run) -> None:
    async def story() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(serving(dripping())) for _ in range(5)]
            client = await stack.enter_async_context(transport(request_timeout_s=20.0, response=LONG, slow_bodies=3))
            watched = []
            for server in servers:
                watched.append(Watched(client, server))
                await until(lambda: watched[-1].told)
            await until(lambda: [len(one.ended) for one in watched] == [1, 1, 0, 0, 0])

    run(story())


def test_closing_ends_what_drips_with_its_status(run: Run) -> None:
    async def story() -> None:
        async with serving(dripping()) as server, transport(request_timeout_s=20.0, response=LONG) as client:
            watched = Watched(client, server)
            await until(lambda: watched.told)
            await client.close()
            (ended,) = watched.ended
            assert (ended.status, ended.error) == (200, None)

    run(story())


def test_an_answer_that_comes_before_the_request_was_taken_is_told_at_its_end_alone(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined] # the rest of the request stays in the kernel
        peer.send(HEAD)
        await asyncio.Event().wait()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            watched = Watched(client, server, b"x" * 20_000_000)
            await until(lambda: watched.ended)
            assert not watched.told
            assert watched.ended[0].status == 200

    run(story())


@pytest.mark.parametrize("how", ["closes", "resets"])
def test_a_connection_that_breaks_after_the_outcome_was_told_leaves_the_outcome(run: Run, how: str) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(HEAD + b"some")
        await go.wait()
        if how == "resets":
            peer.reset()

    async def story() -> None:
        async with serving(script) as server, transport(request_timeout_s=20.0, response=LONG) as client:
            watched = Watched(client, server)
            await until(lambda: watched.told)
            go.set()
            await until(lambda: watched.ended)
            assert (watched.ended[0].status, watched.ended[0].body, watched.ended[0].body_truncated) == (200, b"some", True)

    run(story())
