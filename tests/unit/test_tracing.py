"""Where a message stands in a trace follows from the message alone, and so does whether that is recorded."""

from __future__ import annotations

import asyncio
import random

import pytest

from ringback import ids
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.model.deliveries import Claim, Delivery
from ringback.model.messages import Message
from ringback.telemetry.active import active, active_ids, note, within
from ringback.telemetry.spans import Span
from ringback.telemetry.tracing import Tracing, ids_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"traceparent: 00-{TRACE}-{SPAN}-".encode()
RECEIVED = b"user-agent: provider\r\n" + GIVEN + b"01\r\ntracestate: a=1\r\n"
MAKER = IdMaker()


class Scene:
    def __init__(self, ratio: float = 1.0) -> None:
        self.spans: list[Span] = []
        self.tracing = Tracing(self.spans.append, ratio, SystemClock(), random.Random(1).getrandbits)


def message(headers: bytes | None = None) -> Message:
    return Message(MAKER.make(ids.MESSAGE, SystemClock().now_us()), "app_1", "a.b", b"{}", 1, 2, headers=headers)


def claim(of: Message) -> Claim:
    return Claim(Delivery("ep_1", of.id, of.app_id, 1, 1), of)


def test_another_process_knows_the_same_place_in_the_same_trace() -> None:
    for headers in (None, GIVEN + b"01\r\n", RECEIVED):
        made = message(headers)
        assert Scene().tracing.standing(made) == Scene().tracing.standing(made)
        # And an attempt by one that holds the message of another attempt.
        assert Scene().tracing.departing(Scene().tracing.departing(claim(made))).message.headers is not None
        again = Scene().tracing.departing(Scene().tracing.departing(claim(made)))
        assert ids_of(again.message).trace_id == Scene().tracing.standing(made).trace_id
        assert (again.message.headers or b"").count(b"traceparent:") == 1


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_a_share_of_the_traces_that_begin_here_is_recorded(ratio: float) -> None:
    tracing = Scene(ratio).tracing
    recorded = [tracing.standing(message()).sampled for _ in range(2000)]
    assert sum(recorded) / len(recorded) == pytest.approx(ratio, abs=0.05)


def test_publishers_decide_whether_their_traces_are_recorded_and_strangers_do_not() -> None:
    assert Scene(0.0).tracing.standing(message(GIVEN + b"01\r\n")).sampled
    assert not Scene(1.0).tracing.standing(message(GIVEN + b"00\r\n")).sampled
    assert not Scene(0.0).tracing.standing(message(RECEIVED)).sampled
    assert Scene(1.0).tracing.standing(message(RECEIVED.replace(b"-01", b"-00"))).sampled


def test_an_attempt_has_its_own_context_and_what_else_came_along() -> None:
    departed = Scene().tracing.departing(claim(message(RECEIVED))).message
    sent = departed.headers or b""
    assert sent.startswith(f"traceparent: 00-{TRACE}-{ids_of(departed).span_id}-01\r\n".encode()) and SPAN.encode() not in sent
    assert sent.endswith(b"user-agent: provider\r\ntracestate: a=1\r\n")
    # What is no context is passed on in no part of it.
    broken = Scene().tracing.departing(claim(message(b"traceparent: x\r\ntracestate: a=1\r\nx-a: b\r\n"))).message.headers or b""
    assert broken.count(b"traceparent:") == 1 and b"tracestate" not in broken and broken.endswith(b"\r\nx-a: b\r\n")


def test_messages_of_one_request_are_its_trace_or_lead_back_to_it() -> None:
    scene = Scene()
    request = scene.tracing.request("POST", "/in", [])
    first, second = message(), message()
    scene.tracing.accepted(first, request)
    scene.tracing.accepted(second, request)
    scene.tracing.answered(request, 200, believed=False)
    one, other, whole = scene.spans
    assert whole.trace_id == one.trace_id != other.trace_id and one.parent_id == whole.span_id and other.parent_id == ""
    assert other.links == ((whole.trace_id, whole.span_id),) and one.links == ()
    assert whole.attributes["messaging.message.id"] == first.id


@pytest.mark.parametrize(("status", "failed"), [(202, False), (404, False), (503, True), (0, True)])
def test_a_request_fails_by_our_fault_alone(status: int, failed: bool) -> None:
    scene = Scene()
    scene.tracing.answered(scene.tracing.request("POST", "/in", []), status, believed=True)
    assert scene.spans[0].failed is failed


def test_nothing_is_recorded_of_what_is_not_sampled() -> None:
    scene = Scene(0.0)
    request = scene.tracing.request("POST", "/in", [])
    with within(request):
        scene.tracing.verified("src_1", "stripe", "verified", 1, failed=False)
    scene.tracing.accepted(message(), request)
    scene.tracing.answered(request, 200, believed=True)
    with scene.tracing.doing("task", {}):
        pass
    assert scene.spans == []


def test_work_that_fails_says_so_and_its_callers_hear_of_it() -> None:
    scene = Scene()
    with pytest.raises(ZeroDivisionError), scene.tracing.doing("task", {"ringback.task.id": "1"}, "1"):
        note({"ringback.task.kind": "recover"})
        raise ZeroDivisionError
    with scene.tracing.doing("task", {}, "1"):
        pass
    failed, other = scene.spans
    assert failed.failed and failed.attributes == {
        "ringback.task.id": "1",
        "ringback.task.kind": "recover",
        "error.type": "ZeroDivisionError",
    }
    assert failed.trace_id == other.trace_id and failed.span_id != other.span_id


async def _left_behind(scene: Scene, over: asyncio.Event) -> tuple[bool, bool]:
    here = active() is not None
    await over.wait()
    return here, active() is None and active_ids() is None


def test_what_a_request_has_begun_is_none_of_it_once_it_is_over() -> None:
    async def story() -> tuple[bool, bool]:
        scene, over = Scene(), asyncio.Event()
        request = scene.tracing.request("POST", "/in", [])
        with within(request):
            task = asyncio.get_running_loop().create_task(_left_behind(scene, over))
        await asyncio.sleep(0)
        scene.tracing.answered(request, 200, believed=True)
        over.set()
        return await task

    assert asyncio.run(story()) == (True, True)
