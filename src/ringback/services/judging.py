"""What is to be done with this request? Decided here, from the request and its source alone; others act."""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from ringback.clock import SECOND_US
from ringback.errors import Unavailable, VerificationError
from ringback.model import quarantine as reasons
from ringback.model.arrivals import EMPTY_BATCH
from ringback.model.messages import Origin, Remote
from ringback.model.quarantine import Quarantined
from ringback.model.reconciliation import HEADER, RECONCILED
from ringback.model.sources import NOT_UTF8, OLD_SECRET, RELEASED, SCHEMA, SCHEMA_UNKNOWN, UNVERIFIED, UNVERSIONED, WOULD_REFUSE
from ringback.policy.sources_events import BombError, Event, Listed, inflated, passed_on
from ringback.policy.sources_signals import Signal
from ringback.services.gateway import Ready
from ringback.services.intake import NewMessage
from ringback.signing.fetched import KeySource
from ringback.signing.handshake import Answer, answered_handshake, offers_secret, refuse_question
from ringback.signing.places import first_text
from ringback.signing.request import InboundRequest
from ringback.signing.verdict import Verdict
from ringback.store.base import EventClaim, VersionClaim
from ringback.store.operations.deduplication import ANY_BODY, CHANGED, digest, key_of

_UNSOLICITED: Final = (
    "a secret was offered, but the source has one; if the provider made a new webhook, let the source wait for its handshake again"
)
_UNKNOWN_TYPE: Final = "application/octet-stream"
# How long the newest version of a key is remembered after it was accepted, microseconds: 30 days, as requests are kept in quarantine.
_VERSIONS_US: Final = 30 * 86_400 * SECOND_US
# Providers count deliveries to some dozens; what strangers write there is kept no longer than that.
_COUNT_CHARS: Final = 20


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """Not believed. `status` is all that the sender learns; 2xx: it is kept in quarantine without the sender's knowledge."""

    reason: str
    detail: str
    status: int = 401
    kept: bool = True


class Asked(msgspec.Struct, frozen=True, gc=False):
    """The provider asks who we are: no event, but an answer to the handshake of that name."""

    name: str
    answer: Answer


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """Believed, and of a type that the owner does not want, or, with `what`, for another reason."""

    what: str = ""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """Believed: these are its events. `doubtful` are payloads that must be compared with the source's schema first."""

    events: list[NewMessage]
    doubtful: tuple[bytes, ...] = ()


class Told(msgspec.Struct, frozen=True, gc=False):
    """What else is to be done with a request in which the provider says that it calls no more, or less."""

    signal: Signal
    rest: Refusal | Ignored | Taken


Decision: TypeAlias = Refusal | Asked | Ignored | Taken


def judge(ready: Ready, request: InboundRequest, now_us: int, keys: KeySource, remote: Remote | None = None) -> Decision | Told:
    """Decide. `remote` is who sent it. Raises what `keys` raises when a key must be fetched first, and nothing else for any bytes."""
    names = ready.handshakes
    if names:
        asked = answered_handshake(names, request, ready.knowledge, verified=False)
        if asked is not None:
            return Asked(*asked)
    verdict = None
    if ready.verifier is not None:
        now_s = now_us / SECOND_US
        try:
            verdict = ready.verifier.verify(request, now_s=now_s, key_source=keys)
            if names:
                refuse_question(names, request)
            if verdict.signed_at_s is not None and (metrics := ready.metrics) is not None:
                metrics.clock_skew_seconds.observe(now_s - verdict.signed_at_s)
        except VerificationError as error:
            if ready.source.verification.verify == "observe":
                return _taken(ready, request, None, now_us, (WOULD_REFUSE + error.reason,), remote)
            if names and offers_secret(names, request):
                return Refusal(reasons.UNSOLICITED_HANDSHAKE, _UNSOLICITED)
            return Refusal(error.reason, str(error))
    if names:
        asked = answered_handshake(names, request, ready.knowledge, verified=True)
        if asked is not None:
            return Asked(*asked)
        # Only what was proven: a stranger could say so as well.
        if verdict is not None and ready.signals is not None and (signal := ready.signals(request)) is not None:
            return Told(signal, _taken(ready, request, verdict, now_us, (), remote))
    return _taken(ready, request, verdict, now_us, (), remote)


