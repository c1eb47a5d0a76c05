"""Which keys read one polling endpoint, or one sink that is asked, and nothing else? One at a time, and former ones for a grace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.model.polling import PollerKey
from ringback.services.tokens import Grant, Tokens
from ringback.store.base import Transaction
from ringback.store.operations import polling
from ringback.store.operations.endpoints import Sealer

# The contract's longest life of a poller's key, a year, and of a former one after a rotation, a day; seconds (section 4.4).
MAX_KEY_LIFE_S: Final = 31_536_000
MAX_OLD_KEY_S: Final = 86_400
DEFAULT_OLD_KEY_S: Final = 300


class RotatePollerTokenIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """For how many seconds the next key holds (None: until it is rotated), and the former one holds on."""

    expiry: Annotated[int, msgspec.Meta(ge=1, le=MAX_KEY_LIFE_S)] | None = None
    old_token_expiry: Annotated[int, msgspec.Meta(ge=0, le=MAX_OLD_KEY_S)] | None = DEFAULT_OLD_KEY_S


# What the caller adds to the transaction of a rotation.
AlsoKey = Callable[[Transaction, PollerKey], None]


class Reads(msgspec.Struct, frozen=True):
    """What a key reads: the polling endpoint or sink of this id, of that application or stream, of an organisation."""

    id: str
    org_id: str
    app_id: str | None = None
    stream_id: str | None = None


class PollerKeys:
    """The keys of all of them, each verb in the caller's transaction."""

    def __init__(self, vault: Sealer, clock: Clock, tokens: Tokens) -> None:
        self._vault = vault
        self._clock = clock
        self._tokens = tokens

    def known(self, tx: Transaction, reads: Reads) -> PollerKey | None:
        """The key, if there is one that works."""
        return polling.key_of(tx, self._vault, reads.id, self._clock.now_us())

    def known_or_new(self, tx: Transaction, reads: Reads) -> PollerKey:
        """The key; makes one that holds until it is rotated when there is none."""
        return self.known(tx, reads) or self._new(tx, reads, None)

    def rotated(self, tx: Transaction, reads: Reads, wanted: RotatePollerTokenIn) -> PollerKey:
        """Another key; the former ones end when their grace is over. The caller has the tokens forgotten that are remembered of them."""
        grace_s = DEFAULT_OLD_KEY_S if wanted.old_token_expiry is None else wanted.old_token_expiry
        now_us = self._clock.now_us()
        polling.end_keys(tx, reads.id, now_us + grace_s * SECOND_US)
        return self._new(tx, reads, None if wanted.expiry is None else now_us + wanted.expiry * SECOND_US)

    def _new(self, tx: Transaction, reads: Reads, expires_at: int | None) -> PollerKey:
        grant = Grant(reads.app_id, (), poller_id=reads.id, stream_id=reads.stream_id)
        token, text = self._tokens.grant(tx, reads.org_id, grant, name=f"poller {reads.id}", expires_at=expires_at)
        key = PollerKey(token.id, token.name, text, token.created_at, expires_at)
        polling.set_key(tx, self._vault, reads.id, key)
        return key
