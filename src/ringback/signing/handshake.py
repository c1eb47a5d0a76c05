"""Is this request no event, but a question whether we are who we claim to be? If so: what must we answer?

A handshake is a pure function of the request and of what the source knows. `after_verification` says which ones may be answered only once
the request was believed; the others come unsigned. Nothing is fetched here: an answer may ask for it (`fetch`), with a checked host.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from ringback.errors import VerificationError
from ringback.signing.documents import form_fields, parse_json, query_value
from ringback.signing.encodings import base64_signature
from ringback.signing.large_documents import WHOLE_BYTES
from ringback.signing.providers.sns import SUBSCRIBE_URL
from ringback.signing.request import InboundRequest
from ringback.signing.verdict import SIGNATURE_MISMATCH

# Challenges are some tens of characters; what is longer is somebody trying what we echo.
MAX_ECHO_BYTES: Final = 1_024
# Whoever may choose the text that we sign with the secret can have an event signed: these forms are what the providers send, and no body of
# theirs (JSON, base64 of XML) can have them.
_CRC_TOKEN: Final = re.compile(rb"[A-Za-z0-9_.=+/-]{1,256}")
_UUID: Final = re.compile(rb"[0-9A-Fa-f-]{1,64}")
_BRAINTREE: Final = re.compile(rb"[a-f0-9]{20,32}")
_SIGNING: Final = {"x-crc": _CRC_TOKEN, "linkedin": _UUID, "braintree-challenge": _BRAINTREE}
# Seconds for which a hub gives a subscription: three hundred years are enough.
_LEASE: Final = re.compile(rb"[0-9]{1,10}")
# A sentence; it is the hub's text, and shown.
_REASON_CHARS: Final = 200
# Requests a minute that a CloudEvents sender is promised where no rate was set; more are taken.
GRANTED_RATE: Final = 100


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What a source knows when it is asked. Secrets are the texts that were pasted in, newest first.

    `verify_token` is the one chosen at registration (Meta, Strava, eBay). `awaiting_secret` is true only between the creation of a source
    and its first captured secret. `topics` are those that were asked for (WebSub). `granted_rate` is in requests a minute.
    """

    secrets: tuple[str, ...] = ()
    verify_token: str = ""
    public_key: str = ""
    awaiting_secret: bool = False
    topics: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    granted_rate: int = GRANTED_RATE


class Confirmation(msgspec.Struct, frozen=True):
    """A hub says that a topic is subscribed to, for so many seconds (None: it does not say); or, with `denied`, why not. Unsigned."""

    topic: str
    lease_s: int | None = None
    denied: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send back. `captured_secret` and `confirmed` must be stored before it is sent; `fetch` is a URL to GET, through the guard."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    captured_secret: str | None = None
    fetch: str | None = None
    confirmed: Confirmation | None = None


class Handshake(msgspec.Struct, frozen=True):
    """One kind. `answer` gives None when the request is not of this kind (or may not be answered), so that it is judged as an event."""

    name: str
    answer: Callable[[InboundRequest, Knowledge], Answer | None]
    after_verification: bool = False


_Answering: TypeAlias = Callable[[InboundRequest, Knowledge], Answer | None]


def _text(value: bytes | None) -> Answer | None:
    """An echo that no browser takes for a page: plain text, not to be guessed at, short, printable."""
    if not value or len(value) > MAX_ECHO_BYTES or any(byte < 0x20 or byte == 0x7F for byte in value):
        return None
    return Answer(headers=(("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")), body=value)


def _json(value: Mapping[str, Any]) -> Answer:
    headers = (("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff"))
    return Answer(headers=headers, body=msgspec.json.encode(value))


def _header(name: str, value: bytes | None) -> Answer | None:
    if not value or len(value) > MAX_ECHO_BYTES or any(byte < 0x21 or byte > 0x7E for byte in value):
        return None
    return Answer(headers=((name, value.decode("ascii")),))


def _query(request: InboundRequest, name: str) -> bytes | None:
    try:
        return query_value(request.url, name.encode())
    except VerificationError:
        return None


def _document(request: InboundRequest) -> dict[str, Any]:
    # Asked before anything is verified. Providers' questions have some hundred bytes, SNS's, with their signatures, two thousand.
    if len(request.body) > WHOLE_BYTES:
        return {}
    try:
        document = parse_json(request.body)
    except VerificationError:
        return {}
    return document if isinstance(document, dict) else {}


def _field(request: InboundRequest, name: str) -> bytes | None:
    value = _document(request).get(name)
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None