def released(
    ready: Ready, request: InboundRequest, now_us: int, keys: KeySource, received_us: int, remote: Remote | None = None, *, believe: bool
) -> Decision:
    """Decide about a request in quarantine: as of when it came, since it may have waited for days.

    `believe` takes it in without verification: a person has looked at it.
    """
    verdict = None
    if ready.verifier is not None and not believe:
        try:
            verdict = ready.verifier.verify(request, now_s=received_us / SECOND_US, key_source=keys)
            refuse_question(ready.handshakes, request)
            asked = answered_handshake(ready.handshakes, request, ready.knowledge, verified=True)
            if asked is not None:
                return Asked(*asked)
        except VerificationError as error:
            return Refusal(error.reason, str(error))
    return _taken(ready, request, verdict, now_us, (RELEASED,), remote)


def let_out_once(ready: Ready, item: Quarantined, events: list[NewMessage]) -> list[NewMessage]:
    """The events of a request in quarantine; those without a name get that of the request, so that it is never let out twice."""

    def named(event: NewMessage, index: int) -> NewMessage:
        if event.event is not None:
            return event
        claim = EventClaim(ready.source.id, b"q%b %d" % (item.id.encode(), index), digest(event.payload), ready.window_us)
        return replace(event, event=claim)

    return [named(event, index) for index, event in enumerate(events)]


def reconciled(ready: Ready, request: InboundRequest, now_us: int, change: Listed | None = None) -> Decision:
    """Decide about an event that the provider's own list has, as if it had come: the same id, the same name, the same filters.

    `change` says what it is where no call would have brought it. Its bytes may be laid out otherwise than those that the provider would
    have sent, so no other bytes under its id are a conflict.
    """
    decision = _taken(ready, request, None, now_us, (RECONCILED,), None, change)
    mark = b"" if change is None else CHANGED
    return Taken([_listed(event, mark) for event in decision.events], decision.doubtful) if isinstance(decision, Taken) else decision


def _listed(event: NewMessage, mark: bytes) -> NewMessage:
    claim = event.event
    headers = (event.headers or b"") + HEADER + b": true\r\n"
    return replace(event, headers=headers, event=None if claim is None else replace(claim, key=mark + claim.key, body=ANY_BODY))


def _taken(
    ready: Ready,
    request: InboundRequest,
    verdict: Verdict | None,
    now_us: int,
    flags: tuple[str, ...],
    remote: Remote | None,
    change: Listed | None = None,
) -> Refusal | Ignored | Taken:
    rules = ready.source.rules
    unpacked = plain(request)
    if isinstance(unpacked, Refusal):
        return unpacked
    if verdict is None:
        # What the provider's API listed was not signed, and came from nobody else.
        flags = flags if RECONCILED in flags else (*flags, UNVERIFIED)
    elif ready.matched(verdict.key_index, now_us):
        flags = (*flags, OLD_SECRET)
    events = ready.events.read(unpacked, verdict) if change is None else [ready.events.listed(unpacked, change)]
    if not events:
        return Ignored(EMPTY_BATCH)
    if rules.event_types is not None:
        events = [event for event in events if event.original in rules.event_types]
        if not events:
            return Ignored()
    doubtful = () if ready.schema is None else ready.schema.doubtful([event.payload for event in events])
    kind = _content_type(ready, request)
    if not unpacked.body.isascii() and _is_garbled(unpacked.body, kind):
        flags = (*flags, NOT_UTF8)
    count = None
    if ready.redelivery:
        count = (first_text(ready.redelivery, unpacked) or "")[:_COUNT_CHARS] or None
    if len(events) == 1 and events[0].payload is unpacked.body:
        headers = passed_on(request.headers, ready.dropped)
        event = _message(ready, events[0], request.body, kind, headers, verdict, flags, count, remote)
        if verdict is not None and verdict.nonce is not None and event.event is not None:
            event = replace(event, event=replace(event.event, proof=b"p" + digest(verdict.nonce.encode())))
        return Taken([event], doubtful)
    # What is taken out of a packed body is not packed.
    dropped = ready.dropped if unpacked is request else ready.dropped | {b"content-encoding"}
    headers = passed_on(request.headers, dropped)
    pieces = [_message(ready, event, event.payload, event.kind or kind, headers, verdict, flags, count, remote) for event in events]
    return Taken(pieces, doubtful)


