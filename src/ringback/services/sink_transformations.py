"""What can be done with the transformations of sinks? They are read and set, and tried on past events before that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.delivery.scripting_turns import Ran, Script, moment_of
from ringback.errors import FieldProblem, InvalidField, NotBuilt, Refused
from ringback.ids import IdMaker
from ringback.model.streams import Sink
from ringback.model.transformations import Transformation
from ringback.policy.batching import Batched, Returned, apart_of, seen, transformed
from ringback.policy.streams import body_of, with_code
from ringback.policy.transforming import place_of
from ringback.policy.validation import Rule
from ringback.services.connectors import Code
from ringback.services.sinks import find, target_of
from ringback.services.streams import MAX_EVENTS, EventIn, events_rule
from ringback.services.tokens import Principal
from ringback.services.transformations import without_secrets
from ringback.services.trials import Engine, Judged, Trials, judged
from ringback.store.base import Store, Transaction
from ringback.store.operations import sinks, streams, transformations
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.streams import Wanted

# Bytes of payloads of past events that code is tried on: a whole batch, as sinks get it.
_MAX_BYTES: Final = 1024 * 1024


class SinkTransformIn(msgspec.Struct, frozen=True, kw_only=True):
    """Another transformation, which is on by that, or (None) none."""

    code: Code | None = None


class SinkTransformationTryIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Code to try, which is not kept, and on which events.

    Without code it is that of the sink. Without `events` these are the newest that the sink wants: as many as it gets in a batch.
    """

    code: Code | None = None
    events: Annotated[tuple[EventIn, ...], msgspec.Meta(min_length=1, max_length=MAX_EVENTS)] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"events": events_rule}


class SinkTransformationTrial(msgspec.Struct, frozen=True):
    """What a transformation would have made of a batch of so many events."""

    judged: Judged
    events: int


class SinkTransformations:
    """The transformations of sinks; each verb sees those of its caller alone. `changed` hears of each sink, by its stream and its id."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        engine: Engine,
        changed: Callable[[str, str], None],
        *,
        https_only: bool = False,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._engine = engine
        self._trials = Trials(engine, "this stream")
        self._changed = changed
        self._https_only = https_only

    @property
    def missing(self) -> str | None:
        """Why no transformation can run on this server; None = they can."""
        return self._engine.missing

    async def get(self, who: Principal, stream: str, ref: str) -> Transformation:
        """The transformation of a sink. Raises NotFound."""

        def query(tx: Transaction) -> Transformation:
            return transformations.of_endpoint(tx, self._vault, find(tx, self._vault, who, stream, ref).id)

        return await self._store.read(query)

    async def set(self, who: Principal, stream: str, ref: str, wanted: SinkTransformIn) -> Sink:
        """Have this transformation from the next attempt on, or none.

        Raises NotFound, InvalidField for code that has no handler, and NotBuilt for code where nothing runs it.
        """
        if wanted.code is not None:
            if self._engine.missing is not None:
                raise NotBuilt(
                    f"a transformation cannot be run: {self._engine.missing}; nothing was kept, since code of a sink is on at once; set "
                    "`code` to null, or install the engine"
                )
            await self._check(await self._store.read(lambda tx: find(tx, self._vault, who, stream, ref)), wanted.code)

        def operation(tx: Transaction) -> Sink:
            sink = find(tx, self._vault, who, stream, ref)
            former = transformations.of_endpoint(tx, self._vault, sink.id)
            if (former.code, former.enabled) != (wanted.code, wanted.code is not None):
                at_us = max(self._clock.now_us(), (former.updated_at or 0) + 1)
                transformations.put(tx, self._vault, sink.id, Transformation(wanted.code, wanted.code is not None, None, at_us))
            progress = with_code(sink.progress) if wanted.code is not None else sink.progress
            if progress != sink.progress:
                sinks.go_on(tx, sink.id, progress)
            return sink

        sink = await self._store.write(operation)
        self._changed(sink.stream_id, sink.id)
        return sink

    async def _check(self, sink: Sink, code: str) -> None:
        """Is this code that can be called? Where that cannot be said now, its first batch will tell."""
        try:
            ran = await self._trials.ran(Script(f"try:{sink.id}", sink.stream_id, code, "nothing"), b"")
        except Refused:
            return
        if ran.outcome not in ("returned", "unavailable"):
            place = place_of(ran.line, ran.column) if ran.outcome == "threw" else ""
            raise InvalidField(FieldProblem(("body", "code"), f"it cannot be used: {ran.words}{place}"))

    async def tried(self, who: Principal, stream: str, ref: str, wanted: SinkTransformationTryIn) -> SinkTransformationTrial:
        """What code would make of a batch. Raises NotFound, Refused (there is nothing to try it on), InvalidField and NotBuilt."""
        if self._engine.missing is not None:
            raise NotBuilt(f"a transformation cannot be run: {self._engine.missing}")

        def query(tx: Transaction) -> tuple[Sink, Transformation, bytes, int]:
            sink = find(tx, self._vault, who, stream, ref)
            if wanted.events is not None:
                body = msgspec.json.encode([{"eventType": event.event_type, "payload": event.payload} for event in wanted.events])
                return sink, transformations.of_endpoint(tx, self._vault, sink.id), body, len(wanted.events)
            past = streams.newest(tx, sink.stream_id, Wanted(sink.event_types, sink.channels, sink.batch_size, _MAX_BYTES))
            return sink, transformations.of_endpoint(tx, self._vault, sink.id), body_of(past), len(past)

        sink, kept, body, count = await self._store.read(query)
        target = target_of(sink)
        code = wanted.code or kept.code
        if code is None:
            raise InvalidField(FieldProblem(("body", "code"), "the sink has no code yet; give some to try"))
        if not count:
            raise Refused("no_event", "no event that the sink wants has come yet; give `events` to try it on")
        url, headers = without_secrets(target.url, target.headers)
        batch_id = self._ids.make(ids.BATCH, self._clock.now_us())
        batch = Batched(batch_id, url, headers, body, apart_of(sink.type))
        # Named apart from the sink: what is tried says nothing of what is on.
        script = Script(f"try:{sink.id}", sink.stream_id, code, batch.apart)
        ran = await self._trials.ran(script, seen(batch), moment_of(batch_id))
        # On a thread: spans of 2 MiB take 50 ms.
        return SinkTransformationTrial(await asyncio.to_thread(self._judged, sink, batch, ran), count)

    def _judged(self, sink: Sink, batch: Batched, ran: Ran) -> Judged:
        returned = Returned(ran.document, ran.payload, ran.payload_kind)
        return judged(ran, lambda: transformed(batch, returned, sink.stream_id, https_only=self._https_only))
