"""Do rates, times and wishes hold with a real server and the official SDK? And what of answers that drip?"""

from __future__ import annotations

import datetime
import itertools
import pathlib
import signal
import sqlite3
import time
import typing

from svix.api import MessageAttemptListAttemptedMessagesOptions, Svix, SvixOptions
from svix.models import ApplicationIn, ApplicationPatch, EndpointIn, EndpointOut, EndpointPatch, MessageIn, MessageStatus

from benchmarks.server import Server
from tests.acceptance.receiver import FAILED, OK, Answer, Arrival, Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# How far clocks and machines may blur two arrivals, seconds: what is sent in order at a rate arrives over connections of its own.
BLUR_S = 0.1

PENDING = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.PENDING)
FAILED_ONES = MessageAttemptListAttemptedMessagesOptions(status=MessageStatus.FAIL)


class Tenant:
    """An application of its own on a running server, seen through the SDK."""

    def __init__(self, running: Server, receiver: Receiver, throttle_rate: int | None = None) -> None:
        self.running = running
        self.receiver = receiver
        self.svix = Svix(running.token, SvixOptions(server_url=running.url))
        self.app = self.svix.application.create(ApplicationIn(name="Tenant", throttle_rate=throttle_rate))

    def endpoint(self, path: str, **more: typing.Any) -> EndpointOut:
        return self.svix.endpoint.create(self.app.id, EndpointIn(url=f"{self.receiver.url}{path}", **more))

    def send(self, event_type: str = "order.paid", **more: typing.Any) -> str:
        return self.svix.message.create(self.app.id, MessageIn(event_type=event_type, payload={"a": 1}, **more)).id

    def standing(self, endpoint: EndpointOut, options: MessageAttemptListAttemptedMessagesOptions) -> list[tuple[str, typing.Any]]:
        """The messages in an endpoint's list, and when each is tried next."""
        listed = self.svix.message_attempt.list_attempted_messages(self.app.id, endpoint.id, options).data
        return [(row.id, row.next_attempt) for row in listed]


def obeys(arrivals: list[Arrival], rate: int) -> bool:
    """Does no stretch of time hold more arrivals than the rate allows, beside one burst of as many?"""
    times = sorted(arrival.at_s for arrival in arrivals)
    return all(
        last - first + 1 - rate <= rate * (times[last] - times[first] + BLUR_S)
        for first, last in itertools.combinations(range(len(times)), 2)
    )


