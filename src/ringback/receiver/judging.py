"""Is this request believed, and which events are in it? What a receiver was given, prepared once; pure, and the gateway's own rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec

from ringback.clock import SECOND_US, to_datetime
from ringback.errors import VerificationError
from ringback.model.quarantine import TOO_LARGE_BODY, UNREADABLE_CODING, UNSOLICITED_HANDSHAKE
from ringback.model.sources import Deduplication, OwnScheme, Rules, Source, SourceSecret, Verification
from ringback.policy import sources as rules_of
from ringback.policy.sources_answers import Answerer, needs_answerer
from ringback.policy.sources_events import Event as Found
from ringback.policy.sources_events import EventReader, inflated
from ringback.receiver.event import Event, Reply
from ringback.signing.fetched import NO_KEYS, KeySource
from ringback.signing.handshake import Answer, answer_handshake, offers_secret, refuse_question
from ringback.signing.headers import Headers
from ringback.signing.providers import catalogue
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.scheme import Signed
from ringback.signing.verdict import Verdict

# Other names under which people look for a row of the catalogue: our own server signs by the standard, as its endpoints are told.
ALIASES: Final = {"ringback": "standard-webhooks", "standardwebhooks": "standard-webhooks"}
# What texts are for providers that want no plain text.
_TEXT_TYPES: Final = {"twilio": "text/xml; charset=utf-8"}
_PLAIN: Final = "text/plain; charset=utf-8"
# Providers that say nothing of their answer take any 2xx.
_OK: Final = Reply(200, b"{}", "application/json")

Judged: TypeAlias = Answer | list[Event]


def describe(
    provider: str,
    *,
    secrets: str | Sequence[str | Secret],
    scheme: str | OwnScheme | None = None,
    tolerance: timedelta | None = None,
    max_body_bytes: int,
    verify_token: str = "",
    public_key: str = "",
    topics: Sequence[str] = (),
    allowed_origins: Sequence[str] = (),
    offers_to_keep: bool = False,
    unverified: bool = False,
    event_id_at: Sequence[str] | None = None,
    event_type_at: Sequence[str] = (),
) -> Source:
    """A receiver in the words of the gateway's rules, which ask for a source. Raises ValueError for what contradicts itself."""
    if not 1 <= max_body_bytes <= rules_of.MAX_BODY_BYTES:
        raise ValueError(f"max_body_bytes must lie between 1 and {rules_of.MAX_BODY_BYTES}, not {max_body_bytes}")
    texts = [secrets] if isinstance(secrets, str) else secrets
    given = [Secret(secret) if isinstance(secret, str) else secret for secret in texts]
    verification = Verification(
        verify="none" if unverified else "signature",
        scheme=scheme,
        secrets=tuple(SourceSecret(secret.text, secret.encoding) for secret in given),
        tolerance_s=None if tolerance is None else tolerance.total_seconds(),
        verify_token=verify_token,
        public_key=public_key,
        topics=tuple(topics),
        allowed_origins=tuple(allowed_origins),
        awaiting_secret=offers_to_keep and not given,
    )
    for _, problem in (*rules_of.places(event_id_at or ()), *rules_of.named_places(event_type_at)):
        raise ValueError(problem)
    rules = Rules(
        max_body_bytes=max_body_bytes,
        event_type_at=tuple(event_type_at),
        deduplication=Deduplication(by=None if event_id_at is None else tuple(event_id_at)),
    )
    found = _type_of(provider, verification)
    return Source(
        id="", org_id="", app_id="", ingest=False, uid=None, name=found, type=found, route=None, disabled=False, metadata={},
        verification=verification, rules=rules, tokens=(), created_at=0, updated_at=0,
    )  # fmt: skip


def _type_of(provider: str, verification: Verification) -> str:
    found = ALIASES.get(provider, provider)
    if not found and (verification.scheme is not None or verification.verify == "none"):
        return rules_of.CUSTOM
    if not found:
        raise ValueError("a receiver needs a provider or a scheme; `ringback providers` lists them")
    if not rules_of.is_known(found):
        # Names the nearest ones.
        catalogue.provider(found)
    return found


