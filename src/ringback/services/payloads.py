"""Is this payload what its event type promises? Compared with the newest schema of the type when it is published, where that is wanted.

Which types are watched is known in memory, so that a message of any other costs one look into a dictionary, which is mostly empty.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import FieldProblem, InvalidField, Unavailable
from ringback.model.event_types import EventType, PayloadValidation
from ringback.policy.json_instances import Fit, Misfit, compile_draft7
from ringback.policy.json_schemas import newest
from ringback.services.checking import Checker, Compared
from ringback.store.base import Store
from ringback.store.operations import event_types
from ringback.telemetry.events import PAYLOAD_MISFITS, PAYLOAD_SCHEMA_UNUSABLE
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import Metrics

# Payloads and schemas up to this are compared on the event loop, mostly in less than a millisecond; others by a process of its own.
_INLINE_BYTES: Final = 64 * 1024
# A schema that once held the event loop for so long is used by the process from then on (CONTRIBUTING.md, rule 9).
_INLINE_S: Final = 0.005
# With references, a schema of some lines can ask for more work than anybody has time for.
_REFERENCES: Final = (b'"$ref"', b'"$dynamicRef"', b'"$recursiveRef"')
# Schemas remembered compiled.
_COMPILED: Final = 1_000
# Misfits of one event type are logged once in so long: whoever publishes them does so thousands of times.
_LOG_EVERY_US: Final = 60 * SECOND_US

_Key: TypeAlias = tuple[str, str]
Watched: TypeAlias = Literal["warn", "reject"]


class _Schema(msgspec.Struct, frozen=True):
    """The newest schema of a type. Without `fit` it is too large to be used here; `unusable` says why it is not used at all."""

    text: bytes
    fit: Fit | None = None
    unusable: str | None = None


class Payloads:
    """What publishers send, compared with what is promised. `default` is what event types that say nothing get."""

    def __init__(self, store: Store, clock: Clock, metrics: Metrics, default: PayloadValidation) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._default: PayloadValidation = default
        self._checker = Checker()
        self._schemas: dict[_Key, _Schema] = {}
        self._logged: dict[_Key, int] = {}
        self._changes = 0
        # Organisation and name of every type whose payloads are compared, and what becomes of those that do not fit.
        self.watched: dict[_Key, Watched] = {}

    async def load(self) -> None:
        """Read which types are watched. Once, before the first message."""
        for org_id, name, wanted in await self._store.read(event_types.with_schemas):
            self._watch((org_id, name), wanted)

    async def close(self) -> None:
        """Compare nothing any more."""
        await self._checker.close()

    def changed(self, org_id: str, name: str, event_type: EventType | None) -> None:
        """An event type is this now, or gone: durably."""
        key = (org_id, name)
        self._changes += 1
        self._schemas.pop(key, None)
        self._logged.pop(key, None)
        if event_type is not None and event_type.schemas:
            self._watch(key, event_type.payload_validation)
        else:
            self.watched.pop(key, None)

    def unusable(self, event_type: EventType) -> str | None:
        """Why payloads of this type could not be compared with its schema, although they are to be."""
        if self._mode(event_type.payload_validation) is None or not event_type.schemas:
            return None
        # Compiled here whatever it is: compiling takes no longer than reading.
        return _read(event_type, inline=True).unusable

    async def check(self, org_id: str, name: str, payload: bytes) -> None:
        """Compare a payload with the schema of its type, where that is watched.

        Raises InvalidField when it does not fit and must, and Unavailable when that cannot be told.
        """
        key = (org_id, name)
        mode = self.watched.get(key)
        if mode is None:
            return
        try:
            compared = await self._compared(key, payload)
        except Unavailable:
            # A warning that cannot be given must not cost the message.
            if mode == "reject":
                raise
            return
        if compared.unusable is not None and self._may_log(key):
            log(PAYLOAD_SCHEMA_UNUSABLE, event_type=name, error=compared.unusable)
        if compared.misfits:
            if self._may_log(key):
                first = compared.misfits[0]
                log(PAYLOAD_MISFITS, event_type=name, mode=mode, where="/".join(first.where), rule=first.rule)
            if mode == "reject":
                self._metrics.payloads_refused += 1
                raise InvalidField(*(_problem(name, misfit) for misfit in compared.misfits))
            self._metrics.payloads_warned += 1

    def _mode(self, wanted: PayloadValidation | None) -> Watched | None:
        mode = wanted or self._default
        return None if mode == "off" else mode

    def _watch(self, key: _Key, wanted: PayloadValidation | None) -> None:
        mode = self._mode(wanted)
        if mode is None:
            self.watched.pop(key, None)
        else:
            self.watched[key] = mode

    async def _compared(self, key: _Key, payload: bytes) -> Compared:
        schema = self._schemas.get(key) or await self._load(key)
        if schema.unusable is not None:
            return Compared(unusable=schema.unusable)
        if schema.fit is None or len(payload) > _INLINE_BYTES:
            return await self._checker.compare(schema.text, payload)
        began_s = self._clock.monotonic_s()
        compared = Compared(schema.fit(payload))
        if self._clock.monotonic_s() - began_s > _INLINE_S:
            self._schemas[key] = _Schema(schema.text)
        return compared

    async def _load(self, key: _Key) -> _Schema:
        while True:
            changes = self._changes
            event_type = await self._store.read(lambda tx: event_types.by_name(tx, *key))
            if changes == self._changes:
                break
        # A type that is gone by now promises nothing.
        schema = _Schema(b"true", compile_draft7(True)) if event_type is None else _read(event_type)
        if len(self._schemas) >= _COMPILED:
            del self._schemas[next(iter(self._schemas))]
        self._schemas[key] = schema
        return schema

    def _may_log(self, key: _Key) -> bool:
        now_us = self._clock.now_us()
        if now_us < self._logged.get(key, 0) + _LOG_EVERY_US:
            return False
        self._logged[key] = now_us
        return True


def _read(event_type: EventType, *, inline: bool = False) -> _Schema:
    schema = newest(event_type.schemas or {})
    if schema is None:
        schema = True
    text = msgspec.json.encode(schema)
    if len(text) > _INLINE_BYTES or (not inline and any(reference in text for reference in _REFERENCES)):
        return _Schema(text)
    try:
        return _Schema(text, compile_draft7(schema))
    except ValueError as error:
        return _Schema(text, unusable=str(error))


def _problem(name: str, misfit: Misfit) -> FieldProblem:
    # The value itself is not repeated: it may be anything.
    where = f"of the newest schema of event type {name!r}"
    message = (
        f"the field is missing; the rule {misfit.rule} {where} asks for it"
        if misfit.missing
        else f"the value breaks the rule {misfit.rule} {where}"
    )
    return FieldProblem(("body", "payload", *misfit.where), message)
