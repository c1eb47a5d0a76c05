"""Which tokens may call for an organisation? Its own, seen, made and revoked by whoever holds one; and how many portal tokens there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound
from ringback.model.applications import Token, TokenKind
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Rule
from ringback.services.applications import find
from ringback.services.tokens import Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import tokens

# Characters of a name: what fits on a line.
_NAME_CHARS: Final = 100
# Seconds: from an hour up to ten years.
_LIFE_MIN_S: Final = 3_600
_LIFE_MAX_S: Final = 10 * 366 * 86_400
# Nobody decides differently for more than this.
MOST: Final = 10_000

_Life = Annotated[int, msgspec.Meta(ge=_LIFE_MIN_S, le=_LIFE_MAX_S)]


class OrgTokenIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A name by which people know the new token, and for how many seconds it is to work (None: until it is revoked)."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=_NAME_CHARS)]
    expiry: _Life | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.text}


class Revoking(msgspec.Struct, frozen=True):
    """What revoking a token would mean. `last`: no other org token of the organisation works."""

    token: Token
    last: bool


class OrgTokens:
    """The org tokens of every organisation; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, tokens: Tokens) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens

    async def page(self, who: Principal, walk: Walk) -> Page[Token]:
        """One page of them, revoked and expired ones too."""
        return cut(await self._store.read(lambda tx: tokens.page(tx, who.org_id, walk)), walk)

    async def create(self, who: Principal, wanted: OrgTokenIn) -> tuple[Token, str]:
        """A new token, and its text: this once."""
        expires_at = None if wanted.expiry is None else self._clock.now_us() + wanted.expiry * SECOND_US
        return await self._tokens.make(who, wanted.name, expires_at)

    async def revoking(self, who: Principal, token_id: str) -> Revoking:
        """What revoking would mean. Raises NotFound."""
        now_us = self._clock.now_us()

        def query(tx: Transaction) -> Revoking:
            token = _find(tx, who, token_id)
            return Revoking(token, works(token, now_us) and tokens.usable_of(tx, who.org_id, now_us, 2) == 1)

        return await self._store.read(query)

    async def revoke(self, who: Principal, token_id: str) -> Token:
        """Make a token useless at once. Raises NotFound."""
        # Whose it is never changes, so that it need not be looked up in the transaction that revokes.
        await self._store.read(lambda tx: _find(tx, who, token_id))
        return await self._tokens.revoke(token_id)

    async def portal_tokens(self, who: Principal, app: str) -> int:
        """How many portal tokens of an application work, counted up to `MOST`. Raises NotFound."""
        now_us = self._clock.now_us()
        return await self._store.read(lambda tx: tokens.portal_tokens_of(tx, find(tx, who, app).id, now_us, MOST))


def works(token: Token, now_us: int) -> bool:
    """Is a token believed at this time?"""
    return token.revoked_at is None and (token.expires_at is None or token.expires_at > now_us)


def _find(tx: Transaction, who: Principal, token_id: str) -> Token:
    token = tokens.by_id(tx, token_id)
    if token is None or token.org_id != who.org_id or token.kind is not TokenKind.ORG:
        raise NotFound
    return token
