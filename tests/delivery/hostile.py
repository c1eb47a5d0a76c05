"""Servers that misbehave, on real loopback sockets. A script says what one connection does; the server keeps count."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: HostileServer) -> None:
        self.reader = reader
        self.writer = writer
        self.server = server
        # The how-many-th connection of the server this is, from 1.
        self.number = server.connections

    async def request(self) -> bytes:
        """Read one whole request. Raises IncompleteReadError when the client closes instead."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        request = head + await self.reader.readexactly(length)
        self.server.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def drip(self, data: bytes, every_s: float = 0.02) -> None:
        """Send byte by byte until the client closes."""
        for position in range(len(data)):
            self.send(data[position : position + 1])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self.closed()
                    return

    async def flood(self, data: bytes) -> int:
        """Send the same over and over until the client closes; how many bytes the transport took."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not self.writer.is_closing():
                self.send(data)
                sent += len(data)
                await self.writer.drain()
        return sent

    async def closed(self) -> None:
        """Wait until the client closes."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class HostileServer:
    """What came in, and where to reach it."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.connections = 0
        self.requests: list[bytes] = []


@contextlib.asynccontextmanager
async def serving(script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileServer]:
    """Serve every connection by `script`; it may end early, the connection closes with it."""
    server = HostileServer()
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Peer(reader, writer, server))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # The client has closed, or the test is over.
        finally:
            tasks.discard(task)
            writer.close()

    listener = await asyncio.start_server(handle, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def answering(*answers: bytes) -> Script:
    """Answer the requests of each connection one after the other, the last answer for ever."""

    async def script(peer: Peer) -> None:
        position = 0
        while True:
            await peer.request()
            peer.send(answers[min(position, len(answers) - 1)])
            position += 1

    return script


def answering_once(answer: bytes) -> Script:
    """Answer one request and close in good order."""

    async def script(peer: Peer) -> None:
        await peer.request()
        peer.send(answer)

    return script


async def silent(peer: Peer) -> None:
    """Take everything, answer nothing."""
    await peer.closed()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self._made = 0
        certificate = self._build(self._name, self._key, days=(-2, 2)).add_extension(x509.BasicConstraints(True, None), True)
        others = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
        certificate = certificate.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), True)
        self.file = str(folder / "authority.pem")
        Path(self.file).write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _build(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int]) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
        )

    def server_context(self, name: str, *, days: tuple[int, int] = (-1, 1), self_signed: bool = False) -> ssl.SSLContext:
        """A server's TLS context with a certificate for a name or address."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            entry: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            entry = x509.DNSName(name)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._build(subject, key, days).add_extension(x509.SubjectAlternativeName([entry]), False)
        certificate = builder.sign(key if self_signed else self._key, hashes.SHA256())
        self._made += 1
        path = self._folder / f"server{self._made}.pem"
        pem = serialization.Encoding.PEM
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(private + certificate.public_bytes(pem))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context
