"""Does a neighbour in trouble, or a flood, change what others get? Fair turns, back-pressure, hints of receivers, forbidden addresses."""

from __future__ import annotations

import asyncio
import functools
import threading
import typing

from benchmarks.server import Server
from tests.acceptance.publishing import Account, publish
from tests.acceptance.receiver import OK, SILENCE, Answer, Arrival, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.watching import stays_true
from tests.waiting import wait_until

# How much a server may grow while a backlog builds up that it cannot deliver, MB.
GROWTH_MB = 60

# Messages of that backlog, and the size of each, bytes: together far more than the allowance.
BACKLOG = 8_000
BACKLOG_BYTES = 20_000


def _application(running: Server, *urls: str) -> str:
    app_id: str = running.make("/app", {"name": "delivery"})["id"]
    for url in urls:
        running.make(f"/app/{app_id}/endpoint", {"url": url})
    return app_id


def _send(running: Server, app_id: str, payload: dict[str, typing.Any] | None = None) -> str:
    sent: str = running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": payload or {"a": 1}})["id"]
    return sent


def _attempts(running: Server, app_id: str, message_id: str) -> list[dict[str, typing.Any]]:
    """The attempts of a message, the oldest first."""
    status, listed = running.call("GET", f"/app/{app_id}/attempt/msg/{message_id}")
    assert status == 200, listed
    return list(reversed(listed["data"]))


def _arrived(receiver: Receiver, message_id: str) -> bool:
    return message_id in receiver.ids()


