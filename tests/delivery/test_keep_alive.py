"""When may a connection carry another request? Only when nothing of the last response can be left on it."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ringback.model.attempts import ErrorClass, Exchange
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, Peer, answering, answering_once, serving, silent
from tests.delivery.sending import attempt, request, transport
from tests.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        CHUNKED,
        CHUNKED[:-2] + b"x-trailer: y\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 304 Same\r\ncontent-length: 9\r\n\r\n",
    ],
)
def test_a_connection_is_used_again_after_a_complete_answer(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with serving(answering(answer)) as server, transport() as client:
            exchanges = [await attempt(client, request(server.port)) for _ in range(5)]
            assert [e.reused for e in exchanges] == [False, True, True, True, True]
            assert len({(e.status, e.body) for e in exchanges}) == 1
            assert exchanges[1].phases.connect_us == -1
            assert server.connections == 1

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"x",
        OK + b"\r\n",
        OK + OK,
        OK + b"HTTP/1.1 200",
        CHUNKED + b"\r\n",
        CHUNKED + b"x",
        CHUNKED + OK,
        CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-length: 2\r\n\r\n", 1),
        b"HTTP/1.1 204 No Content\r\n\r\nsurprise",
    ],
)
def test_a_connection_with_anything_odd_is_dropped(run: Run, answer: bytes) -> None:
    async def story() -> None:
        async with serving(answering(answer)) as server, transport() as client:
            for number in (1, 2, 3):
                exchange = await attempt(client, request(server.port))
                assert (exchange.status // 100, exchange.reused) == (2, False)
                assert server.connections == number

    run(story())


def test_each_answer_is_told_as_it_came_though_the_one_before_was_nearly_the_same(run: Run) -> None:
    other = OK.replace(b"ok", b"no")
    longer = OK.replace(b"2\r\n\r\nok", b"3\r\n\r\noki")
    failure = b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"
    answers = [OK, OK, other, OK, failure, failure, CHUNKED, CHUNKED, longer, longer, OK, OK + b"x"]

    async def script(peer: Peer) -> None:
        for answer in answers[len(server_saw) :]:
            await peer.request()
            server_saw.append(answer)
            peer.send(answer)
        await peer.closed()

    server_saw: list[bytes] = []

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            told = [await attempt(client, request(server.port)) for _ in answers]
            assert [(e.status, e.body) for e in told] == [
                *((200, b"ok"), (200, b"ok"), (200, b"no"), (200, b"ok"), (500, b""), (500, b"")),
                *((200, b"ok"), (200, b"ok"), (200, b"oki"), (200, b"oki"), (200, b"ok"), (200, b"ok")),
            ]
            assert [e.head for e in told] == [answer[: answer.find(b"\r\n\r\n") + 4] for answer in answers]
            assert [e.reused for e in told] == [False] + [True] * (len(answers) - 1)
            assert all(0 <= e.phases.wait_us <= e.duration_us and e.phases.connect_us == -1 for e in told[1:])
            assert server.connections == 1
            # The last one had a byte too much.
            await until(lambda: client.open_connections == 0)

    run(story())


def test_the_same_answer_in_pieces_is_still_the_same(run: Run) -> None:
    async def script(peer: Peer) -> None:
        for in_pieces in (False, False, True, False, True):
            await peer.request()
            for piece in (OK[:20], OK[20:30], OK[30:-1], OK[-1:]) if in_pieces else (OK,):
                peer.send(piece)
                await asyncio.sleep(0)
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            told = [await attempt(client, request(server.port)) for _ in range(5)]
            assert {(e.status, e.body, e.body_truncated) for e in told} == {(200, b"ok", False)}
            assert server.connections == 1

    run(story())


def test_bytes_that_come_late_are_nobodys_answer(run: Run) -> None:
    late = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        if peer.number == 1:
            await late.wait()
            peer.send(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            await attempt(client, request(server.port))
            late.set()
            await until(lambda: client.open_connections == 0)
            second = await attempt(client, request(server.port))
            assert (second.status, second.reused) == (200, False)

    run(story())


def test_bytes_that_wait_in_the_kernel_are_nobodys_answer(run: Run) -> None:
    """The second response is there before the next request, but the loop has not read it yet."""

    async def story() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        port = listener.getsockname()[1]
        async with transport() as client:
            first = asyncio.ensure_future(attempt(client, request(port)))
            peer, _ = await loop.sock_accept(listener)
            await loop.sock_recv(peer, 65_536)
            peer.send(OK)
            assert (await first).status == 200
            # Sent and the next request begun without a turn of the loop between.
            peer.send(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n")
            second = loop.create_future()
            client.send(request(port), second.set_result)
            fresh, _ = await loop.sock_accept(listener)
            await loop.sock_recv(fresh, 65_536)
            fresh.send(OK)
            assert (await second).status == 200
            for sock in (peer, fresh, listener):
                sock.close()

    run(story())


def test_an_answer_before_the_question_is_nobodys_answer(run: Run) -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 1:
            await peer.request()
            peer.send(OK + OK)
            peer.writer.close()
            return
        await peer.request()
        peer.send(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            assert (await attempt(client, request(server.port))).status == 200
            assert (await attempt(client, request(server.port))).status == 201

    run(story())


def test_a_connection_that_the_server_closed_while_idle_is_not_used(run: Run) -> None:
    async def story() -> None:
        async with serving(answering_once(OK)) as server, transport() as client:
            for _ in range(3):
                assert (await attempt(client, request(server.port))).status == 200
            assert len(server.requests) == 3

    run(story())


@pytest.mark.parametrize("rst", [False, True])
def test_a_pooled_connection_that_dies_before_the_first_byte_is_replaced_once(run: Run, rst: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        # Dies only when the second request is on its way: no check before sending can see it.
        await peer.reader.readexactly(1)
        if rst:
            peer.reset()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            await attempt(client, request(server.port))
            second = await attempt(client, request(server.port))
            assert (second.status, second.reused, second.error) == (200, False, None)
            assert server.connections == 2

    run(story())


def test_a_request_is_repeated_at_most_once(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            peer.send(OK)
            await peer.reader.readexactly(1)

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            await attempt(client, request(server.port))
            second = await attempt(client, request(server.port))
            assert (second.status, second.error) == (0, ErrorClass.RESET)
            assert server.connections == 2

    run(story())


def test_a_pooled_connection_that_dies_after_the_first_byte_is_not_replaced(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.request()
        peer.send(b"H")

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            await attempt(client, request(server.port))
            second = await attempt(client, request(server.port))
            assert (second.status, second.error, second.reused) == (0, ErrorClass.RESET, True)
            assert server.connections == 1

    run(story())


def test_a_pooled_connection_that_times_out_is_not_replaced(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(OK)
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            await attempt(client, request(server.port))
            second = await attempt(client, request(server.port))
            assert second.error is ErrorClass.TIMEOUT
            assert server.connections == 1

    run(story())


def test_the_next_request_may_be_sent_from_the_answer_of_the_last(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, transport() as client:
            finished = asyncio.get_running_loop().create_future()
            answers: list[Exchange] = []

            def done(exchange: Exchange) -> None:
                answers.append(exchange)
                if len(answers) == 50:
                    finished.set_result(None)
                else:
                    client.send(request(server.port), done)

            client.send(request(server.port), done)
            await finished
            assert server.connections == 1
            assert {e.status for e in answers} == {200}

    run(story())


def test_idle_connections_are_closed_after_a_while(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, transport(idle_limit_s=0.1) as client:
            await attempt(client, request(server.port))
            assert client.open_connections == 1
            await until(lambda: client.open_connections == 0)

    run(story())


def test_an_origin_keeps_no_more_idle_connections_than_allowed(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, transport(idle_per_origin=2) as client:
            await asyncio.gather(*(attempt(client, request(server.port)) for _ in range(10)))
            await until(lambda: client.open_connections == 2)

    run(story())


def test_at_the_limit_of_connections_an_idle_one_makes_room(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as one, serving(answering(OK)) as other, transport(max_connections=1) as client:
            for _ in range(3):
                assert (await attempt(client, request(one.port))).status == 200
                assert (await attempt(client, request(other.port))).status == 200

    run(story())


def test_at_the_limit_of_connections_attempts_wait_for_their_turn(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, transport(max_connections=2, request_timeout_s=10.0) as client:
            exchanges = await asyncio.gather(*(attempt(client, request(server.port)) for _ in range(30)))
            assert {e.status for e in exchanges} == {200}
            assert client.open_connections <= 2

    run(story())


def test_without_a_free_connection_in_time_the_attempt_says_so(run: Run) -> None:
    async def story() -> None:
        async with serving(silent) as server, transport(max_connections=1, request_timeout_s=0.5) as client:
            first, second = await asyncio.gather(attempt(client, request(server.port)), attempt(client, request(server.port)))
            assert first.error is ErrorClass.TIMEOUT
            # It got the place of the first, but no time was left.
            assert second.error in (ErrorClass.INTERNAL, ErrorClass.CONNECT_TIMEOUT, ErrorClass.TIMEOUT)

    run(story())


def test_closing_cuts_what_is_in_flight_and_what_is_being_opened(run: Run) -> None:
    async def story() -> None:
        async with serving(silent) as server, serving(answering(OK)) as idle, transport() as client:
            await attempt(client, request(idle.port))
            waiting = [asyncio.ensure_future(attempt(client, request(server.port))) for _ in range(3)]
            await until(lambda: server.connections == 3)
            waiting.append(asyncio.ensure_future(attempt(client, request(server.port))))
            await asyncio.sleep(0)
            await client.close()
            assert [(await one).error for one in waiting] == [ErrorClass.RESET] * 4
            assert client.open_connections == 0
            assert (await attempt(client, request(server.port))).error is ErrorClass.RESET

    run(story())


def test_a_connection_refused_is_told_apart(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with transport() as client:
            exchange = await attempt(client, request(port))
            assert (exchange.status, exchange.error) == (0, ErrorClass.REFUSED)
            assert exchange.address == f"127.0.0.1:{port}"

    run(story())


def test_a_server_that_does_not_accept_runs_into_the_connect_limit(run: Run) -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
            port = listener.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            async with transport(request_timeout_s=0.5) as client:
                exchange = await attempt(client, request(port))
                assert (exchange.status, exchange.error) == (0, ErrorClass.CONNECT_TIMEOUT)
            for filler in fillers:
                filler.close()

    run(story())


def test_an_ipv6_endpoint_is_reached(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK), host="::1") as server, transport() as client:
            exchange = await attempt(client, request(server.port, "::1"))
            assert exchange.status == 200
            assert exchange.address == f"[::1]:{server.port}"

    run(story())


def test_a_large_body_arrives_unchanged(run: Run) -> None:
    body = bytes(range(256)) * 8_192

    async def story() -> None:
        async with serving(answering(OK)) as server, transport(request_timeout_s=10.0) as client:
            for _ in range(2):
                assert (await attempt(client, request(server.port, body=body))).status == 200
            assert all(received.endswith(b"\r\n\r\n" + body) for received in server.requests)

    run(story())
