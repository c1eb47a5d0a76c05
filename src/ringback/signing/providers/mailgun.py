"""Is this from Mailgun? It signs a time and a token inside the body, and NOT the rest of the body.

Source: https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks. Whoever has seen one signature can send any
body with it: deduplicate by token, and believe an event only as far as that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms, times
from ringback.signing.documents import find, form_fields, read_json, text_of
from ringback.signing.encodings import decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, SIGNATURE_MISMATCH, Verdict, check_age

# From 2001 to 2286.
_TIME_DIGITS = 10
_NAMES = ("timestamp", "token", "signature")


class Mailgun(msgspec.Struct, frozen=True, kw_only=True, tag="mailgun"):
    """Signed: timestamp and token, joined. They stand under `signature` in JSON, or are fields of a form."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Every request is one of these."""
        return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the signing keys. Raises ValueError when one cannot be used."""
        return _MailgunVerifier(self.name, secrets, tolerance_s)


class _MailgunVerifier:
    __slots__ = ("_checks", "_name", "_tolerance_s")

    def __init__(self, name: str, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        if not secrets:
            raise ValueError(f"{name} needs the HTTP webhook signing key as its secret")
        self._name = name
        self._tolerance_s = tolerance_s
        self._checks = tuple(algorithms.prepare("hmac-sha256", "hex", decode_secret(secret, "utf8")) for secret in secrets)

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        timestamp, token, signature = _parts(request)
        for index, check in enumerate(self._checks):
            if check(timestamp + token, (signature,)):
                nonce = token.decode("latin-1")
                return Verdict(self._name, index, nonce, self._when(timestamp, now_s), once=True, nonce=nonce)
        raise VerificationError(SIGNATURE_MISMATCH, "timestamp and token were not signed with one of the keys")

    def _when(self, timestamp: bytes, now_s: float) -> float:
        try:
            signed_at_s = times.reader("s")(timestamp)
        except ValueError:
            raise VerificationError(MALFORMED_HEADER, "the timestamp cannot be read") from None
        if self._tolerance_s is not None:
            check_age(signed_at_s, now_s, self._tolerance_s)
        return signed_at_s


def _parts(request: InboundRequest) -> tuple[bytes, bytes, bytes]:
    if request.body.lstrip()[:1] == b"{":
        document = read_json(request.body)
        values = [text_of(next(find(document, f"signature.{name}"), None)) for name in _NAMES]
    else:
        fields = [(name.decode("latin-1"), value) for name, value in form_fields(request.body)]
        if any(sum(field == name for field, _ in fields) > 1 for name in _NAMES):
            raise VerificationError(MALFORMED_HEADER, "timestamp, token or signature came more than once")
        form = dict(fields)
        values = [form.get(name) for name in _NAMES]
    timestamp, token, signature = values
    if timestamp is None or token is None or signature is None:
        raise VerificationError(MISSING_HEADER, "the body has no timestamp, token and signature")
    # The two are joined without a mark between: with another number of digits, a known signature would hold for another token.
    if not timestamp.isdigit() or len(timestamp) != _TIME_DIGITS:
        raise VerificationError(MALFORMED_HEADER, f"the timestamp must be unix seconds in {_TIME_DIGITS} decimal digits")
    return timestamp, token, signature