def test_rates_of_endpoints_and_applications_hold_and_nobody_else_waits_for_them(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    shop, other = Tenant(running, receiver, throttle_rate=20), Tenant(running, receiver)
    slow = shop.endpoint("/slow", throttle_rate=5)
    shop.endpoint("/shared")
    other.endpoint("/other")
    sent = [shop.send() for _ in range(12)]
    elsewhere = {other.send() for _ in range(20)}
    wait_until(lambda: elsewhere <= {arrival.id for arrival in receiver.at("/other")}, what="another application waits for no rate")
    assert len(receiver.at("/slow")) < 12
    wait_until(lambda: len(receiver.at("/slow")) == len(receiver.at("/shared")) == 12, what="all that waited is delivered")
    assert obeys(receiver.at("/slow"), 5)
    assert obeys(receiver.at("/slow") + receiver.at("/shared"), 20)
    sequences = [int(arrival.headers["ringback-sequence"]) for arrival in receiver.at("/slow")]
    # The first five may go side by side; what waits goes in turn.
    assert [*sorted(sequences[:5]), *sequences[5:]] == sorted(sequences)
    assert {arrival.id for arrival in receiver.at("/slow")} == set(sent)

    # A change holds within a second.
    before = len(receiver.at("/slow"))
    more = [shop.send() for _ in range(40)]
    shop.svix.endpoint.patch(shop.app.id, slow.id, EndpointPatch(throttle_rate=0))
    shop.svix.application.patch(shop.app.id, ApplicationPatch(throttle_rate=0))
    changed_s = time.monotonic()
    wait_until(lambda: len(receiver.at("/slow")) == before + len(more), what="without a rate all goes at once")
    assert receiver.at("/slow")[-1].at_s - changed_s < 3.0, "at 5 a second it would have taken eight"


def test_what_waits_for_a_rate_is_delivered_after_a_kill(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    shop = Tenant(running, receiver)
    endpoint = shop.endpoint("/slow", throttle_rate=4)
    sent = {shop.send() for _ in range(16)}
    wait_until(lambda: len(receiver.arrivals) >= 5, what="some are delivered")
    assert shop.standing(endpoint, PENDING)
    running.stop(signal.SIGKILL)
    serve(port=running.port)
    wait_until(lambda: sent <= receiver.ids(), what="the others are delivered by the next run")


def test_a_receiver_ends_the_attempts_of_a_message_or_disables_itself(serve: Serve, receiver: Receiver) -> None:
    def decide(arrival: Arrival) -> Answer:
        wish = {"/abort": "abort-message", "/disable": "disable"}.get(arrival.path)
        return OK if wish is None else Answer(500, headers=(("Webhook-Delivery", wish),))

    receiver.decide = decide
    running = serve()
    shop = Tenant(running, receiver)
    aborting, disabling = shop.endpoint("/abort"), shop.endpoint("/disable")
    shop.endpoint("/well")
    message_id = shop.send()
    wait_until(lambda: shop.svix.endpoint.get(shop.app.id, disabling.id).disabled, what="the endpoint is disabled")
    wait_until(lambda: shop.standing(aborting, FAILED_ONES), what="the message has failed for the other")
    assert shop.standing(aborting, FAILED_ONES) == [(message_id, None)]
    assert shop.standing(disabling, FAILED_ONES) == [(message_id, None)]
    assert not shop.svix.endpoint.get(shop.app.id, aborting.id).disabled
    letters = running.call("GET", f"/app/{shop.app.id}/dead-letter")[1]["data"]
    assert {(letter["endpointId"], letter["cause"]) for letter in letters} == {(aborting.id, "aborted"), (disabling.id, "http_500")}
    second = shop.send()
    wait_until(lambda: {message_id, second} <= receiver.ids(), what="the endpoint that is well gets both")
    wait_until(lambda: len(receiver.at("/abort")) == 2, what="the next message is attempted")
    assert [arrival.id for arrival in receiver.at("/disable")] == [message_id]
    assert [arrival.id for arrival in receiver.at("/abort")] == [message_id, second]


def _edit(database: pathlib.Path, *statements: tuple[str, tuple[typing.Any, ...]]) -> None:
    """Change the database of a server that is dead: what takes it minutes or days to do is done to a test in no time."""
    with sqlite3.connect(database) as connection:
        for sql, parameters in statements:
            assert connection.execute(sql, parameters).rowcount, sql
    connection.close()


def test_a_message_waits_for_its_time_across_a_kill_and_goes_to_the_endpoints_of_that_time(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    shop = Tenant(running, receiver)
    endpoint = shop.endpoint("/was-there")
    gone = shop.endpoint("/gone")
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    message_id = shop.send(deliver_at=at)
    assert shop.svix.message.get(shop.app.id, message_id).deliver_at == at
    assert shop.standing(endpoint, PENDING) == [(message_id, None)]
    assert shop.svix.endpoint.get_stats(shop.app.id, endpoint.id).pending == 1
    shop.svix.endpoint.delete(shop.app.id, gone.id)
    assert not receiver.arrivals
    running.stop(signal.SIGKILL)
    # The least that may be asked for, a minute, is more than a test waits.
    due_us = (time.time_ns() // 1_000) + 4_000_000
    _edit(
        running.database,
        ("UPDATE deferred_message SET deliver_at = ? WHERE message_id = ?", (due_us, message_id)),
        ("UPDATE message SET deliver_at = ? WHERE id = ?", (due_us, message_id)),
    )
    running = serve(port=running.port)
    shop.svix.endpoint.create(shop.app.id, EndpointIn(url=f"{receiver.url}/new"))
    assert time.time_ns() // 1_000 < due_us, "this machine is too slow for the test"
    assert not receiver.arrivals
    wait_until(lambda: len(receiver.arrivals) == 2, what="it is delivered at its time")
    late_s = time.time_ns() / 1e9 - due_us / 1e6
    assert 0 <= late_s < 1.5
    assert {arrival.path for arrival in receiver.arrivals} == {"/was-there", "/new"}
    assert {arrival.id for arrival in receiver.arrivals} == {message_id}
    wait_until(lambda: not shop.standing(endpoint, PENDING), what="it waits no longer")


def test_an_endpoint_that_fails_for_longer_than_is_allowed_is_disabled_also_across_restarts(serve: Serve, receiver: Receiver) -> None:
    settings = {"retry_schedule": "[]", "endpoint_failure_disable_after": "1h"}
    receiver.decide = lambda arrival: FAILED
    running = serve(settings=settings)
    shop = Tenant(running, receiver)
    endpoint = shop.endpoint("/failing")
    shop.send()
    wait_until(lambda: shop.standing(endpoint, FAILED_ONES), what="a message has failed for good")
    assert not shop.svix.endpoint.get(shop.app.id, endpoint.id).disabled
    running.stop(signal.SIGKILL)
    _edit(running.database, ("UPDATE endpoint_failure SET first_failure_at = first_failure_at - ?", (3_601_000_000,)))
    serve(port=running.port, settings=settings)
    assert not shop.svix.endpoint.get(shop.app.id, endpoint.id).disabled
    shop.send()
    wait_until(lambda: shop.svix.endpoint.get(shop.app.id, endpoint.id).disabled, what="the endpoint is disabled")


def test_answers_that_drip_hold_up_neither_their_own_endpoint_nor_others(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(body=b"x" * 100, body_after_s=4.0) if arrival.path == "/drip" else Answer(body=b"at once")
    running = serve()
    shop = Tenant(running, receiver)
    dripping, quick = shop.endpoint("/drip"), shop.endpoint("/quick")
    began_s = time.monotonic()
    sent = {shop.send() for _ in range(100)}
    wait_until(lambda: len(receiver.at("/drip")) == len(receiver.at("/quick")) == 100, what="all have arrived at both")
    # Eight at once that take four seconds each would have needed most of a minute.
    assert time.monotonic() - began_s < 15.0
    for endpoint, bodies in ((quick, {"at once"}), (dripping, {"", "x" * 100})):
        listed = wait_until(
            lambda endpoint=endpoint: _all_attempts(shop, endpoint, len(sent)), what="every attempt is listed with its success"
        )
        assert {attempt["msgId"] for attempt in listed} == sent
        assert {attempt["status"] for attempt in listed} == {0}
        assert {attempt["response"] for attempt in listed} <= bodies


def _all_attempts(shop: Tenant, endpoint: EndpointOut, number: int) -> list[typing.Any]:
    """The attempts to an endpoint, once there are so many; before, none."""
    _, listed = shop.running.call("GET", f"/app/{shop.app.id}/attempt/endpoint/{endpoint.id}?limit=250")
    return list(listed["data"]) if len(listed["data"]) >= number else []
