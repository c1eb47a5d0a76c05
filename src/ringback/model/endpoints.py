"""Where should messages go? An endpoint is a URL of a customer, with what it wants to hear and the secrets that sign it."""

from __future__ import annotations

import msgspec


class EndpointSecret(msgspec.Struct, frozen=True):
    """One signing secret in its text form (`whsec_…` or `whsk_…`); `expires_at` is None for the current one."""

    text: str
    expires_at: int | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """A destination. `secrets` has the current one first, then old ones that may still sign. Times are microseconds since 1970.

    `event_types` and `channels` are None when there is no such condition. `headers` keep the case they were given in.
    """

    id: str
    app_id: str
    url: str
    description: str
    uid: str | None
    disabled: bool
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    version: int
    headers: dict[str, str]
    secrets: tuple[EndpointSecret, ...]
    created_at: int
    updated_at: int

    def signing_secrets(self, now_us: int) -> tuple[str, ...]:
        """The texts of the secrets that sign at `now_us`, current one first."""
        return tuple(s.text for s in self.secrets if s.expires_at is None or s.expires_at > now_us)
