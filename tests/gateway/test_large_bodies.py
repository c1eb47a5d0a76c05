"""Bodies of a megabyte that are all structure: whatever a source looks for in them, others have their turn meanwhile."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from ringback.signing.documents import parse_json
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import NOW_S, signed
from tests.gateway.test_ordering_keys import keys

# A third of a million lists, between a key and a version.
MIB = 1 << 20
OPEN: dict[str, Any] = {"type": "custom", "verify": "none", "secrets": []}
GUARD = {"orderingKeyAt": ["json:customer.id"], "orderingVersionAt": ["json:customer.version"], "deduplication": {"by": ["json:id"]}}
ANSWER = {"answer": {"status": 200, "body": "{{json:customer.id}}", "template": True}}


def body_of(number: int, size: int = MIB) -> bytes:
    return b'{"customer":{"id":"c","version":%d.5},"x":[' % number + (b"[]," * (size // 3))[:-1] + b'],"id":"evt_%d"}' % number


def whole_s(body: bytes) -> float:
    """How long reading all of it holds the interpreter."""
    spans = []
    for _ in range(3):
        began_s = time.perf_counter()
        parse_json(body)
        spans.append(time.perf_counter() - began_s)
    return min(spans)


async def longest_gap(work: Awaitable[Any]) -> tuple[Any, float]:
    """What comes of the work, and the longest that another task had to wait for its turn."""
    gap_s, last_s = 0.0, time.perf_counter()

    async def others() -> None:
        nonlocal gap_s, last_s
        last_s = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now_s = time.perf_counter()
            gap_s, last_s = max(gap_s, now_s - last_s), now_s

    beside = asyncio.ensure_future(others())
    await asyncio.sleep(0)
    done = await work
    beside.cancel()
    return done, max(gap_s, time.perf_counter() - last_s)


@pytest.mark.parametrize(
    "wanted",
    [
        OPEN | GUARD | ANSWER,
        # Whoever knows the URL is read before anything is believed.
        {"type": "azure-event-grid", "secrets": ["s"]},
        {"type": "adyen", "secrets": ["44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"]},
        {"type": "aws-sns", "secrets": ["arn:aws:sns:eu-west-1:1:t"]},
        {"type": "mailgun", "secrets": ["s"]},
        {"type": "notion", "secrets": ["s"]},
    ],
    ids=lambda wanted: str(wanted["type"]),
)
def test_a_large_body_holds_up_nobody(running: Running, wanted: dict[str, Any]) -> None:
    path, body = path_of(running.made(**wanted)), body_of(1)
    gaps = [running.run(longest_gap(running.asked(path, body)))[1] for _ in range(3)]
    assert min(gaps) * 3 < whole_s(body), gaps


def test_large_and_small_bodies_are_guarded_by_the_same_versions_and_keys(running: Running) -> None:
    source = running.made(**(OPEN | GUARD))
    for number, size in ((2, MIB), (1, 300), (3, 300), (2, 300), (4, MIB), (1, MIB)):
        assert running.ask(path_of(source), body_of(number, size)).status == 200
    assert [message.origin.event_id for message in running.messages() if message.origin] == ["evt_2", "evt_3", "evt_4"]
    assert keys(running) == ["c"] * 3


def test_a_large_request_is_let_out_of_quarantine_without_holding_up_others(running: Running) -> None:
    source, body = running.made(secrets=["whsec_wrong"], **GUARD), body_of(1)
    running.clock.set(NOW_S)
    path, spans = path_of(source), []
    for _ in range(3):
        assert running.ask(path, body, signed(body)).status == 401
    running.changed(source, secrets=("whsec_test",), ordering_key_at=("json:customer.id",))
    for item in running.quarantined(source):
        released = running.releases.one(WHO, running.app_id, source.id, item.id, believe=False)
        spans.append(running.run(longest_gap(released))[1])
    assert min(spans) * 3 < whole_s(body), spans
    assert keys(running) == ["c"]


def test_an_answer_that_is_made_of_a_packed_body_holds_up_nobody(running: Running) -> None:
    path = path_of(running.made(**OPEN, **ANSWER))
    body = gzip.compress(body_of(1, MIB - 4_096), 0)
    gaps = [running.run(longest_gap(running.asked(path, body, [(b"content-encoding", b"gzip")]))) for _ in range(3)]
    assert {(answer.status, answer.body) for answer, _ in gaps} == {(200, b"c")}
    assert min(gap_s for _, gap_s in gaps) * 3 < whole_s(body_of(1)), gaps
