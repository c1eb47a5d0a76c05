"""Do deliveries go through the proxy, and does the guard hold behind it? With real proxies, and with some that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from ringback.delivery.pool import HttpTransport
from ringback.delivery.proxied import ProxySettings
from ringback.delivery.proxy import MAX_HEAD_BYTES
from ringback.delivery.resolver import Resolver
from ringback.delivery.tls import client_context
from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.addresses import AddressPolicy, parse_networks
from ringback.policy.proxies import parse_exceptions, parse_proxy
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, Authority, Peer, answering, serving, silent
from tests.delivery.proxies import Pipe, TestProxy, http, proxying, socks5
from tests.delivery.sending import attempt, request, settings, transport
from tests.delivery.test_destination_safety import BLOCKED_HOSTS, Names

KINDS: dict[str, Pipe] = {"http": http, "socks5": socks5}
# For what must end in another way than by waiting, seconds.
PATIENCE_S = 20.0


def through(proxy: TestProxy | int, scheme: str = "http", *, login: str = "", noproxy: str = "", resolves: bool = False) -> ProxySettings:
    port = proxy if isinstance(proxy, int) else proxy.port
    address = parse_proxy(f"{scheme}://{login}127.0.0.1:{port}")
    return ProxySettings(address, parse_exceptions(noproxy.split(",") if noproxy else []), resolves)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_delivery_goes_through_the_proxy_and_its_connection_is_kept(run: Run, kind: str) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, proxying(KINDS[kind]) as proxy, transport(proxy=through(proxy, kind)) as client:
            exchanges = [await attempt(client, request(server.port)) for _ in range(3)]
        assert [(e.status, e.body, e.reused) for e in exchanges] == [(200, b"ok", False), (200, b"ok", True), (200, b"ok", True)]
        assert exchanges[0].address == f"127.0.0.1:{server.port} by way of 127.0.0.1:{proxy.port}"
        assert proxy.goals == [("127.0.0.1", server.port)]
        # The endpoint gets the signed bytes, nothing of the proxy's.
        assert server.requests[0].startswith(b"POST /hook HTTP/1.1\r\nhost: 127.0.0.1")
        assert b"roxy" not in server.requests[0]

    run(story())


@pytest.mark.parametrize("scheme", ["http", "socks5", "https"])
def test_tls_is_spoken_with_the_endpoint_by_its_name_through_the_proxy(run: Run, authority: Authority, scheme: str) -> None:
    async def story() -> None:
        tls = authority.server_context("127.0.0.1") if scheme == "https" else None
        async with (
            serving(answering(OK), tls=authority.server_context("hooks.example")) as server,
            proxying(KINDS.get(scheme, http), tls=tls) as proxy,
            transport(
                proxy=through(proxy, scheme), resolver=Resolver(lookup=Names(["127.0.0.1"])), ca=client_context(authority.file)
            ) as client,
        ):
            exchanges = [await attempt(client, request(server.port, "hooks.example", tls=True)) for _ in range(2)]
        assert [(e.status, e.reused, e.detail) for e in exchanges] == [(200, False, ""), (200, True, "")]
        assert exchanges[0].phases.tls_us > 0 and exchanges[0].phases.connect_us > 0
        assert proxy.goals == [("127.0.0.1", server.port)]

    run(story())


def test_a_proxy_in_tls_serves_plain_endpoints_and_large_bodies(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK)) as server,
            proxying(http, tls=authority.server_context("127.0.0.1")) as proxy,
            transport(proxy=through(proxy, "https"), ca=client_context(authority.file)) as client,
        ):
            exchanges = [await attempt(client, request(server.port, body=b"x" * 1_000_000)) for _ in range(2)]
        assert [(e.status, e.reused) for e in exchanges] == [(200, False), (200, True)]
        assert server.requests[1].endswith(b"x" * 1_000_000)

    run(story())


@pytest.mark.parametrize("certificate", ["other.example", "self-signed"])
def test_a_proxy_in_tls_must_prove_who_it_is(run: Run, authority: Authority, certificate: str) -> None:
    async def story() -> None:
        tls = authority.server_context(
            "127.0.0.1" if certificate == "self-signed" else certificate, self_signed=certificate == "self-signed"
        )
        async with (
            serving(answering(OK)) as server,
            proxying(http, tls=tls) as proxy,
            transport(proxy=through(proxy, "https", login="user:secret@"), ca=client_context(authority.file)) as client,
        ):
            exchange = await attempt(client, request(server.port))
        assert exchange.error == ErrorClass.PROXY
        assert "certificate of the proxy" in exchange.detail
        assert proxy.heads == [] and server.connections == 0

    run(story())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_false_certificate_of_the_endpoint_is_refused_behind_a_proxy(run: Run, authority: Authority, scheme: str) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK), tls=authority.server_context("other.example")) as server,
            proxying(http, tls=authority.server_context("127.0.0.1") if scheme == "https" else None) as proxy,
            transport(
                proxy=through(proxy, scheme), resolver=Resolver(lookup=Names(["127.0.0.1"])), ca=client_context(authority.file)
            ) as client,
        ):
            exchange = await attempt(client, request(server.port, "hooks.example", tls=True))
        assert exchange.error == ErrorClass.TLS
        assert "hooks.example" in exchange.detail
        assert server.requests == []

    run(story())


def test_a_login_is_given_where_the_proxy_asks_for_one(run: Run, kind: str) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, proxying(KINDS[kind], login=("us", "p@ss word")) as proxy:
            for login, status in (("us:p%40ss%20word@", 200), ("us:wrong@", 0), ("", 0)):
                async with transport(proxy=through(proxy, kind, login=login)) as client:
                    exchange = await attempt(client, request(server.port))
                assert exchange.status == status, login
                if not status:
                    assert exchange.error == ErrorClass.PROXY
                    assert "p@ss" not in exchange.detail and "wrong" not in exchange.detail
            assert proxy.tunnels == 1

    run(story())


def test_a_login_that_the_proxy_does_not_ask_for_does_no_harm(run: Run, kind: str) -> None:
    async def story() -> None:
        async with (
            serving(answering(OK)) as server,
            proxying(KINDS[kind]) as proxy,
            transport(proxy=through(proxy, kind, login="user:word@")) as client,
        ):
            assert (await attempt(client, request(server.port))).status == 200

    run(story())


# The guard.


@pytest.mark.parametrize("host", [host for host in BLOCKED_HOSTS if host.isascii()])
@pytest.mark.parametrize("resolves", [False, True])
def test_a_blocked_literal_is_not_asked_of_the_proxy_in_any_spelling(run: Run, host: str, resolves: bool) -> None:
    async def story() -> None:
        async with proxying(socks5) as proxy, transport(allowed="", proxy=through(proxy, "socks5", resolves=resolves)) as client:
            exchange = await attempt(client, request(9, host.strip("[]")))
        assert (exchange.status, exchange.error) == (0, ErrorClass.BLOCKED)
        assert proxy.connections == 0

    run(story())


def test_a_name_is_checked_here_and_the_proxy_told_the_checked_address_only(run: Run, kind: str) -> None:
    """What the name means to the proxy does not matter: it would lead to an inner server."""

    async def story() -> None:
        async with serving(answering(OK), host="127.0.0.1") as inner, proxying(KINDS[kind], names={"inside.example": "127.0.0.1"}) as proxy:
            for answers, error in ((["127.0.0.1", "10.0.0.1"], ErrorClass.BLOCKED), (["10.0.0.1", "127.0.0.2"], None)):
                resolver = Resolver(lookup=Names(answers))
                async with transport(allowed="127.0.0.2/32", proxy=through(proxy, kind), resolver=resolver) as client:
                    exchange = await attempt(client, request(inner.port, "inside.example"))
                assert exchange.status == 0
                assert error is None or exchange.error == error
            assert proxy.goals == [("127.0.0.2", inner.port)]
            assert inner.connections == 0

    run(story())


def test_every_checked_address_is_tried_through_the_proxy(run: Run, kind: str) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, proxying(KINDS[kind]) as proxy:
            resolver = Resolver(lookup=Names(["127.0.0.9", "127.0.0.1"]))
            async with transport(proxy=through(proxy, kind), resolver=resolver) as client:
                exchange = await attempt(client, request(server.port, "several.example"))
            assert exchange.status == 200
            assert proxy.goals == [("127.0.0.9", server.port), ("127.0.0.1", server.port)]

    run(story())


def test_an_ipv6_address_is_asked_for_as_one(run: Run, kind: str) -> None:
    async def story() -> None:
        async with serving(answering(OK), host="::1") as server, proxying(KINDS[kind]) as proxy:
            async with transport(proxy=through(proxy, kind)) as client:
                exchange = await attempt(client, request(server.port, "::1"))
            assert exchange.status == 200, exchange
            assert proxy.goals == [("::1", server.port)]

    run(story())


def test_a_proxy_that_filters_by_name_is_told_names_if_the_operator_says_so(run: Run, kind: str) -> None:
    async def story() -> None:
        names = Names(["10.0.0.1"])
        async with serving(answering(OK)) as server, proxying(KINDS[kind], names={"hooks.example": "127.0.0.1"}) as proxy:
            asked = through(proxy, kind, resolves=True)
            async with transport(allowed="", proxy=asked, resolver=Resolver(lookup=names)) as client:
                exchange = await attempt(client, request(server.port, "hooks.example"))
            assert exchange.status == 200
            assert exchange.address == f"hooks.example:{server.port} by way of 127.0.0.1:{proxy.port}"
            assert proxy.goals == [("hooks.example", server.port)]
            assert names.asked == 0

    run(story())


# Exceptions.


@pytest.mark.parametrize(
    ("noproxy", "direct"),
    [
        ("hooks.example", True), ("example", True), (".example", True), ("*.example", True), ("*", True), ("HOOKS.Example.", True),
        (".hooks.example", False), ("ooks.example", False), ("other.example,hooks.example", True), ("127.0.0.0/8", True),
        ("127.0.0.1", True), ("10.0.0.0/8", False), ("::/0", False), ("hooks.example:PORT", True), ("hooks.example:1", False),
        ("127.0.0.0/8:PORT", True), ("127.0.0.1:1", False), ("*:PORT", True), ("*:1", False), ("[::1]:PORT", False), ("", False),
    ],
)  # fmt: skip
def test_exceptions_are_reached_past_the_proxy(run: Run, noproxy: str, direct: bool) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server, proxying(http) as proxy:
            asked = through(proxy, noproxy=noproxy.replace("PORT", str(server.port)))
            async with transport(proxy=asked, resolver=Resolver(lookup=Names(["127.0.0.1"]))) as client:
                exchange = await attempt(client, request(server.port, "hooks.example"))
            assert exchange.status == 200
            assert (proxy.connections == 0) == direct
            assert ("by way of" in exchange.address) != direct

    run(story())


def test_the_guard_holds_for_exceptions(run: Run) -> None:
    async def story() -> None:
        async with proxying(http) as proxy, transport(allowed="", proxy=through(proxy, noproxy="*")) as client:
            assert (await attempt(client, request(9, "127.0.0.1"))).error == ErrorClass.BLOCKED

    run(story())


# What goes wrong.


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


async def failed(proxy: ProxySettings, port: int = 9, **changes: object) -> Exchange:
    async with transport(proxy=proxy, **changes) as client:  # type: ignore[arg-type] # the tests name fields of HttpSettings only
        exchange = await attempt(client, request(port))
        assert exchange.status == 0
        assert client.open_connections == 0
        return exchange


def test_a_proxy_that_cannot_be_reached_is_not_the_endpoints_fault(run: Run, kind: str) -> None:
    async def story() -> None:
        port = free_port()
        exchange = await failed(through(port, kind))
        assert exchange.error == ErrorClass.PROXY
        assert exchange.detail == f"the proxy 127.0.0.1:{port} cannot be reached: cannot connect to 127.0.0.1:{port}: Connection refused"

    run(story())


def test_a_proxys_name_that_does_not_resolve_is_the_proxys_failure(run: Run) -> None:
    async def story() -> None:
        def unknown(host: str, port: int) -> list[tuple[object, ...]]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        asked = ProxySettings(parse_proxy("http://proxy.example:3128"))
        policy = AddressPolicy(parse_networks("127.0.0.0/8"))
        client = HttpTransport(policy=policy, settings=settings(), resolver=Resolver(lookup=unknown), proxy=asked)
        exchange = await attempt(client, request(9))
        assert exchange.error == ErrorClass.PROXY
        assert "the proxy proxy.example:3128 cannot be reached" in exchange.detail
        await client.close()

    run(story())


def test_an_endpoint_that_refuses_behind_a_proxy_is_told_apart_where_the_proxy_says_so(run: Run) -> None:
    async def story() -> None:
        port = free_port()
        async with proxying(socks5) as proxy:
            exchange = await failed(through(proxy, "socks5"), port, request_timeout_s=PATIENCE_S)
            assert exchange.error == ErrorClass.REFUSED
            assert "the endpoint refused the connection" in exchange.detail
        async with proxying(http) as proxy:
            exchange = await failed(through(proxy), port, request_timeout_s=PATIENCE_S)
            assert exchange.error == ErrorClass.PROXY
            assert exchange.detail == f"the proxy 127.0.0.1:{proxy.port} did not connect to 127.0.0.1:{port}: 503 Service Unavailable"

    run(story())


def saying(*pieces: bytes, then: Callable[[Peer], Awaitable[object]] | None = None) -> Callable[[Peer], Awaitable[None]]:
    """A proxy that answers each thing it hears with the next piece, whatever it was."""

    async def script(peer: Peer) -> None:
        for piece in pieces:
            await peer.reader.read(65_536)
            peer.send(piece)
        if then is not None:
            await then(peer)

    return script


YES = b"HTTP/1.1 200 OK\r\n\r\n"
HTTP_FAILURES: list[tuple[tuple[bytes, ...], ErrorClass, str]] = [
    ((b"HTTP/1.1 403 Forbidden by policy\r\n",), ErrorClass.PROXY, "did not connect to 127.0.0.1:9: 403 Forbidden by policy"),
    ((b"HTTP/1.0 502 Bad Gateway\r\n\r\n",), ErrorClass.PROXY, "502 Bad Gateway"),
    ((b"HTTP/1.1 504 Gateway Timeout\r\n\r\n",), ErrorClass.CONNECT_TIMEOUT, "504 Gateway Timeout"),
    ((b"HTTP/1.1 407 \r\n\r\n",), ErrorClass.PROXY, "asks for another user and password"),
    ((b"HTTP/1.1 302 Found\r\nlocation: http://evil.example\r\n\r\n",), ErrorClass.PROXY, "302 Found"),
    ((b"HTTP/2 200\r\n\r\n",), ErrorClass.PROXY, "does not answer in HTTP/1.1"),
    ((b"\x05\x00\r\n\r\n",), ErrorClass.PROXY, "does not answer in HTTP/1.1"),
    ((b"SSH-2.0-OpenSSH_9.2\r\n",), ErrorClass.PROXY, "does not answer in HTTP/1.1"),
    ((b"HTTP/1.1 200 OK\r\nvia: x\r\n",), ErrorClass.PROXY, "closed the connection before its answer was complete"),
    ((b"HTTP/1.1 20",), ErrorClass.PROXY, "closed the connection before its answer was complete"),
    ((b"",), ErrorClass.PROXY, "closed the connection before its answer was complete"),
    ((YES + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",), ErrorClass.PROXY, "sent bytes after its answer"),
    ((b"HTTP/1.1 100 Continue\r\n\r\n" + YES + b"x",), ErrorClass.PROXY, "sent bytes after its answer"),
    ((YES,), ErrorClass.PROXY, ""),
]
LOGIN_NONE, CONNECTED = b"\x05\x00", b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x09"
SOCKS_FAILURES: list[tuple[tuple[bytes, ...], ErrorClass, str]] = [
    ((b"\x04\x00",), ErrorClass.PROXY, "does not answer in SOCKS5"),
    ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), ErrorClass.PROXY, "does not answer in SOCKS5"),
    ((b"\x05\xff",), ErrorClass.PROXY, "asks for a login"),
    ((b"\x05\x02",), ErrorClass.PROXY, "asks for a login"),
    ((b"\x05\x01",), ErrorClass.PROXY, "asks for a login"),
    ((b"\x05",), ErrorClass.PROXY, "closed the connection before its answer was complete"),
    ((LOGIN_NONE, b"\x04\x00\x00\x01"), ErrorClass.PROXY, "does not answer in SOCKS5"),
    ((LOGIN_NONE, b"\x05\x01\x00\x01"), ErrorClass.PROXY, "general failure"),
    ((LOGIN_NONE, b"\x05\x02\x00\x01"), ErrorClass.PROXY, "not allowed by its rules"),
    ((LOGIN_NONE, b"\x05\x03\x00\x01"), ErrorClass.UNREACHABLE, "the network is unreachable"),
    ((LOGIN_NONE, b"\x05\x04\x00\x01"), ErrorClass.UNREACHABLE, "the host is unreachable"),
    ((LOGIN_NONE, b"\x05\x05\x00\x01"), ErrorClass.REFUSED, "the endpoint refused the connection"),
    ((LOGIN_NONE, b"\x05\x63\x00\x01"), ErrorClass.PROXY, "reply 99"),
    ((LOGIN_NONE, b"\x05\x00\x00\x07"), ErrorClass.PROXY, "an address of the unknown type 7"),
    ((LOGIN_NONE, CONNECTED[:-1]), ErrorClass.PROXY, "closed the connection before its answer was complete"),
    ((LOGIN_NONE, CONNECTED + b"HTTP/1.1 200 OK\r\n\r\n"), ErrorClass.PROXY, "sent bytes after its answer"),
    ((LOGIN_NONE + CONNECTED,), ErrorClass.PROXY, ""),
]


@pytest.mark.parametrize(("scheme", "failures"), [("http", HTTP_FAILURES), ("socks5", SOCKS_FAILURES)])
def test_each_answer_that_is_no_yes_has_its_class_and_words(
    run: Run, scheme: str, failures: list[tuple[tuple[bytes, ...], ErrorClass, str]]
) -> None:
    async def story() -> None:
        for pieces, error, words in failures:
            async with serving(saying(*pieces)) as server:
                exchange = await failed(through(server.port, scheme))
            if words:
                assert (exchange.error, words in exchange.detail) == (error, True), (pieces, exchange)
            else:
                # A yes, and then the end: before the request was sent, or instead of an answer.
                assert exchange.error in (ErrorClass.PROXY, ErrorClass.RESET), (pieces, exchange)

    run(story())


def test_an_interim_answer_of_the_proxy_is_passed_over(run: Run) -> None:
    async def story() -> None:
        async def then(peer: Peer) -> None:
            await peer.request()
            peer.send(OK)

        script = saying(b"HTTP/1.1 103 Early\r\nx: y\r\n\r\n" + YES, then=then)
        async with serving(script) as server, transport(proxy=through(server.port)) as client:
            assert (await attempt(client, request(9))).status == 200

    run(story())


def test_a_head_of_the_proxy_that_never_ends_is_cut(run: Run) -> None:
    async def story() -> None:
        taken = 0

        async def endless(peer: Peer) -> None:
            nonlocal taken
            taken = await peer.flood(b"x-more: " + b"y" * 1_000 + b"\r\n")

        for start in (b"HTTP/1.1 200 OK\r\n", b"", b"HTTP/1.1 100 Continue\r\n"):
            async with serving(saying(start, then=endless)) as server:
                exchange = await failed(through(server.port))
                assert exchange.error == ErrorClass.PROXY
                assert f"more than {MAX_HEAD_BYTES} bytes" in exchange.detail or "does not answer in HTTP/1.1" in exchange.detail

        async def interim(peer: Peer) -> None:
            await peer.flood(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

        async with serving(interim) as server:
            exchange = await failed(through(server.port))
            assert (exchange.error, f"more than {MAX_HEAD_BYTES} bytes" in exchange.detail) == (ErrorClass.PROXY, True)

    run(story())


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_hangs_or_drips_costs_no_more_than_the_time_limit(run: Run, scheme: str) -> None:
    async def story() -> None:
        async def drip(peer: Peer) -> None:
            await peer.reader.read(1)
            await peer.drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100, every_s=0.1)

        for script in (silent, drip):
            async with serving(script) as server:
                exchange = await failed(through(server.port, scheme))
                assert exchange.error in (ErrorClass.CONNECT_TIMEOUT, ErrorClass.PROXY)
                if script is silent:
                    assert f"the proxy 127.0.0.1:{server.port} gave no connection to 127.0.0.1:9 within" in exchange.detail

    run(story())


def test_a_proxy_in_tls_that_hangs_in_the_handshake_or_speaks_none(run: Run, authority: Authority) -> None:
    async def story() -> None:
        async with serving(silent) as server:
            exchange = await failed(through(server.port, "https"), ca=client_context(authority.file))
            assert exchange.error == ErrorClass.CONNECT_TIMEOUT
        async with serving(saying(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
            exchange = await failed(through(server.port, "https"), ca=client_context(authority.file))
            assert exchange.error == ErrorClass.PROXY
            assert f"TLS with the proxy 127.0.0.1:{server.port} failed" in exchange.detail

    run(story())


@pytest.mark.parametrize("tls", [False, True])
def test_an_endpoint_that_speaks_first_behind_a_proxy_is_not_believed(run: Run, authority: Authority, tls: bool) -> None:
    """Bytes that come before the request are no answer to it, wherever they come from."""

    async def story() -> None:
        async def early(peer: Peer) -> None:
            peer.send(OK)
            await peer.closed()

        contexts = (authority.server_context("127.0.0.1"), authority.server_context("127.0.0.1")) if tls else (None, None)
        async with serving(early, tls=contexts[0]) as server, proxying(http, tls=contexts[1]) as proxy:
            asked = through(proxy, "https" if tls else "http")
            async with transport(proxy=asked, ca=client_context(authority.file)) as client:
                exchange = await attempt(client, request(server.port, tls=tls))
        # Unless they arrive after the request has left: then nobody can tell, and the connection is not used again.
        assert exchange.error in (ErrorClass.PROTOCOL, ErrorClass.PROXY, ErrorClass.TLS, None)
        assert exchange.error is not None or not exchange.reused

    run(story())


def test_attempts_that_are_cut_leave_no_connection_behind(run: Run, kind: str) -> None:
    async def story() -> None:
        async with serving(silent) as server, transport(proxy=through(server.port, kind)) as client:
            flying = [asyncio.ensure_future(attempt(client, request(9))) for _ in range(20)]
            while server.connections < 20:
                await asyncio.sleep(0)
            await client.close()
            assert {(await exchange).error for exchange in flying} == {ErrorClass.RESET}
            assert client.open_connections == 0

    run(story())
