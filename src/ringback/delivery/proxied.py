"""How does a connection come about through a proxy? As without one: resolve, check every address; then ask the proxy for a checked one.

So the guard holds behind a proxy, too: it is told an address that was checked, never a name that it would resolve anew, unless the operator
has left resolving to it. TLS is spoken with the endpoint, by its name, through the proxy.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import msgspec

from ringback.delivery.dialer import Dialer, MakeConnection, Stopwatch, Way
from ringback.delivery.failure import CannotConnect, because
from ringback.delivery.guard import Admitted, admit
from ringback.delivery.http import Connection, Opening
from ringback.delivery.proxy import ProxyFailed, SocketWire, TlsWire, ask
from ringback.delivery.transport import Origin
from ringback.model.attempts import ErrorClass, Phases
from ringback.policy.addresses import AddressPolicy, parse_literal, parse_networks
from ringback.policy.proxies import Exceptions, ProxyAddress

# The proxy is the operator's own choice, and mostly stands in the operator's own network.
_OPERATORS_WORD = AddressPolicy(parse_networks("0.0.0.0/0, ::/0"))


class ProxySettings(msgspec.Struct, frozen=True):
    """The proxy that deliveries go through. `resolves`: it is told names, and refuses private addresses itself."""

    address: ProxyAddress
    exceptions: Exceptions = Exceptions()
    resolves: bool = False


class _Goal(msgspec.Struct, frozen=True):
    """What a connection shall lead to: an address that was checked, or a name that the proxy resolves."""

    host: str
    port: int
    admitted: Admitted | None

    @property
    def text(self) -> str:
        return f"{self.host}:{self.port}" if self.admitted is None else self.admitted.text


class ProxyDialer(Dialer):
    """Opens connections through a proxy, but for the exceptions."""

    def __init__(self, *dialer: Any, proxy: ProxySettings) -> None:
        super().__init__(*dialer)
        self._proxy = proxy

    async def dial(self, origin: Origin, deadline_s: float, make: MakeConnection) -> tuple[Connection, Opening]:
        """A new connection to an origin. Raises CannotConnect, at the latest about `deadline_s`."""
        if self._proxy.exceptions.covers_name(origin.host, origin.port):
            return await super().dial(origin, deadline_s, make)
        watch = Stopwatch(self._now)
        try:
            literal = parse_literal(origin.host)
            if literal is None and self._proxy.resolves:
                goals = [_Goal(origin.host.rstrip("."), origin.port, None)]
            else:
                if literal is None:
                    with watch.phase("dns_us"):
                        addresses = await self._addresses(origin, deadline_s)
                else:
                    addresses = (str(literal),)
                admitted = admit(self._policy, addresses, origin.port)
                goals = [_Goal(one.sockaddr[0], origin.port, one) for one in admitted]
            with watch.phase("connect_us"):
                way, peer = await self._reach(goals, deadline_s)
            with watch.phase("tls_us" if origin.tls else "open_us"):
                connection = await self._open(origin, way, peer, deadline_s, make)
        except CannotConnect as failure:
            failure.phases = Phases(dns_us=watch.dns_us, connect_us=watch.connect_us, tls_us=watch.tls_us)
            raise
        return connection, Opening(watch.dns_us, watch.connect_us, watch.tls_us, self._now())

    async def _reach(self, goals: list[_Goal], deadline_s: float) -> tuple[socket.socket | TlsWire, str]:
        """A way to the first of the goals that can be reached, and what it is called."""
        failure: CannotConnect | None = None
        for left, goal in zip(range(len(goals) - 1, -1, -1), goals, strict=True):
            limit_s = self._settings.next_address_s if left else self._settings.connect_timeout_s
            timeout_s = min((deadline_s - self._now()) / (left + 1), limit_s)
            try:
                admitted = goal.admitted
                if admitted is not None and self._proxy.exceptions.covers_address(admitted.parsed, goal.port):
                    return await self._connect_one(admitted, timeout_s), admitted.text
                return await self._by_proxy(goal, timeout_s)
            except ProxyFailed:
                raise
            except CannotConnect as exc:
                failure = exc
        assert failure is not None  # There is at least one goal.
        raise failure

    async def _by_proxy(self, goal: _Goal, timeout_s: float) -> tuple[socket.socket | TlsWire, str]:
        address = self._proxy.address
        until_s = self._now() + timeout_s
        sock, proxy = await self._proxy_socket(until_s)
        peer = f"{goal.text} by way of {proxy.text}"
        way: socket.socket | TlsWire = sock
        reached = False
        try:
            async with asyncio.timeout(max(until_s - self._now(), 0)):
                if address.scheme == "https":
                    way = await self._proxy_tls(sock, until_s)
                await ask(way if isinstance(way, TlsWire) else SocketWire(sock), address, goal.host, goal.port)
            reached = True
        except TimeoutError as exc:
            text = f"the proxy {address.text} gave no connection to {goal.text} within {max(timeout_s, 0):.1f} s"
            raise CannotConnect(ErrorClass.CONNECT_TIMEOUT, text, peer) from exc
        except CannotConnect as failure:
            failure.address = peer
            raise
        finally:
            if not reached:
                way.close()
        return way, peer

    async def _proxy_socket(self, until_s: float) -> tuple[socket.socket, Admitted]:
        """A connection to the proxy itself. Raises ProxyFailed."""
        address = self._proxy.address
        try:
            literal = parse_literal(address.host)
            if literal is None:
                addresses = await self._addresses(Origin(False, address.host, address.port), until_s)
            else:
                addresses = (str(literal),)
            return await self._connect(admit(_OPERATORS_WORD, addresses, address.port), until_s)
        except CannotConnect as failure:
            text = f"the proxy {address.text} cannot be reached: {failure.detail}"
            raise ProxyFailed(ErrorClass.PROXY, text, failure.address) from failure

    async def _proxy_tls(self, sock: socket.socket, until_s: float) -> TlsWire:
        """TLS with the proxy itself. Raises ProxyFailed."""
        address = self._proxy.address
        loop = asyncio.get_running_loop()
        try:
            async with self._handshake(until_s):
                _, wire = await loop.create_connection(TlsWire, sock=sock, ssl=self._context, server_hostname=address.host.rstrip("."))
        except ssl.SSLCertVerificationError as exc:
            text = f"the certificate of the proxy {address.text} is not valid: {exc.verify_message}"
            raise ProxyFailed(ErrorClass.PROXY, text) from exc
        except ssl.SSLError as exc:
            raise ProxyFailed(ErrorClass.PROXY, f"TLS with the proxy {address.text} failed: {exc.reason or exc}") from exc
        except OSError as exc:
            if isinstance(exc, TimeoutError):
                raise
            text = f"the proxy {address.text} closed the connection during the TLS handshake{because(exc)}"
            raise ProxyFailed(ErrorClass.PROXY, text) from exc
        return wire

    async def _attach(self, origin: Origin, way: Way, peer: str, deadline_s: float, make: MakeConnection) -> Connection:
        if not isinstance(way, TlsWire):
            return await super()._attach(origin, way, peer, deadline_s, make)
        connection = make(peer)
        transport = way.transport
        if origin.tls:
            transport = await self._tls_inside(origin, transport, deadline_s)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection

    async def _tls_inside(self, origin: Origin, outer: asyncio.Transport, deadline_s: float) -> asyncio.Transport:
        """TLS with the endpoint inside TLS with the proxy. Raises OSError."""
        # Whoever speaks before our protocol is in place must not be lost.
        inner = TlsWire()
        inner.transport = outer
        try:
            async with self._handshake(deadline_s):
                transport = await asyncio.get_running_loop().start_tls(outer, inner, self._context, server_hostname=origin.host.rstrip("."))
        except TypeError as exc:
            # How the loop of Python 3.11 stumbles over a handshake that fails in here: what failed is what it stumbled over.
            if isinstance(exc.__context__, OSError):
                raise exc.__context__ from None
            raise
        if transport is None or inner.has_more():
            raise ConnectionResetError("it spoke before it was asked, or closed")
        return transport
