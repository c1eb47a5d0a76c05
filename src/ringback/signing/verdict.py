"""What is known about a request once it is believed, and what are the words for not believing it?"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.errors import VerificationError

MISSING_HEADER: Final = "missing_header"
MALFORMED_HEADER: Final = "malformed_header"
NO_SUPPORTED_SCHEME: Final = "no_supported_scheme"
SIGNATURE_MISMATCH: Final = "signature_mismatch"
TIMESTAMP_TOO_OLD: Final = "timestamp_too_old"
TIMESTAMP_IN_FUTURE: Final = "timestamp_in_future"
BODY_HASH_MISMATCH: Final = "body_hash_mismatch"
# The signature holds, but covers no hash of the body, so that the body may be anyone's.
MISSING_BODY_HASH: Final = "missing_body_hash"
# Several senders share one URL, and the one that the request names has no secret here.
UNKNOWN_SENDER: Final = "unknown_sender"
IP_DENIED: Final = "ip_denied"
DUPLICATE: Final = "duplicate"

REASONS: Final = (
    MISSING_HEADER,
    MALFORMED_HEADER,
    NO_SUPPORTED_SCHEME,
    SIGNATURE_MISMATCH,
    TIMESTAMP_TOO_OLD,
    TIMESTAMP_IN_FUTURE,
    BODY_HASH_MISMATCH,
    MISSING_BODY_HASH,
    UNKNOWN_SENDER,
    IP_DENIED,
    DUPLICATE,
)


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """The raw bytes were signed by the holder of secret number `key_index`, within the tolerance.

    `message_id` and `signed_at_s` (seconds since 1970) are None where the scheme does not sign them. `once`: the id is that of this one
    request, and another one when the provider sends the event again. `nonce` is what may prove one event alone, because whoever has seen it
    can put another body beside it; None: the proof covers the body, or is a secret.
    """

    scheme: str
    key_index: int
    message_id: str | None = None
    signed_at_s: float | None = None
    once: bool = False
    nonce: str | None = None


def check_age(signed_at_s: float, now_s: float, tolerance_s: float) -> None:
    """Refuse what was signed more than `tolerance_s` before or after `now_s`; the boundary itself is in time."""
    if now_s - signed_at_s > tolerance_s:
        raise VerificationError(TIMESTAMP_TOO_OLD, f"signed {now_s - signed_at_s:.0f} s ago; {tolerance_s:.0f} s are allowed")
    if signed_at_s - now_s > tolerance_s:
        raise VerificationError(TIMESTAMP_IN_FUTURE, f"signed {signed_at_s - now_s:.0f} s in the future; {tolerance_s:.0f} s are allowed")
