"""What each adapter owes beside the common table: time limits, lifespan, dependencies, odd servers."""

from __future__ import annotations

import asyncio
import http.client
import io
import socket
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import timedelta
from typing import Annotated, Any

import fastapi
import flask
import msgspec
import pytest

from ringback.receiver import Event, Receiver, Reply, asgi, wsgi
from ringback.receiver.body import Body
from ringback.receiver.fastapi import router, verified
from ringback.receiver.flask import blueprint
from ringback.receiver.testing import sign
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.signing.headers import Headers
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


@pytest.mark.parametrize("length", ["5", "100"])
def test_a_body_that_is_cut_short_is_no_body_though_the_scheme_does_not_sign_it(length: str, caplog: pytest.LogCaptureFixture) -> None:
    receiver, seen = Receiver("telegram", "secret"), list[bytes]()
    receiver.on("*")(lambda event: seen.append(event.raw))
    made = sign("telegram", "secret", b"{...}")
    reply = wsgi.answer(receiver, environ_of(made, CONTENT_LENGTH=length, **{"wsgi.input": io.BytesIO(made.body)}))
    assert (reply.status, seen) == ((200, [b"{...}"]) if length == "5" else (400, []))
    assert (receiver.counts.get("rejected:cut_short"), "less of a body" in caplog.text) == ((None, False) if length == "5" else (1, True))


def test_under_flask_a_form_that_was_read_before_us_is_told_as_such(caplog: pytest.LogCaptureFixture) -> None:
    app, receiver = flask.Flask(__name__), Receiver("stripe", "secret")

    @app.before_request
    def read() -> None:
        assert flask.request.form

    app.register_blueprint(blueprint(receiver, "/in"))
    assert app.test_client().post("/in", data={"a": "b"}).status_code == 400
    assert "something before us has read it" in caplog.text


class Publisher:
    """Has what was fetched once, and that is no certificate."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def key(self, ref: KeyRef) -> bytes:
        if not self.fetched:
            raise KeyUnavailable(ref)
        return b"no certificate"

    def fetch(self, ref: KeyRef) -> None:
        self.fetched.append(ref.url)

    def visit(self, url: str) -> bool:
        return False


PUBLISHER = Publisher()
PUBLISHED = Receiver("paypal", "WEBHOOK-ID", fetcher=PUBLISHER, tolerance=timedelta(days=100_000))


def test_a_dependency_gets_the_key_that_it_needs() -> None:
    app = fastapi.FastAPI()

    @app.post("/")
    async def receive(event: Annotated[Event, fastapi.Depends(verified(PUBLISHED))]) -> None:
        """Never reached: what was fetched is no certificate."""

    headers = {"paypal-transmission-id": "1", "paypal-transmission-time": "2020-01-01T00:00:00Z", "paypal-transmission-sig": "YQ=="}
    headers |= {"paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-a", "paypal-auth-algo": "SHA256withRSA"}
    running = serve_asgi(app)
    assert running.call("POST", "/", headers, b"{}").status == 401
    assert PUBLISHER.fetched == ["https://api.paypal.com/v1/notifications/certs/CERT-a"]
    running.close()


def asgi_messages(app: Any, messages: list[dict[str, Any]], sent: Callable[[Any], Awaitable[None]], **scope: Any) -> None:
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(coming)

    made = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": [], "root_path": ""} | scope
    asyncio.run(app(made, receive, sent))


def test_a_sender_that_goes_away_before_the_answer_is_no_failure() -> None:
    async def broken(message: Any) -> None:
        raise OSError("the connection is gone")

    receiver = Receiver("stripe", "secret")
    made = stripe_request()
    headers = [(name.encode(), value.encode()) for name, value in made.headers.items()]
    asgi_messages(asgi.ReceiverApp(receiver), [{"type": "http.request", "body": made.body}], broken, headers=headers)
    assert receiver.counts == {"unknown": 1}


def test_a_sender_that_goes_away_while_a_dependency_reads_is_no_failure() -> None:
    app, statuses = fastapi.FastAPI(), list[int]()

    @app.post("/")
    async def receive(event: Annotated[Event, fastapi.Depends(verified(STRIPE))]) -> None:
        """Never reached: the body never ends."""

    async def sent(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    asgi_messages(app, [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}], sent)
    assert statuses == [400]


def test_a_path_that_is_no_text_is_no_failure_where_the_server_keeps_no_raw_one() -> None:
    assert (
        asgi.url_of({"path": "/\udcff \u00e9", "scheme": "https"}, Headers([(b"host", b"a.example")]))
        == b"https://a.example/%ED%B3%BF%20%C3%A9"
    )


def test_many_small_pieces_take_no_more_room_than_what_is_in_them() -> None:
    pieces, body = 200_000, Body(1_000_000)
    tracemalloc.start()
    for number in range(pieces):
        body.add(number.to_bytes(3) if number % 2 else b"")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(body.whole()) == pieces // 2 * 3
    assert most < 2 * len(body.whole())


@pytest.mark.parametrize("framework", ["asgi", "fastapi"])
def test_a_header_of_an_answer_may_come_twice_and_texts_keep_their_type(framework: str) -> None:
    receiver = Receiver("stripe", "secret")
    reply = Reply.text("a", content_type="text/x; charset=latin-1")
    receiver.on("*")(lambda event: msgspec.structs.replace(reply, headers=(("x-a", "1"), ("x-a", "2"))))
    app: Any = asgi.ReceiverApp(receiver)
    if framework == "fastapi":
        app = fastapi.FastAPI()
        app.include_router(router(receiver, "/"))
    running, made = serve_asgi(app), stripe_request()
    with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)) as connection:
        connection.request("POST", "/", made.body, made.headers)
        got = connection.getresponse()
        assert (got.headers.get_all("x-a"), got.headers.get_all("content-type")) == (["1", "2"], ["text/x; charset=latin-1"])
    running.close()