def compared(ready: Ready, taken: Taken, problem: str | None, *, known: bool) -> Decision:
    """What becomes of events whose payloads were compared with the schema. Raises Unavailable where that must be known and is not.

    `problem` says what does not fit, or, where that is not `known`, why nobody could tell.
    """
    mode = ready.source.rules.schema_mode
    if problem is None:
        return Taken(taken.events)
    if mode == "observe" or any(event.origin is not None and RELEASED in event.origin.flags for event in taken.events):
        return Taken([_flagged(event, SCHEMA if known else SCHEMA_UNKNOWN) for event in taken.events])
    if mode == "reject" and not known:
        raise Unavailable(problem)
    return Refusal(reasons.SCHEMA_MISMATCH, problem, 422 if mode == "reject" else 200)


def _flagged(event: NewMessage, flag: str) -> NewMessage:
    origin = event.origin
    return event if origin is None else replace(event, origin=replace(origin, flags=(*origin.flags, flag)))


def _message(
    ready: Ready,
    event: Event,
    payload: bytes,
    kind: str,
    headers: bytes,
    verdict: Verdict | None,
    flags: tuple[str, ...],
    count: str | None,
    remote: Remote | None,
) -> NewMessage:
    source_id, identity = ready.source.id, event.identity
    claim = None
    if identity is not None:
        claim = EventClaim(source_id, key_of(identity), digest(payload if event.stable is None else event.stable), ready.window_us)
    version = None
    if ready.versions is not None:
        version = _version(ready, ready.versions, event)
        flags = flags if version is not None else (*flags, UNVERSIONED)
    key_index = None if verdict is None else verdict.key_index
    origin = Origin(source_id, identity, event.original, key_index, flags, count, remote, sensitive=ready.sensitive)
    return NewMessage(event.name, payload, ready.life_us, None, None, None, None, kind, True, origin, headers, claim, event.key, version)


def _version(ready: Ready, settings: bytes, event: Event) -> VersionClaim | None:
    """What says that the event is not older than what was accepted; None where that cannot be compared."""
    if event.key is None or event.version is None:
        return None
    # Under other settings the same text may be another thing, or another version.
    key = digest(settings + event.key.encode("utf-8", "surrogatepass"))
    return VersionClaim(ready.source.id, key, event.version.kind, event.version.place, max(_VERSIONS_US, ready.window_us))


def plain(request: InboundRequest) -> InboundRequest | Refusal:
    """The request with its body unpacked, to look for ids in; what is stored and delivered are the bytes as they came."""
    if b"content-encoding" not in request.headers:
        return request
    try:
        coding = request.headers.one(b"content-encoding") or b""
        return InboundRequest(request.headers, inflated(request.body, coding), request.method, request.url)
    except BombError as error:
        return Refusal(reasons.UNREADABLE_CODING, str(error), 413, kept=False)
    except LookupError as error:
        return Refusal(reasons.UNREADABLE_CODING, str(error), 415)
    except (ValueError, VerificationError) as error:
        return Refusal(reasons.UNREADABLE_CODING, str(error), 400)


def _is_garbled(body: bytes, kind: str) -> bool:
    """Does the body claim to be text of UTF-8, and is none?"""
    try:
        body.decode()
    except UnicodeDecodeError:
        name, _, rest = kind.lower().partition(";")
        textual = name.startswith("text/") or name.endswith(("json", "xml", "x-www-form-urlencoded"))
        return textual and ("charset" not in rest or "utf-8" in rest or "utf8" in rest)
    return False


def _content_type(ready: Ready, request: InboundRequest) -> str:
    try:
        value = request.headers.one(b"content-type") or b""
    except VerificationError:
        value = request.headers.all(b"content-type")[0]
    if value != ready.kind[0]:
        text = value.decode("latin-1")
        ready.kind = (value, text if text and text.isascii() and text.isprintable() else _UNKNOWN_TYPE)
    return ready.kind[1]
