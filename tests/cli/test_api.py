"""How commands speak to a server that is named by its URL."""

from __future__ import annotations

import socket
import threading

import pytest

from ringback.cli.api import Api
from ringback.errors import OperatorError, RingbackError


def test_a_token_meant_for_tls_is_never_sent_without_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def hear() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(4096))

        thread = threading.Thread(target=hear)
        thread.start()
        with pytest.raises(OSError, match="SSL"):
            Api(f"https://127.0.0.1:{listener.getsockname()[1]}", "sk_hush").call("POST", "/api/v1/app", {})
        thread.join(timeout=30)
    # 22: the type of a TLS record that begins a handshake (RFC 8446, 5.1).
    assert heard[0][0] == 22 and b"sk_hush" not in heard[0]


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8071", "ftp://example.com", "http://", "localhost", "http://host:80a", "http://host:99999", "https://[::1"]
)
def test_what_is_no_url_of_a_server_is_told_with_one_that_is(url: str) -> None:
    with pytest.raises(OperatorError, match=r"write it like http://127\.0\.0\.1:8071"):
        Api(url, "sk")


@pytest.mark.parametrize("token", ["sk_one\nx-forged: yes", "sk_\u20ac"])
def test_a_token_that_no_header_can_carry_is_refused_before_anything_is_sent(token: str) -> None:
    with pytest.raises(OperatorError, match="paste it alone"):
        Api("http://127.0.0.1:8071", token)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("502 Bad Gateway", "answered 502 to GET /api/v1/app: '<h1>Nobody is at home"), ("200 OK", "is no Ringback: '<h1>Nobody is at home")],
)
def test_a_proxy_that_answers_in_its_own_words_is_told_in_them(status: str, expected: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                page = b"<h1>Nobody is at home</h1>"
                connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(page)}\r\n\r\n".encode() + page)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(RingbackError, match=expected):
            Api(f"http://127.0.0.1:{listener.getsockname()[1]}", "sk_hush").need("GET", "/api/v1/app")
        thread.join(timeout=30)
