"""Small proxies on real sockets that do what they are asked for, HTTP CONNECT or SOCKS5, and remember it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

Pipe = Callable[["TestProxy", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TestProxy:
    """A proxy: `goals` are the hosts and ports that it was asked for, in order; `tunnels` how many it has made."""

    __test__ = False

    def __init__(self, login: tuple[str, str] | None, names: dict[str, str]) -> None:
        self.login = login
        # What names lead to, for those who let the proxy resolve.
        self.names = names
        self.port = 0
        self.connections = 0
        self.tunnels = 0
        self.goals: list[tuple[str, int]] = []
        self.heads: list[bytes] = []

    async def reach(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a goal. Raises OSError."""
        self.goals.append((host, port))
        return await asyncio.open_connection(self.names.get(host, host), port)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _tunnel(
    proxy: TestProxy, near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    proxy.tunnels += 1
    try:
        await asyncio.gather(_pump(near[0], far[1]), _pump(far[0], near[1]))
    finally:
        far[1].close()


async def http(proxy: TestProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak HTTP: CONNECT only."""
    head = await reader.readuntil(b"\r\n\r\n")
    proxy.heads.append(head)
    method, goal, _ = head.split(b"\r\n")[0].split(b" ")
    if method != b"CONNECT":
        writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
        return
    if proxy.login is not None:
        wanted = b"Proxy-Authorization: Basic " + base64.b64encode(":".join(proxy.login).encode())
        if wanted not in head.split(b"\r\n"):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\ncontent-length: 0\r\n\r\n")
            return
    host, _, port = goal.decode().rpartition(":")
    try:
        far = await proxy.reach(host.strip("[]"), int(port))
    except OSError:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\noops")
        return
    # Content-Length in a 2xx to CONNECT means nothing (RFC 9110, 9.3.6).
    writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\nContent-Length: 5\r\n\r\n")
    await _tunnel(proxy, (reader, writer), far)


async def socks5(proxy: TestProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speak SOCKS5, written by RFC 1928 and RFC 1929."""
    version, count = await reader.readexactly(2)
    methods = await reader.readexactly(count)
    assert version == 5
    wanted = 0 if proxy.login is None else 2
    if wanted not in methods:
        writer.write(b"\x05\xff")
        return
    writer.write(bytes((5, wanted)))
    if proxy.login is not None:
        assert await reader.readexactly(1) == b"\x01"
        given = [(await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in range(2)]
        writer.write(b"\x01\x00" if tuple(given) == proxy.login else b"\x01\x01")
        if tuple(given) != proxy.login:
            return
    assert await reader.readexactly(3) == b"\x05\x01\x00"
    (kind,) = await reader.readexactly(1)
    if kind == 3:
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    else:
        host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
    port = int.from_bytes(await reader.readexactly(2), "big")
    try:
        far = await proxy.reach(host, port)
    except ConnectionRefusedError:
        writer.write(b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00")
        return
    # The address that is bound here may be of any type.
    writer.write(b"\x05\x00\x00\x03\x04test\x00\x50")
    await _tunnel(proxy, (reader, writer), far)


@contextlib.asynccontextmanager
async def proxying(
    speak: Pipe, *, login: tuple[str, str] | None = None, names: dict[str, str] | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[TestProxy]:
    """A running proxy."""
    proxy = TestProxy(login, names or {})
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await speak(proxy, reader, writer)
        except (asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            pass  # The client has closed, or the test is over.
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
