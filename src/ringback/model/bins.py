"""What came to a bin? A request kept as it came, so that a person can look at it; it is no message and is delivered nowhere."""

from __future__ import annotations

import msgspec

from ringback.model.quarantine import CapturedRequest


class Caught(msgspec.Struct, frozen=True):
    """One request of a bin. `received_at` is microseconds since 1970; `status` what was answered, None while nothing was."""

    id: str
    received_at: int
    status: int | None
    request: CapturedRequest
