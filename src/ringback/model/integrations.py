"""Who acts for a customer? An integration is a third party with a key of its own to one application."""

from __future__ import annotations

import msgspec


class Integration(msgspec.Struct, frozen=True):
    """A third party; `feature_flags` are what its key may look behind. Times are microseconds since 1970."""

    id: str
    app_id: str
    name: str
    feature_flags: tuple[str, ...]
    created_at: int
    updated_at: int
