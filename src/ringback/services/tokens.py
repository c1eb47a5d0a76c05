"""Who is calling? Tokens: made, believed, listed, revoked.

A token's text is shown once, when it is made; the store keeps its SHA-256. Tokens that were believed once are remembered in memory, so that
the next request with the same one costs a hash and a look-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound, Unauthenticated
from ringback.ids import IdMaker
from ringback.model.applications import Organisation, Token, TokenKind
from ringback.store.base import Store, Transaction
from ringback.store.operations import organisations, tokens
from ringback.telemetry.events import TOKEN_MADE
from ringback.telemetry.log import log

# The organisation of a new server: the id that the reference server's tokens carry, so that they find their rows after a move.
DEFAULT_ORG_ID = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
DEFAULT_ORG_NAME = "default"

# 36 base62 characters hold 214 bits, and the contract asks for at least 32.
_TEXT_CHARS = 36
_PREFIXES = {TokenKind.ORG: "sk_", TokenKind.APP: "appsk_"}
_BEARER = b"Bearer "
# Tokens remembered in memory, about 400 bytes each: as many as may call within minutes, and a bound on what strangers can fill.
_REMEMBERED = 10_000
# Later than every expiry: tokens without one compare like the others.
_NEVER_US = 1 << 62


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who is calling, as far as that matters: what may be reached, and which token said so."""

    kind: TokenKind
    org_id: str
    app_id: str | None
    token_id: str


class _Known(msgspec.Struct, frozen=True, gc=False):
    principal: Principal
    expires_at: int


class Tokens:
    """The tokens of one server. `draw(n)` gives a random number of n bits."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, draw: Callable[[int], int]) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._draw = draw
        self._known: dict[bytes, _Known] = {}
        self._revocations = 0

    def known(self, authorization: bytes) -> Principal | None:
        """Who sent this `Authorization` value, if the token was believed before and still holds. Never blocks; None: ask `authenticate`."""
        known = self._known.get(hashlib.sha256(authorization[7:]).digest())
        if known is None or known.expires_at <= self._clock.now_us() or authorization[:7] != _BEARER:
            return None
        return known.principal

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """Who sent this `Authorization` value. Raises Unauthenticated, and StoreFailure when nobody can say."""
        if authorization is None:
            raise Unauthenticated
        principal = self.known(authorization)
        if principal is not None:
            return principal
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not text.strip():
            raise Unauthenticated
        return await self._believe(hashlib.sha256(text.strip()).digest())

    async def create(
        self, org_name: str = DEFAULT_ORG_NAME, *, name: str = "", app_id: str | None = None, expires_at: int | None = None
    ) -> tuple[Token, str]:
        """A new token and its text, which nobody can ever read again. Makes the organisation when there is none of that name."""
        kind = TokenKind.ORG if app_id is None else TokenKind.APP
        text = _PREFIXES[kind] + self._random_text()
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Token:
            org = organisations.by_name(tx, org_name)
            if org is None:
                org_id = DEFAULT_ORG_ID if org_name == DEFAULT_ORG_NAME else self._ids.make(ids.ORGANISATION, now_us)
                org = Organisation(org_id, org_name, now_us)
                organisations.insert(tx, org)
            return self._insert(tx, org.id, kind, app_id, text, name, now_us, expires_at)

        token = await self._store.write(operation)
        log(TOKEN_MADE, token_id=token.id, organisation=org_name)
        return token, text

    async def list(self, org_name: str | None = None) -> list[Token]:
        """All tokens, of one organisation or of all, the oldest first, revoked ones too. Raises NotFound for an unknown organisation."""

        def query(tx: Transaction) -> list[Token]:
            if org_name is None:
                return tokens.all_of(tx, None)
            org = organisations.by_name(tx, org_name)
            if org is None:
                raise NotFound(f"no organisation is named {org_name!r}")
            return tokens.all_of(tx, org.id)

        return await self._store.read(query)

    async def revoke(self, token_id: str) -> Token:
        """Make a token useless, at once in this process. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Token:
            token = tokens.by_id(tx, token_id)
            if token is None:
                raise NotFound(f"no token has the id {token_id!r}")
            tokens.revoke(tx, token_id, now_us)
            return token

        token = await self._store.write(operation)
        self._revocations += 1
        self._known.pop(token.hash, None)
        return token

    def forget_application(self, app_id: str) -> None:
        """Believe no token of this application without asking the store again: it was deleted."""
        self._revocations += 1
        self._known = {digest: known for digest, known in self._known.items() if known.principal.app_id != app_id}

    async def ensure_first(self, given: str | None) -> str | None:
        """Make sure that somebody can call this server: with the token `given`, or with a new one, whose text is returned this once.

        Raises Conflict when the given token was revoked.
        """
        text = given or _PREFIXES[TokenKind.ORG] + self._random_text()
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> bool:
            if organisations.by_id(tx, DEFAULT_ORG_ID) is None:
                organisations.insert(tx, Organisation(DEFAULT_ORG_ID, DEFAULT_ORG_NAME, now_us))
            if given is None:
                wanted = not tokens.usable_exists(tx, DEFAULT_ORG_ID, now_us)
            else:
                former = tokens.by_hash(tx, _hash(given))
                if former is not None and former.revoked_at is not None:
                    raise Conflict("the token in the setting `token` was revoked; set another one, or remove the setting")
                wanted = former is None
            if wanted:
                name = "first" if given is None else "from the settings"
                self._insert(tx, DEFAULT_ORG_ID, TokenKind.ORG, None, text, name, now_us, None)
            return wanted

        made = await self._store.write(operation)
        return text if made and given is None else None

    async def _believe(self, digest: bytes) -> Principal:
        now_us = self._clock.now_us()
        revocations = self._revocations
        token = await self._store.read(lambda tx: tokens.usable_by_hash(tx, digest, now_us))
        if token is None:
            raise Unauthenticated
        principal = Principal(token.kind, token.org_id, token.app_id, token.id)
        # A revocation may have committed after our snapshot: then the next request asks again.
        if revocations == self._revocations:
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[digest] = _Known(principal, token.expires_at or _NEVER_US)
        return principal

    def _insert(
        self, tx: Transaction, org_id: str, kind: TokenKind, app_id: str | None, text: str, name: str, now_us: int, expires_at: int | None
    ) -> Token:
        token = Token(
            id=self._ids.make("key_", now_us),
            org_id=org_id,
            kind=kind,
            app_id=app_id,
            hash=_hash(text),
            name=name,
            created_at=now_us,
            expires_at=expires_at,
            revoked_at=None,
        )
        tokens.insert(tx, token)
        return token

    def _random_text(self) -> str:
        number = self._draw(_TEXT_CHARS * 6)
        digits = []
        for _ in range(_TEXT_CHARS):
            number, digit = divmod(number, 62)
            digits.append(ids.ALPHABET[digit])
        return "".join(digits)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
