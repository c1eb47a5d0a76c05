"""Whom do we trust? Only a server whose certificate is valid, for this name, from a known authority."""

from __future__ import annotations

import asyncio
import socket

import pytest

from ringback.delivery.resolver import Resolver
from ringback.delivery.tls import HANDSHAKE_MAX_BYTES, client_context
from ringback.model.attempts import ErrorClass
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, Authority, Peer, answering, serving, silent
from tests.delivery.sending import attempt, request, transport


def at_loopback(host: str, port: int) -> list[tuple[object, ...]]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def test_a_certificate_of_a_trusted_authority_is_accepted_and_the_connection_kept(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("hooks.example")) as server,
            transport(resolver=Resolver(lookup=at_loopback), ca=client_context(authority.file)) as client,
        ):
            exchanges = [await attempt(client, request(server.port, "hooks.example", tls=True)) for _ in range(3)]
        assert [(e.status, e.reused) for e in exchanges] == [(200, False), (200, True), (200, True)]
        assert exchanges[0].phases.tls_us > 0
        assert exchanges[0].phases.dns_us >= 0
        assert server.connections == 1

    run(story())


def test_a_certificate_for_a_literal_address_is_accepted(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("127.0.0.1")) as server,
            transport(ca=client_context(authority.file)) as client,
        ):
            assert (await attempt(client, request(server.port, tls=True))).status == 200

    run(story())


@pytest.mark.parametrize("name", ["other.example", "127.0.0.1", "example"])
def test_a_certificate_for_another_name_is_refused(run: Run, authority: Authority, name: str) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context(name)) as server,
            transport(resolver=Resolver(lookup=at_loopback), ca=client_context(authority.file)) as client,
        ):
            exchange = await attempt(client, request(server.port, "hooks.example", tls=True))
        assert (exchange.status, exchange.error) == (0, ErrorClass.TLS)
        assert "hooks.example" in exchange.detail
        assert server.requests == []

    run(story())


def test_an_expired_certificate_is_refused(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("127.0.0.1", days=(-2, -1))) as server,
            transport(ca=client_context(authority.file)) as client,
        ):
            exchange = await attempt(client, request(server.port, tls=True))
        assert (exchange.status, exchange.error) == (0, ErrorClass.TLS)
        assert "expired" in exchange.detail

    run(story())


@pytest.mark.parametrize("self_signed", [True, False])
def test_a_certificate_of_an_unknown_authority_is_refused(run: Run, authority: Authority, self_signed: bool) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("127.0.0.1", self_signed=self_signed)) as server,
            transport() as client,
        ):
            exchange = await attempt(client, request(server.port, tls=True))
        assert (exchange.status, exchange.error) == (0, ErrorClass.TLS)
        assert server.requests == []

    run(story())


def test_a_server_without_tls_is_a_tls_failure(run: Run) -> None:
    async def script(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.closed()

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            assert (await attempt(client, request(server.port, tls=True))).error is ErrorClass.TLS

    run(story())


def test_a_server_that_closes_in_the_handshake_is_a_tls_failure(run: Run) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)

    async def story() -> None:
        async with serving(script) as server, transport() as client:
            exchange = await attempt(client, request(server.port, tls=True))
            assert exchange.error is ErrorClass.TLS
            assert "closed the connection during the TLS handshake" in exchange.detail
            assert "()" not in exchange.detail

    run(story())


def test_a_handshake_that_hangs_times_out(run: Run) -> None:
    async def story() -> None:
        async with serving(silent) as server, transport() as client:
            exchange = await attempt(client, request(server.port, tls=True))
            assert exchange.error is ErrorClass.TIMEOUT
            assert "TLS handshake" in exchange.detail
            assert exchange.phases.connect_us >= 0
            assert exchange.phases.tls_us > 0.8 * exchange.duration_us

    run(story())


@pytest.mark.parametrize("record", [b"\x16\x03\x03\x00\x04" + bytes(4), b"\x16\x03\x03\x40\x00" + bytes(16_384)])
def test_a_handshake_that_never_ends_is_cut(run: Run, authority: Authority, record: bytes) -> None:
    """A server may ask for a handshake again and again in the middle of one, and OpenSSL passes over that, however often."""

    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.flood(record * 1_000)

    async def story() -> None:
        async with serving(script) as server, transport(ca=client_context(authority.file)) as client:
            exchange = await attempt(client, request(server.port, tls=True))
            assert exchange.error is ErrorClass.TLS
            assert f"more than {HANDSHAKE_MAX_BYTES} bytes" in exchange.detail
            assert exchange.duration_us < 500_000

    run(story())


def test_a_server_that_sends_tickets_without_end_is_cut(run: Run, authority: Authority) -> None:
    context = authority.server_context("127.0.0.1")
    context.num_tickets = 5_000

    async def story() -> None:
        async with serving(silent, tls=context) as server, transport(ca=client_context(authority.file)) as client:
            exchange = await attempt(client, request(server.port, tls=True))
            assert exchange.error is ErrorClass.TLS
            assert "without any data" in exchange.detail
            assert exchange.duration_us < 500_000

    run(story())


def test_a_second_connection_resumes_the_session(run: Run, authority: Authority) -> None:
    resumed: list[bool] = []

    async def script(peer: Peer) -> None:
        resumed.append(peer.writer.get_extra_info("ssl_object").session_reused)
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")

    async def story() -> None:
        async with (
            serving(script, tls=authority.server_context("127.0.0.1")) as server,
            transport(ca=client_context(authority.file)) as client,
        ):
            for _ in range(3):
                assert (await attempt(client, request(server.port, tls=True))).status == 200
        assert resumed == [False, True, True]

    run(story())


def test_many_connections_at_once_shake_hands_a_few_at_a_time(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("127.0.0.1")) as server,
            transport(ca=client_context(authority.file), request_timeout_s=15.0) as client,
        ):
            exchanges = await asyncio.gather(*(attempt(client, request(server.port, tls=True)) for _ in range(40)))
        assert {e.status for e in exchanges} == {200}

    run(story())


def test_servers_that_hang_in_the_handshake_do_not_keep_others_out(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(silent) as hung,
            serving(answering(OK), tls=authority.server_context("127.0.0.1")) as healthy,
            transport(ca=client_context(authority.file), request_timeout_s=15.0) as client,
        ):
            stuck = [asyncio.ensure_future(attempt(client, request(hung.port, tls=True))) for _ in range(200)]
            await asyncio.sleep(0)
            async with asyncio.timeout(5):
                assert (await attempt(client, request(healthy.port, tls=True))).status == 200
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()

    run(story())
