"""A page that cannot be rendered is a page all the same: what happened, and the request's id, which stands in the log with the cause."""

from __future__ import annotations

import asyncio
import logging
import re
import typing
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ringback.dashboard.app import Dashboard
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import FormReader
from ringback.dashboard.guard import Arrival
from ringback.model.dashboard import Session
from ringback.policy.paging import Page
from ringback.services.attention import Waiting
from ringback.services.sessions import Visitor
from ringback.services.tokens import Principal


class Unasked:
    """A service that no page of this test asks for anything."""

    def __getattr__(self, name: str) -> Unasked:
        return self

    def __call__(self, *given: object, **named: object) -> Unasked:
        return self


class Settled(Unasked):
    """Services of a server without applications, whose URL no page can hold."""

    draw = bytes

    def now_us(self) -> int:
        return 0

    def url(self) -> str:
        return "http://\ud800"

    async def believe(self, held: str, *, active: bool) -> Visitor:
        who = typing.cast("Principal", Unasked())
        return Visitor(who, Session(b"h", "org_1", None, None, "127.0.0.1", 0, 0, 1))

    async def waiting(self, who: Principal) -> Waiting:
        return Waiting(0, 0, 0)

    async def page(self, *given: object) -> Page[object]:
        return Page([], True)


def broken() -> Dashboard:
    """A dashboard whose first page cannot be rendered."""
    return Dashboard(typing.cast("Services", Settled()), typing.cast("FormReader", Unasked()), Arrival())


@pytest.mark.parametrize("part", [False, True], ids=["whole", "part"])
def test_a_page_that_cannot_be_rendered_says_so_and_the_log_says_why(part: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=typing.cast("typing.Any", broken()))
        async with httpx.AsyncClient(transport=transport, base_url="http://here", cookies={"ringback_session": "x"}) as client:
            return await client.get("/dashboard/", headers={"hx-request": "true"} if part else {})

    # A thread of its own: in this one the loop of the browser may count as running.
    with caplog.at_level(logging.ERROR), ThreadPoolExecutor(1) as thread:
        answer = thread.submit(lambda: asyncio.run(asked())).result()
    assert (answer.status_code, answer.headers["content-type"]) == (500, "text/html; charset=utf-8")
    assert "content-security-policy" in answer.headers
    assert "Something broke" in answer.text and ('class="rail"' in answer.text) is not part
    assert "Traceback" not in answer.text and "UnicodeEncodeError" not in answer.text
    named = re.search(r"\(request ([0-9a-f]{16})\)", answer.text)
    assert named is not None
    (logged,) = (record for record in caplog.records if record.getMessage() == "request.failed")
    fields = typing.cast("typing.Any", logged).fields
    assert (fields["request_id"], fields["path"], fields["error"]) == (named[1], "/dashboard/", "UnicodeEncodeError")
    assert logged.exc_info is not None
