"""Which access token does a provider's API take now? Asked for with what the owner gave, and remembered for as long as it lives.

A refresh token that the provider gives in place of the one it was asked with is kept before anything else is done with the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeAlias, TypeVar
from weakref import WeakValueDictionary

import msgspec
from msgspec.structs import replace

from ringback.clock import Clock
from ringback.model.reconciliation import Reconciliation
from ringback.model.subscriptions import Subscription
from ringback.policy.access_tokens import Granting, refresh_token_in, token_in, token_request, usable_s
from ringback.policy.asking import Unreadable
from ringback.services.provider_api import ProviderApi, ProviderFailure

S = TypeVar("S", Reconciliation, Subscription)
Keep: TypeAlias = Callable[[str, S, str], Awaitable[None]]


class _Given(msgspec.Struct, Generic[S], frozen=True):
    """A token, the settings that it was asked for with, and until when it may be used, monotonic seconds."""

    settings: S
    token: str
    until_s: float


class AccessTokens(Generic[S]):
    """Asks for access tokens, of one kind of settings. Belongs to one event loop.

    `keep` stores a credential in place of that of some settings of a source. It may raise StoreFailure.
    """

    def __init__(self, api: ProviderApi, clock: Clock, keep: Keep[S]) -> None:
        self._api = api
        self._clock = clock
        self._keep: Keep[S] = keep
        self._given: dict[str, _Given[S]] = {}
        # Refresh tokens that a provider gave and that are not stored yet, with the settings they belong to.
        self._unkept: dict[str, tuple[S, str]] = {}
        # What was replaced last: who has read the settings before that has a refresh token that may be worth nothing any more.
        self._replaced: dict[str, tuple[S, str]] = {}
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def token(self, source_id: str, settings: S, row: Granting) -> tuple[S, str]:
        """The settings as they are from now on, and the access token; "" where none is needed. Raises ProviderFailure and StoreFailure."""
        if not row.token_url:
            return settings, ""
        # One at a time: a refresh token may hold once.
        lock = self._asking.get(source_id)
        if lock is None:
            lock = self._asking[source_id] = asyncio.Lock()
        async with lock:
            return await self._token(source_id, settings, row)

    async def _token(self, source_id: str, settings: S, row: Granting) -> tuple[S, str]:
        former, latest = self._replaced.get(source_id, (None, ""))
        if former == settings:
            settings = replace(settings, credential=latest)
        given = self._given.get(source_id)
        if given is not None and given.settings == settings and self._clock.monotonic_s() < given.until_s:
            return settings, given.token
        body = (await self._api.ask(token_request(settings, row))).body
        try:
            fresh = refresh_token_in(row, body)
            if fresh is not None and fresh != settings.credential:
                self._unkept[source_id] = self._replaced[source_id] = (settings, fresh)
                await self.settle(source_id)
                settings = replace(settings, credential=fresh)
            token = token_in(body)
        except Unreadable as error:
            raise ProviderFailure("unreadable", str(error)) from None
        lives_s = usable_s(body)
        if lives_s:
            self._given[source_id] = _Given(settings, token, self._clock.monotonic_s() + lives_s)
        return settings, token

    def forget(self, source_id: str) -> None:
        """The token of a source was not taken, or is not needed any more."""
        self._given.pop(source_id, None)

    async def settle(self, source_id: str) -> None:
        """Store the refresh token that a provider gave last, if that is still to be done: the one before may be worth nothing any more.

        Raises StoreFailure: then it is tried again before the provider is asked again.
        """
        unkept = self._unkept.get(source_id)
        if unkept is not None:
            await self._keep(source_id, *unkept)
            if self._unkept.get(source_id) is unkept:
                del self._unkept[source_id]
