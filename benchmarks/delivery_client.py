"""What does one delivery cost the client? CPU microseconds per keep-alive request, HTTP and HTTPS, 50 at once, median of several runs.

Only the client's own process is counted: sealing (HMAC), writing, reading, the facts handed back. The sink is a process of its own.

    python benchmarks/delivery_client.py [--requests 40000] [--runs 5] [--at-once 50]
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import ipaddress
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ringback.delivery.pool import HttpTransport
from ringback.delivery.seal import make_plan, seal
from ringback.delivery.tls import client_context
from ringback.model.attempts import Exchange
from ringback.policy.addresses import AddressPolicy, parse_networks
from ringback.signing.secret import parse_secret
from ringback.signing.standard import Signer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"type":"order.paid","data":"' + b"x" * 468 + b'"}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\nserver: sink\r\n\r\n" + b'{"ok":true}'


class Sink(asyncio.Protocol):
    """Answers each request as soon as its last byte is in; knows its length from the first one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(ANSWER)


async def serve_sink(certificate: str) -> None:
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(Sink, "127.0.0.1", 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    secure = await loop.create_server(Sink, "127.0.0.1", 0, ssl=context)
    print(plain.sockets[0].getsockname()[1], secure.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def make_certificate(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sink")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(pem))


async def run(url: str, certificate: Path, requests: int, at_once: int) -> float:
    """CPU microseconds per request of this process."""
    transport = HttpTransport(policy=AddressPolicy(parse_networks("127.0.0.0/8")), ssl_context=client_context(str(certificate)))
    plan = make_plan(url=url, signer=Signer((parse_secret(SECRET),)))
    finished = asyncio.get_running_loop().create_future()
    left, running = at_once * 4, at_once

    def send() -> None:
        transport.send(
            seal(
                plan,
                message_id=b"msg_2Yd8sHh7PqJ0oC5t1Zb3Xw9LkQe",
                now_s=1_700_000_000,
                body=BODY,
                content_type=b"application/json",
                sequence=1,
            ),
            done,
        )

    def done(exchange: Exchange) -> None:
        nonlocal left, running
        assert exchange.status == 200, exchange
        left -= 1
        if left > 0:
            send()
            return
        running -= 1
        if not running:
            finished.set_result(None)

    for _ in range(at_once):
        send()
    await finished
    finished = asyncio.get_running_loop().create_future()
    left, running = requests, at_once
    before = time.process_time()
    for _ in range(at_once):
        send()
    await finished
    spent = time.process_time() - before
    await transport.close()
    return spent / (requests + at_once) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--sink", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        uvloop.run(serve_sink(options.sink))
        return
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "sink.pem"
        make_certificate(certificate)
        sink = subprocess.Popen(
            [sys.executable, __file__, "--sink", str(certificate)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        plain, secure = sink.stdout.readline().split()
        for url in (f"http://127.0.0.1:{plain}/hook", f"https://127.0.0.1:{secure}/hook"):
            spent = [uvloop.run(run(url, certificate, options.requests, options.at_once)) for _ in range(options.runs)]
            shown = " ".join(f"{us:.1f}" for us in sorted(spent))
            print(f"{url[:5].rstrip(':'):5} {statistics.median(spent):6.1f} us CPU per request, median of {options.runs} ({shown})")
        sink.communicate("")


if __name__ == "__main__":
    main()
