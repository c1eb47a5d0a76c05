"""How does a customer reach one stream, and how does that end? Tokens of a stream: made, ended alone, ended all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.policy.validation import Rule
from ringback.services.portal import MAX_LIFE_S, ApplicationTokenExpireIn, LifeS, PortalFlags, SessionId, flags, session
from ringback.services.streams import find
from ringback.services.tokens import Grant, Principal, Tokens
from ringback.store.base import Store, Transaction


class StreamPortalAccessIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Which feature flags a token of a stream holds, for how many seconds it works, and of which session it is."""

    feature_flags: PortalFlags | None = None
    expiry: LifeS | None = MAX_LIFE_S
    session_id: SessionId | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"feature_flags": flags, "session_id": session}


class StreamTokenExpireIn(ApplicationTokenExpireIn, frozen=True, kw_only=True, rename="camel"):
    """In how many seconds tokens end (None: now), and those of which sessions (None: all)."""


class StreamPortal:
    """The portal tokens of every stream."""

    def __init__(self, store: Store, clock: Clock, tokens: Tokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def admit(
        self, who: Principal, stream: str, wanted: StreamPortalAccessIn, also: Callable[[Transaction, str], None] | None = None
    ) -> str:
        """A new token of a stream: its text, which nobody can read again. Raises NotFound."""
        life_s = MAX_LIFE_S if wanted.expiry is None else wanted.expiry

        def operation(tx: Transaction) -> str:
            grant = Grant(None, None, wanted.feature_flags or (), wanted.session_id, stream_id=find(tx, who, stream).id)
            expires_at = self._clock.now_us() + life_s * SECOND_US
            _, text = self._tokens.grant(tx, who.org_id, grant, name="stream portal", expires_at=expires_at)
            if also is not None:
                also(tx, text)
            return text

        return await self._store.write(operation)

    async def leave(self, who: Principal) -> None:
        """End the caller's own token."""
        await self._tokens.log_out(who)

    async def expire_all(self, who: Principal, stream: str, wanted: StreamTokenExpireIn) -> None:
        """End the portal tokens of a stream. Raises NotFound."""
        stream_id = (await self._store.read(lambda tx: find(tx, who, stream))).id
        # An empty list names no session, as none at all does: clients send both.
        await self._tokens.expire_stream(stream_id, wanted.session_ids or None, (wanted.expiry or 0) * SECOND_US)
