"""Which providers sign the Standard Webhooks way? The same check as our own signatures, as rows of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from ringback.signing import standard
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import HmacKey
from ringback.signing.verdict import Verdict


class StandardScheme(msgspec.Struct, frozen=True, kw_only=True, tag="standard"):
    """Standard Webhooks 1.0; the kind of each secret (`whsec_`, `whpk_`) decides whether it checks v1 or v1a, never the request.

    `version` pins the scheme to one of the two.
    """

    name: str
    version: Literal["", "v1", "v1a"] = ""
    secret_encoding: str = "standard"
    tolerance_s: float | None = standard.TOLERANCE_S

    def applies(self, request: InboundRequest) -> bool:
        """Is a signature header of either family there?"""
        return b"webhook-signature" in request.headers or b"svix-signature" in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the secrets. Raises ValueError when one cannot be used."""
        if not secrets:
            raise ValueError(f"{self.name} needs at least one secret")
        keys = [decode_secret(secret, self.secret_encoding) for secret in secrets]
        if self.version and any(isinstance(key, HmacKey) != (self.version == "v1") for key in keys):
            wanted = "shared secrets (whsec_)" if self.version == "v1" else "public keys (whpk_)"
            raise ValueError(f"{self.name} is checked with {wanted} only")
        allowed_s = float("inf") if tolerance_s is None else tolerance_s
        return _StandardVerifier(self.name, standard.Verifier(keys, allowed_s))


class _StandardVerifier:
    __slots__ = ("_name", "_verifier")

    def __init__(self, name: str, verifier: standard.Verifier) -> None:
        self._name = name
        self._verifier = verifier

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        verdict = self._verifier.verify(request.headers, request.body, now_s=now_s)
        return Verdict(self._name, verdict.key_index, verdict.message_id, verdict.signed_at_s)

    def signed(self, request: InboundRequest) -> bytes:
        """The bytes that the signature must cover. Raises VerificationError."""
        return self._verifier.signed(request.headers, request.body)
