"""Where do keys come from that a provider publishes? Over TLS, without redirects, remembered; failures too."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from benchmarks.certificates import make
from ringback.receiver import Receiver, Reply
from ringback.receiver.fetching import HttpsFetcher
from ringback.signing.fetched import KeyRef, KeyUnavailable
from tests.receiver.clocks import StandingClock


class Publisher:
    """A provider's own host, with what it publishes at each path."""

    def __init__(self, directory: Path) -> None:
        pages: dict[str, tuple[int, bytes]] = {}
        self.pages, self.asked = pages, list[str]()
        asked, publisher = self.asked, self
        # What is written instead, in this order; what is called between.
        self.raw: dict[str, Iterable[bytes | Callable[[], None]]] = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                status, body = pages.get(self.path, (404, b""))
                if self.path in publisher.raw:
                    for piece in publisher.raw[self.path]:
                        piece() if callable(piece) else self.wfile.write(piece)
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("location", body.decode())
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        files = make(directory)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.chain, files.key)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        self.trust = ssl.create_default_context(cafile=str(files.authority))
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(20)


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    opened = Publisher(tmp_path)
    yield opened
    opened.close()


def test_a_key_is_fetched_once_and_remembered_for_a_while(publisher: Publisher) -> None:
    clock = StandingClock()
    fetcher, ref = HttpsFetcher(clock, publisher.trust), KeyRef(f"{publisher.url}/key.pem", "x509_pem")
    publisher.pages["/key.pem"] = (200, b"a key")
    with pytest.raises(KeyUnavailable):
        fetcher.key(ref)
    fetcher.fetch(ref)
    clock.now_s += 599
    assert fetcher.key(ref) == b"a key"
    clock.now_s += 2
    with pytest.raises(KeyUnavailable):
        fetcher.key(ref)
    assert publisher.asked == ["/key.pem"]


def test_a_set_that_lacks_a_key_is_fetched_anew_but_not_for_each_request(publisher: Publisher) -> None:
    clock = StandingClock()
    fetcher, ref = HttpsFetcher(clock, publisher.trust), KeyRef(f"{publisher.url}/jwks", "jwks", "new")
    publisher.pages["/jwks"] = (200, b'{"keys":[{"kid":"old"}]}')
    fetcher.fetch(ref)
    assert fetcher.key(ref)
    clock.now_s += 31
    with pytest.raises(KeyUnavailable):
        fetcher.key(ref)


@pytest.mark.parametrize("status", [500, 404, 302, 204])
def test_a_failure_is_remembered_and_a_redirect_is_one(publisher: Publisher, status: int) -> None:
    clock = StandingClock()
    fetcher, ref = HttpsFetcher(clock, publisher.trust), KeyRef(f"{publisher.url}/key", "x509_pem")
    publisher.pages |= {"/key": (status, b"" if status == 204 else f"{publisher.url}/other".encode()), "/other": (200, b"a key")}
    for _ in range(3):
        with pytest.raises(KeyUnavailable):
            fetcher.fetch(ref)
    assert publisher.asked == ["/key"]
    publisher.pages["/key"] = (200, b"a key")
    clock.now_s += 11
    fetcher.fetch(ref)
    assert fetcher.key(ref) == b"a key"


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf a key",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\nhalf",
    ],
)
def test_an_answer_that_is_none_or_breaks_off_is_no_key(publisher: Publisher, answer: bytes) -> None:
    fetcher, ref = HttpsFetcher(StandingClock(), publisher.trust), KeyRef(f"{publisher.url}/key", "x509_pem")
    publisher.raw["/key"] = [answer]
    for _ in range(2):
        with pytest.raises(KeyUnavailable):
            fetcher.fetch(ref)
    assert publisher.asked == ["/key"]
    assert not fetcher.visit(ref.url)


def test_a_key_that_drips_is_given_up(publisher: Publisher) -> None:
    clock = StandingClock()

    def later() -> None:
        clock.now_s += 2

    publisher.raw["/key"] = [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", b"k", later, b"e", later, b"y"]
    with pytest.raises(KeyUnavailable):
        HttpsFetcher(clock, publisher.trust).fetch(KeyRef(f"{publisher.url}/key", "x509_pem"))


@pytest.mark.parametrize("begins", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"])
def test_all_of_an_exchange_has_one_deadline_however_it_drips(publisher: Publisher, begins: bytes) -> None:
    given_up, all_sent = threading.Event(), threading.Event()

    def dripping() -> Iterator[bytes]:
        yield begins
        # Each byte comes well before a limit of its own would be over; all of them take far longer than a provider may.
        for _ in range(400):
            if given_up.wait(0.05):
                return
            yield b"H"
        all_sent.set()

    publisher.raw["/key"] = dripping()
    with pytest.raises(KeyUnavailable):
        HttpsFetcher(context=publisher.trust).fetch(KeyRef(f"{publisher.url}/key", "x509_pem"))
    assert not all_sent.is_set()
    given_up.set()


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not HttpsFetcher().visit(f"https://127.0.0.1:{silent.getsockname()[1]}/")


def test_what_is_too_large_for_a_key_is_none(publisher: Publisher) -> None:
    publisher.pages["/key"] = (200, bytes(300_000))
    with pytest.raises(KeyUnavailable):
        HttpsFetcher(StandingClock(), publisher.trust).fetch(KeyRef(f"{publisher.url}/key", "x509_pem"))


@pytest.mark.parametrize("url", ["http://127.0.0.1/key", "file:///etc/passwd", "ftp://127.0.0.1/key", "https://127.0.0.1:1/", "nonsense"])
def test_nothing_but_https_is_opened(url: str) -> None:
    assert HttpsFetcher().visit(url) is False


def test_a_host_that_cannot_prove_its_name_is_not_believed(publisher: Publisher) -> None:
    publisher.pages["/key"] = (200, b"a key")
    assert HttpsFetcher().visit(f"{publisher.url}/key") is False
    assert HttpsFetcher(context=publisher.trust).visit(f"{publisher.url}/key") is True


class Unreachable:
    """Nobody publishes anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def key(self, ref: KeyRef) -> bytes:
        raise KeyUnavailable(ref)

    def fetch(self, ref: KeyRef) -> None:
        self.asked.append(ref.url)

    def visit(self, url: str) -> bool:
        return False


def test_a_key_that_cannot_be_had_is_our_trouble_and_asked_for_at_the_providers_own_host_alone() -> None:
    fetcher = Unreachable()
    receiver = Receiver("aws-sns", ["arn:aws:sns:eu-west-1:1:topic"], fetcher=fetcher)
    own = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem"
    for url, status, asked in ((own, 503, [own, own]), ("https://sns.evil.example/SimpleNotificationService-a.pem", 401, [])):
        body = (
            b'{"Type":"Notification","MessageId":"1","TopicArn":"arn:aws:sns:eu-west-1:1:topic","Message":"m","Timestamp":'
            b'"2012-05-02T00:54:06.655Z","SignatureVersion":"1","Signature":"aa","SigningCertURL":"%b"}' % url.encode()
        )
        reply: Reply = receiver.handle(receiver.request({}, body, "POST", ""))
        assert (reply.status, fetcher.asked) == (status, asked)
        fetcher.asked.clear()
