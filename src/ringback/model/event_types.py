"""What kinds of things can happen? The catalogue that customers choose from."""

from __future__ import annotations

from typing import Any

import msgspec


class EventType(msgspec.Struct, frozen=True):
    """A named kind of event. `schemas` maps a version to a JSON Schema. Times are microseconds since 1970."""

    org_id: str
    name: str
    description: str
    archived: bool
    deprecated: bool
    schemas: dict[str, Any] | None
    group_name: str | None
    feature_flags: tuple[str, ...] | None
    created_at: int
    updated_at: int
