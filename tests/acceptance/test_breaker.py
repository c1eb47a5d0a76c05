"""Does a circuit breaker spare an endpoint that is down, and deliver all that waited once it is back?"""

from __future__ import annotations

import urllib.request

from tests.acceptance.receiver import FAILED, OK, Receiver
from tests.acceptance.serving import Serve
from tests.acceptance.watching import stays_true
from tests.waiting import wait_until

SETTINGS = {
    "breaker_failure_ratio": "0.5",
    "breaker_min_attempts": "10",
    "breaker_rest": "2s",
    # Without a breaker they would all be made within two seconds.
    "retry_schedule": "300ms,300ms,300ms,300ms",
}
MESSAGES = 30


def test_an_endpoint_that_is_down_is_left_alone_and_gets_everything_when_it_is_back(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED if arrival.path == "/down" else OK
    running = serve(settings=SETTINGS)
    app_id = running.make("/app", {"name": "breaker"})["id"]
    down = running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/down"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/up"})

    def open_breakers() -> bool:
        with urllib.request.urlopen(f"{running.url}/metrics") as answer:
            return b"\nringback_breakers_open 1.0\n" in answer.read()

    def send() -> str:
        return str(running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"a": 1}})["id"])

    def brought() -> set[str]:
        return {arrival.id for arrival in list(receiver.accepted) if arrival.path == "/down"}

    sent = [send() for _ in range(MESSAGES)]
    wait_until(open_breakers, what="the breaker opens")
    sent.append(send())
    wait_until(lambda: len(receiver.at("/up")) == len(sent), what="the other endpoint gets everything")
    before = len(receiver.at("/down"))
    # However many are due: one after the rest, whose failure makes the next rest twice as long.
    stays_true(lambda: len(receiver.at("/down")) <= before + 1, "an endpoint with an open breaker is asked again and again", 3.0)
    receiver.decide = lambda arrival: OK
    wait_until(lambda: brought() == set(sent), what="all that waited arrives")
    wait_until(lambda: not open_breakers(), what="the breaker closes")
    path = f"/app/{app_id}/attempt/msg/{sent[-1]}?endpoint_id={down}&status=0"
    (waited,) = wait_until(lambda: running.call("GET", path)[1]["data"], what="the attempt is listed")
    assert waited["waitCause"] == "breaker"
