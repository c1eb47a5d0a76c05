"""Does `svix listen` work? A program on somebody's own machine gets what comes to its token, and its answers go back to the sender.

Source: the HTTP contract, section 14 (the relay of the Svix command line).
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from ringback.services.relay import Timing
from tests.gateway.relaying import TOKEN, Listener, serving, tell
from tests.waiting import until, until_async


def test_a_request_reaches_the_listener_and_its_answer_the_sender(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            assert listener.token == TOKEN
            body = bytes(range(256))
            asked = asyncio.ensure_future(server.send(f"/in/{TOKEN}/further/path?a=1&a=2", body, method="PUT", x_own="yes"))
            event = await listener.event()
            assert (event["method"], event["body"]) == ("PUT", body)
            assert event["headers"]["x-own"] == "yes"
            await listener.answer(event["id"], 418, b"\x00short\xff", {"content-type": "text/teapot", "X-Local": "1"})
            answer = await asked
            assert (answer.status_code, answer.content) == (418, b"\x00short\xff")
            assert (answer.headers["content-type"], answer.headers["x-local"]) == ("text/teapot", "1")

    tell(story())


def test_start_and_answers_may_come_as_text_or_binary_and_events_keep_their_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.socket() as connection:
            await connection.send(_start(token=TOKEN).encode())
            assert json.loads(await connection.recv()) == {"type": "start", "version": 1, "data": {"token": TOKEN}}
            listener = Listener(connection)
            for number in range(5):
                asked = asyncio.ensure_future(server.send(body=b"%d" % number))
                event = await listener.event()
                assert event["body"] == b"%d" % number
                data = {"id": event["id"], "status": 200, "headers": {}, "body": base64.b64encode(event["body"]).decode()}
                await connection.send(json.dumps({"type": "event", "version": 1, "data": data}))
                assert (await asked).content == b"%d" % number

    tell(story())


def test_headers_of_one_hop_are_dropped_and_repeated_ones_joined(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            head = (
                f"POST /in/{TOKEN}/ HTTP/1.1\r\nHost: bins.example\r\nX-Twice: one\r\nx-twice: two\r\nConnection: close, X-Hop\r\n"
                "X-Hop: 1\r\n"
                "Keep-Alive: 5\r\nTE: trailers\r\nTrailer: X-T\r\nProxy-Authorization: Basic eA==\r\nTransfer-Encoding: chunked\r\n"
                "Authorization: Bearer mine\r\nX-Umlaut: \u00fc\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
            )
            asked = asyncio.ensure_future(server.raw(head.encode()))
            event = await listener.event()
            assert event["headers"] == {"x-twice": "one, two", "authorization": "Bearer mine", "x-umlaut": "\u00fc"}
            assert event["body"] == b"hello"
            await listener.answer(
                event["id"], 200, b"ok", {"Connection": "X-Gone", "X-Gone": "1", "Content-Length": "999", "Keep-Alive": "1"}
            )
            answer = await asked
            assert b"x-gone" not in answer and b"999" not in answer and b"keep-alive" not in answer
            assert answer.endswith(b"content-length: 2\r\nconnection: close\r\n\r\nok")

    tell(story())


def test_an_answer_cannot_speak_for_the_whole_server(tmp_path: Path) -> None:
    """Whoever listens chooses bytes that are sent under this server's name: no cookie, no script, no policy of theirs may stand in it."""

    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            asked = asyncio.ensure_future(server.send())
            event = await listener.event()
            headers = {
                "content-type": "text/html", "Set-Cookie": "session=theirs", "Clear-Site-Data": '"*"', "Service-Worker-Allowed": "/",
                "Content-Security-Policy": "default-src *", "X-Injected": "a\r\nset-cookie: b=c", "bad name": "1", "NEL": "{}",
                "Strict-Transport-Security": "max-age=1", "X-Content-Type-Options": "sniff",
            }  # fmt: skip
            await listener.answer(event["id"], 200, b"<script>alert(1)</script>", headers)
            answer = await asked
            assert dict(answer.headers) == {
                "date": answer.headers["date"],
                "content-type": "text/html",
                "content-security-policy": "sandbox",
                "x-content-type-options": "nosniff",
                "content-length": "25",
            }

    tell(story())


