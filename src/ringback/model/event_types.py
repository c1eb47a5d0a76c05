"""What kinds of things can happen? The catalogue that customers choose from."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

# What becomes of a payload that does not fit the newest schema of its type: nothing, it is counted, it is refused.
PayloadValidation: TypeAlias = Literal["off", "warn", "reject"]


class EventType(msgspec.Struct, frozen=True):
    """A named kind of event. `schemas` maps a version to a JSON Schema. Times are microseconds since 1970.

    `payload_validation` is None where the server's setting decides.
    """

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
    payload_validation: PayloadValidation | None = None
