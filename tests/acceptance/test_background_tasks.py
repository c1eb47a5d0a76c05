"""Does a background task end what it began, once and whole, whatever happens to the server meanwhile?"""

from __future__ import annotations

import collections
import datetime
import signal
import typing

from svix.api import Svix, SvixOptions
from svix.models import ApplicationIn, BackgroundTaskStatus, EndpointIn, MessageIn, RecoverIn

from tests.acceptance.receiver import FAILED, Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# Enough for several steps of the task (40 messages each), few enough for a second.
MESSAGES: typing.Final = 200


def test_a_recovery_that_is_killed_goes_on_where_it_was(serve: Serve, receiver: Receiver) -> None:
    settings = {"retry_schedule": "[]"}
    server = serve(settings=settings)
    client = Svix(server.token, SvixOptions(server_url=server.url))
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=1)
    app = client.application.create(ApplicationIn(name="Shop", uid="shop"))
    endpoint = client.endpoint.create(app.id, EndpointIn(url=f"{receiver.url}/hooks"))
    receiver.decide = lambda arrival: FAILED
    sent = {client.message.create(app.id, MessageIn(event_type="order.paid", payload={"n": n})).id for n in range(MESSAGES)}
    wait_until(lambda: client.endpoint.get_stats(app.id, endpoint.id).fail == MESSAGES, what="all have failed")
    receiver.arrivals.clear()

    task = client.endpoint.recover(app.id, endpoint.id, RecoverIn(since=began))
    wait_until(lambda: receiver.arrivals, what="the task has begun")
    server.stop(signal.SIGKILL)
    server = serve(settings=settings)
    client = Svix(server.token, SvixOptions(server_url=server.url))

    def finished() -> bool:
        return client.background_task.get(task.id).status is BackgroundTaskStatus.FINISHED

    wait_until(finished, what="the task ends")
    assert client.background_task.get(task.id).data == {"messagesSent": MESSAGES}
    wait_until(lambda: client.endpoint.get_stats(app.id, endpoint.id).fail == 2 * MESSAGES, what="all were tried once more")
    arrived = collections.Counter(arrival.id for arrival in receiver.arrivals)
    assert set(arrived) == sent
    # What was on the wire when the server was killed may come again: no more than that, and never because the task repeats itself.
    assert max(arrived.values()) <= 2
    assert client.endpoint.get_stats(app.id, endpoint.id).pending == 0
