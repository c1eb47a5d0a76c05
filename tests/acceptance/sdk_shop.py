"""What do tests of the SDK share? An application with an endpoint that really receives, and how the SDK tells a refusal."""

from __future__ import annotations

import typing

import pytest
from svix.exceptions import HttpError
from svix.models import ApplicationIn, BackgroundTaskStatus, EndpointIn, MessageIn

from tests.acceptance.receiver import Arrival
from tests.acceptance.sdk_surface import Sdk
from tests.waiting import wait_until

CODE: typing.Final = "function handler(webhook) { return webhook; }"


def missing(call: typing.Callable[[], object]) -> tuple[int, str]:
    """How the server refused: the status and the code."""
    with pytest.raises(HttpError) as refused:
        call()
    return refused.value.status_code, refused.value.code


class Shop:
    """An application with one endpoint, which is a path of the receiver."""

    def __init__(self, sdk: Sdk) -> None:
        self.sdk = sdk
        self.svix = sdk.svix
        self.path = "/" + sdk.name("hook")
        self.app = self.svix.application.create(ApplicationIn(name="Shop")).id
        self.endpoint = self.svix.endpoint.create(self.app, EndpointIn(url=sdk.receiver.url + self.path, uid="mine")).id

    def send(self) -> str:
        """The id of a new message."""
        return self.svix.message.create(self.app, MessageIn(event_type="order.paid", payload={"a": 1})).id

    def arrived(self, count: int) -> list[Arrival]:
        """What came to the endpoint, once so much has."""
        wait_until(lambda: len(self.sdk.receiver.at(self.path)) >= count, what=f"{count} requests arrive")
        return self.sdk.receiver.at(self.path)

    def finished(self, task_id: str) -> typing.Any:
        """A task, once it is over."""
        wait_until(lambda: self.svix.background_task.get(task_id).status != BackgroundTaskStatus.RUNNING, what="the task ends")
        return self.svix.background_task.get(task_id)
