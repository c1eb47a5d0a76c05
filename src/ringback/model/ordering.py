"""What comes after what? How an endpoint orders its deliveries: all of them, those of the same key, or none."""

from __future__ import annotations

import enum

import msgspec


class Ordered(enum.StrEnum):
    """What is in order with each other. The values are those of the API."""

    NONE = "none"
    ENDPOINT = "endpoint"
    KEY = "key"


class WhenHeadDies(enum.StrEnum):
    """What becomes of a lane whose first delivery has no attempts left."""

    # It waits until a person replays or discards the dead letter.
    BLOCK = "block"
    # It goes on with the next.
    SKIP = "skip"


class Ordering(msgspec.Struct, frozen=True, omit_defaults=True):
    """How an endpoint orders its deliveries.

    `key_path` is where in the payload the key of a message is that names none itself; None = only what is named counts. `skip_after` is
    after how many failures the head of a lane is given up, None = when the schedule of retries ends.
    """

    mode: Ordered
    key_path: str | None = None
    when_head_dies: WhenHeadDies = WhenHeadDies.BLOCK
    skip_after: int | None = None
