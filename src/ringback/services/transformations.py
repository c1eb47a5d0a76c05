"""What can be done with transformations? They are read and written, switched on, and tried on past messages before that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET, UnsetType

from ringback.clock import Clock
from ringback.delivery.scripting_turns import Script
from ringback.delivery.seal import MASK
from ringback.errors import FieldProblem, InvalidField, NotBuilt, Refused
from ringback.model.endpoints import Endpoint
from ringback.model.messages import Message
from ringback.model.transformations import Transformation
from ringback.policy import validation
from ringback.policy.transforming import Webhook, seen, transformed
from ringback.policy.urls import split_url
from ringback.policy.validation import Name, Problem, Rule, is_sensitive
from ringback.services.applications import Directory
from ringback.services.connectors import Code
from ringback.services.endpoints import Told, find
from ringback.services.masking import shown
from ringback.services.tokens import Principal
from ringback.services.trials import Engine, Judged, Trials, judged
from ringback.store.base import Store, Transaction
from ringback.store.operations import messages, recent, transformations
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.polls import Wanted

# As much as the code itself may have: variables are keys and addresses, not data.
MAX_VARIABLES_BYTES: Final = 51_200
# Messages that are looked at for one whose payload is still there.
_LOOKED_AT: Final = 20
# The type of the message that is sent to try an endpoint; it needs no registration.
_TEST: Final = "svix.ping"


def variables_rule(value: Mapping[str, str]) -> Sequence[Problem]:
    """The rule for the variables of a transformation."""
    size = len(msgspec.json.encode(value))
    if size > MAX_VARIABLES_BYTES:
        return [((), f"the variables have {size} bytes as compact JSON; at most {MAX_VARIABLES_BYTES} are allowed")]
    return ()


class TransformationPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of a transformation: what is unset stays, None removes. New code does not enable it by itself."""

    code: Code | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    variables: dict[str, str] | UnsetType | None = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = {"variables": variables_rule}


class TransformationTryIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Code to try, which is not kept, and on which message.

    Code and variables that are not given are those of the endpoint. `msg_id` is the id or eventId of a message; without it, and without a
    `payload`, the newest one that the endpoint wants and whose payload is still there.
    """

    code: Code | None = None
    variables: dict[str, str] | None = None
    msg_id: str | None = None
    event_type: Name | None = None
    payload: dict[str, Any] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"variables": variables_rule, "event_type": validation.name}


class TransformationTrial(msgspec.Struct, frozen=True):
    """What a transformation would have made of a message of this type; `message_id` is None when a payload was given."""

    judged: Judged
    message_id: str | None
    event_type: str


class Transformations:
    """The transformations of endpoints; each verb sees those of its caller alone. `told` hears of each change, as one of its endpoint."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        engine: Engine,
        directory: Directory,
        told: Told = lambda tx, former, now: None,
        *,
        https_only: bool = False,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._engine = engine
        self._directory = directory
        self._told = told
        self._https_only = https_only
        self._trials = Trials(engine, "this application")

    @property
    def missing(self) -> str | None:
        """Why no transformation can run on this server; None = they can."""
        return self._engine.missing

    async def get(self, who: Principal, app: str, endpoint: str) -> Transformation:
        """The transformation of an endpoint. Raises NotFound."""

        def query(tx: Transaction) -> Transformation:
            return transformations.of_endpoint(tx, self._vault, find(tx, self._vault, who, app, endpoint).id)

        return await self._store.read(query)

    async def patch(self, who: Principal, app: str, endpoint: str, change: TransformationPatch) -> Transformation:
        """Change some of it. Raises NotFound, InvalidField (enabled without code) and NotBuilt (enabled without an engine)."""
        changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}

        def operation(tx: Transaction) -> tuple[str, Transformation]:
            found = find(tx, self._vault, who, app, endpoint)
            former = transformations.of_endpoint(tx, self._vault, found.id)
            wanted = msgspec.structs.replace(former, **changes)
            if change.enabled is True:
                self._check(wanted)
            elif wanted.code is None:
                # Or code that comes later would be on at once.
                wanted = msgspec.structs.replace(wanted, enabled=False)
            self._told(tx, found, found)
            if wanted == former:
                return found.app_id, former
            stored = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), (former.updated_at or 0) + 1))
            transformations.put(tx, self._vault, found.id, stored)
            return found.app_id, stored

        app_id, stored = await self._store.write(operation)
        self._directory.changed(app_id)
        return stored

    async def tried(self, who: Principal, app: str, endpoint: str, wanted: TransformationTryIn) -> TransformationTrial:
        """What code would make of a message. Raises NotFound, Refused (there is nothing to try it on), InvalidField and NotBuilt."""
        if self._engine.missing is not None:
            raise NotBuilt(self._lacking())
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> tuple[Endpoint, Transformation, Message | None]:
            found = find(tx, self._vault, who, app, endpoint)
            # Whoever tries it sees what comes of it: of sensitive fields the masks.
            message = None if wanted.payload is not None else shown(_chosen(tx, found, wanted.msg_id, now_us))
            return found, transformations.of_endpoint(tx, self._vault, found.id), message

        found, kept, message = await self._store.read(query)
        code = wanted.code or kept.code
        if code is None:
            raise InvalidField(FieldProblem(("body", "code"), "the endpoint has no code yet; give some to try"))
        webhook = _webhook(found, message, wanted, kept)
        # Named apart from the endpoint: what is tried says nothing of what is on.
        script = Script(f"try:{found.id}", found.app_id, code)
        ran = await self._trials.ran(script, seen(webhook))
        made = judged(ran, lambda: transformed(webhook, ran.document, ran.payload, ran.payload_kind, https_only=self._https_only))
        return TransformationTrial(made, None if message is None else message.id, webhook.event_type)

    def _check(self, wanted: Transformation) -> None:
        """May it be switched on?"""
        if wanted.code is None:
            message = "there is no code to enable; give `code` as well, or set it before"
            raise InvalidField(FieldProblem(("body", "enabled"), message))
        if self._engine.missing is not None:
            raise NotBuilt(self._lacking())

    def _lacking(self) -> str:
        return (
            f"a transformation cannot be run: {self._engine.missing}; code and variables are kept, and messages are sent unchanged; "
            "leave `enabled` out, or set it to false"
        )


def _chosen(tx: Transaction, endpoint: Endpoint, reference: str | None, now_us: int) -> Message:
    """The message to try it on."""
    if reference is not None:
        message = messages.find(tx, endpoint.app_id, reference, now_us)
        if message is None:
            raise InvalidField(
                FieldProblem(("body", "msgId"), f"the application has no message {reference!r}; give the id of one, or none")
            )
        if message.payload is None:
            raise Refused("missing_payload", f"the payload of message {message.id} was expunged or has expired; choose another message")
        return message
    for head in recent.newest(tx, endpoint.app_id, Wanted(endpoint.event_types, endpoint.channels), _LOOKED_AT):
        message = messages.find(tx, endpoint.app_id, head.id, now_us)
        if message is not None and message.payload is not None:
            return message
    raise Refused("no_message", "no message that the endpoint wants has come yet; give a `payload` to try it on, and an `eventType`")


def without_secrets(url: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Where something is sent, and with which headers, for the eyes of whoever tries a transformation."""
    parts = split_url(url)
    shown = {name: MASK if is_sensitive(name) else value for name, value in headers.items()}
    return f"{parts.scheme}://{parts.authority}{parts.target}", shown


def _webhook(endpoint: Endpoint, message: Message | None, wanted: TransformationTryIn, kept: Transformation) -> Webhook:
    """The request that is tried: without what the endpoint keeps secret, as whoever tries it sees what comes of it."""
    url, headers = without_secrets(endpoint.url, endpoint.headers)
    variables = kept.variables if wanted.variables is None else wanted.variables
    if message is None:
        payload = msgspec.json.encode(wanted.payload or {})
        return Webhook(url, headers, payload, "application/json", False, wanted.event_type or _TEST, None, variables)
    event_type = wanted.event_type or message.event_type
    return Webhook(url, headers, message.payload or b"", message.content_type, message.raw, event_type, message.channels, variables)
