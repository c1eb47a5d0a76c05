"""Where should messages go? An endpoint is a URL of a customer, with what it wants to hear and the secrets that sign it."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import msgspec

from ringback.model.ordering import Ordering


class EndpointSecret(msgspec.Struct, frozen=True):
    """One signing secret in its text form (`whsec_…` or `whsk_…`); `expires_at` is None for the current one."""

    text: str
    expires_at: int | None = None


def signing(secrets: Sequence[EndpointSecret], now_us: int) -> tuple[str, ...]:
    """The texts of those secrets that sign at `now_us`, in their order."""
    return tuple(s.text for s in secrets if s.expires_at is None or s.expires_at > now_us)


class DisabledBy(enum.StrEnum):
    """Who disabled an endpoint: a person, or its own answers. The values are those of the HTTP contract."""

    MANUAL = "manual"
    AUTOMATIC = "automatic"


class DisableCause(enum.StrEnum):
    """Why an endpoint was disabled. Stored, shown and logged under these names."""

    # Somebody asked for it.
    MANUAL = "manual"
    # It answered 410.
    GONE = "http_410"
    # It answered with the header `webhook-delivery: disable`.
    ASKED = "receiver_control"
    # Its messages had been running out of attempts, or its circuit breaker had been open, for longer than is allowed.
    FAILING = "failing"


class Disabling(msgspec.Struct, frozen=True, gc=False):
    """Why and when an endpoint was disabled. Times are microseconds since 1970.

    `detail` is a sentence, "" when there is nothing to say. `fail_since` is when its messages began to run out of attempts, with no success
    since then, or its circuit breaker opened; None when they had not.
    """

    at: int
    by: DisabledBy
    cause: DisableCause
    detail: str = ""
    fail_since: int | None = None


class Endpoint(msgspec.Struct, frozen=True):
    """A destination. `secrets` has the current one first, then old ones that may still sign. Times are microseconds since 1970.

    `event_types` and `channels` are None when there is no such condition. `headers` keep the case they were given in. `disabling` says why
    it is disabled, if it is and that is known. `ordering` is None when what it gets is in no order. `payload_filter` is the document of a
    filter (`policy.filters`) that messages must fit, None = any do.
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
    disabling: Disabling | None = None
    ordering: Ordering | None = None
    payload_filter: dict[str, Any] | None = None

    def signing_secrets(self, now_us: int) -> tuple[str, ...]:
        """The texts of the secrets that sign at `now_us`, current one first."""
        return signing(self.secrets, now_us)
