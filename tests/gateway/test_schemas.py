"""Schemas of sources: what does not fit, and what asks for more work than anybody has time for."""

from __future__ import annotations

import asyncio
import typing

import msgspec
import pytest

from ringback.policy.json_instances import QuickLook
from tests.gateway.conftest import Answer, Running, path_of
from tests.gateway.signing import event, signed

# Sixty levels, each of which asks for the next one twice: a schema of four kilobytes that looks 2^60 times.
ENDLESS = {
    "$ref": "#/definitions/a0",
    "definitions": {
        **{f"a{n}": {"allOf": [{"$ref": f"#/definitions/a{n + 1}"}] * 2} for n in range(60)},
        "a60": {"type": "object"},
    },
}
NODE = {"properties": {"next": {"$ref": "#/definitions/node"}, "value": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("mode", "status", "flags", "kept"), [("observe", 200, ("schema_unknown",), 0), ("quarantine", 200, None, 1), ("reject", 503, None, 0)]
)
def test_a_schema_that_never_comes_to_an_end_holds_nobody_else(
    running: Running, mode: str, status: int, flags: tuple[str, ...] | None, kept: int
) -> None:
    hostile, plain = running.made(schema=ENDLESS, schemaMode=mode), running.made()

    def sent(source: typing.Any, number: int) -> typing.Coroutine[typing.Any, typing.Any, Answer]:
        headers = [(name.encode(), value.encode()) for name, value in signed(event(number)).items()]
        return running.asked(path_of(source), event(number), headers)

    async def sent_at_once() -> tuple[Answer, Answer]:
        waiting = asyncio.ensure_future(sent(hostile, 1))
        assert (await sent(plain, 2)).status == 200
        assert not waiting.done(), "others go on while it is compared"
        return await waiting, await sent(hostile, 3)

    first, second = running.run(sent_at_once())
    assert (first.status, second.status) == (status, status)
    origins = [message.origin for message in running.messages() if message.origin is not None and message.origin.source_id == hostile.id]
    assert [origin.flags for origin in origins] == ([] if flags is None else [flags] * 2)
    assert [item.reason for item in running.quarantined(hostile)] == ["schema_mismatch"] * 2 * kept


def test_a_schema_that_refers_to_itself_is_followed(running: Running) -> None:
    source = running.made(schema={**NODE, "definitions": {"node": NODE}}, schemaMode="reject")
    fits = b'{"id":"evt_1","type":"a","next":{"next":{"value":1}}}'
    assert running.ask(path_of(source), fits, signed(fits)).status == 200
    misfits = b'{"id":"evt_2","type":"a","next":{"next":{"value":"x"}}}'
    assert running.ask(path_of(source), misfits, signed(misfits)).status == 422
    (item,) = running.quarantined(source)
    assert item.detail.startswith("at /next/next/value: the value breaks the rule ")


def test_large_schemas_and_bodies_are_compared_all_the_same(running: Running) -> None:
    source = running.made(schema={"required": ["must"], "description": "x" * 100_000}, schemaMode="reject")
    body = msgspec.json.encode({"id": "evt_1", "type": "a", "must": "y" * 100_000})
    assert running.ask(path_of(source), body, signed(body)).status == 200
    assert running.ask(path_of(source), event(2), signed(event(2))).status == 422


def test_items_of_a_batch_are_compared_one_by_one(running: Running) -> None:
    source = running.made(type="sendgrid", verify="none", secrets=[], schema={"required": ["email"]}, schemaMode="reject")
    good, bad = {"sg_event_id": "1", "event": "open", "email": "a"}, {"sg_event_id": "2", "event": "open"}
    assert running.ask(path_of(source), msgspec.json.encode([good])).status == 200
    assert running.ask(path_of(source), msgspec.json.encode([good, bad])).status == 422
    assert len(running.messages()) == 1


@pytest.mark.parametrize(
    ("schema", "body", "doubtful"),
    [
        ({"type": "object"}, b"{}", False),
        ({"type": "object"}, b"[]", True),
        ({"type": "object"}, b"{", True),
        ({"type": "object"}, b'"\xff"', True),
        ({"type": "object"}, b"{" + b" " * (1 << 20) + b"}", True),
        ({"$ref": "#/definitions/a", "definitions": {"a": True}}, b"{}", True),
        ({"pattern": "^a{2,900}$"}, b'"aa"', True),
        ({"description": "x" * (1 << 22)}, b"{}", True),
    ],
)
def test_only_what_surely_fits_is_seen_at_once(schema: typing.Any, body: bytes, doubtful: bool) -> None:
    assert bool(QuickLook(schema).doubtful([body])) is doubtful
