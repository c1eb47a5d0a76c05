"""Whose are an organisation's operational endpoints? Those of one hidden application, made when the first one is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import NotFound
from ringback.ids import IdMaker
from ringback.model.applications import Application
from ringback.model.operational import EVENTS
from ringback.policy import validation
from ringback.policy.operational import event_names
from ringback.policy.validation import Name, Rate, Rule, Secret, Url
from ringback.services.endpoints import UID
from ringback.services.operational import Operational
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import operational

_NAME: Final = "Operational webhooks"
_Events = Annotated[
    tuple[Annotated[Name, msgspec.Meta(extra_json_schema={"enum": list(EVENTS)})], ...],
    msgspec.Meta(extra_json_schema={"minItems": 1, "uniqueItems": True}),
]


class OperationalEndpointUpsertIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole operational endpoint, as it should be, less what a replacement never touches. Its event types are operational events."""

    url: Url
    description: str = ""
    uid: Name | None = None
    disabled: bool = False
    event_types: _Events | None = None
    metadata: dict[str, str] | None = None
    throttle_rate: Rate | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "url": validation.url,
        "description": validation.text,
        "uid": UID,
        "event_types": event_names,
        "metadata": validation.metadata,
    }


class OperationalEndpointIn(OperationalEndpointUpsertIn, frozen=True, kw_only=True, rename="camel"):
    """A new one, with its secret (None: make one) and its headers."""

    secret: Secret | None = None
    headers: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        **OperationalEndpointUpsertIn.RULES,
        "secret": validation.secret,
        "headers": validation.headers,
    }


class OperationalEndpoints:
    """Knows the application whose endpoints, messages and attempts are an organisation's operational ones."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, news: Operational) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._news = news

    async def application(self, who: Principal) -> str:
        """The id of that application. Raises NotFound when no operational endpoint was ever wanted."""
        found = await self._store.read(lambda tx: operational.application_id(tx, who.org_id))
        if found is None:
            raise NotFound
        return found

    async def made(self, who: Principal) -> str:
        """The id of that application, which is made if there is none."""

        def operation(tx: Transaction) -> str:
            self._news.listen(who.org_id)
            found = operational.application_id(tx, who.org_id)
            if found is not None:
                return found
            now_us = self._clock.now_us()
            new = Application(self._ids.make(ids.APPLICATION, now_us), who.org_id, _NAME, None, None, {}, now_us, now_us)
            operational.add_application(tx, new)
            return new.id

        return await self._store.write(operation)
