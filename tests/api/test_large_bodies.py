"""Bodies that take the interpreter for long are read on a thread, which lets others have it in between."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import msgspec
import pytest

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.idempotency import Repeats
from ringback.api.intake import BodyReader
from ringback.api.routing import OFF_LOOP_BYTES, Answer, Call, Operation, Pipeline, answer
from ringback.errors import InvalidField
from ringback.policy.validation import Rule
from tests.api.live import Live, opened

threads: list[int] = []


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    yield from opened(tmp_path_factory.mktemp("large"), {})


def rule(value: str) -> list[Any]:
    threads.append(threading.get_ident())
    return [((), "no letters, please")] if "x" in value else []


class Wanted(msgspec.Struct, frozen=True):
    text: str

    RULES: ClassVar[Mapping[str, Rule]] = {"text": rule}


WANTED = Body(Wanted)


async def handler(call: Call) -> Answer:
    return answer(200, len(call.parsed(WANTED).text))


def carried(body: bytes) -> Answer:
    """What an operation answers that anybody may call."""

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def run() -> Answer:
        threads.append(threading.get_ident())
        nobody: Any = None
        repeats: Repeats = nobody
        pipeline = Pipeline(nobody, repeats, BodyReader(1 << 20, 1 << 20))
        operation = Operation(method="POST", path="/x", summary="", handler=handler, access=Access.OPEN, body=WANTED, answers={})
        return await pipeline.run(operation, {"headers": [], "query_string": b"", "path": "/x"}, receive)

    threads.clear()
    return asyncio.run(run())


@pytest.mark.parametrize(("size", "elsewhere"), [(100, False), (OFF_LOOP_BYTES, True)])
def test_a_body_is_read_once_and_a_large_one_elsewhere(size: int, elsewhere: bool) -> None:
    assert carried(json.dumps({"text": "1" * size}).encode()).body == b"%d" % size
    loop, *readers = threads
    assert len(readers) == 1
    assert (readers[0] != loop) == elsewhere


@pytest.mark.parametrize("size", [100, OFF_LOOP_BYTES])
def test_what_is_wrong_with_a_body_is_said_whatever_its_size(size: int) -> None:
    with pytest.raises(InvalidField) as refused:
        carried(json.dumps({"text": "x" * size}).encode())
    assert [problem.msg for problem in refused.value.problems] == ["no letters, please"]


@pytest.mark.parametrize("size", [100, OFF_LOOP_BYTES, 1_500_000])
def test_messages_of_any_size_are_published_and_repeated_alike(live: Live, size: int) -> None:
    path = f"/app/{live.app()}/msg"

    def publish(payload: Any) -> Any:
        return live.post(path, {"eventType": "order.paid", "payload": payload}, headers={"idempotency-key": "one"})

    made = publish({"text": "e" * size, "n": 2**53 + 1})
    assert made.status_code == 202
    assert made.json()["payload"] == {"text": "e" * size, "n": 2**53 + 1}
    # The answer is that of the first, whatever the body of the second is.
    assert publish(["x" * size]).content == made.content
