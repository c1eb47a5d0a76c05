"""Does any sequence of bytes upset the server? Valid requests are damaged at random, from a fixed seed: never a 5xx, and it stays alive."""

from __future__ import annotations

import os
import random
import typing

import pytest

from tests.api.fuzz_client import Target, serving

# Damaged requests sent. A longer hunt is a matter of the environment.
REQUESTS = int(os.environ.get("RINGBACK_FUZZ_REQUESTS", "2000"))

# The seed of the damage: the same for every run, so that a finding comes again.
SEED = int(os.environ.get("RINGBACK_FUZZ_SEED", "1"))

# 5xx that answer a request which is understood: a method or version, and a route, that do not exist yet.
ALLOWED_5XX = {501, 505}

# Pieces that have meaning somewhere in HTTP or JSON: spliced in, they reach further than noise.
PIECES: typing.Final = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"\xff", b" ", b"\t", b":"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000", b"\\ud800", b"1e999", b"9" * 30),
    *(b"%00", b"%ff", b"/../", b"//", b"?limit=1&iterator=-x", b"HTTP/1.1", b"HTTP/2.0"),
    *(b"0\r\n\r\n", b"ffffffff", b"-1", b"chunked", b"transfer-encoding: chunked\r\n", b"content-length: 5\r\n"),
    *(b"connection: close\r\n", b"upgrade: h2c\r\n", b"expect: 100-continue\r\n", b"idempotency-key: k\r\n"),
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Target]:
    yield from serving(tmp_path_factory.mktemp("fuzz"))


def _seeds(target: Target) -> list[bytes]:
    """Requests worth damaging: the hot route, ordinary ones, with a body and without."""
    message = b'{"eventType":"order.paid","payload":{"a":[1,2.5,"x"]},"channels":["c"],"eventId":"e","tags":["t"]}'
    chunked = target.request().replace(b"content-length: 0", b"transfer-encoding: chunked")
    return [
        target.request(message),
        target.request(message, headers=[("idempotency-key", "a"), ("expect", "100-continue")]),
        target.request(message) * 3,
        chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(message), message),
        target.request(b'{"name":"a","uid":"b","metadata":{"c":"d"}}', path="/api/v1/app?get_if_exists=true"),
        target.request(b'{"url":"http://127.0.0.1:1/x","eventTypes":null,"channels":["a"]}', path="/api/v1/app/target/endpoint"),
        target.request(method="GET", path="/api/v1/app/target/msg?limit=5&before=2024-01-01T00:00:00Z&event_types=a,b&channel=c"),
        target.request(method="GET", path="/api/v1/app/target/attempt/endpoint/ep_x?status=1&status_code_class=500"),
        target.request(method="GET", path="/api/v1/event-type?iterator=a&order=ascending&with_content=true"),
        target.request(b'{"headers":{"x-a":"b"}}', method="PATCH", path="/api/v1/app/target/endpoint/ep_x/headers"),
        target.request(method="GET", path="/metrics"),
        target.request(method="OPTIONS", path="/api/v1/app", headers=[("origin", "https://a"), ("access-control-request-method", "POST")]),
    ]


def _damaged(raw: bytes, dice: random.Random) -> bytes:
    """One to four random injuries."""
    data = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data) + 1)
        injury = dice.randrange(6)
        if injury == 0 and place < len(data):
            data[place] = dice.randrange(256)
        elif injury == 1:
            data[place:place] = dice.choice(PIECES)
        elif injury == 2:
            del data[place : place + dice.randint(1, 20)]
        elif injury == 3:
            del data[place:]
        elif injury == 4:
            data[place:place] = data[dice.randrange(len(data) + 1) :][: dice.randint(1, 40)]
        else:
            data[place : place + 4] = dice.randbytes(4)
    return bytes(data)


def test_no_damaged_request_gets_a_5xx_or_ends_the_server(target: Target) -> None:
    dice = random.Random(SEED)
    seeds = _seeds(target)
    for number in range(REQUESTS):
        raw = _damaged(dice.choice(seeds), dice)
        talk = target.talk(raw, answers=100, half_close=True)
        assert talk.closed, (number, raw)
        for answer in talk.answers:
            assert answer.status < 500 or answer.status in ALLOWED_5XX, (number, raw, answer)
            if answer.status >= 400:
                assert answer.header("content-type") == "application/json", (number, raw, answer)
                assert answer.json(), (number, raw)
        assert target.server.process.poll() is None, (number, raw, target.server.log_tail())
    assert target.server.healthy()
