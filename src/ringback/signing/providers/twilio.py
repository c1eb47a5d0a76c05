"""Is this from Twilio? It signs the URL that it called, and either the form fields or (JSON) a hash of the body that the URL carries.

Source: https://www.twilio.com/docs/usage/security#validating-requests and twilio/twilio-python twilio/request_validator.py. Twilio signs
the URL as it wrote it: with or without the port, an apostrophe perhaps as %27. All such spellings are tried; none of them changes
where the request went. (twilio-python does not try %27, twilio-node does.)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing import hmac_body
from ringback.signing.documents import query_value, sorted_form
from ringback.signing.encodings import base64_signature, decode_secret
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.headers import Headers
from ringback.signing.hmac_body import Mac
from ringback.signing.request import InboundRequest, Secret, Verifier
from ringback.signing.secret import HmacKey
from ringback.signing.verdict import (
    BODY_HASH_MISMATCH,
    MALFORMED_HEADER,
    MISSING_BODY_HASH,
    NO_SUPPORTED_SCHEME,
    SIGNATURE_MISMATCH,
    Verdict,
)

_HEADER: Final = b"x-twilio-signature"
# Sent with requests that are signed with a SharedKey instead of the auth token: `key=<id>,algorithm=HMAC_SHA256`.
_SETTINGS: Final = b"x-twilio-webhooks-signature-settings"
_USUAL_HASH: Final = b"HMAC_SHA1"
_HASHES: Final = {_USUAL_HASH: "sha1", b"HMAC_SHA256": "sha256"}
_BODY_HASH: Final = b"bodySHA256"
_BODY_HASH_IN_URL: Final = _BODY_HASH + b"="
_FORM: Final = b"application/x-www-form-urlencoded"


class TwilioForm(msgspec.Struct, frozen=True, kw_only=True, tag="twilio-form"):
    """Signed: the URL, then each name and value of the form, sorted; a value that comes twice counts once."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Is it a form (or nothing at all), and no body hash in the URL?"""
        if _BODY_HASH_IN_URL in request.url:
            return False
        return not request.body or _kind(request.headers).startswith(_FORM)

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the auth tokens. Raises ValueError when one cannot be used."""
        return _TwilioVerifier(self.name, secrets, is_form=True)


class TwilioJson(msgspec.Struct, frozen=True, kw_only=True, tag="twilio-json"):
    """Signed: the URL, whose parameter `bodySHA256` is the hash of the body."""

    name: str
    tolerance_s: float | None = None

    def applies(self, request: InboundRequest) -> bool:
        """Whatever is no form."""
        return True

    def prepare(self, secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        """Check and absorb the auth tokens. Raises ValueError when one cannot be used."""
        return _TwilioVerifier(self.name, secrets, is_form=False)


class _TwilioVerifier:
    __slots__ = ("_is_form", "_macs", "_name")

    def __init__(self, name: str, secrets: Sequence[Secret], *, is_form: bool) -> None:
        keys = [decode_secret(secret, "utf8") for secret in secrets]
        if not keys:
            raise ValueError(f"{name} needs the auth token as its secret")
        self._name = name
        self._is_form = is_form
        shared = [key.secret for key in keys if isinstance(key, HmacKey)]
        if len(shared) != len(keys):
            raise ValueError(f"{name} needs a shared secret, not a public key")
        self._macs = {said: tuple(hmac_body.prepare(key, algorithm) for key in shared) for said, algorithm in _HASHES.items()}

    def verify(self, request: InboundRequest, *, now_s: float, key_source: KeySource = NO_KEYS) -> Verdict:
        signature = request.headers.need(_HEADER)
        if not request.url:
            raise VerificationError(MALFORMED_HEADER, "Twilio signs the URL that it called; give the source its public URL")
        settings = request.headers.one(_SETTINGS)
        macs = self._macs.get(_USUAL_HASH if settings is None else _algorithm(settings))
        if macs is None:
            raise VerificationError(NO_SUPPORTED_SCHEME, f"{_SETTINGS.decode()} names an algorithm that is not known here")
        fields = sorted_form(request.body) if self._is_form else b""
        # As it came is nearly always right: only when it is not are other spellings made.
        index = _signer(macs, request.url + fields, signature)
        if index is None:
            others = spellings(request.url)[1:]
            index = next((found for other in others if (found := _signer(macs, other + fields, signature)) is not None), None)
        if index is not None:
            if not self._is_form:
                _check_body_hash(request)
            return Verdict(self._name, index)
        raise VerificationError(SIGNATURE_MISMATCH, "the signature was not made with one of the auth tokens over this URL and form")


def _algorithm(settings: bytes) -> bytes:
    for part in settings.split(b","):
        name, _, value = part.partition(b"=")
        if name.strip() == b"algorithm" and value.strip():
            return value.strip().upper()
    return _USUAL_HASH


def _signer(macs: Sequence[Mac], content: bytes, signature: bytes) -> int | None:
    for index, mac in enumerate(macs):
        if hmac.compare_digest(base64_signature(mac(content)), signature):
            return index
    return None


def _kind(headers: Headers) -> bytes:
    """The content type, the first one if there are several: what is signed is decided by the URL and the signature."""
    try:
        return (headers.one(b"content-type") or b"").lower()
    except VerificationError:
        return headers.all(b"content-type")[0].lower()


def _check_body_hash(request: InboundRequest) -> None:
    expected = query_value(request.url, _BODY_HASH)
    if expected is None:
        raise VerificationError(MISSING_BODY_HASH, "the URL is signed, but has no bodySHA256, so that the body may be anyone's")
    if not hmac.compare_digest(hashlib.sha256(request.body).hexdigest().encode(), expected):
        raise VerificationError(BODY_HASH_MISMATCH, "the body is not the one whose hash is in the URL")


def spellings(url: bytes) -> tuple[bytes, ...]:
    """The URL as it came and as Twilio may have written it: without port, with the usual port, apostrophes in the query as %27."""
    urls = [url, *_port_spellings(url)]
    path, question, query = url.partition(b"?")
    if b"'" in query:
        quoted = path + question + query.replace(b"'", b"%27")
        urls += [quoted, *_port_spellings(quoted)]
    return tuple(dict.fromkeys(urls))


def _port_spellings(url: bytes) -> tuple[bytes, ...]:
    scheme, separator, rest = url.partition(b"://")
    end = min((at for at in (rest.find(b"/"), rest.find(b"?"), rest.find(b"#")) if at >= 0), default=len(rest))
    user, at, host = rest[:end].rpartition(b"@")
    # The colons of an IPv6 address stand in brackets.
    bracket = host.rfind(b"]")
    colon = host.find(b":", bracket + 1)
    usual = b":443" if scheme.lower() == b"https" else b":80"
    head, tail = scheme + separator + user + at, rest[end:]
    if colon < 0:
        return (head + host + usual + tail,)
    return (head + host[:colon] + tail,)
