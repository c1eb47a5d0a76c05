"""How does a test call its own application as a provider would? Requests signed with a secret that the test knows.

Example:
    >>> from ringback.receiver import Receiver
    >>> from ringback.receiver.testing import sign
    >>> request = sign("stripe", "whsec_test", {"id": "evt_1", "type": "invoice.paid"})
    >>> Receiver("stripe", "whsec_test").verify(request.headers, request.body).type
    'invoice.paid'
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from ringback.clock import SECOND_US, SystemClock, to_us
from ringback.ids import MESSAGE, IdMaker
from ringback.model.sources import OwnScheme
from ringback.receiver.judging import ALIASES
from ringback.signing import hmac_body
from ringback.signing.algorithms import DIGEST_HASHES, HMAC_HASHES
from ringback.signing.documents import sorted_form
from ringback.signing.encodings import ENCODERS, base64_signature, base64url_signature, decode_secret
from ringback.signing.headers import Headers
from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.providers import catalogue
from ringback.signing.providers.adyen import AdyenStandard, signed_item
from ringback.signing.providers.braintree import Braintree
from ringback.signing.providers.mailgun import Mailgun
from ringback.signing.providers.twilio import TwilioForm, TwilioJson
from ringback.signing.request import InboundRequest, Scheme, Secret
from ringback.signing.scheme import Signed
from ringback.signing.secret import HmacKey, parse_secret
from ringback.signing.standard import Signer
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token

# The algorithms of tokens that a shared secret signs (RFC 7518, 3.2).
_JWT_HASHES: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_HEADER_FIELD: Final = re.compile(r"\{header:([^}]+)\}")
_FORM: Final = "application/x-www-form-urlencoded"
_URL: Final = "https://example.com/webhooks"


class Unsignable(ValueError):
    """Such requests are signed with a key that their provider alone has."""


class SignedRequest(msgspec.Struct, frozen=True):
    """What a provider would send: to be sent with any client, the body byte for byte."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """Path and query of the URL, as test clients take it."""
        return "/" + self.url.partition("://")[2].partition("/")[2]


class _Draft(msgspec.Struct):
    """A request on its way to be signed. Names of headers in lower case; `now_s` is seconds since 1970."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes
    event_id: str
    now_s: float

    def request(self) -> InboundRequest:
        return InboundRequest(Headers.of(self.headers), self.body, self.method.encode(), self.url.encode())


def sign(
    provider: str = "",
    secret: str | Secret = "",
    body: bytes | str | Mapping[str, Any] | list[Any] = b"",
    *,
    url: str = _URL,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    event_id: str = "",
    event_type: str = "",
    at: datetime | None = None,
    scheme: str | OwnScheme | None = None,
) -> SignedRequest:
    """A request of a provider (or of a scheme), signed now or `at`, with a secret that both sides know.

    A body that is no bytes and no text becomes JSON. `event_id` and `event_type` go into the provider's headers, where it has such; in the
    body they are yours. Raises ValueError for providers that sign with a key of their own, and where something is missing.
    """
    row = catalogue.provider(ALIASES.get(provider, provider)) if provider else None
    chosen = catalogue.scheme(scheme) if isinstance(scheme, str) else scheme
    if row is None and chosen is None:
        raise ValueError("name a provider or a scheme; `ringback providers` lists them")
    now_us = SystemClock().now_us() if at is None else to_us(at)
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    given = {name.lower(): value for name, value in (headers or {}).items()}
    given.setdefault("content-type", "application/json" if raw.lstrip()[:1] in (b"{", b"[") else _FORM if b"=" in raw else "text/plain")
    draft = _Draft(method, url, given, raw, event_id or IdMaker().make(MESSAGE, now_us), now_us / SECOND_US)
    if row is not None:
        _say(row.event_id, draft, draft.event_id)
        _say(row.event_type, draft, event_type)
        chosen = chosen or _scheme(row, draft)
    assert chosen is not None
    _sign(chosen, draft, secret if isinstance(secret, Secret) else Secret(secret))
    return SignedRequest(method, draft.url, draft.headers, draft.body)


