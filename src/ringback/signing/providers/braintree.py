"""Is this from Braintree? A form of a payload and of signatures per public key, keyed with the SHA-1 of the private key.

Source: braintree/braintree_python braintree/webhook_notification_gateway.py and braintree/util/crypto.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms
from ringback.signing.documents import form_fields
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.scheme import MAX_ITEMS
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, SIGNATURE_MISMATCH, Verdict


class Braintree(msgspec.Struct, frozen=True, kw_only=True, tag="braintree"):
    """Signed: the form field `bt_payload`, or it and a newline. Any pair of `bt_signature` that one of the private keys made suffices."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Every request is one of these."""
        return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the private keys. Raises ValueError when one cannot be used."""
        return _BraintreeVerifier(self.name, secrets)


class _BraintreeVerifier:
    __slots__ = ("_checks", "_name")

    def __init__(self, name: str, secrets: Sequence[Secret]) -> None:
        if not secrets:
            raise ValueError(f"{name} needs the API's private key as its secret")
        self._name = name
        self._checks = tuple(algorithms.prepare("hmac-sha1", "hex", decode_secret(secret, "sha1_of_utf8")) for secret in secrets)

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        fields = form_fields(request.body)
        names = [name for name, _ in fields]
        if names.count(b"bt_signature") > 1 or names.count(b"bt_payload") > 1:
            raise VerificationError(MALFORMED_HEADER, "bt_signature or bt_payload came more than once")
        form = dict(fields)
        if b"bt_signature" not in form or b"bt_payload" not in form:
            raise VerificationError(MISSING_HEADER, "the form has no bt_signature or no bt_payload")
        payload = form[b"bt_payload"]
        pairs = form[b"bt_signature"].split(b"&", MAX_ITEMS)[:MAX_ITEMS]
        signatures = [signature for _, bar, signature in (pair.partition(b"|") for pair in pairs) if bar]
        for index, check in enumerate(self._checks):
            if check(payload, signatures) or check(payload + b"\n", signatures):
                return Verdict(self._name, index)
        raise VerificationError(SIGNATURE_MISMATCH, "bt_payload was not signed with one of the private keys")
