"""How does a connection come about? Resolve, check every address, connect to a checked one, TLS by name: each phase with a limit."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import msgspec

from ringback.delivery.failure import CannotConnect, because
from ringback.delivery.guard import Admitted, admit
from ringback.delivery.http import Connection, Opening
from ringback.delivery.resolver import Resolver
from ringback.delivery.tls import ResumingContext
from ringback.delivery.transport import Origin
from ringback.model.attempts import ErrorClass, Phases
from ringback.policy.addresses import AddressPolicy, parse_literal

# Microseconds per second.
_US = 1_000_000
MakeConnection = Callable[[str], Connection]


class Way(Protocol):
    """A connection on which nobody has spoken HTTP yet: a socket, or what leads through a proxy."""

    def close(self) -> None:
        """Let it go."""
        ...


class DialSettings(msgspec.Struct, frozen=True):
    """Limits of the phases; the attempt's own deadline holds besides."""

    # A lost SYN is sent again after 1, 3 and 7 s: three chances.
    connect_timeout_s: float = 10.0
    # While other addresses of the name are left, one gets two chances.
    next_address_s: float = 2.5
    tls_timeout_s: float = 10.0
    # A handshake costs 0.5 to 1.5 ms of CPU: so many at once keep the loop below 25 ms when a thousand connections open together.
    handshakes_at_once: int = 16
    # From here a handshake waits for the peer rather than for our CPU, and another may start beside it: servers that hang in the
    # middle of it must not keep the healthy ones out.
    handshake_turn_s: float = 0.05


