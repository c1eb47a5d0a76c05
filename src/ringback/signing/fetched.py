"""Which key must be fetched before this request can be checked? Verification does no I/O: it asks a KeySource, and others fetch."""

from __future__ import annotations

from typing import Final, Literal, Protocol

import msgspec

from ringback.errors import Unavailable


class KeyRef(msgspec.Struct, frozen=True, gc=False):
    """A key that somebody else publishes: where, in which form, and which one of several.

    `url` may come from the request only after its host was checked against the provider's own; `key_id` may be anything.
    """

    url: str
    form: Literal["x509_pem", "jwks", "pem_by_id"]
    key_id: str = ""


class KeyUnavailable(Unavailable):
    """A key could not be had now. That is our trouble, not the sender's: answer 503, so that the sender tries again."""

    def __init__(self, ref: KeyRef) -> None:
        super().__init__(f"the key {ref.key_id or ref.form} at {ref.url} is not at hand; it must be fetched first", code="key_unavailable")
        self.ref = ref


class KeySource(Protocol):
    """Gives keys that were fetched before (pinned hosts, guarded addresses, cached)."""

    def key(self, ref: KeyRef) -> bytes:
        """The certificate or public key (PEM) or key set (JSON) of `ref`. Raises KeyUnavailable when it is not at hand."""
        ...


class NoKeys:
    """A KeySource that has nothing, so that the caller learns from KeyUnavailable what to fetch."""

    def key(self, ref: KeyRef) -> bytes:
        """Raises KeyUnavailable."""
        raise KeyUnavailable(ref)


NO_KEYS: Final = NoKeys()


class Keys(KeySource, Protocol):
    """Keys of providers that publish them: fetched through the guard, from the providers' own hosts, and remembered."""

    async def fetch(self, ref: KeyRef) -> None:
        """Get a key, so that `key` has it. Raises KeyUnavailable."""
        ...

    async def visit(self, url: str) -> bool:
        """GET a URL that a provider asked us to visit; was it answered 2xx?"""
        ...