def test_fifty_requests_at_once_each_get_their_own_answer(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            asked = [asyncio.ensure_future(server.send(body=b"request %d" % number)) for number in range(50)]
            events = [await listener.event() for _ in asked]
            # The last one is answered first.
            for event in reversed(events):
                await listener.answer(event["id"], 200, b"answer to " + event["body"])
            answers = await asyncio.gather(*asked)
            assert [a.content for a in answers] == [b"answer to request %d" % number for number in range(50)]

    tell(story())


def test_the_largest_body_goes_there_and_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            body = bytes(range(256)) * 8_192
            echo = asyncio.ensure_future(listener.echo())
            assert (await server.send(body=body)).content == body
            answer = await server.send(body=body + b"x")
            assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
            assert (await server.send(body=b"still there")).content == b"still there"
            echo.cancel()

    tell(story())


def test_nobody_listening_is_502_and_no_answer_in_time_504(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(answer_s=0.3)) as server:
            answer = await server.send()
            assert (answer.status_code, answer.json()["code"]) == (502, "relay_not_connected")
            async with server.listener() as listener:
                answer = await server.send()
                assert (answer.status_code, answer.json()["code"]) == (504, "relay_timeout")
                # What comes too late is skipped, and the socket lives on.
                await listener.answer((await listener.event())["id"], 200, b"late")
                echo = asyncio.ensure_future(listener.echo())
                assert (await server.send(body=b"next")).content == b"next"
                echo.cancel()

    tell(story())


def test_a_listener_that_goes_away_ends_the_wait_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            async with server.listener() as listener:
                asked = asyncio.ensure_future(server.send())
                await listener.event()
            answer = await asked
            assert (answer.status_code, answer.json()["code"]) == (502, "relay_gone")

    tell(story())


async def _closed(connection: Any) -> tuple[int, str]:
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def test_a_second_listener_for_a_token_is_closed_with_the_words_that_clients_look_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as first:
            async with server.socket() as second:
                await second.send(_start(token=TOKEN))
                assert await _closed(second) == (1008, "This socket is already in use")
            async with server.listener("c_0123456789") as other:
                assert other.token == "c_0123456789"
            # The first one was not disturbed.
            echo = asyncio.ensure_future(first.echo())
            assert (await server.send(body=b"a")).content == b"a"
            echo.cancel()

    tell(story())


def test_a_client_may_come_back_for_its_token(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for number in range(5):

                async def again(number: int = number) -> bool:
                    try:
                        async with server.listener() as listener:
                            echo = asyncio.ensure_future(listener.echo())
                            assert (await server.send(body=b"%d" % number)).content == b"%d" % number
                            echo.cancel()
                            return True
                    except websockets.ConnectionClosed:
                        # The socket before is being closed at this moment.
                        return False

                assert await until_async(again)

    tell(story())


def _start(**data: Any) -> str:
    return json.dumps({"type": "start", "version": 1, "data": data})


BAD_STARTS: list[str | bytes] = [
    "not json", "[]", "{}", "1", b"\xff\xfe", "[" * 100_000, json.dumps({"type": "event", "version": 1, "data": {}}),
    json.dumps({"type": "start", "version": 2, "data": {"token": TOKEN}}), _start(), _start(token=7), _start(token=""),
    _start(token="c_short"), _start(token="c_ABCDEFGHI/"),
]  # fmt: skip


def test_a_bad_first_message_is_closed_with_another_reason(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for message in BAD_STARTS:
                async with server.socket() as connection:
                    await connection.send(message)
                    code, reason = await _closed(connection)
                    assert code == 1008, message
                    assert reason and reason != "This socket is already in use", message

    tell(story())


def test_a_token_without_the_prefix_gets_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener("ABCDEFGHIJ") as listener:
            assert listener.token == TOKEN

    tell(story())


def test_a_socket_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(start_s=0.2)) as server, server.socket() as connection:
            assert await _closed(connection) == (1008, "The start message did not come in time")

    tell(story())


def test_unknown_messages_and_unreadable_ones_are_skipped(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            asked = asyncio.ensure_future(server.send())
            event = await listener.event()
            for message in (
                "hello", b"\x00", json.dumps({"type": "weather", "version": 1, "data": {"id": event["id"]}}), json.dumps({"type": "event"}),
                json.dumps({"type": "event", "version": 1, "data": {"id": event["id"], "status": "200"}}),
                json.dumps({"type": "event", "version": 1, "data": {"id": "breq_unknown", "status": 200, "headers": {}, "body": ""}}),
                _start(token="c_ZZZZZZZZZZ"),
            ):  # fmt: skip
                await listener.connection.send(message)
            await listener.answer(event["id"], 202)
            assert (await asked).status_code == 202

    tell(story())


def test_an_answer_that_is_none_is_502(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            for status, body in [(0, "b2s="), (99, "b2s="), (101, "b2s="), (600, "b2s="), (200, "not base64!"), (200, "b2s")]:
                asked = asyncio.ensure_future(server.send())
                event = await listener.event()
                data = {"id": event["id"], "status": status, "headers": {}, "body": body}
                await listener.connection.send(json.dumps({"type": "event", "version": 1, "data": data}).encode())
                answer = await asked
                assert (answer.status_code, answer.json()["code"]) == (502, "relay_bad_answer"), (status, body)

    tell(story())


def test_an_answer_with_too_many_headers_is_502(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            for headers in ({f"x-{n}": "1" for n in range(101)}, {"x-long": "v" * 70_000}):
                asked = asyncio.ensure_future(server.send())
                await listener.answer((await listener.event())["id"], 200, b"", headers)
                assert (await asked).status_code == 502

    tell(story())


def test_an_answer_without_a_body_has_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            for status in (204, 304, 200):
                asked = asyncio.ensure_future(server.send())
                await listener.answer((await listener.event())["id"], status, b"body")
                answer = await asked
                assert (answer.status_code, answer.content) == (status, b"body" if status == 200 else b"")
                assert ("content-length" in answer.headers) == (status == 200)

    tell(story())


def test_a_message_larger_than_any_answer_closes_the_socket(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as listener:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await listener.connection.send(b"x" * (4 * 1024 * 1024 + 1))
                await listener.connection.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009

    tell(story())


def test_a_listener_that_answers_pings_keeps_its_token(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(ping_s=0.1, pong_s=5.0)) as server:
            reader, writer = await _hand_made(server.port)
            writer.write(_frame(1, _start(token=TOKEN).encode()))
            started = await reader.readexactly(2)
            await reader.readexactly(started[1])
            for _ in range(4):
                ping = await reader.readexactly(6)
                assert ping[:2] == b"\x89\x04", "the server asks again and again"
                writer.write(_frame(10, ping[2:]))
            assert server.doors.relay.listens(TOKEN)
            writer.close()

    tell(story())


def test_a_dead_socket_frees_its_token(tmp_path: Path) -> None:
    """Its machine is gone: no pong comes, no end of the connection either, and what was sent last is never read."""

    async def story() -> None:
        async with serving(tmp_path, Timing(ping_s=0.5, pong_s=0.5, answer_s=0.2)) as server:
            _, writer = await _hand_made(server.port)
            writer.write(_frame(1, _start(token=TOKEN).encode()))
            await until(lambda: server.doors.relay.listens(TOKEN))
            unread = [await server.send(body=b"x" * 2_000_000) for _ in range(4)]
            assert {answer.status_code for answer in unread} <= {429, 504, 502}

            async def again() -> bool:
                try:
                    async with server.listener() as listener:
                        return listener.token == TOKEN
                except websockets.ConnectionClosed as closed:
                    assert closed.rcvd is not None and closed.rcvd.reason == "This socket is already in use"
                    return False

            assert await until_async(again, what="the dead socket's token is free")
            writer.close()

    tell(story())


def test_the_times_are_those_of_the_contract() -> None:
    timing = Timing()
    assert (timing.start_s, timing.answer_s, timing.ping_s) == (10.0, 35.0, 20.0)
    assert timing.ping_s + timing.pong_s < 45.0


async def _hand_made(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket whose client does only what the test makes it do."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET /api/v1/listen/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    # RFC 6455, 1.3: the answer to this key.
    assert head.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    return reader, writer


def _frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A masked frame of a client, with a mask of zeros (RFC 6455, 5.2)."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + size + b"\0\0\0\0" + data


async def _ending(reader: asyncio.StreamReader) -> int | None:
    """The code with which the server closes; None when it did so in the middle of what was sent to it, and the system forgot the code."""
    try:
        data = await reader.read()
    except ConnectionResetError:
        return None
    at = data.rindex(b"\x88")
    return int.from_bytes(data[at + 2 : at + 4], "big")


HOSTILE = [
    (_frame(9, b"") * 550, 1008), (_frame(9, b"") * 20_000, 1008), (_frame(1, b"", fin=False) + _frame(0, b"", fin=False) * 550, 1008),
    (_frame(3, b""), 1002), (_frame(1, b"\xff\xfe"), 1007), (b"\x81\x05hello", 1002), (_frame(0, b"x"), 1002), (b"\xff" * 50_000, 1002),
]  # fmt: skip


def test_hostile_frames_close_the_socket(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(close_s=0.2)) as server:
            for flood, code in HOSTILE:
                reader, writer = await _hand_made(server.port)
                writer.write(_frame(1, _start(token=TOKEN).encode()))
                await until(lambda: server.doors.relay.listens(TOKEN))
                writer.write(flood)
                assert await _ending(reader) in (code, None), flood[:20]
                await until(lambda: not server.doors.relay.listens(TOKEN))
                writer.close()

    tell(story())


def test_a_listener_that_does_not_read_holds_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(answer_s=1.0)) as server:
            reader, writer = await _hand_made(server.port)
            writer.write(_frame(1, _start(token=TOKEN).encode()))
            await until(lambda: server.doors.relay.listens(TOKEN))
            answers = await asyncio.gather(*(server.send(body=b"x" * 2_000_000) for _ in range(12)))
            statuses = {answer.status_code for answer in answers}
            assert statuses <= {429, 504} and 429 in statuses
            assert (await server.send("/in/plainbin01/", b"x")).status_code == 200
            writer.close()
            assert reader is not None

    tell(story())


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


def _head(line: str, protocol: str = "websocket", version: int = 13, more: str = KEY) -> bytes:
    upgrade = f"Host: h\r\nConnection: Upgrade, close\r\nUpgrade: {protocol}\r\nSec-WebSocket-Version: {version}\r\n{more}\r\n"
    return f"{line} HTTP/1.1\r\n{upgrade}".encode()


def _problem(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ncontent-type: application/json\r\n" in head.lower() + b"\r\n"
    return json.loads(body)


def test_a_handshake_that_is_wrong_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            line = "GET /api/v1/listen/"
            for head in (
                _head(line, more=""),
                _head(line, version=8),
                _head(line, more="Sec-WebSocket-Key: eA==\r\n"),
                _head(line, more=KEY * 2),
            ):
                answer = await server.raw(head)
                assert answer.startswith(b"HTTP/1.1 400 "), head
                assert _problem(answer)["code"] == "bad_request", answer
            assert "missing Sec-WebSocket-Key header" in _problem(await server.raw(_head(line, more="")))["detail"]
            unreadable = await server.raw(_head(line).replace(b"Host: h", b"Host: \x01"))
            assert unreadable.startswith(b"HTTP/1.1 400 "), unreadable
            assert _problem(unreadable)["code"] == "bad_request"
            too_long = _head(line, more=f"{KEY}Sec-WebSocket-Protocol: {'x' * 9_000}\r\n")
            assert (await server.raw(too_long)).startswith(b"HTTP/1.1 431 ")
            assert (await server.http.get("/api/v1/health/ping")).status_code == 204

    tell(story())


def test_other_paths_other_methods_and_other_protocols_stay_http(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for line, protocol, status in (
                ("GET /api/v1/health/ping", "websocket", 204),
                ("GET /api/v1/listen/more", "websocket", 404),
                ("POST /api/v1/listen/", "websocket", 426),
                ("GET /api/v1/listen/", "h2c", 426),
            ):
                answer = await server.raw(_head(line, protocol))
                assert answer.startswith(b"HTTP/1.1 %d " % status), (line, answer)
                assert status == 204 or {"code", "detail"} == _problem(answer).keys()

    tell(story())


def test_a_page_of_another_site_cannot_listen(tmp_path: Path) -> None:
    """Browsers let any page open a socket to a server on the visitor's machine, and name the page's origin."""

    async def story() -> None:
        async with serving(tmp_path) as server:
            with pytest.raises(websockets.InvalidStatus) as refused:
                async with server.socket(origin="https://evil.example"):
                    pass
            assert refused.value.response.status_code == 403
            async with server.socket(origin=f"http://127.0.0.1:{server.port}"):
                pass

    tell(story())


def test_frames_that_come_with_the_handshake_are_not_lost(tmp_path: Path) -> None:
    async def story() -> None:
        start = _frame(1, _start(token=TOKEN).encode())
        async with serving(tmp_path) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(_head("GET /api/v1/listen/") + start)
            await until(lambda: server.doors.relay.listens(TOKEN))
            writer.close()

    tell(story())


def test_at_the_end_waiting_requests_are_answered_and_sockets_closed_with_a_reason(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, server.listener() as busy, server.listener("c_idle000000") as idle:
            asked = asyncio.ensure_future(server.send(body=b"last"))
            event = await busy.event()
            stopped = asyncio.ensure_future(server.stop())
            assert (await _closed(idle.connection))[0] == 1012
            await busy.answer(event["id"], 200, b"in time")
            assert (await asked).content == b"in time"
            assert (await _closed(busy.connection))[0] == 1012
            await stopped

    tell(story())


def test_at_the_end_a_listener_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, Timing(drain_s=0.3, close_s=0.3)) as server, server.listener() as listener:
            asked = asyncio.ensure_future(server.send())
            await listener.event()
            stopped = asyncio.ensure_future(server.stop())
            answer = await asked
            assert (answer.status_code, answer.json()["code"]) == (502, "relay_gone")
            assert (await _closed(listener.connection))[0] == 1012
            await stopped

    tell(story())