def _one(request: InboundRequest, name: bytes) -> bytes | None:
    try:
        return request.headers.one(name)
    except VerificationError:
        return None


def _same(given: bytes | None, known: str) -> bool:
    return bool(given) and bool(known) and hmac.compare_digest(given or b"", known.encode())


def _slack_url(request: InboundRequest, knows: Knowledge) -> Answer | None:
    challenge = _field(request, "challenge")
    if _field(request, "type") != b"url_verification" or challenge is None or len(challenge) > MAX_ECHO_BYTES:
        return None
    return _json({"challenge": challenge.decode("utf-8", "replace")})


def _slack_ssl(request: InboundRequest, knows: Knowledge) -> Answer | None:
    return Answer() if (b"ssl_check", b"1") in _form(request) else None


def _form(request: InboundRequest) -> list[tuple[bytes, bytes]]:
    try:
        return form_fields(request.body)
    except VerificationError:
        return []


def _hub_challenge(request: InboundRequest, knows: Knowledge) -> bytes | None:
    if request.method != b"GET" or not _same(_query(request, "hub.verify_token"), knows.verify_token):
        return None
    return _query(request, "hub.challenge") if _query(request, "hub.mode") == b"subscribe" else None


def _meta(request: InboundRequest, knows: Knowledge) -> Answer | None:
    return _text(_hub_challenge(request, knows))


def _strava(request: InboundRequest, knows: Knowledge) -> Answer | None:
    challenge = _text(_hub_challenge(request, knows))
    return None if challenge is None else _json({"hub.challenge": challenge.body.decode("utf-8", "replace")})


def _websub(request: InboundRequest, knows: Knowledge) -> Answer | None:
    mode, topic = _query(request, "hub.mode"), _query(request, "hub.topic")
    if request.method != b"GET" or mode not in (b"subscribe", b"unsubscribe", b"denied") or topic is None:
        return None
    name = topic.decode("utf-8", "replace")
    # Anybody may ask a hub to end somebody's subscription: it is agreed to only where the topic is not wanted (any more).
    if (name in knows.topics) is (mode == b"unsubscribe"):
        return Answer(status=404)
    if mode == b"denied":
        reason = (_query(request, "hub.reason") or b"").decode("utf-8", "replace")
        shown = "".join(sign for sign in reason if sign.isprintable())[:_REASON_CHARS]
        return Answer(confirmed=Confirmation(name, denied=shown))
    echo = _text(_query(request, "hub.challenge"))
    if echo is None or mode != b"subscribe":
        return echo
    lease = _query(request, "hub.lease_seconds") or b""
    lease_s = int(lease) if _LEASE.fullmatch(lease) else 0
    return msgspec.structs.replace(echo, confirmed=Confirmation(name, lease_s or None))


