"""What comes to a bin? Anybody may send anything: it is kept exactly, answered soon, and bounded."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from ringback.api.intake import BodyReader
from ringback.app.bins import bins_open
from ringback.clock import SystemClock
from ringback.config import Settings
from ringback.config.values import HostPort
from ringback.gateway import bins as door
from ringback.gateway.bins import BinDoor, BinUpkeep, RateLimits
from ringback.ids import IdMaker
from ringback.model.bins import Caught
from ringback.model.quarantine import CapturedRequest
from ringback.policy.bins import Allowance, is_token, token_in
from ringback.services.bins import KEPT_US, Bins
from ringback.store.opening import open_store
from ringback.store.operations.bins import Bounds
from ringback.store.vault import Vault
from tests.gateway.relaying import TOKEN, serving, tell
from tests.waiting import until_async

PLAIN = "plainbin42"


async def _kept(server: Any, token: str = PLAIN) -> list[Caught]:
    return list(await server.doors.bins.newest(token, 1_000))


def test_a_request_is_kept_exactly_and_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            body = bytes(range(256)) * 3
            head = (
                f"PATCH /in/{PLAIN}/a%2Fb;c?x=1&x=%C3%BC HTTP/1.1\r\nHost: h\r\nX-One: \u00fc\r\nX-One:  two\r\nConnection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            answer = await server.raw(head.encode() + body)
            assert answer.startswith(b"HTTP/1.1 200 ")
            (caught,) = await _kept(server)
            assert re.search(rb'\r\n\r\n\{"id":"%b"\}$' % caught.id.encode(), answer)
            assert caught.status == 200
            assert caught.request == CapturedRequest(
                "PATCH",
                f"/in/{PLAIN}/a%2Fb;c?x=1&x=%C3%BC".encode(),
                "127.0.0.1",
                (
                    (b"host", b"h"), (b"x-one", "\u00fc".encode()), (b"x-one", b"two"), (b"connection", b"close"),
                    (b"content-length", b"768"),
                ),
                body,
            )  # fmt: skip

    tell(story())


def test_every_method_is_taken_with_and_without_a_slash_and_a_body(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT"):
                for path in (f"/in/{PLAIN}", f"/in/{PLAIN}/", f"/in/{PLAIN}/more/"):
                    answer = await server.send(path, method=method)
                    assert answer.status_code == 200, (method, path)
                    assert answer.headers["content-type"] == "application/json"
                    assert bool(answer.content) == (method != "HEAD")
            assert len(await _kept(server)) == 30

    tell(story())


def test_a_relays_request_is_kept_with_what_was_answered_whatever_that_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(body=b"nobody")
            async with server.listener() as listener:
                asked = asyncio.ensure_future(server.send(body=b"waiting"))
                event = await listener.event()
                newest = (await _kept(server, TOKEN))[0]
                assert (newest.id, newest.status, newest.request.body) == (event["id"], None, b"waiting")
                await listener.answer(event["id"], 299)
                await asked

            async def noted() -> bool:
                return [caught.status for caught in await _kept(server, TOKEN)] == [299, 502]

            assert await until_async(noted)

    tell(story())


def test_what_has_no_token_is_404_and_nothing_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for path in (
                "/in/",
                "/in/short",
                "/in/c_short/",
                "/in/with-dash-1/",
                "/in/" + "x" * 65,
                f"/in/{PLAIN}%41/",
                "/in/d_ABCDEFGHIJ",
            ):
                answer = await server.send(path, b"x")
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            assert (await server.send("/in")).json()["code"] == "not_found"

    tell(story())


def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            most = door.MAX_BODY_BYTES
            head = f"POST /in/{PLAIN}/ HTTP/1.1\r\nHost: h\r\n"
            # Unread: the body is never sent.
            assert (await server.raw(f"{head}Content-Length: {most + 1}\r\n\r\n".encode())).startswith(b"HTTP/1.1 413 ")
            assert (await server.raw(f"{head}Content-Length: {'9' * 30}\r\n\r\n".encode())).startswith((b"HTTP/1.1 413 ", b"HTTP/1.1 400 "))
            chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
            assert (await server.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 33)).startswith(b"HTTP/1.1 413 ")
            assert await _kept(server) == []
            assert (await server.send(f"/in/{PLAIN}/", b"x" * most)).status_code == 200

    tell(story())


def test_what_is_no_http_and_heads_without_end_are_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            line = f"POST /in/{PLAIN}/ HTTP/1.1\r\nHost: h\r\n"
            for sent, status in (
                (f"{line}Content-Length: 1, 2\r\n\r\nx", 400),
                (f"{line}bad header\r\n\r\n", 400),
                (line + "X-A: b\r\n" * 101 + "\r\n", 431),
                (f"{line}X-Long: {'x' * 70_000}\r\n\r\n", 431),
                (f"GET /in/{PLAIN}/{'x' * 9_000} HTTP/1.1\r\nHost: h\r\n\r\n", 414),
                (f"{line}Transfer-Encoding: chunked\r\n\r\nnot a length\r\n", 400),
            ):
                answer = await server.raw(sent.encode())
                assert answer.startswith(b"HTTP/1.1 %d " % status), (sent[:80], answer[:80])
            assert await _kept(server) == []

    tell(story())


def test_no_bytes_of_a_stranger_are_our_failure(tmp_path: Path) -> None:
    pieces = [
        b"\0", b"\xff\xfe", b"\r\n", b"%00", b"..", b"?", b"#", b" ", b"\t", b";", b"content-type: \xff", b"cookie: a\x80=b",
        b"x: \xe2\x82", b"connection: x-a,,upgrade", b"upgrade: websocket", b"expect: 100-continue", b"content-encoding: gzip",
        b"x-forwarded-for: \xff,1.2",
    ]  # fmt: skip

    async def story() -> None:
        dice = random.Random(1)
        async with serving(tmp_path) as server:
            for number in range(150):
                target = b"".join(dice.choices(pieces[:10], k=dice.randrange(4)))
                headers = b"\r\n".join(dice.choices(pieces[10:], k=dice.randrange(1, 5)))
                body = dice.randbytes(dice.randrange(40))
                token = (PLAIN, TOKEN)[number % 2].encode()
                length = b"content-length: %d" % len(body) if number % 3 else b"transfer-encoding: chunked"
                sent = b"POST /in/%b/%b HTTP/1.1\r\nhost: h\r\n%b\r\n%b\r\nconnection: close\r\n\r\n" % (token, target, headers, length)
                chunks = body if number % 3 else b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
                answer = await server.raw(sent + chunks)
                status = int(answer.rpartition(b"HTTP/1.1 ")[2][:3])
                assert status < 500 or (status == 502 and number % 2 == 1), (sent, answer)

    tell(story())


def test_a_sender_that_goes_away_in_its_body_leaves_nothing_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(f"POST /in/{PLAIN}/ HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n".encode() + b"x" * 1_900_000)
                await writer.drain()
                writer.close()

            async def roomy() -> bool:
                # More at once than there would be room for beside what those have sent.
                answers = await asyncio.gather(*(server.send(f"/in/{PLAIN}/", b"y" * 1_000_000) for _ in range(10)))
                return {answer.status_code for answer in answers} == {200}

            assert await until_async(roomy)
            assert {caught.request.body[:1] for caught in await _kept(server) if caught.request.body} == {b"y"}

    tell(story())


class Hand:
    """A clock that stands still until a test sets it."""

    def __init__(self) -> None:
        self.at_us = SystemClock().now_us()

    def now_us(self) -> int:
        return self.at_us

    def monotonic_s(self) -> float:
        return self.at_us / 1e6


def test_a_bin_that_is_flooded_is_429_and_others_are_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            clock = Hand()
            limits = RateLimits(one_per_s=1.0, one_at_once=3.0, all_per_s=1.0, all_at_once=6.0, bytes_per_s=1.0, bytes_at_once=1_000.0)
            app = BinDoor(server.doors.bins, server.doors.relay, BodyReader(10**6, 10**9), clock, server.doors.app, limits=limits)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://h") as http:

                async def statuses(token: str, times: int, body: bytes = b"") -> list[int]:
                    return [(await http.post(f"/in/{token}/", content=body)).status_code for _ in range(times)]

                assert await statuses(PLAIN, 5) == [200, 200, 200, 429, 429]
                # Another bin has its own rate, within that of all.
                assert await statuses("another001", 3) == [200, 200, 200]
                assert await statuses("another002", 1) == [429]
                clock.at_us += 1_000_000
                assert await statuses(PLAIN, 2) == [200, 429]
                clock.at_us += 10_000_000
                assert await statuses(PLAIN, 2, b"x" * 600) == [200, 429]
                refused = await http.post(f"/in/{PLAIN}/", content=b"x" * 600)
                assert refused.json()["code"] == "rate_limited"
                assert int(refused.headers["retry-after"]) >= 180

    tell(story())


def test_an_allowance_comes_back_with_time() -> None:
    allowance = Allowance(per_s=2.0, at_once=3.0)
    assert [allowance.take(10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert allowance.take(10.5) == 0.0
    assert allowance.take(10.5, 4.0) == 2.0
    assert [allowance.take(1_000.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


def test_switched_off_there_is_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path, bins="false") as server:
            for path in (f"/in/{PLAIN}/", f"/view/{PLAIN}/", "/api/v1/listen/"):
                answer = await server.http.get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            head = (
                "GET /api/v1/listen/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert (await server.raw(head.encode())).startswith(b"HTTP/1.1 404 ")

    tell(story())


def test_without_being_told_bins_are_open_where_no_stranger_comes() -> None:
    def opened(host: str, **more: Any) -> bool:
        return bins_open(Settings(listen_address=HostPort(host, 8071), **more))

    assert opened("127.0.0.1") and opened("::1") and opened("localhost") and opened("127.0.0.1", public_url="http://localhost:9")
    assert not opened("0.0.0.0") and not opened("::") and not opened("10.0.0.1") and not opened("hooks.example.com")
    assert not opened("127.0.0.1", public_url="https://hooks.example.com")
    assert opened("0.0.0.0", bins="true") and not opened("127.0.0.1", bins="false")


@given(st.binary(max_size=80), st.binary(max_size=20))
@settings(max_examples=300)
def test_any_path_is_a_bins_or_is_not(token: bytes, more: bytes) -> None:
    found = token_in(b"/in/" + token + b"/" + more)
    # What was drawn may hold a slash too: the token is what stands before it.
    assert found is None or (is_token(found) and found.encode() == token.partition(b"/")[0])


def _request(number: int, size: int = 0) -> CapturedRequest:
    return CapturedRequest("POST", b"/in/x/%d" % number, "", (), b"x" * size)


async def _bins(bounds: Bounds, clock: Hand) -> Bins:
    return Bins(await open_store("sqlite:///:memory:", clock), Vault(bytes(32)), clock, IdMaker(), bounds)


def _numbers(caught: list[Caught]) -> list[int]:
    return [int(one.request.url.rpartition(b"/")[2]) for one in caught]


def test_a_bin_keeps_its_newest_requests_by_number_and_by_bytes() -> None:
    async def story() -> None:
        bins = await _bins(Bounds(requests=5, bytes=100_000, total_bytes=10**9), Hand())
        for number in range(12):
            await bins.keep(PLAIN, _request(number), 200)
        assert _numbers(await bins.newest(PLAIN, 100)) == [11, 10, 9, 8, 7]
        await bins.keep(PLAIN, _request(12, 90_000), 200)
        assert _numbers(await bins.newest(PLAIN, 100)) == [12, 11, 10]
        # The newest is kept though it is more than all may be.
        await bins.keep(PLAIN, _request(13, 200_000), 200)
        assert _numbers(await bins.newest(PLAIN, 100)) == [13]
        await bins._store.close()

    tell(story())


def test_all_bins_together_are_bounded_and_the_oldest_makes_room() -> None:
    async def story() -> None:
        bins = await _bins(Bounds(requests=100, bytes=10**6, total_bytes=1_000_000), Hand())
        await bins.keep(PLAIN, _request(0), 200)
        for number in range(300):
            await bins.keep(f"stranger{number:04}", _request(number, 3_000), 200)
        assert await bins.newest(PLAIN, 10) == []
        rows, stored = await bins._store.read(lambda tx: tx.row("SELECT COUNT(*), SUM(charge) FROM bin_request"))  # type: ignore[arg-type,return-value]  # the row is there
        assert (rows, stored) == (1_000_000 // 4_096, 1_000_000 // 4_096 * 4_096)
        await bins.keep(PLAIN, _request(1, 900_000), 200)
        total = await bins._store.read(lambda tx: tx.row("SELECT charge, (SELECT SUM(charge) FROM bin_request) FROM bin_total"))
        assert total is not None and total[0] == total[1] <= 1_000_000
        assert _numbers(await bins.newest(PLAIN, 10)) == [1]
        await bins._store.close()

    tell(story())


def test_what_is_past_its_time_is_forgotten_and_a_bin_is_cleared_alone() -> None:
    async def story() -> None:
        clock = Hand()
        bins = await _bins(Bounds(requests=1_000, bytes=10**9, total_bytes=10**9), clock)
        for number in range(120):
            await bins.keep(PLAIN, _request(number), 200)
        clock.at_us += KEPT_US
        await bins.keep(PLAIN, _request(500), 200)
        clock.at_us += 1
        upkeep = asyncio.ensure_future(BinUpkeep(bins).run())

        async def forgotten() -> bool:
            return _numbers(await bins.newest(PLAIN, 1_000)) == [500]

        assert await until_async(forgotten)
        upkeep.cancel()
        await bins.keep("anotherbin", _request(1), 200)
        assert await bins.clear(PLAIN) == 1
        assert await bins.newest(PLAIN, 10) == []
        assert _numbers(await bins.newest("anotherbin", 10)) == [1]
        assert await bins._store.read(lambda tx: tx.row("SELECT charge FROM bin_total")) == (4_096,)
        await bins._store.close()

    tell(story())


def test_neither_tokens_nor_requests_can_be_read_in_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(f"/in/{PLAIN}/", b"card 4111", authorization="Bearer secret-of-theirs")
        data = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".key")
        assert b"bin_request" in data
        for hidden in (PLAIN.encode(), b"4111", b"secret-of-theirs"):
            assert hidden not in data

    tell(story())
