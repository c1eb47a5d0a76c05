"""What each adapter owes beside the common table: time limits, lifespan, dependencies, odd servers."""

from __future__ import annotations

import io
import socket
from typing import Annotated, Any

import fastapi
import pytest

from ringback.receiver import Event, Receiver, asgi, wsgi
from ringback.receiver.fastapi import verified
from ringback.receiver.testing import sign
from tests.receiver.serving import serve_asgi, serve_wsgi

STRIPE = Receiver("stripe", "secret", max_body_bytes=1_000)
PAYPAL = Receiver("paypal", "WEBHOOK-ID")


def stripe_request(body: bytes = b'{"id":"evt_1","type":"a"}') -> Any:
    return sign("stripe", "secret", body)


def test_a_body_that_does_not_arrive_in_time_is_answered_408() -> None:
    running = serve_asgi(asgi.ReceiverApp(STRIPE, body_timeout_s=0.1))
    assert running.begin("POST / HTTP/1.1\nhost: a\ncontent-length: 100\n\n", b"x" * 10) == 408
    assert STRIPE.counts["rejected:too_slow"] == 1
    running.close()


def test_a_sender_that_goes_away_leaves_nothing_behind() -> None:
    receiver = Receiver("stripe", "secret")
    running = serve_asgi(asgi.ReceiverApp(receiver))
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nx")
    made = stripe_request()
    assert running.call("POST", "/", made.headers, made.body).status == 200
    assert receiver.counts == {"unknown": 1}
    running.close()


def test_a_dependency_gives_a_route_the_verified_event() -> None:
    app = fastapi.FastAPI()

    @app.post("/stripe")
    async def stripe(event: Annotated[Event, fastapi.Depends(verified(STRIPE))]) -> dict[str, Any]:
        return {"id": event.id, "bytes": len(event.raw)}

    @app.post("/paypal")
    async def paypal(event: Annotated[Event, fastapi.Depends(verified(PAYPAL))]) -> None:
        """Never reached: the certificate was never fetched."""

    running = serve_asgi(app)
    made = stripe_request()
    answer = running.call("POST", "/stripe", made.headers, made.body)
    assert (answer.status, answer.body) == (200, b'{"id":"evt_1","bytes":25}')
    assert running.call("POST", "/stripe", made.headers, made.body + b" ").status == 401
    assert running.call("POST", "/stripe", {}, bytes(1_001)).status == 413
    assert running.call("POST", "/stripe", {}, iter([bytes(600), bytes(600)])).status == 413
    headers = {"paypal-transmission-id": "1", "paypal-transmission-time": "2020-01-01T00:00:00Z", "paypal-transmission-sig": "YQ=="}
    headers |= {"paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-a", "paypal-auth-algo": "SHA256withRSA"}
    assert running.call("POST", "/paypal", headers, b"{}").status == 503
    running.close()


def environ_of(made: Any, **more: Any) -> dict[str, Any]:
    fields = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in made.headers.items()}
    return {"REQUEST_METHOD": "POST", "wsgi.url_scheme": "http", "SERVER_NAME": "h", "SERVER_PORT": "80"} | fields | more


def test_a_wsgi_server_that_ends_the_input_itself_needs_no_length() -> None:
    made = stripe_request()
    # As gunicorn hands on a chunked request.
    environ = environ_of(made, HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": io.BytesIO(made.body), "wsgi.input_terminated": True})
    assert wsgi.answer(STRIPE, environ).status == 200
    over = environ_of(made, **{"wsgi.input": io.BytesIO(bytes(1_001)), "wsgi.input_terminated": True})
    assert wsgi.answer(STRIPE, over).status == 413


def test_a_name_with_an_underscore_is_found_under_wsgi_too() -> None:
    running = serve_wsgi(wsgi.ReceiverApp(Receiver("walmart", "secret")))
    made = sign("walmart", "secret", {"eventType": "PO_CREATED"})
    assert any("_" in name for name in made.headers)
    assert running.call("POST", made.target, made.headers, made.body).status == 200
    running.close()


def test_a_wsgi_input_is_never_read_past_its_length() -> None:
    made = stripe_request()
    environ = environ_of(made, CONTENT_LENGTH=str(len(made.body)), **{"wsgi.input": io.BytesIO(made.body + b"GET / HTTP/1.1")})
    assert wsgi.answer(STRIPE, environ).status == 200
    assert environ["wsgi.input"].read() == b"GET / HTTP/1.1"


def test_a_wsgi_input_that_times_out_is_answered_408() -> None:
    class Slow(io.RawIOBase):
        def read(self, most: int = -1) -> bytes:
            raise TimeoutError

    assert wsgi.answer(STRIPE, environ_of(stripe_request(), CONTENT_LENGTH="10", **{"wsgi.input": Slow()})).status == 408


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"HTTP_HOST": "a.example", "SCRIPT_NAME": "/app", "PATH_INFO": "/in \xc3\xa9", "QUERY_STRING": "x=%20"}, b"http://a.example/app/in%20%C3%A9?x=%20"),
        ({"HTTP_HOST": "a.example", "RAW_URI": "/in%2Fx?q", "PATH_INFO": "/in/x", "QUERY_STRING": "q"}, b"http://a.example/in%2Fx?q"),
        ({"PATH_INFO": "/"}, b"http://h:80/"),
    ],
)  # fmt: skip
def test_the_url_of_a_wsgi_request_is_the_one_that_was_called(environ: dict[str, str], url: bytes) -> None:
    assert wsgi.url_of({"wsgi.url_scheme": "http", "SERVER_NAME": "h", "SERVER_PORT": "80"} | environ) == url


def test_a_status_that_http_does_not_know_has_words_all_the_same() -> None:
    assert [wsgi.status_line(status) for status in (200, 299)] == ["200 OK", "299 Status"]