class Dialer:
    """Opens connections. Knows nothing of pools and requests."""

    def __init__(
        self, resolver: Resolver, policy: AddressPolicy, context: ssl.SSLContext, settings: DialSettings, now: Callable[[], float]
    ) -> None:
        self._resolver = resolver
        self._policy = policy
        self._context = context
        self._settings = settings
        self._now = now
        self._handshakes = asyncio.Semaphore(settings.handshakes_at_once)

    async def dial(self, origin: Origin, deadline_s: float, make: MakeConnection) -> tuple[Connection, Opening]:
        """A new connection to an origin. Raises CannotConnect, at the latest about `deadline_s`."""
        watch = Stopwatch(self._now)
        try:
            literal = parse_literal(origin.host)
            if literal is None:
                with watch.phase("dns_us"):
                    addresses = await self._addresses(origin, deadline_s)
            else:
                addresses = (str(literal),)
            admitted = admit(self._policy, addresses, origin.port)
            with watch.phase("connect_us"):
                sock, peer = await self._connect(admitted, deadline_s)
            with watch.phase("tls_us" if origin.tls else "open_us"):
                connection = await self._open(origin, sock, peer.text, deadline_s, make)
        except CannotConnect as failure:
            failure.phases = Phases(dns_us=watch.dns_us, connect_us=watch.connect_us, tls_us=watch.tls_us)
            raise
        return connection, Opening(watch.dns_us, watch.connect_us, watch.tls_us, self._now())

    async def _addresses(self, origin: Origin, deadline_s: float) -> tuple[str, ...]:
        try:
            async with asyncio.timeout(deadline_s - self._now()):
                return await self._resolver.resolve(origin.host)
        except TimeoutError as exc:
            raise CannotConnect(ErrorClass.DNS, f"the name {origin.host} did not resolve in time") from exc

    async def _connect(self, addresses: list[Admitted], deadline_s: float) -> tuple[socket.socket, Admitted]:
        """A socket connected to the first of the addresses that takes it."""
        failure: CannotConnect | None = None
        for left, admitted in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
            limit_s = self._settings.next_address_s if left else self._settings.connect_timeout_s
            share_s = (deadline_s - self._now()) / (left + 1)
            try:
                return await self._connect_one(admitted, min(share_s, limit_s)), admitted
            except CannotConnect as exc:
                failure = exc
        assert failure is not None  # admit() returns at least one address.
        raise failure

    async def _connect_one(self, admitted: Admitted, timeout_s: float) -> socket.socket:
        try:
            sock = socket.socket(admitted.family, socket.SOCK_STREAM)
        except OSError as exc:
            raise CannotConnect(ErrorClass.INTERNAL, f"no socket can be opened here: {exc.strerror}", admitted.text) from exc
        connected = False
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(max(timeout_s, 0)):
                await asyncio.get_running_loop().sock_connect(sock, admitted.sockaddr)
            connected = True
        except TimeoutError as exc:
            text = f"no connection to {admitted.text} within {max(timeout_s, 0):.1f} s"
            raise CannotConnect(ErrorClass.CONNECT_TIMEOUT, text, admitted.text) from exc
        except OSError as exc:
            # The loop writes its own text over the system's, without the reason.
            reason = os.strerror(exc.errno) if exc.errno else str(exc)
            raise CannotConnect(_class_of(exc), f"cannot connect to {admitted.text}: {reason}", admitted.text) from exc
        finally:
            if not connected:
                sock.close()
        return sock

    async def _open(self, origin: Origin, way: Way, peer: str, deadline_s: float, make: MakeConnection) -> Connection:
        """HTTP over a way to `peer`, in TLS where the origin asks for it. Raises CannotConnect."""
        opened = False
        try:
            connection = await self._attach(origin, way, peer, deadline_s, make)
            opened = True
            return connection
        except TimeoutError as exc:
            raise CannotConnect(ErrorClass.TIMEOUT, f"the TLS handshake with {peer} did not finish in time", peer) from exc
        except ssl.SSLCertVerificationError as exc:
            raise CannotConnect(ErrorClass.TLS, f"the certificate of {origin.host} is not valid: {exc.verify_message}", peer) from exc
        except ssl.SSLError as exc:
            raise CannotConnect(ErrorClass.TLS, f"TLS with {origin.host} failed: {exc.reason or exc}", peer) from exc
        except OSError as exc:
            what = "during the TLS handshake" if origin.tls else "before the request was sent"
            error = ErrorClass.TLS if origin.tls else ErrorClass.RESET
            raise CannotConnect(error, f"{peer} closed the connection {what}{because(exc)}", peer) from exc
        finally:
            if not opened:
                way.close()

    async def _attach(self, origin: Origin, way: Way, peer: str, deadline_s: float, make: MakeConnection) -> Connection:
        assert isinstance(way, socket.socket)
        loop = asyncio.get_running_loop()
        if not origin.tls:
            _, connection = await loop.create_connection(lambda: make(peer), sock=way)
            return connection
        async with self._handshake(deadline_s):
            _, connection = await loop.create_connection(
                lambda: make(peer), sock=way, ssl=self._context, server_hostname=origin.host.rstrip(".")
            )
        return connection

    @asynccontextmanager
    async def _handshake(self, deadline_s: float) -> AsyncIterator[None]:
        """A place among the handshakes that run at once, and the time that one may take. Raises TimeoutError."""
        async with asyncio.timeout(max(deadline_s - self._now(), 0)):
            await self._handshakes.acquire()
            turn = _Turn(self._handshakes, self._settings.handshake_turn_s)
            try:
                async with asyncio.timeout(self._settings.tls_timeout_s):
                    yield
            finally:
                turn.end()

    def remember_session(self, origin: Origin, transport: asyncio.BaseTransport) -> None:
        """After the first response on a TLS connection: keep its session for the next connection to that host."""
        if isinstance(self._context, ResumingContext):
            self._context.remember(origin.host.rstrip("."), transport.get_extra_info("ssl_object"))


class Stopwatch:
    """How long each phase took, microseconds; -1 = it did not happen. A phase that fails has taken time, too."""

    __slots__ = ("_now", "connect_us", "dns_us", "open_us", "tls_us")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.dns_us = self.connect_us = self.tls_us = self.open_us = -1

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what runs inside."""
        started_s = self._now()
        try:
            yield
        finally:
            setattr(self, name, int((self._now() - started_s) * _US))


class _Turn:
    """A place among the handshakes that run at once; given back when it ends, at the latest after `at_most_s`."""

    __slots__ = ("_ended", "_places", "_timer")

    def __init__(self, places: asyncio.Semaphore, at_most_s: float) -> None:
        self._places = places
        self._ended = False
        self._timer = asyncio.get_running_loop().call_later(at_most_s, self.end)

    def end(self) -> None:
        if not self._ended:
            self._ended = True
            self._timer.cancel()
            self._places.release()


def _class_of(exc: OSError) -> ErrorClass:
    if isinstance(exc, ConnectionRefusedError):
        return ErrorClass.REFUSED
    if isinstance(exc, ConnectionResetError):
        return ErrorClass.RESET
    return ErrorClass.UNREACHABLE
