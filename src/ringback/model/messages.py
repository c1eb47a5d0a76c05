"""What happened? A message is one thing that happened: immutable bytes on their way to endpoints."""

from __future__ import annotations

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One event of one application.

    `payload` is delivered byte for byte; None once it is expunged or past `expires_at`. `raw` says that it is not a JSON object and is
    shown wrapped. `matched` counts the endpoints it was accepted for. Times are microseconds since 1970.
    """

    id: str
    app_id: str
    event_type: str
    payload: bytes | None
    created_at: int
    expires_at: int
    content_type: str = "application/json"
    raw: bool = False
    event_id: str | None = None
    channels: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    deliver_at: int | None = None
    matched: int = 0