def test_an_endpoint_that_hangs_delays_nobody_else(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: SILENCE if arrival.path == "/hang" else OK
    running = serve()
    hanging = _application(running, f"{receiver.url}/hang")
    healthy = _application(running, f"{receiver.url}/ok")
    account = Account()
    asyncio.run(publish(running.port, hanging, running.token, iter(range(1000)), account, connections=16))
    assert len(account.acknowledged) == 1000
    for _ in range(20):
        sent = _send(running, healthy)
        wait_until(functools.partial(_arrived, receiver, sent), what="the healthy endpoint is served", within_s=1.0)


def test_endpoints_of_one_application_do_not_wait_for_each_other(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: SILENCE if arrival.path == "/hang" else OK
    running = serve()
    app_id = _application(running, f"{receiver.url}/hang", *(f"{receiver.url}/ok/{number}" for number in range(10)))
    for _ in range(20):
        _send(running, app_id)
    wait_until(lambda: len(receiver.accepted) == 200, what="all other endpoints got everything", within_s=5.0)


def test_a_backlog_that_cannot_be_delivered_stays_out_of_memory_and_loses_nothing(serve: Serve, receiver: Receiver) -> None:
    gate = threading.Event()
    receiver.decide = lambda arrival: OK if gate.is_set() else Answer(200, after_s=2.0)
    running = serve()
    app_id = _application(running, f"{receiver.url}/slow")
    warm_up = Account()
    asyncio.run(publish(running.port, app_id, running.token, iter(range(-64, 0)), warm_up, connections=32, size=BACKLOG_BYTES))
    before = running.rss_mb()
    account = Account()
    asyncio.run(publish(running.port, app_id, running.token, iter(range(BACKLOG)), account, connections=32, size=BACKLOG_BYTES))
    assert not account.unknown
    assert set(account.refused.values()) <= {503}
    assert len(account.acknowledged) > BACKLOG / 2
    assert running.rss_mb() - before < GROWTH_MB
    gate.set()
    wait_until(
        lambda: not (set(account.acknowledged.values()) - receiver.ids()), what="all that was acknowledged is delivered", within_s=60
    )
    assert running.rss_mb() - before < GROWTH_MB


def test_retry_after_is_honoured_when_it_is_longer_than_the_schedule(serve: Serve, receiver: Receiver) -> None:
    answers = iter([Answer(503, headers=(("retry-after", "1.5"),)), OK])
    receiver.decide = lambda arrival: next(answers)
    running = serve(settings={"retry_schedule": "100ms,100ms"})
    app_id = _application(running, f"{receiver.url}/in")
    sent = _send(running, app_id)
    wait_until(lambda: receiver.ids() == {sent}, what="the retry comes")
    first, second = receiver.arrivals
    assert 1.5 <= second.at_s - first.at_s <= 3.5


def test_a_resend_waits_for_no_pause_and_for_no_backlog(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(503, headers=(("retry-after", "3000"),))
    running = serve()
    app_id = _application(running, f"{receiver.url}/paused")
    sent = _send(running, app_id)
    wait_until(lambda: _attempts(running, app_id, sent), what="the endpoint asked for a pause")
    behind = [_send(running, app_id) for _ in range(20)]
    receiver.decide = lambda arrival: OK
    (endpoint,) = running.call("GET", f"/app/{app_id}/endpoint")[1]["data"]
    assert running.call("POST", f"/app/{app_id}/msg/{sent}/endpoint/{endpoint['id']}/resend") == (202, {})
    wait_until(lambda: sent in [arrival.id for arrival in receiver.accepted], what="it was made at once")
    wait_until(lambda: [attempt["triggerType"] for attempt in _attempts(running, app_id, sent)] == [0, 1], what="it is recorded")
    assert not set(behind) & set(receiver.ids())


def test_an_endpoint_that_is_gone_is_disabled_at_once(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(410)
    running = serve()
    app_id = _application(running, f"{receiver.url}/in")
    _send(running, app_id)
    wait_until(lambda: running.call("GET", f"/app/{app_id}/endpoint")[1]["data"][0]["disabled"], what="the endpoint is disabled")
    _send(running, app_id)
    stays_true(lambda: len(receiver.arrivals) == 1, "a disabled endpoint is served", 1.0)


def test_a_redirect_is_a_failure_and_is_not_followed(serve: Serve, receiver: Receiver) -> None:
    def decide(arrival: Arrival) -> Answer:
        return Answer(307, headers=(("location", f"{receiver.url}/elsewhere"),)) if arrival.path == "/in" else OK

    receiver.decide = decide
    running = serve(settings={"retry_schedule": "5m"})
    app_id = _application(running, f"{receiver.url}/in")
    sent = _send(running, app_id)
    (attempt,) = wait_until(lambda: _attempts(running, app_id, sent), what="the attempt is listed")
    assert (attempt["status"], attempt["responseStatusCode"]) == (2, 307)
    assert not receiver.at("/elsewhere")


def test_private_addresses_are_blocked_unless_they_were_allowed(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"whitelist_subnets": "", "retry_schedule": "5m"})
    port = receiver.port
    hosts = ("127.0.0.1", "localhost", "[::1]", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "0.0.0.0")
    for host in hosts:
        app_id = _application(running, f"http://{host}:{port}/in")
        sent = _send(running, app_id)
        (attempt,) = wait_until(functools.partial(_attempts, running, app_id, sent), what=f"{host}: the attempt is listed")
        assert (attempt["status"], attempt["responseStatusCode"]) == (2, 0), host
        assert "block" in attempt["response"].lower(), (host, attempt["response"])
    assert not receiver.arrivals


def test_an_attempt_tells_why_there_was_no_answer(serve: Serve) -> None:
    running = serve(settings={"retry_schedule": "5m"})
    app_id = _application(running, "http://127.0.0.1:1/in")
    sent = _send(running, app_id)
    (attempt,) = wait_until(lambda: _attempts(running, app_id, sent), what="the attempt is listed")
    assert (attempt["status"], attempt["responseStatusCode"]) == (2, 0)
    assert "refused" in attempt["response"].lower()


def test_metrics_and_readiness_are_served(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    app_id = _application(running, f"{receiver.url}/in")
    _send(running, app_id)
    wait_until(lambda: receiver.accepted, what="the message is delivered")
    assert running.call("GET", "/ready")[0] == 200
    assert running.call("GET", "/health") == (
        200,
        {"database": {"status": "ok"}, "queue": {"status": "ok"}, "cache": {"status": "ok"}},
    )
    assert running.call("GET", "/openapi.json")[1]["openapi"].startswith("3.")