class Judge:
    """Judges requests by one source's secrets and rules; made once. Raises ValueError when it could not verify: it must not start then."""

    __slots__ = (
        "_answer", "_answerer", "_credentials", "_fallback", "_handshakes", "_knowledge", "_reader", "_verifier", "odd_names", "provider",
        "source", "text_type",
    )  # fmt: skip

    def __init__(self, source: Source) -> None:
        self.source = source
        self.provider = source.type
        self._verifier = rules_of.make_verifier(source.type, source.verification, 0)
        self._handshakes = rules_of.handshakes_of(source)
        self._knowledge = rules_of.knowledge(source, 0)
        self._fallback = f"{source.type}.webhook"
        self._reader = EventReader(rules_of.provider_of(source.type), source.rules, self._fallback)
        self._credentials = frozenset(name.encode() for name in rules_of.credentials(source))
        # Names with an underscore, which WSGI cannot tell from a dash.
        self.odd_names = {name.replace("_", "-").encode(): name.encode() for name in _names(source) if "_" in name}
        self.text_type = _TEXT_TYPES.get(source.type, _PLAIN)
        answer = rules_of.answer_of(source)
        self._answer = _OK if answer is None else Reply(answer.status, answer.body.encode(), answer.content_type)
        self._answerer = None
        if answer is not None and needs_answerer(answer):
            self._answerer = Answerer(answer, rules_of.own_secret(source.verification, 0))

    def judge(self, request: InboundRequest, now_us: int, keys: KeySource = NO_KEYS) -> Judged:
        """The answer to a question of the provider, or the events of a request that is believed.

        Raises VerificationError, KeyUnavailable when a key must be fetched first, and nothing else for any bytes.
        """
        answer = self.ask(request, verified=False)
        if answer is not None:
            return answer
        verdict = self._verdict(request, now_us, keys)
        answer = self.ask(request, verified=True)
        return self._events(request, verdict, now_us) if answer is None else answer

    def ask(self, request: InboundRequest, *, verified: bool) -> Answer | None:
        """The answer, if the request is a question; `verified` as in `signing.handshake`."""
        return answer_handshake(self._handshakes, request, self._knowledge, verified=verified) if self._handshakes else None

    def believed(self, request: InboundRequest, now_us: int, keys: KeySource = NO_KEYS) -> list[Event]:
        """The events of a request that must be one of events. Raises as `judge`."""
        return self._events(request, self._verdict(request, now_us, keys), now_us)

    def whole(self, request: InboundRequest, now_us: int, keys: KeySource = NO_KEYS) -> Event:
        """The request as one event with all of its bytes; a batch of several has no id and no type of its own. Raises as `judge`."""
        verdict = self._verdict(request, now_us, keys)
        plain = self._plain(request)
        events = self._reader.read(plain, verdict)
        found = events[0] if len(events) == 1 else Found(self._fallback, None, None, b"")
        return self._event(msgspec.structs.replace(found, payload=plain.body), request, verdict, now_us)

    def acknowledgement(self, request: InboundRequest, now_us: int) -> Reply:
        """What the provider wants to hear of a request that was taken."""
        if self._answerer is None:
            return self._answer
        made = self._answerer.make(request, now_us / SECOND_US)
        return Reply(made.status, made.body, made.content_type, made.headers)

    def without_credentials(self, event: Event) -> Event:
        """The event as it may be kept: without the headers that hold a secret itself."""
        fields = [field for field in event.headers if field[0].lower() not in self._credentials]
        return event if len(fields) == len(event.headers.fields) else msgspec.structs.replace(event, headers=Headers(fields))

    def _verdict(self, request: InboundRequest, now_us: int, keys: KeySource) -> Verdict | None:
        if len(request.body) > self.source.rules.max_body_bytes:
            raise VerificationError(TOO_LARGE_BODY, f"the body is larger than the {self.source.rules.max_body_bytes} bytes that are taken")
        if self._verifier is None:
            return None
        try:
            verdict = self._verifier.verify(request, now_s=now_us / SECOND_US, key_source=keys)
            refuse_question(self._handshakes, request)
            return verdict
        except VerificationError:
            if self._handshakes and offers_secret(self._handshakes, request):
                raise VerificationError(UNSOLICITED_HANDSHAKE, "a secret was offered, but the receiver has one") from None
            raise

    def _plain(self, request: InboundRequest) -> InboundRequest:
        if b"content-encoding" not in request.headers:
            return request
        try:
            body = inflated(request.body, request.headers.one(b"content-encoding") or b"")
        except (LookupError, ValueError) as error:
            raise VerificationError(UNREADABLE_CODING, str(error)) from None
        return InboundRequest(request.headers, body, request.method, request.url)

    def _events(self, request: InboundRequest, verdict: Verdict | None, now_us: int) -> list[Event]:
        return [self._event(found, request, verdict, now_us) for found in self._reader.read(self._plain(request), verdict)]

    def _event(self, found: Found, request: InboundRequest, verdict: Verdict | None, now_us: int) -> Event:
        return Event(
            # What several texts name together is one text here; databases of users may not take a NUL.
            id=None if found.identity is None else found.identity.replace("\x00", "|"),
            type=self._fallback if found.original is None else found.original,
            raw=found.payload,
            headers=request.headers if found.kind is None else _typed(request.headers, found.kind),
            provider=self.provider,
            received_at=to_datetime(now_us),
            signed_at=_time(verdict),
            secret_index=None if verdict is None else verdict.key_index,
            verified=verdict is not None,
            stable=found.stable,
        )


def _typed(headers: Headers, kind: str) -> Headers:
    """The headers of a batch, as those of one of its items of that content type."""
    return Headers([*[field for field in headers.fields if field[0].lower() != b"content-type"], (b"content-type", kind.encode())])


def _names(source: Source) -> Iterator[str]:
    """The headers in which the schemes of a source look for signatures and times, lower case."""
    for scheme in rules_of.schemes_of(source.type, source.verification):
        if isinstance(scheme, Signed):
            yield from scheme.headers
            yield scheme.timestamp.removeprefix("header:").lower()


def _time(verdict: Verdict | None) -> datetime | None:
    if verdict is None or verdict.signed_at_s is None:
        return None
    try:
        return to_datetime(int(verdict.signed_at_s * SECOND_US))
    except (OverflowError, ValueError):
        # Signed, but without a limit on its age, so that it may be past all calendars.
        return None
