"""What is sent to a sink? Its batch as it is, or what the sink's transformation makes of it: the same each time the batch comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.delivery.scripting_turns import Moment, Ran, Script, moment_of
from ringback.delivery.seal import HeaderStyle, seal
from ringback.delivery.transport import SealedRequest
from ringback.engine.batches import Ready
from ringback.engine.plans import request_plan, signer_of
from ringback.engine.transforming import failed
from ringback.model.attempts import ErrorClass, Exchange
from ringback.model.endpoints import signing
from ringback.model.streams import Batch, Sink, Target
from ringback.policy.batching import Batched, Returned, apart_of, seen, transformed
from ringback.policy.transforming import Transformed

# Bodies above this are made on a thread: below it takes the loop a millisecond at the most. Spans cost ten times as much as a body that is
# signed as it is.
_OFF_LOOP_BYTES: Final = 256 * 1024
_OFF_LOOP_SPANS: Final = 32 * 1024
_CANCELLED: Final = Exchange(0, error=ErrorClass.CANCELLED, detail="the transformation cancelled it: nothing was sent")


class Runs(Protocol):
    """What runs scripts (`delivery.scripting.Scripts`)."""

    def run(self, script: Script, document: bytes, done: Callable[[Ran], None], *, moment: Moment | None = None) -> None:
        """Run a script on a document; `done` is called exactly once, later."""
        ...


class Waiting(Protocol):
    """The turn of a sink, which lets others have theirs when something takes long."""

    async def wait(self, future: asyncio.Future[Any], size: int) -> None:
        """Until the future is done; meanwhile the turn has so many bytes in memory."""
        ...


class SinkStyle(msgspec.Struct, frozen=True):
    """How requests to sinks are signed, and whether transformations may choose https URLs alone."""

    headers: HeaderStyle
    https_only: bool = False


class SinkRequests:
    """Makes the requests of batches."""

    def __init__(self, scripts: Runs | None, clock: Clock, style: SinkStyle) -> None:
        self._scripts = scripts
        self._clock = clock
        self._style = style

    async def made(self, sink: Sink, ready: Ready, turn: Waiting) -> SealedRequest | Exchange:
        """The request that brings a sink its batch; or what came of the attempt, when there is nothing to send."""
        target, batch = sink.target, sink.progress.batch
        if target is None or batch is None:
            raise AssertionError(f"the sink {sink.id} has nowhere to send, or nothing")
        if ready.code is None:
            plain = Transformed(url=target.url, headers=target.headers, body=ready.body)
            return await _on_thread(len(ready.body) > _OFF_LOOP_BYTES, lambda: self._sealed(target, batch, ready, plain))
        apart = apart_of(sink.type)
        batched = Batched(batch.id, target.url, target.headers, ready.body, apart)
        ran = await self._ran(Script(sink.id, sink.stream_id, ready.code, apart), batched, turn)
        if ran.outcome != "returned":
            return failed(ran)
        large = len(ran.payload) > (_OFF_LOOP_SPANS if apart == "spans" else _OFF_LOOP_BYTES)
        return await _on_thread(large, lambda: self._changed(sink, batch, ready, batched, ran))

    async def _ran(self, script: Script, batched: Batched, turn: Waiting) -> Ran:
        if self._scripts is None:
            raise RuntimeError("a sink has a transformation, and nothing was given that runs it")
        document = seen(batched)
        future: asyncio.Future[Ran] = asyncio.get_running_loop().create_future()

        def done(ran: Ran) -> None:
            if not future.done():
                future.set_result(ran)

        self._scripts.run(script, document, done, moment=moment_of(batched.id))
        await turn.wait(future, len(batched.events) + len(document))
        return future.result()

    def _changed(self, sink: Sink, batch: Batch, ready: Ready, batched: Batched, ran: Ran) -> SealedRequest | Exchange:
        target = sink.target
        if target is None:
            raise AssertionError(f"the sink {sink.id} has nowhere to send")
        try:
            returned = Returned(ran.document, ran.payload, ran.payload_kind)
            wanted = transformed(batched, returned, sink.stream_id, https_only=self._style.https_only)
            if wanted.cancelled:
                return _CANCELLED
            return self._sealed(target, batch, ready, wanted)
        except ValueError as error:
            return Exchange(0, error=ErrorClass.TRANSFORMATION, detail=f"the transformation cannot be used: {error}")

    def _sealed(self, target: Target, batch: Batch, ready: Ready, wanted: Transformed) -> SealedRequest:
        now_us = self._clock.now_us()
        signer = signer_of(signing(target.secrets, now_us)) if target.secrets else None
        return seal(
            request_plan(wanted.url, wanted.headers, signer, self._style.headers, wanted.method),
            message_id=batch.id.encode(),
            now_s=now_us // SECOND_US,
            body=wanted.body,
            content_type=wanted.content_type.encode(),
            sequence=ready.first_seq,
        )


async def _on_thread(wanted: bool, make: Callable[[], SealedRequest | Exchange]) -> SealedRequest | Exchange:
    return await asyncio.to_thread(make) if wanted else make()
