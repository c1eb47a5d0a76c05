"""Who is calling? Tokens: made, believed, listed, revoked.

A token's text is shown once, when it is made; the store keeps its SHA-256. Tokens that were believed once are remembered in memory, so that
the next request with the same one costs a hash and a look-up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.errors import Conflict, Forbidden, NotFound, RingbackError, Unauthenticated
from ringback.ids import IdMaker
from ringback.model.applications import Capability, Organisation, Token, TokenKind
from ringback.services.jwts import Claims, Jwts
from ringback.signing.jwt import LEEWAY_S
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications, organisations, tokens
from ringback.telemetry.events import TOKEN_MADE
from ringback.telemetry.log import log

# The organisation of a new server: the id that the reference server's tokens carry, so that they find their rows after a move.
DEFAULT_ORG_ID = "org_23rb8YdGqMT0qIzpgGwdXfHirMu"
DEFAULT_ORG_NAME = "default"

# 36 base62 characters hold 214 bits, and the contract asks for at least 32.
_TEXT_CHARS = 36
_PREFIXES = {TokenKind.ORG: "sk_", TokenKind.APP: "appsk_"}
_INTEGRATION_PREFIX = "sk_integ_"
_POLLER_PREFIX = "sk_poll_"
_STREAM_PREFIX = "strmsk_"
# The token id of somebody who came to the dashboard by the link that the server printed, with no token at all.
LINK = "link"
# The token id of a caller with a signed token, which is stored nowhere: this and the hex SHA-256 of its text.
_SIGNED = "jwt_"
_BEARER = b"Bearer "
# Tokens remembered in memory, about 400 bytes each: as many as may call within minutes, and a bound on what strangers can fill.
_REMEMBERED = 10_000
# Tokens whose use is written down in one step: some tenths of a millisecond.
_SLICE = 100
# Later than every expiry: tokens without one compare like the others.
_NEVER_US = 1 << 62


# What one capability allows besides itself.
_INCLUDED = {
    Capability.MANAGE_ENDPOINT: (Capability.VIEW_ENDPOINT_SECRET, Capability.MANAGE_ENDPOINT_SECRET),
    Capability.MANAGE_ENDPOINT_SECRET: (Capability.VIEW_ENDPOINT_SECRET,),
}


class Principal(msgspec.Struct, frozen=True, gc=False):
    """Who is calling, as far as that matters: what may be reached, and which token said so.

    Of an application's token: `capabilities` (None = all), feature flags, session, the integration whose key it is, and the auto-config
    subscription that it completes, or the polling endpoint that it reads: it is good for that alone. Of a stream's token: `stream_id`, and
    as `poller_id` the sink that it reads, if it is the key of one; its `app_id` is "", which no application has.
    """

    kind: TokenKind
    org_id: str
    app_id: str | None
    token_id: str
    capabilities: tuple[Capability, ...] | None = None
    feature_flags: tuple[str, ...] = ()
    session_id: str | None = None
    integration_id: str | None = None
    expires_at: int | None = None
    auto_config_id: str | None = None
    poller_id: str | None = None
    stream_id: str | None = None

    @property
    def signed(self) -> bool:
        """Did a signed token (JWT) say so?"""
        return self.token_id.startswith(_SIGNED)

    @property
    def seen_flags(self) -> tuple[str, ...] | None:
        """Behind which feature flags the caller may look; None = behind all."""
        return None if self.kind is TokenKind.ORG else self.feature_flags

    def may(self, capability: Capability) -> bool:
        """Has the caller this capability?"""
        if self.kind is TokenKind.ORG or self.capabilities is None or capability is Capability.VIEW_BASE:
            return True
        return any(capability is held or capability in _INCLUDED.get(held, ()) for held in self.capabilities)


class Grant(msgspec.Struct, frozen=True):
    """What a token of an application is to allow, or of a stream (`app_id` None); see `model.applications.Token`."""

    app_id: str | None
    capabilities: tuple[Capability, ...] | None = None
    feature_flags: tuple[str, ...] = ()
    session_id: str | None = None
    integration_id: str | None = None
    auto_config_id: str | None = None
    poller_id: str | None = None
    stream_id: str | None = None


class _Known(msgspec.Struct, gc=False):
    """A token that was believed; `used_at` is when last, and `noted_at` what of that is written down."""

    principal: Principal
    expires_at: int
    used_at: int = 0
    noted_at: int = 0


class Tokens:
    """The tokens of one server. `draw(n)` gives a random number of n bits; without `jwts`, signed tokens are refused."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, draw: Callable[[int], int], jwts: Jwts | None = None) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._draw = draw
        self._jwts = jwts
        self._known: dict[bytes, _Known] = {}
        # Changes when what was believed must be asked again: a token was revoked, or it is time to hear which ones are in use.
        self.epoch = 0
        # Uses of tokens that are remembered no more.
        self._used: dict[str, int] = {}

    @property
    def signing_key(self) -> bytes | None:
        """Which key signed tokens (JWTs) are believed by, as a digest that tells it from others; None: they are refused."""
        return None if self._jwts is None else self._jwts.key_print

    def known(self, authorization: bytes) -> Principal | None:
        """Who sent this `Authorization` value, if the token was believed before and still holds. Never blocks; None: ask `authenticate`."""
        known = self._known.get(hashlib.sha256(authorization[7:]).digest())
        now_us = self._clock.now_us()
        if known is None or known.expires_at <= now_us or authorization[:7] != _BEARER:
            return None
        known.used_at = now_us
        return known.principal

    async def authenticate(self, authorization: bytes | None) -> Principal:
        """Who sent this `Authorization` value. Raises Unauthenticated, Refused (a signed token about nobody), and StoreFailure."""
        if authorization is None:
            raise Unauthenticated
        principal = self.known(authorization)
        if principal is not None:
            return principal
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not text.strip():
            raise Unauthenticated
        text = text.strip()
        digest = hashlib.sha256(text).digest()
        if self._jwts is not None and self._jwts.claims_to_be_signed(text):
            return await self._believe_signed(digest, self._jwts.read(text, self._clock.now_us()))
        return await self._believe(digest)

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

    async def make(self, who: Principal, name: str, expires_at: int | None) -> tuple[Token, str]:
        """A new org token of the caller's organisation, and its text, which nobody can ever read again."""
        text = _PREFIXES[TokenKind.ORG] + self._random_text()
        now_us = self._clock.now_us()
        token = await self._store.write(lambda tx: self._insert(tx, who.org_id, TokenKind.ORG, None, text, name, now_us, expires_at))
        log(TOKEN_MADE, token_id=token.id, organisation=who.org_id)
        return token, text

    def grant(self, tx: Transaction, org_id: str, grant: Grant, *, name: str = "", expires_at: int | None = None) -> tuple[Token, str]:
        """A new token of an application or a stream, in the caller's transaction, and its text."""
        prefix = _PREFIXES[TokenKind.APP]
        if grant.integration_id is not None:
            prefix = _INTEGRATION_PREFIX
        elif grant.poller_id is not None:
            prefix = _POLLER_PREFIX
        elif grant.stream_id is not None:
            prefix = _STREAM_PREFIX
        text = prefix + self._random_text()
        token = Token(
            id=self._ids.make("key_", self._clock.now_us()),
            org_id=org_id,
            kind=TokenKind.APP,
            app_id=grant.app_id,
            hash=_hash(text),
            name=name,
            created_at=self._clock.now_us(),
            expires_at=expires_at,
            revoked_at=None,
            capabilities=grant.capabilities,
            feature_flags=grant.feature_flags,
            session_id=grant.session_id,
            integration_id=grant.integration_id,
            auto_config_id=grant.auto_config_id,
            poller_id=grant.poller_id,
            stream_id=grant.stream_id,
        )
        tokens.insert(tx, token)
        return token, text

    async def admit(
        self,
        org_id: str,
        grant_of: Callable[[Transaction], Grant],
        *,
        name: str,
        life_s: int,
        also: Callable[[Transaction, str], None] | None = None,
    ) -> str:
        """A new token that lives for so many seconds: its text, which nobody can read again. Raises what `grant_of` raises."""

        def operation(tx: Transaction) -> str:
            _, text = self.grant(tx, org_id, grant_of(tx), name=name, expires_at=self._clock.now_us() + life_s * SECOND_US)
            if also is not None:
                also(tx, text)
            return text

        return await self._store.write(operation)

    async def log_out(self, who: Principal) -> None:
        """Make the caller's own token useless. Raises Forbidden for an org token, which only the operator revokes."""
        if who.kind is TokenKind.ORG:
            raise Forbidden("An org token cannot log out; revoke it with `ringback token revoke`")
        if not who.signed:
            await self.revoke(who.token_id)
            return
        digest, now_us = bytes.fromhex(who.token_id.removeprefix(_SIGNED)), self._clock.now_us()
        # Its expiry is looked at with some leeway: deny it as long.
        until_us = None if who.expires_at is None else who.expires_at + 2 * LEEWAY_S * SECOND_US
        await self._store.write(lambda tx: tokens.deny(tx, digest, until_us, now_us))
        self.epoch += 1
        self._known.pop(digest, None)

    async def expire_application(self, app_id: str, sessions: Sequence[str] | None, after_us: int) -> None:
        """Let all tokens of an application end in `after_us` microseconds, or those of some sessions. Integrations keep their keys."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> None:
            tokens.expire_app(tx, app_id, sessions, now_us + after_us)
            # Signed tokens belong to no session.
            if sessions is None:
                tokens.add_horizon(tx, app_id, now_us, now_us + after_us)

        await self._store.write(operation)
        self.forget_application(app_id)

    async def expire_stream(self, stream_id: str, sessions: Sequence[str] | None, after_us: int) -> None:
        """Let all portal tokens of a stream end in `after_us` microseconds, or those of some sessions. Its sinks keep their keys."""
        now_us = self._clock.now_us()
        await self._store.write(lambda tx: tokens.expire_stream(tx, stream_id, sessions, now_us + after_us))
        self.forget_stream(stream_id)

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
        self.epoch += 1
        self._drop(token.hash)
        return token

    def forget_application(self, app_id: str) -> None:
        """Believe no token of this application without asking the store again: it was deleted, or its tokens changed."""
        self._forget([digest for digest, known in self._known.items() if known.principal.app_id == app_id])

    def forget_stream(self, stream_id: str) -> None:
        """The same for tokens of a stream."""
        self._forget([digest for digest, known in self._known.items() if known.principal.stream_id == stream_id])

    def _forget(self, digests: Sequence[bytes]) -> None:
        self.epoch += 1
        for digest in digests:
            self._drop(digest)

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
        epoch = self.epoch
        token = await self._store.read(lambda tx: tokens.usable_by_hash(tx, digest, now_us))
        if token is None:
            raise Unauthenticated
        principal = Principal(
            token.kind,
            token.org_id,
            token.app_id if token.stream_id is None else "",
            token.id,
            token.capabilities,
            token.feature_flags,
            token.session_id,
            token.integration_id,
            token.expires_at,
            token.auto_config_id,
            token.poller_id,
            token.stream_id,
        )
        self._remember(digest, principal, token.expires_at, epoch)
        return principal

    async def _believe_signed(self, digest: bytes, claims: Claims) -> Principal:
        now_us = self._clock.now_us()
        epoch = self.epoch

        def query(tx: Transaction) -> tuple[bool, int | None]:
            """Is the organisation known, and from when is the token dead?"""
            known = organisations.by_id(tx, claims.org_id) is not None
            if tokens.is_denied(tx, digest):
                raise Unauthenticated
            if claims.app_id is None:
                return known, None
            if applications.by_ref(tx, claims.org_id, claims.app_id) is None:
                raise Unauthenticated
            return known, tokens.dead_from(tx, claims.app_id, claims.issued_at)

        known, dead_from = await self._store.read(query)
        if dead_from is not None and dead_from <= now_us:
            raise Unauthenticated
        if not known:
            await self._store.write(lambda tx: organisations.ensure(tx, Organisation(claims.org_id, claims.org_id, now_us)))
        kind = TokenKind.ORG if claims.app_id is None else TokenKind.APP
        token_id = _SIGNED + digest.hex()
        flags = claims.feature_flags
        principal = Principal(kind, claims.org_id, claims.app_id, token_id, feature_flags=flags, expires_at=claims.expires_at)
        ends = [at for at in (claims.expires_at, dead_from) if at is not None]
        self._remember(digest, principal, min(ends) if ends else None, epoch)
        return principal

    def _remember(self, digest: bytes, principal: Principal, until_us: int | None, epoch: int) -> None:
        # A revocation may have committed after our snapshot: then the next request asks again.
        if epoch == self.epoch:
            if len(self._known) >= _REMEMBERED:
                self._drop(next(iter(self._known)))
            self._known[digest] = _Known(principal, until_us or _NEVER_US, self._clock.now_us())

    def _drop(self, digest: bytes) -> None:
        """Believe a token no longer without asking the store; that it was used is written down all the same."""
        known = self._known.pop(digest, None)
        if known is not None and known.used_at > known.noted_at and not known.principal.signed:
            self._used[known.principal.token_id] = known.used_at

    async def note(self) -> None:
        """Write down which tokens were used since the last time. To be called once a minute. Raises StoreFailure: then it is told again."""
        self.epoch += 1
        told = [known for known in self._known.values() if known.used_at > known.noted_at and not known.principal.signed]
        used, self._used = self._used, {}
        times = [*used.items(), *((known.principal.token_id, known.used_at) for known in told)]
        for begin in range(0, len(times), _SLICE):
            part = times[begin : begin + _SLICE]
            try:
                await self._store.write(lambda tx, part=part: tokens.used(tx, part))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            except RingbackError:
                self._used = used | self._used
                raise
        noted = dict(times)
        for known in told:
            known.noted_at = noted[known.principal.token_id]

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
