"""How does a customer reach one stream, and how does that end? Tokens of a stream: made, ended alone, ended all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from ringback.clock import SECOND_US
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

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    async def admit(
        self, who: Principal, stream: str, wanted: StreamPortalAccessIn, also: Callable[[Transaction, str], None] | None = None
    ) -> str:
        """A new token of a stream: its text, which nobody can read again. Raises NotFound."""

        def grant(tx: Transaction) -> Grant:
            return Grant(None, None, wanted.feature_flags or (), wanted.session_id, stream_id=find(tx, who, stream).id)

        life_s = MAX_LIFE_S if wanted.expiry is None else wanted.expiry
        return await self._tokens.admit(who.org_id, grant, name="stream portal", life_s=life_s, also=also)

    async def leave(self, who: Principal) -> None:
        """End the caller's own token."""
        await self._tokens.log_out(who)

    async def expire_all(self, who: Principal, stream: str, wanted: StreamTokenExpireIn) -> None:
        """End the portal tokens of a stream. Raises NotFound."""
        stream_id = (await self._store.read(lambda tx: find(tx, who, stream))).id
        # An empty list names no session, as none at all does: clients send both.
        await self._tokens.expire_stream(stream_id, wanted.session_ids or None, (wanted.expiry or 0) * SECOND_US)
