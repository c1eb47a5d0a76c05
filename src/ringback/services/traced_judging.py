"""What does verification look like as a span? The judge of requests with a note of how long it took, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from ringback.clock import Clock
from ringback.model.messages import Remote
from ringback.model.sources import WOULD_REFUSE
from ringback.services.gateway import Ready
from ringback.services.judging import Asked, Decision, Ignored, Refusal, Taken, Told, judge
from ringback.signing.fetched import KeySource, KeyUnavailable
from ringback.signing.request import InboundRequest
from ringback.telemetry.tracing import Tracing

Judge: TypeAlias = Callable[[Ready, InboundRequest, int, KeySource, Remote | None], Decision | Told]

_VERIFIED: Final = "verified"
# Nothing of the source says how it would be verified.
_UNCHECKED: Final = "unchecked"


def traced(tracing: Tracing | None, clock: Clock) -> Judge:
    """`judge`, with spans where these are made."""
    if tracing is None:
        return judge

    def judged(ready: Ready, request: InboundRequest, now_us: int, keys: KeySource, remote: Remote | None) -> Decision | Told:
        began_us, of = clock.now_us(), (ready.source.id, ready.source.type)
        try:
            decision = judge(ready, request, now_us, keys, remote)
        except KeyUnavailable as missing:
            # It is fetched, and the request is judged again.
            tracing.verified(*of, missing.code, began_us, failed=True)
            raise
        tracing.verified(*of, _reason(ready, decision), began_us, failed=isinstance(decision, Refusal))
        return decision

    return judged


def _reason(ready: Ready, decision: Decision | Told) -> str:
    """A word of ours, never of the sender's."""
    match decision:
        case Refusal():
            return decision.reason
        case Asked():
            return "handshake"
        case Ignored():
            return "ignored"
        case Told():
            return "signal"
        case Taken():
            origin = decision.events[0].origin if decision.events else None
            observed = (flag.removeprefix(WOULD_REFUSE) for flag in (origin.flags if origin else ()) if flag.startswith(WOULD_REFUSE))
            return next(observed, _UNCHECKED if ready.verifier is None else _VERIFIED)