def _say(places: tuple[str, ...], draft: _Draft, text: str) -> None:
    first = next((place.partition(":")[2].lower() for place in places if place.startswith("header:")), "")
    if first and text:
        draft.headers.setdefault(first, text)


def _scheme(row: Provider, draft: _Draft) -> Scheme:
    """The newest way of the provider that fits what is sent: Twilio has one for forms and one for the rest."""
    if row.id == "twilio":
        return next(scheme for scheme in row.schemes if isinstance(scheme, TwilioForm) is (draft.headers["content-type"] == _FORM))
    return row.schemes[0]


def _sign(scheme: Scheme, draft: _Draft, secret: Secret) -> None:
    if isinstance(scheme, StandardScheme):
        _sign_standard(scheme, draft, secret)
    elif isinstance(scheme, Signed):
        _sign_templated(scheme, draft, secret)
    elif isinstance(scheme, Token):
        _add_token(scheme, draft, secret)
    elif isinstance(scheme, TwilioForm | TwilioJson):
        _sign_twilio(scheme, draft, secret)
    elif isinstance(scheme, Mailgun):
        _sign_mailgun(draft, secret)
    elif isinstance(scheme, Jwt) and set(scheme.algorithms) & set(_JWT_HASHES) and not scheme.jwks_url:
        _add_jwt(scheme, draft, secret)
    elif isinstance(scheme, Braintree):
        _sign_braintree(draft, secret)
    elif isinstance(scheme, AdyenStandard):
        draft.body = signed_item(draft.body, secret)
    else:
        raise Unsignable(f"requests of {scheme.name} cannot be made here; most such providers sign with a key that they alone have")


def _sign_standard(scheme: StandardScheme, draft: _Draft, secret: Secret) -> None:
    if secret.text.startswith(("whsk_", "whsk1_")):
        signer = Signer([parse_secret(secret.text)])
    else:
        signer = Signer([_shared(scheme.name, secret, scheme.secret_encoding)])
    at = str(int(draft.now_s))
    made = signer.sign(draft.event_id.encode(), at.encode(), draft.body).decode()
    draft.headers |= {"webhook-id": draft.event_id, "webhook-timestamp": at, "webhook-signature": made}


def _shared(name: str, secret: Secret, encoding: str) -> HmacKey:
    key = decode_secret(secret, encoding)
    if not isinstance(key, HmacKey):
        raise ValueError(f"{name} is checked with a public key; only who has the secret half can sign")
    return key


def _sign_templated(scheme: Signed, draft: _Draft, secret: Secret) -> None:
    if scheme.algorithm not in HMAC_HASHES and scheme.algorithm not in DIGEST_HASHES:
        raise Unsignable(f"{scheme.name} is signed with a key that the provider alone has; no test can make such a request")
    kind, _, place = scheme.timestamp.partition(":")
    at = _written_time(scheme.unit, draft.now_s)
    if kind == "header":
        draft.headers[place.lower()] = at
    for name in (*_HEADER_FIELD.findall(scheme.content), *filter(None, [scheme.id_header])):
        draft.headers.setdefault(name.lower(), draft.event_id)
    header = scheme.headers[0].replace("*", "1")
    item = f"{place}={at}{scheme.separator}" if scheme.layout == "pairs" and kind == "item" else ""
    key_name = f"{scheme.signature_key}=" if scheme.layout == "pairs" else scheme.prefix
    # The verifier says what must be signed; it finds the time where it will stand, and any signature.
    draft.headers[header] = f"{item}{key_name}0"
    content = bytes(getattr(scheme.prepare([secret], None), "signed")(draft.request()))  # noqa: B009 - the protocol of verifiers has no `signed`, those of this kind do
    key = _shared(scheme.name, secret, scheme.secret_encoding)
    if scheme.algorithm in HMAC_HASHES:
        digest = hmac_body.prepare(key.secret, HMAC_HASHES[scheme.algorithm])(content)
    else:
        digest = hashlib.new(DIGEST_HASHES[scheme.algorithm], content).digest()
    draft.headers[header] = f"{item}{key_name}{ENCODERS[scheme.encoding](digest).decode()}"


