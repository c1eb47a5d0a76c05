"""Who is at the dashboard, and what has been changed? A session of a person, and an entry of the audit log."""

from __future__ import annotations

import enum

import msgspec


class Session(msgspec.Struct, frozen=True):
    """Somebody who is logged in. Times are microseconds since 1970.

    `token_id` and `token_name` are of the token that it was opened with; None: it was opened with the link that the server printed.
    `signed_with` is which key signed that token, if it was a signed one (`services.tokens.Tokens.signing_key`).
    """

    hash: bytes
    org_id: str
    token_id: str | None
    token_name: str | None
    address: str
    created_at: int
    seen_at: int
    expires_at: int
    signed_with: bytes | None = None


class Door(enum.StrEnum):
    """Through which door a change came."""

    DASHBOARD = "dashboard"
    API = "api"


class AuditEntry(msgspec.Struct, frozen=True):
    """One change that somebody made. `token_name` is that of the token when the entry is read; None: no token, or it is gone."""

    id: str
    org_id: str
    token_id: str | None
    token_name: str | None
    door: Door
    action: str
    object: str
    app_id: str | None
    detail: str
    address: str


class SavedView(msgspec.Struct, frozen=True):
    """A name for what a list shows. `address` is its path below the dashboard, with its query."""

    id: str
    org_id: str
    name: str
    address: str
