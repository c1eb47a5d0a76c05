"""Is this from Adyen? Its standard notifications carry a signature per item inside the body, over eight fields of the item.

Source: https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures/ and Adyen/adyen-python-api-library Adyen/util.py.
Only those fields are authentic; the rest of the item is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import algorithms, hmac_body
from ringback.signing.algorithms import Check
from ringback.signing.documents import find, read_json, text_of
from ringback.signing.encodings import base64_signature, decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import HmacKey
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, SIGNATURE_MISMATCH, Verdict

_FIELDS: Final = (
    ("pspReference",),
    ("originalReference",),
    ("merchantAccountCode",),
    ("merchantReference",),
    ("amount", "value"),
    ("amount", "currency"),
    ("eventCode",),
    ("success",),
)
# Adyen sends one item over JSON today; its documentation allows for several.
_MAX_ITEMS: Final = 1_000


class AdyenStandard(msgspec.Struct, frozen=True, kw_only=True, tag="adyen-standard"):
    """Every item of the notification must be signed."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Whatever is not signed as a whole, in a header."""
        return b"hmacsignature" not in request.headers

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the HMAC keys (hex). Raises ValueError when one cannot be used."""
        return _AdyenVerifier(self.name, secrets)


class _AdyenVerifier:
    __slots__ = ("_checks", "_name")

    def __init__(self, name: str, secrets: Sequence[Secret]) -> None:
        if not secrets:
            raise ValueError(f"{name} needs the HMAC key as its secret")
        self._name = name
        self._checks: tuple[Check, ...] = tuple(
            algorithms.prepare("hmac-sha256", "base64", decode_secret(secret, "hex")) for secret in secrets
        )

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        document = read_json(request.body)
        listed = list(islice(find(document, "notificationItems[]"), _MAX_ITEMS + 1))
        if len(listed) > _MAX_ITEMS:
            raise VerificationError(MALFORMED_HEADER, f"the notification has more than {_MAX_ITEMS} items")
        # Nothing may stand beside what is signed: it would be believed with it.
        items: list[Any] = [next(find(item, "NotificationRequestItem"), None) for item in listed] or [document]
        return Verdict(self._name, max(self._signer(item) for item in items))

    def _signer(self, item: Any) -> int:
        signature = text_of(next(find(item, "additionalData.hmacSignature"), None))
        if signature is None:
            raise VerificationError(MISSING_HEADER, "an item has no additionalData.hmacSignature")
        content = _content(item)
        for index, check in enumerate(self._checks):
            if check(content, (signature,)):
                return index
        raise VerificationError(SIGNATURE_MISMATCH, "the signature of an item was not made with one of the HMAC keys")


def signed_item(body: bytes, secret: Secret) -> bytes:
    """A notification with each of its items signed, for tests of programs that receive them. Raises ValueError for any other body."""
    document: Any = msgspec.json.decode(body)
    items: list[Any] = list(find(document, "notificationItems[].NotificationRequestItem"))
    key = decode_secret(secret, "hex")
    if not isinstance(key, HmacKey) or not items or not all(isinstance(item, dict) for item in items):
        raise ValueError("an Adyen notification has notificationItems[].NotificationRequestItem, signed with a shared key in hex")
    mac = hmac_body.prepare(key.secret)
    for item in items:
        signature = base64_signature(mac(_content(item))).decode()
        item["additionalData"] = item.get("additionalData", {}) | {"hmacSignature": signature}
    return msgspec.json.encode(document)


def _content(item: Any) -> bytes:
    return b":".join([_field(item, path) for path in _FIELDS])


def _field(item: Any, path: tuple[str, ...]) -> bytes:
    return text_of(next(find(item, ".".join(path)), None)) or b""
