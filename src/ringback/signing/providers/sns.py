"""Is this from Amazon SNS? An RSA signature inside the body, by a certificate at amazonaws.com.

Source: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html. The topic's ARN is the
secret here: SNS signs for every customer alike, so that a message of a topic that nobody named is a stranger's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import times
from ringback.signing.documents import find, read_json
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.large_documents import LargeDocument
from ringback.signing.providers.paypal import certificate_check
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.verdict import MALFORMED_HEADER, MISSING_HEADER, NO_SUPPORTED_SCHEME, SIGNATURE_MISMATCH, Verdict, check_age

_HOST: Final = r"https://sns\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"
_CERTIFICATE_URL: Final = re.compile(_HOST + r"/SimpleNotificationService-[A-Za-z0-9]+\.pem")
# Where a subscription may be confirmed; nothing else may be fetched on a message's word.
SUBSCRIBE_URL: Final = re.compile(_HOST + r"/\?Action=ConfirmSubscription&[\x21-\x7e]*")
# The message says which of the two it uses. SHA-1 is the default of SNS still; to abuse it takes a second preimage, which nobody has.
_ALGORITHMS: Final = {"1": "rsa-sha1", "2": "rsa-sha256"}
_TYPES: Final = ("Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation")
_NOTIFICATION: Final = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_FIELDS: Final = tuple(dict.fromkeys((*_NOTIFICATION, *_CONFIRMATION, "Signature", "SignatureVersion", "SigningCertURL")))


class Sns(msgspec.Struct, frozen=True, kw_only=True, tag="aws-sns"):
    """Signed: names and values of certain fields of the body, each on a line."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Every request is one of these."""
        return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """The ARNs of the topics. Raises ValueError when there is none."""
        return _SnsVerifier(self.name, secrets, tolerance_s)


class _SnsVerifier:
    __slots__ = ("_name", "_tolerance_s", "_topics")

    def __init__(self, name: str, secrets: Sequence[Secret], tolerance_s: float | None) -> None:
        self._topics = tuple(secret.text for secret in secrets)
        if not all(self._topics) or not self._topics:
            raise ValueError(f"{name} needs the ARN of the topic as its secret")
        self._name = name
        self._tolerance_s = tolerance_s

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        document = read_json(request.body)
        if not isinstance(document, dict | LargeDocument):
            raise VerificationError(MALFORMED_HEADER, "the body is no JSON object")
        fields = {name: value for name in _FIELDS if isinstance(value := next(find(document, name), None), str)}
        if "Signature" not in fields or "SigningCertURL" not in fields:
            raise VerificationError(MISSING_HEADER, "the message has no Signature or no SigningCertURL")
        algorithm = _ALGORITHMS.get(fields.get("SignatureVersion", ""))
        if algorithm is None:
            raise VerificationError(NO_SUPPORTED_SCHEME, "SignatureVersion must be 1 or 2")
        # The fields are signed without anything that a field cannot hold: with any other text here, what a stranger published to a topic of
        # his own could be cut into the fields of a message of ours.
        if fields.get("Type") not in _TYPES:
            raise VerificationError(MALFORMED_HEADER, f"Type must be {', '.join(_TYPES)}")
        if not _CERTIFICATE_URL.fullmatch(fields["SigningCertURL"]):
            raise VerificationError(MALFORMED_HEADER, "the certificate is not at sns.<region>.amazonaws.com")
        content = _signed_content(fields)
        check = certificate_check(fields["SigningCertURL"], algorithm, key_source)
        if fields.get("TopicArn") not in self._topics or not check(content, (fields["Signature"].encode("utf-8", "surrogatepass"),)):
            raise VerificationError(SIGNATURE_MISMATCH, "the message was not signed by SNS for one of these topics")
        return Verdict(self._name, self._topics.index(fields["TopicArn"]), fields.get("MessageId"), self._when(fields, now_s))

    def _when(self, fields: dict[str, str], now_s: float) -> float:
        try:
            signed_at_s = times.reader("iso")(fields["Timestamp"].encode("utf-8", "surrogatepass"))
        except (KeyError, ValueError, OverflowError):
            raise VerificationError(MALFORMED_HEADER, "the Timestamp cannot be read") from None
        if self._tolerance_s is not None:
            check_age(signed_at_s, now_s, self._tolerance_s)
        return signed_at_s


def _signed_content(fields: dict[str, str]) -> bytes:
    names = _NOTIFICATION if fields.get("Type") == "Notification" else _CONFIRMATION
    lines = [f"{name}\n{fields[name]}\n" for name in names if name in fields]
    return "".join(lines).encode("utf-8", "surrogatepass")