def _written_time(unit: str, now_s: float) -> str:
    if unit in ("iso", "http"):
        moment = datetime.fromtimestamp(int(now_s), UTC)
        return moment.isoformat().replace("+00:00", "Z") if unit == "iso" else format_datetime(moment, usegmt=True)
    return str(int(now_s * {"ms": 1_000, "ns": 1_000_000_000}.get(unit, 1)))


def _add_token(scheme: Token, draft: _Draft, secret: Secret) -> None:
    _put(scheme.places[0], _shared(scheme.name, secret, "utf8").secret.decode(), draft)


def _put(place: str, text: str, draft: _Draft) -> None:
    kind, _, argument = place.partition(":")
    if kind == "header":
        draft.headers[argument.lower()] = text
    elif kind == "bearer":
        draft.headers["authorization"] = f"Bearer {text}"
    elif kind == "basic":
        draft.headers["authorization"] = f"Basic {b64encode(text.encode()).decode()}"
    elif kind == "query":
        draft.url += f"{'&' if '?' in draft.url else '?'}{argument}={text}"
    # At a place in the body it is the caller's to write.


def _sign_twilio(scheme: TwilioForm | TwilioJson, draft: _Draft, secret: Secret) -> None:
    fields = sorted_form(draft.body) if isinstance(scheme, TwilioForm) else b""
    if isinstance(scheme, TwilioJson):
        draft.url += f"{'&' if '?' in draft.url else '?'}bodySHA256={hashlib.sha256(draft.body).hexdigest()}"
    mac = hmac_body.prepare(_shared(scheme.name, secret, "utf8").secret, "sha1")
    draft.headers["x-twilio-signature"] = base64_signature(mac(draft.url.encode() + fields)).decode()


def _add_jwt(scheme: Jwt, draft: _Draft, secret: Secret) -> None:
    algorithm = next(name for name in scheme.algorithms if name in _JWT_HASHES)
    claims: dict[str, Any] = {"iat": int(draft.now_s), "jti": draft.event_id}
    claims |= {"iss": scheme.issuers[0]} if scheme.issuers else {}
    claims |= {"aud": scheme.audience} if scheme.audience else {}
    if scheme.body_hash_claim:
        claims[scheme.body_hash_claim] = hashlib.sha256(draft.body).hexdigest()
    if scheme.place == "body":
        claims |= msgspec.json.decode(draft.body, type=dict[str, Any])
    content = b".".join(base64url_signature(msgspec.json.encode(part)) for part in ({"alg": algorithm, "typ": "JWT"}, claims))
    mac = hmac_body.prepare(_shared(scheme.name, secret, scheme.secret_encoding).secret, _JWT_HASHES[algorithm])
    token = b"%b.%b" % (content, base64url_signature(mac(content)))
    if scheme.place == "body":
        draft.body = token
    else:
        _put(scheme.place, token.decode(), draft)


def _sign_braintree(draft: _Draft, secret: Secret) -> None:
    mac = hmac_body.prepare(_shared("braintree", secret, "sha1_of_utf8").secret, "sha1")
    draft.body = urlencode({"bt_signature": f"public_key|{mac(draft.body).hex()}", "bt_payload": draft.body}).encode()
    draft.headers["content-type"] = _FORM


def _sign_mailgun(draft: _Draft, secret: Secret) -> None:
    at = str(int(draft.now_s))
    mac = hmac_body.prepare(_shared("mailgun", secret, "utf8").secret)
    proof = {"timestamp": at, "token": draft.event_id, "signature": mac(f"{at}{draft.event_id}".encode()).hex()}
    document = msgspec.json.decode(draft.body)
    if not isinstance(document, dict):
        raise ValueError("mailgun signs inside a JSON object; give one")
    draft.body = msgspec.json.encode(document | {"signature": proof})
