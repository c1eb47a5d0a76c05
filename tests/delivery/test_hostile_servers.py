"""What a server may do to us, and what comes of it: one attempt, one fact, bounded memory and time."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.heads import header_value
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, HostileServer, Peer, Script, answering, answering_once, serving, silent
from tests.delivery.sending import BODY_TIME_S, TIMEOUT_S, attempt, request, transport
from tests.waiting import until

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
# Beyond a time limit this much is put down to a busy machine.
SLACK_S = 1.0


async def once(script: Script, **changes: object) -> tuple[Exchange, HostileServer, float]:
    """One attempt against a script: the facts, the server, and how long it took."""
    async with serving(script) as server, transport(**changes) as client:
        started = asyncio.get_running_loop().time()
        exchange = await attempt(client, request(server.port))
        return exchange, server, asyncio.get_running_loop().time() - started


def test_a_plain_answer_is_taken_whole(run: Run) -> None:
    async def story() -> None:
        exchange, server, _ = await once(answering(b"HTTP/1.1 201 Created\r\nRetry-After: 7\r\ncontent-length: 5\r\n\r\nhello"))
        assert (exchange.status, exchange.body, exchange.body_truncated, exchange.error) == (201, b"hello", False, None)
        assert header_value(exchange.head, b"retry-after") == b"7"
        assert exchange.address == f"127.0.0.1:{server.port}"
        assert exchange.phases.dns_us == -1
        assert exchange.phases.connect_us >= 0
        assert exchange.phases.tls_us == -1
        assert 0 <= exchange.phases.wait_us <= exchange.duration_us
        assert server.requests == [b'POST /hook HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-length: 7\r\n\r\n{"a":1}' % server.port]

    run(story())


def test_a_head_that_drips_times_out(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000)

    async def story() -> None:
        exchange, _, took_s = await once(script)
        assert (exchange.status, exchange.error) == (0, ErrorClass.TIMEOUT)
        assert TIMEOUT_S <= took_s < TIMEOUT_S + SLACK_S

    run(story())


def test_a_server_that_never_answers_times_out(run: Run) -> None:
    async def story() -> None:
        exchange, _, took_s = await once(silent)
        assert (exchange.status, exchange.error) == (0, ErrorClass.TIMEOUT)
        assert exchange.duration_us >= TIMEOUT_S * 1e6
        assert took_s < TIMEOUT_S + SLACK_S

    run(story())


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_a_body_that_drips_does_not_undo_the_status(run: Run, framing: str) -> None:
    heads = {"length": b"HTTP/1.1 204 X\r\n", "chunks": CHUNKED, "close": b"HTTP/1.1 200 OK\r\n\r\n"}
    heads["length"] = b"HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n"

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(heads[framing])
        await peer.drip(b"1\r\nx\r\n" * 9_000)

    async def story() -> None:
        exchange, _, took_s = await once(script)
        assert (exchange.status, exchange.error, exchange.body_truncated) == (200, None, True)
        assert exchange.body
        assert BODY_TIME_S <= took_s < BODY_TIME_S + SLACK_S

    run(story())


def test_the_time_of_the_whole_request_bounds_the_body_too(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.drip(b"HTTP/1.1 200 OK\r\n\r\n", every_s=0.03)
        await peer.drip(b"x" * 9_000)

    async def story() -> None:
        exchange, _, took_s = await once(script, request_timeout_s=0.9)
        assert (exchange.status, exchange.body_truncated) == (200, True)
        assert took_s < 0.9 + SLACK_S

    run(story())


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_an_endless_body_is_cut_at_the_limit(run: Run, framing: str) -> None:
    heads = {
        "length": b"HTTP/1.1 500 No\r\ncontent-length: 99999999999\r\n\r\n",
        "chunks": b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n",
        "close": b"HTTP/1.0 500 No\r\n\r\n",
    }
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n" if framing == "chunks" else b"x" * 1024
    taken: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(heads[framing])
        taken.append(await peer.flood(piece))

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            exchange = await attempt(client, request(server.port))
            await until(lambda: taken)
        assert (exchange.status, exchange.body_truncated) == (500, True)
        assert exchange.body == b"x" * 20_000
        # What the kernel's buffers and one read swallow, not what the server would have sent.
        assert taken[0] < 20_000_000

    run(story())


@pytest.mark.parametrize(("start", "more"), [(b"5;", b"x"), (b"0\r\n", b"x-y: z\r\n")], ids=["extension", "trailers"])
def test_framing_without_end_is_cut_as_a_body_is(run: Run, start: bytes, more: bytes) -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + start)
        sent = await peer.flood(more * (65_536 // len(more)))

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            exchange = await attempt(client, request(server.port))
            assert (exchange.status, exchange.body, exchange.body_truncated) == (200, b"", True)
            await until(lambda: sent > 0)

    run(story())
    # What the kernel holds between the two included.
    assert sent < 16 * 1024 * 1024


def test_a_body_of_exactly_the_limit_is_whole(run: Run) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 20000\r\n\r\n" + b"x" * 20_000))
        assert len(exchange.body) == 20_000
        assert not exchange.body_truncated

    run(story())


@pytest.mark.parametrize("line", [b"x-filler: " + b"y" * 100 + b"\r\n", b"a:\r\n" * 1_000, b"y" * 4096])
def test_endless_headers_are_refused(run: Run, line: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nx: ")
        await peer.flood(line)

    async def story() -> None:
        exchange, _, took_s = await once(script, request_timeout_s=10.0)
        assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)
        assert "65536" in exchange.detail
        assert took_s < 5

    run(story())


def test_only_the_start_of_a_long_head_is_kept(run: Run) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + b"x: y\r\n" * 5_000 + b"\r\n"))
        assert exchange.status == 200
        assert len(exchange.head) == 4_096

    run(story())


def test_interim_responses_are_skipped(run: Run) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

    async def story() -> None:
        exchange, _, _ = await once(answering(interim + OK))
        assert (exchange.status, exchange.body) == (200, b"ok")
        assert exchange.head == OK[:-2]

    run(story())


def test_a_flood_of_interim_responses_is_refused(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.flood(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def story() -> None:
        exchange, _, _ = await once(script)
        assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)
        assert "interim" in exchange.detail

    run(story())


def test_a_protocol_switch_is_refused(run: Run) -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"

    async def story() -> None:
        exchange, _, _ = await once(answering(answer))
        assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)

    run(story())


@pytest.mark.parametrize(
    "answer",
    [
        b"hello world\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 twohundred\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 200 OK\r\nbad\x00: x\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_protocol_error(run: Run, answer: bytes) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering(answer))
        assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)
        assert exchange.detail

    run(story())


@pytest.mark.parametrize("interim", [b"", b"\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"])
@pytest.mark.parametrize("lengths", [b"content-length: 0\r\n", b"content-length: two\r\n"])
@pytest.mark.parametrize("protocol", ["RTSP/1.0", "ICE/1.0", "HTTP/2.0", "HTTP/0.9"])
def test_an_answer_in_another_protocol_is_a_protocol_error_that_names_it(run: Run, protocol: str, lengths: bytes, interim: bytes) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering(interim + protocol.encode() + b" 200 OK\r\n" + lengths + b"\r\n"))
        assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)
        assert exchange.detail == f"the answer is not HTTP/1.1: it begins with '{protocol}'"

    run(story())


@pytest.mark.parametrize("tail", [b"zz\r\nbad", b"5\r\nhelloXX", b"fffffffffffffffffff\r\n", b"5;\x00\r\nhello"])
def test_bad_chunking_leaves_the_status_and_ends_the_connection(run: Run, tail: bytes) -> None:
    async def story() -> None:
        async with serving(answering(CHUNKED + b"3\r\nabc\r\n" + tail)) as server, transport() as client:
            exchange = await attempt(client, request(server.port))
            assert (exchange.status, exchange.error, exchange.body_truncated) == (200, None, True)
            assert exchange.body.startswith(b"abc")
            await until(lambda: client.open_connections == 0)

    run(story())


@pytest.mark.parametrize(
    "lengths",
    [
        b"content-length: 2\r\ncontent-length: 3\r\n",
        b"content-length: two\r\n",
        b"content-length: -1\r\n",
        b"content-length: 99999999999999999999999999\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        b"content-length: 2\r\ntransfer-encoding: chunked\r\n",
    ],
)
@pytest.mark.parametrize("split", [False, True])
def test_lengths_that_cannot_be_believed_leave_the_status_and_end_the_connection(run: Run, lengths: bytes, split: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 202 Accepted\r\n" + lengths)
        if split:
            await peer.drip(b"server: x\r\n", every_s=0.001)
        peer.send(b"\r\n2\r\nok\r\n0\r\n\r\n")
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            exchange = await attempt(client, request(server.port))
            assert (exchange.status, exchange.error) == (202, None)
            await until(lambda: client.open_connections == 0)

    run(story())


def test_a_content_length_too_long_leaves_the_status(run: Run) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering_once(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort"))
        assert (exchange.status, exchange.body, exchange.body_truncated) == (200, b"short", True)

    run(story())


def test_a_body_that_ends_with_the_connection_is_whole(run: Run) -> None:
    async def story() -> None:
        exchange, _, _ = await once(answering_once(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
        assert (exchange.status, exchange.body, exchange.body_truncated) == (200, b"all of it", False)

    run(story())


@pytest.mark.parametrize(
    ("sent", "words"), [(b"", "without an answer"), (b"HTTP/1.1 200 OK\r\nserver:", "in the middle of the response headers")]
)
@pytest.mark.parametrize("rst", [False, True])
def test_a_connection_that_breaks_before_the_headers_are_in_is_a_reset(run: Run, sent: bytes, words: str, rst: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(sent)
        if rst and not sent:
            peer.reset()

    async def story() -> None:
        exchange, server, _ = await once(script)
        assert (exchange.status, exchange.error) == (0, ErrorClass.RESET)
        assert words in exchange.detail
        # A fresh connection is never tried twice: the server may have acted on the request.
        assert server.connections == 1

    run(story())


def test_a_reset_in_the_body_leaves_the_status(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort")
        await peer.drip(b"xx")
        peer.reset()

    async def story() -> None:
        exchange, _, _ = await once(script)
        assert (exchange.status, exchange.error, exchange.body_truncated) == (200, None, True)

    run(story())


def test_a_gzip_bomb_is_not_unpacked(run: Run) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)

    async def story() -> None:
        exchange, _, _ = await once(answering(head + bomb))
        assert exchange.body == bomb[:20_000]
        assert exchange.body_truncated

    run(story())


def test_an_answer_before_the_request_has_been_read_counts_and_ends_the_connection(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined] # the rest of the request stays in the kernel
        peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            exchange = await attempt(client, request(server.port, body=b"x" * 20_000_000))
            assert (exchange.status, exchange.error) == (413, None)
            await until(lambda: client.open_connections == 0)

    run(story())


@pytest.mark.parametrize("rst", [False, True])
def test_a_server_that_closes_at_once_is_a_reset(run: Run, rst: bool) -> None:
    async def script(peer: Peer) -> None:
        if rst:
            peer.reset()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            for exchange in await asyncio.gather(*(attempt(client, request(server.port)) for _ in range(20))):
                assert (exchange.status, exchange.error) == (0, ErrorClass.RESET)
            await until(lambda: client.open_connections == 0)

    run(story())


def test_a_server_that_speaks_first_gets_its_attempt_ended(run: Run) -> None:
    async def script(peer: Peer) -> None:
        peer.send(b"220 mail.example ready\r\n")
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            for exchange in await asyncio.gather(*(attempt(client, request(server.port)) for _ in range(20))):
                assert (exchange.status, exchange.error) == (0, ErrorClass.PROTOCOL)
            await until(lambda: client.open_connections == 0)

    run(story())


def test_a_redirect_is_recorded_and_not_followed(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as goal, transport() as client:
            moved = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:%d/\r\ncontent-length: 0\r\n\r\n" % goal.port
            async with serving(answering(moved)) as server:
                exchange = await attempt(client, request(server.port))
            assert exchange.status == 302
            assert goal.connections == 0

    run(story())


def test_an_empty_answer_without_a_body_is_whole(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(b"HTTP/1.1 204 No Content\r\nserver: x\r\n\r\n")) as server, transport() as client:
            first = await attempt(client, request(server.port))
            second = await attempt(client, request(server.port))
            assert (first.status, first.body_truncated, first.reused) == (204, False, False)
            assert second.reused

    run(story())


def test_one_server_that_hangs_does_not_slow_another(run: Run) -> None:
    async def story() -> None:
        async with serving(silent) as hung, serving(answering(OK)) as healthy, transport(request_timeout_s=15.0) as client:
            stuck = [asyncio.ensure_future(attempt(client, request(hung.port))) for _ in range(200)]
            await until(lambda: hung.connections == 200)
            for _ in range(20):
                async with asyncio.timeout(SLACK_S):
                    assert (await attempt(client, request(healthy.port))).status == 200
            assert not any(task.done() for task in stuck)
            await client.close()
            assert {(await task).error for task in stuck} == {ErrorClass.RESET}

    run(story())
