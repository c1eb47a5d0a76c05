"""Whose endpoints are these? An application is one customer of the user's product; an organisation owns applications."""

from __future__ import annotations

import enum

import msgspec


class Application(msgspec.Struct, frozen=True):
    """One consumer of events. Times are microseconds since 1970; `throttle_rate` is attempts per second, None = unlimited."""

    id: str
    org_id: str
    name: str
    uid: str | None
    throttle_rate: int | None
    metadata: dict[str, str]
    created_at: int
    updated_at: int


class TokenKind(enum.StrEnum):
    """What a token may reach: everything of its org, or one application or stream."""

    ORG = "org"
    APP = "app"


class Capability(enum.StrEnum):
    """What the holder of a token may do with its application (contract, section 2)."""

    VIEW_BASE = "ViewBase"
    VIEW_ENDPOINT_SECRET = "ViewEndpointSecret"
    MANAGE_ENDPOINT_SECRET = "ManageEndpointSecret"
    MANAGE_TRANSFORMATIONS = "ManageTransformations"
    CREATE_ATTEMPTS = "CreateAttempts"
    MANAGE_ENDPOINT = "ManageEndpoint"


class Token(msgspec.Struct, frozen=True):
    """A bearer token as stored: only its SHA-256 is known. Times are microseconds since 1970, None = never.

    Of a token of an application: `capabilities` (None = all), the feature flags it holds, the session it was made for, the integration
    whose key it is, the auto-config subscription that it completes, and the polling endpoint that it reads. A token of a stream has a
    `stream_id` and no `app_id`; its `poller_id` is the sink that it reads. `last_used_at` is right to within a minute or two.
    """

    id: str
    org_id: str
    kind: TokenKind
    app_id: str | None
    hash: bytes
    name: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    capabilities: tuple[Capability, ...] | None = None
    feature_flags: tuple[str, ...] = ()
    session_id: str | None = None
    integration_id: str | None = None
    auto_config_id: str | None = None
    last_used_at: int | None = None
    poller_id: str | None = None
    stream_id: str | None = None


class Organisation(msgspec.Struct, frozen=True):
    """A tenant of this server: nothing of one is visible to another.

    `receive_rate` is how many requests a second all its sources may take in together: None = as the settings say, 0 = as many as come.
    """

    id: str
    name: str
    created_at: int
    receive_rate: int | None = None
