"""Who is at the dashboard? People log in with an org token, or with the link that the server printed; the browser then holds a session.

What the browser holds is known here by its SHA-256 alone. A session ends when it is idle, when it is old, when its person logs out, and
with the token that it was opened with; one that a signed token opened, with the key that signed it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import Unauthenticated
from ringback.model.applications import TokenKind
from ringback.model.dashboard import Session as Session
from ringback.services.tokens import DEFAULT_ORG_ID, LINK, Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import dashboard
from ringback.store.operations.dashboard import Kept

# A working day without a look, and a week at the most: whoever finds an open laptop finds little, and nobody logs in every hour.
IDLE_S: Final = 8 * 3_600
LIFE_S: Final = 7 * 86_400
# How long the link of the start may be used: as long as somebody who has just started a server looks for it.
LINK_LIFE_S: Final = 15 * 60
# Sessions of one organisation: more people than look at one server.
_MOST: Final = 200
# A session is marked as seen when the last mark is a minute old: a write a minute and person.
_MARK_US: Final = 60 * SECOND_US
# Bytes of chance in what the browser holds and in the link.
_CHANCE: Final = 32
_KEPT: Final = Kept(IDLE_S * SECOND_US, _MOST)


class Visitor(msgspec.Struct, frozen=True):
    """Somebody who is logged in: what they may reach, and their session."""

    who: Principal
    session: Session


class Sessions:
    """The sessions of one server. `draw(n)` gives n random bytes."""

    def __init__(self, store: Store, clock: Clock, tokens: Tokens, draw: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._tokens = tokens
        self._draw = draw
        self._link: tuple[bytes, float] | None = None

    async def log_in(self, token: str, address: str) -> str:
        """Open a session with an org token; what the browser is to hold. Raises Unauthenticated, StoreFailure."""
        who = await self._tokens.authenticate(b"Bearer " + token.strip().encode("utf-8", "surrogatepass"))
        if who.kind is not TokenKind.ORG:
            raise Unauthenticated
        return await self._open(who.org_id, who.token_id, who.expires_at, address, self._tokens.signing_key if who.signed else None)

    def offer_link(self) -> str:
        """The secret of a link that logs in, once and soon, for whoever can read what the server prints. A new one ends the former."""
        secret = self._draw(_CHANCE).hex()
        self._link = (_digest(secret), self._clock.monotonic_s() + LINK_LIFE_S)
        return secret

    async def follow_link(self, secret: str, address: str) -> str:
        """Open a session with the link; what the browser is to hold. Raises Unauthenticated, StoreFailure."""
        link = self._link
        if link is None or not hmac.compare_digest(link[0], _digest(secret)) or self._clock.monotonic_s() > link[1]:
            raise Unauthenticated
        # Given away before the first await: two requests at once are one use and one refusal.
        self._link = None
        return await self._open(DEFAULT_ORG_ID, None, None, address)

    async def believe(self, text: str, *, active: bool = True) -> Visitor | None:
        """Who holds this, if their session is not over. `active`: somebody did something, and it was no page that refreshed itself."""
        digest, now_us = _digest(text), self._clock.now_us()
        key = self._tokens.signing_key
        session = await self._store.read(lambda tx: dashboard.live(tx, digest, _KEPT, now_us, key))
        if session is None:
            return None
        if active and now_us - session.seen_at > _MARK_US:
            await self._store.write(lambda tx: dashboard.seen(tx, digest, now_us))
        who = Principal(TokenKind.ORG, session.org_id, None, session.token_id or LINK, expires_at=session.expires_at)
        return Visitor(who, session)

    async def log_out(self, session: Session) -> None:
        """End one session."""
        await self._store.write(lambda tx: dashboard.delete(tx, session.hash))

    async def log_out_all(self, who: Principal) -> int:
        """End all sessions of the caller's organisation; how many."""
        return await self._store.write(lambda tx: dashboard.delete_all(tx, who.org_id))

    async def _open(self, org_id: str, token_id: str | None, until_us: int | None, address: str, signed_with: bytes | None = None) -> str:
        text = self._draw(_CHANCE).hex()
        now_us = self._clock.now_us()
        ends_us = now_us + LIFE_S * SECOND_US
        if until_us is not None:
            ends_us = min(ends_us, until_us)
        session = Session(_digest(text), org_id, token_id, None, address, now_us, now_us, ends_us, signed_with)

        def operation(tx: Transaction) -> None:
            dashboard.insert(tx, session, _KEPT)

        await self._store.write(operation)
        return text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
