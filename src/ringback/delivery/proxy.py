"""How is a proxy asked for a connection? HTTP CONNECT or SOCKS5, with every answer bounded; what comes back is a stream of bytes, no more.

A proxy is the operator's own. It is still read like a stranger: it may be broken, and something else may listen on its port.
Sources: RFC 9110, 9.3.6 (CONNECT); RFC 1928 (SOCKS5) and RFC 1929 (its user and password).
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
import socket
from typing import Final, Protocol, cast

from ringback import __version__
from ringback.delivery.failure import CannotConnect
from ringback.model.attempts import ErrorClass
from ringback.policy.proxies import ProxyAddress

# The head of an answer to CONNECT has some hundred bytes; those that ask for a login have more.
MAX_HEAD_BYTES: Final = 16_384
# Read at once.
_CHUNK_BYTES: Final = 4_096
# What waits to be read while a proxy speaks without being asked.
_UNREAD_BYTES: Final = 65_536
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?")
# Classes of statuses, and the one that says that the goal gave no answer (RFC 9110, 15).
_INTERIM, _SUCCESS = 1, 2
_GATEWAY_TIMEOUT: Final = 504
# Characters of a proxy's own words that are shown.
_WORDS_SHOWN: Final = 100

# Numbers of RFC 1928 and RFC 1929: versions, ways to log in, the command, types of addresses.
_VERSION, _LOGIN_VERSION = 5, 1
_NO_LOGIN, _PASSWORD = 0, 2
_CONNECT: Final = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
# Bytes of an address by its type; a name says its own length.
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
# RFC 1928, 6. Those that tell of the endpoint are the endpoint's failures, as if we had tried it ourselves.
_REPLIES: Final = {
    1: (ErrorClass.PROXY, "general failure"),
    2: (ErrorClass.PROXY, "not allowed by its rules"),
    3: (ErrorClass.UNREACHABLE, "the network is unreachable"),
    4: (ErrorClass.UNREACHABLE, "the host is unreachable"),
    5: (ErrorClass.REFUSED, "the endpoint refused the connection"),
    6: (ErrorClass.UNREACHABLE, "the endpoint is too many hops away"),
    7: (ErrorClass.PROXY, "the command is not supported"),
    8: (ErrorClass.PROXY, "the type of address is not supported"),
}


class ProxyFailed(CannotConnect):
    """The proxy itself is at fault: it cannot be reached, does not let us in, or speaks something else. Another address will not help."""


class Wire(Protocol):
    """A connection to a proxy before it becomes one to an endpoint."""

    async def send(self, data: bytes) -> None:
        """Send. Raises OSError."""
        ...

    async def receive(self, most: int) -> bytes:
        """Some bytes, b"" at the end. Raises OSError."""
        ...

    def has_more(self) -> bool:
        """Has something come that was not read, or has the connection ended?"""
        ...


class SocketWire:
    """A plain connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Send. Raises OSError."""
        await self._loop.sock_sendall(self._sock, data)

    async def receive(self, most: int) -> bytes:
        """Some bytes, b"" at the end. Raises OSError."""
        return await self._loop.sock_recv(self._sock, most)

    def has_more(self) -> bool:
        """Has something come that was not read, or has the connection ended?"""
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True


class TlsWire(asyncio.Protocol):
    """A connection to a proxy that is spoken to in TLS; `transport` is there once it is open."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._unread = bytearray()
        self._ended = False
        self._arrived = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open, TLS included."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the proxy."""
        self._unread += data
        if len(self._unread) > _UNREAD_BYTES:
            self.transport.abort()
        self._arrived.set()

    def eof_received(self) -> None:
        """The proxy has said its last."""
        self._ended = True
        self._arrived.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is gone."""
        self.eof_received()

    def close(self) -> None:
        """Let it go."""
        try:
            self.transport.abort()
        except AttributeError:
            # How Python 3.11 says that it is gone already.
            return

    async def send(self, data: bytes) -> None:
        """Send; what is sent to a proxy is short. Raises OSError."""
        if self._ended:
            raise ConnectionResetError("closed")
        self.transport.write(data)

    async def receive(self, most: int) -> bytes:
        """Some bytes, b"" at the end."""
        while not self._unread and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._unread[:most])
        del self._unread[:most]
        return data

    def has_more(self) -> bool:
        """Has something come that was not read, or has the connection ended?"""
        return bool(self._unread) or self._ended


async def ask(wire: Wire, proxy: ProxyAddress, host: str, port: int) -> None:
    """Have the proxy connect to a host (an address or a name, without brackets). Raises CannotConnect; takes as long as it takes."""
    try:
        if proxy.scheme == "socks5":
            await _socks5(wire, proxy, host, port)
        else:
            await _connect(wire, proxy, host, port)
        if wire.has_more():
            # Neither TLS nor HTTP begin with the other side.
            raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} sent bytes after its answer, or closed")
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} broke the connection off ({reason})") from exc


async def _connect(wire: Wire, proxy: ProxyAddress, host: str, port: int) -> None:
    goal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {goal} HTTP/1.1", f"Host: {goal}", f"User-Agent: ringback/{__version__}"]
    if proxy.user:
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(proxy.user + b':' + proxy.password).decode()}")
    await wire.send("\r\n".join((*lines, "", "")).encode())
    head = b""
    room = MAX_HEAD_BYTES
    while True:
        line, ended, _ = head.partition(b"\r\n")
        # Looked at as soon as it is there: the rest of a refusal need not be waited for.
        status = _status(line, proxy, goal) if ended else 0
        end = head.find(b"\r\n\r\n")
        if status and end >= 0:
            head = head[end + 4 :]
            if status // 100 == _SUCCESS:
                break
            continue
        if not room:
            raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} answered with a head of more than {MAX_HEAD_BYTES} bytes")
        data = await _some(wire, proxy, min(_CHUNK_BYTES, room))
        room -= len(data)
        head += data
    if head:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} sent bytes after its answer, or closed")


def _status(line: bytes, proxy: ProxyAddress, goal: str) -> int:
    """The status of an answer, if it is one that lets us go on. Raises CannotConnect."""
    match = _STATUS.fullmatch(line)
    if match is None:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} does not answer in HTTP/1.1: is proxy_addr right?")
    status = int(match[1])
    if status // 100 in (_INTERIM, _SUCCESS):
        return status
    words = (match[2] or b"").decode("latin-1").strip()[:_WORDS_SHOWN]
    if status == 407:
        text = f"the proxy {proxy.text} asks for another user and password than proxy_addr has: {status} {words}"
        raise ProxyFailed(ErrorClass.PROXY, text.rstrip(": "))
    error = ErrorClass.CONNECT_TIMEOUT if status == _GATEWAY_TIMEOUT else ErrorClass.PROXY
    raise CannotConnect(error, f"the proxy {proxy.text} did not connect to {goal}: {status} {words}".rstrip())


async def _socks5(wire: Wire, proxy: ProxyAddress, host: str, port: int) -> None:
    await wire.send(bytes((_VERSION, 2, _NO_LOGIN, _PASSWORD)) if proxy.user else bytes((_VERSION, 1, _NO_LOGIN)))
    version, method = await _exactly(wire, proxy, 2)
    if version != _VERSION:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} does not answer in SOCKS5: is proxy_addr right?")
    if method == _PASSWORD and proxy.user:
        await _log_in(wire, proxy)
    elif method != _NO_LOGIN:
        asked = "another way to log in" if proxy.user else "a login"
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} asks for {asked} than proxy_addr has")
    await wire.send(bytes((_VERSION, _CONNECT, 0)) + _goal(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = await _exactly(wire, proxy, 4)
    if version != _VERSION:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} does not answer in SOCKS5: is proxy_addr right?")
    if reply:
        error, words = _REPLIES.get(reply, (ErrorClass.PROXY, f"reply {reply}"))
        goal = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise CannotConnect(error, f"the proxy {proxy.text} did not connect to {goal}: {words}")
    size = (await _exactly(wire, proxy, 1))[0] if kind == _NAME else _ADDRESS_BYTES.get(kind)
    if size is None:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} answers with an address of the unknown type {kind}")
    # What it has bound on its side, which nobody needs.
    await _exactly(wire, proxy, size + 2)


async def _log_in(wire: Wire, proxy: ProxyAddress) -> None:
    fields = (bytes((len(field),)) + field for field in (proxy.user, proxy.password))
    await wire.send(bytes((_LOGIN_VERSION,)) + b"".join(fields))
    _, status = await _exactly(wire, proxy, 2)
    if status:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} does not take the user and password of proxy_addr")


def _goal(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode()
        return bytes((_NAME, len(name))) + name
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


async def _exactly(wire: Wire, proxy: ProxyAddress, size: int) -> bytes:
    """So many bytes, and none that follow them."""
    data = b""
    while len(data) < size:
        data += await _some(wire, proxy, size - len(data))
    return data


async def _some(wire: Wire, proxy: ProxyAddress, most: int) -> bytes:
    """At least one byte."""
    data = await wire.receive(most)
    if not data:
        raise ProxyFailed(ErrorClass.PROXY, f"the proxy {proxy.text} closed the connection before its answer was complete")
    return data
