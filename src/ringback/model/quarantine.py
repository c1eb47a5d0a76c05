"""What was not believed? A request kept with the reason, so that a person can see why, mend the source and let it in."""

from __future__ import annotations

from typing import Final

import msgspec

# Reasons besides those of `signing.verdict`: a required header is not there; the body is no instance of the source's schema.
HEADER_REQUIRED: Final = "header_required"
# What a trusted proxy says of the client's certificate is not there, or not what the source asks for.
CLIENT_CERTIFICATE: Final = "client_certificate"
SCHEMA_MISMATCH: Final = "schema_mismatch"
# The body has a coding that it does not keep to.
UNREADABLE_CODING: Final = "unreadable_coding"
# Somebody offers the secret that a source has already.
UNSOLICITED_HANDSHAKE: Final = "unsolicited_handshake"
# Reasons of requests that are counted and not kept: nothing about them helps to mend a source.
METHOD_NOT_ALLOWED: Final = "method_not_allowed"
RATE_LIMITED: Final = "rate_limited"
# All sources of the organisation together took in as much as they may.
ORGANISATION_RATE_LIMITED: Final = "organisation_rate_limited"
TOO_LARGE_BODY: Final = "too_large"
TOO_SLOW_BODY: Final = "too_slow"


class CapturedRequest(msgspec.Struct, frozen=True):
    """A request as it came. `body` is None when it was too large to be kept: such a request cannot be released."""

    method: str
    url: bytes
    remote: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None


class Quarantined(msgspec.Struct, frozen=True):
    """One request in quarantine. `received_at` is microseconds since 1970; `reason` a word, `detail` a sentence."""

    id: str
    source_id: str
    received_at: int
    reason: str
    detail: str
    size_bytes: int
    request: CapturedRequest