def _zoom(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    payload = document.get("payload")
    token = payload.get("plainToken") if isinstance(payload, dict) else None
    if document.get("event") != "endpoint.url_validation" or not isinstance(token, str) or not knows.secrets or len(token) > MAX_ECHO_BYTES:
        return None
    digest = hmac.digest(knows.secrets[0].encode(), token.encode("utf-8", "surrogatepass"), "sha256").hex()
    return _json({"plainToken": token, "encryptedToken": digest})


def _echo_query(name: str, methods: tuple[bytes, ...]) -> _Answering:
    return lambda request, knows: _text(_query(request, name)) if request.method in methods else None


def _cloudevents(request: InboundRequest, knows: Knowledge) -> Answer | None:
    origin = _one(request, b"webhook-request-origin")
    if request.method != b"OPTIONS" or origin is None:
        return None
    name = origin.decode("latin-1")
    # Consent is in the headers, not in the status: who was not invited gets none.
    if _header("WebHook-Allowed-Origin", origin) is None or (knows.allowed_origins and name not in knows.allowed_origins):
        return Answer(status=405, headers=(("Allow", "POST"),))
    headers = [("WebHook-Allowed-Origin", name), ("Allow", "POST")]
    if b"webhook-request-rate" in request.headers:
        headers.append(("WebHook-Allowed-Rate", str(knows.granted_rate)))
    return Answer(headers=tuple(headers))


def _asana(request: InboundRequest, knows: Knowledge) -> Answer | None:
    secret = _one(request, b"x-hook-secret")
    answer = _header("X-Hook-Secret", secret)
    # Whoever could set the secret later could sign.
    if secret is None or answer is None or not knows.awaiting_secret:
        return None
    return Answer(headers=answer.headers, captured_secret=secret.decode("ascii"))


def _notion(request: InboundRequest, knows: Knowledge) -> Answer | None:
    token = _field(request, "verification_token")
    if not token or not knows.awaiting_secret or len(token) > MAX_ECHO_BYTES:
        return None
    return Answer(captured_secret=token.decode("utf-8", "replace"))


def _twitch(request: InboundRequest, knows: Knowledge) -> Answer | None:
    if _one(request, b"twitch-eventsub-message-type") != b"webhook_callback_verification":
        return None
    return _text(_field(request, "challenge"))


def _ebay(request: InboundRequest, knows: Knowledge) -> Answer | None:
    code = _query(request, "challenge_code")
    if request.method != b"GET" or not code or not knows.verify_token:
        return None
    endpoint = request.url.partition(b"?")[0]
    return _json({"challengeResponse": hashlib.sha256(code + knows.verify_token.encode() + endpoint).hexdigest()})


def _adobe_sign(request: InboundRequest, knows: Knowledge) -> Answer | None:
    client_id = _one(request, b"x-adobesign-clientid")
    if request.method != b"GET" or not any(_same(client_id, known) for known in knows.secrets):
        return None
    return _header("X-AdobeSign-ClientId", client_id)


def _discord_ping(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    # Events carry `event` or `application_id` with type 1 and 0; a bare interaction ping is type 1 without an event.
    return _json({"type": 1}) if _is_one(document.get("type")) and "event" not in document else None


def _discord_event_ping(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    is_ping = document.get("type") == 0 and not isinstance(document.get("type"), bool) and "event" not in document
    return Answer(status=204) if is_ping else None


def _is_one(value: object) -> bool:
    return value == 1 and not isinstance(value, bool)


def _xero(request: InboundRequest, knows: Knowledge) -> Answer | None:
    # Reached only once the signature was believed; a wrong one is answered 401 with an empty body, as all failures are.
    return Answer() if _document(request).get("events") == [] else None


def _front(request: InboundRequest, knows: Knowledge) -> Answer | None:
    return _text(_one(request, b"x-front-challenge"))


def _ringcentral(request: InboundRequest, knows: Knowledge) -> Answer | None:
    return _header("Validation-Token", _one(request, b"validation-token"))


def _sns(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    url = document.get("SubscribeURL")
    if document.get("Type") != "SubscriptionConfirmation" or not isinstance(url, str) or not SUBSCRIBE_URL.fullmatch(url):
        return None
    return Answer(fetch=url)


def _braintree(request: InboundRequest, knows: Knowledge) -> Answer | None:
    challenge = _query(request, "bt_challenge")
    # Source: braintree/braintree_python braintree/webhook_notification_gateway.py, `verify`. No payload looks so.
    if request.method != b"GET" or not challenge or not knows.secrets or not _BRAINTREE.fullmatch(challenge):
        return None
    key = hashlib.sha1(knows.secrets[0].encode(), usedforsecurity=False).digest()
    return _text(f"{knows.public_key}|{hmac.digest(key, challenge, 'sha1').hex()}".encode())


def _monday(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    challenge = document.get("challenge")
    is_challenge = set(document) == {"challenge"} and isinstance(challenge, str) and len(challenge) <= MAX_ECHO_BYTES
    return _json({"challenge": challenge}) if is_challenge else None


def _okta(request: InboundRequest, knows: Knowledge) -> Answer | None:
    challenge = _one(request, b"x-okta-verification-challenge")
    if request.method != b"GET" or not challenge or len(challenge) > MAX_ECHO_BYTES:
        return None
    return _json({"verification": challenge.decode("latin-1")})


def _event_grid(request: InboundRequest, knows: Knowledge) -> Answer | None:
    if len(request.body) > WHOLE_BYTES:
        return None
    try:
        document = parse_json(request.body)
    except VerificationError:
        return None
    event = document[0] if isinstance(document, list) and len(document) == 1 else None
    if not isinstance(event, dict) or event.get("eventType") != "Microsoft.EventGrid.SubscriptionValidationEvent":
        return None
    data = event.get("data")
    code = data.get("validationCode") if isinstance(data, dict) else None
    return _json({"validationResponse": code}) if isinstance(code, str) and len(code) <= MAX_ECHO_BYTES else None


def _linkedin(request: InboundRequest, knows: Knowledge) -> Answer | None:
    code = _query(request, "challengeCode")
    if request.method != b"GET" or not code or not knows.secrets or not _UUID.fullmatch(code):
        return None
    digest = hmac.digest(knows.secrets[0].encode(), code, "sha256").hex()
    return _json({"challengeCode": code.decode("utf-8", "replace"), "challengeResponse": digest})


def _x_crc(request: InboundRequest, knows: Knowledge) -> Answer | None:
    token = _query(request, "crc_token")
    if request.method != b"GET" or not token or not knows.secrets or not _CRC_TOKEN.fullmatch(token):
        return None
    digest = base64_signature(hmac.digest(knows.secrets[0].encode(), token, "sha256")).decode()
    return _json({"response_token": f"sha256={digest}"})


def _tebex(request: InboundRequest, knows: Knowledge) -> Answer | None:
    document = _document(request)
    identifier = document.get("id")
    return _json({"id": identifier}) if document.get("type") == "validation.webhook" and isinstance(identifier, str) else None


def _when_method(method: bytes) -> _Answering:
    return lambda request, knows: Answer() if request.method == method else None


_ALL: Final = (
    Handshake("slack-url-verification", _slack_url, after_verification=True),
    Handshake("slack-ssl-check", _slack_ssl),
    Handshake("meta-hub", _meta),
    Handshake("strava-hub", _strava),
    Handshake("websub", _websub),
    Handshake("zoom-url-validation", _zoom, after_verification=True),
    Handshake("dropbox", _echo_query("challenge", (b"GET",))),
    Handshake("nylas", _echo_query("challenge", (b"GET",))),
    Handshake("ms-graph", _echo_query("validationToken", (b"POST",))),
    Handshake("sharepoint", _echo_query("validationtoken", (b"POST",))),
    Handshake("cloudevents-options", _cloudevents),
    Handshake("event-grid", _event_grid),
    Handshake("asana", _asana),
    Handshake("notion", _notion),
    Handshake("twitch", _twitch, after_verification=True),
    Handshake("ebay", _ebay),
    Handshake("adobe-sign", _adobe_sign),
    Handshake("discord-interaction-ping", _discord_ping, after_verification=True),
    Handshake("discord-webhook-event-ping", _discord_event_ping, after_verification=True),
    Handshake("xero-itr", _xero, after_verification=True),
    Handshake("front", _front),
    Handshake("ringcentral", _ringcentral),
    Handshake("aws-sns", _sns, after_verification=True),
    Handshake("braintree-challenge", _braintree),
    Handshake("monday", _monday),
    Handshake("okta", _okta),
    Handshake("linkedin", _linkedin),
    Handshake("x-crc", _x_crc),
    Handshake("tebex-validation", _tebex, after_verification=True),
    Handshake("head-ok", _when_method(b"HEAD")),
    Handshake("get-ok", _when_method(b"GET")),
)

_WAITING: Final = Knowledge(awaiting_secret=True)
HANDSHAKES: Final[dict[str, Handshake]] = {handshake.name: handshake for handshake in _ALL}


def offers_secret(names: tuple[str, ...], request: InboundRequest) -> bool:
    """Would the request give a source its secret, if the source waited for one?"""
    for name in names:
        answer = HANDSHAKES[name].answer(request, _WAITING)
        if answer is not None and answer.captured_secret is not None:
            return True
    return False


def refuse_question(names: tuple[str, ...], request: InboundRequest) -> None:
    """Refuse an event that says no more than anybody could have had signed, with one of these handshakes. Raises VerificationError."""
    for name in names:
        form = _SIGNING.get(name)
        if form is not None:
            payloads = [value for field, value in _form(request) if field == b"bt_payload"] if name == "braintree-challenge" else []
            if any(not text or form.fullmatch(text) for text in (request.body, *payloads)):
                raise VerificationError(SIGNATURE_MISMATCH, f"anybody could have had this signed, by asking as {name} does; no event is so")


def answer_handshake(names: tuple[str, ...], request: InboundRequest, knows: Knowledge, *, verified: bool) -> Answer | None:
    """The answer to the first of these handshakes that the request is one of, None when it is an event.

    Ask with `verified=False` before verification and, if that gave nothing and the request was believed, with True.
    """
    found = answered_handshake(names, request, knows, verified=verified)
    return None if found is None else found[1]


def answered_handshake(names: tuple[str, ...], request: InboundRequest, knows: Knowledge, *, verified: bool) -> tuple[str, Answer] | None:
    """As `answer_handshake`, with the name of the handshake."""
    for name in names:
        handshake = HANDSHAKES[name]
        if handshake.after_verification == verified:
            answer = handshake.answer(request, knows)
            if answer is not None:
                return name, answer
    return None
