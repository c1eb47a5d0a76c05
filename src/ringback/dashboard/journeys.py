"""What happened to a message, and why? A journey told in one sentence, as a line of time, and as reasons. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import CANCELLED, DEAD, DELIVERED, RETRYING, WAITING, Badge, Kind, badge_of
from ringback.dashboard.words import Moment, counted, duration, milliseconds, moment
from ringback.model.attempts import Attempt, WaitCause
from ringback.model.deliveries import AttemptStatus, Trigger
from ringback.model.messages import Message
from ringback.policy.fanout import WhyNot
from ringback.services.journeys import Journey, Leg, Miss, State

DISCARDED: Final = Badge("off", "discarded")
ENDED: Final = Badge("dead", "ended")
NOWHERE: Final = Badge("off", "no endpoint")
_BADGES: Final[Mapping[State, Badge]] = {
    State.DELIVERED: DELIVERED,
    State.WAITING: WAITING,
    State.RETRYING: RETRYING,
    State.DEAD: DEAD,
    State.DISCARDED: DISCARDED,
    State.CANCELLED: CANCELLED,
    State.ENDED: ENDED,
}
# Why something waited, after the length of the wait.
_WAITS: Final[Mapping[str, str]] = {
    WaitCause.SCHEDULE: "by the retry schedule",
    WaitCause.RETRY_AFTER: "as its Retry-After asked",
    WaitCause.OVERLOAD: "the least wait after a timeout or a 429",
    WaitCause.THROTTLE: "held by a rate limit",
    WaitCause.PAUSED: "its endpoint was left alone for a moment",
    WaitCause.BREAKER: "the circuit breaker of its endpoint was open",
    WaitCause.DELIVER_AT: "until the time its sender chose",
    WaitCause.RESTART: "the server was not running",
    WaitCause.ORDER: "those before it in its order",
    WaitCause.BACKLOG: "others came before it",
}
# The worst comes first: it is what somebody has to know.
_WORST: Final = (State.DEAD, State.ENDED, State.RETRYING, State.WAITING, State.DISCARDED, State.CANCELLED, State.DELIVERED)


class Event(msgspec.Struct, frozen=True):
    """One thing on the line of time. `wait` is what lay between the one before and this, `then` what there is to say about it."""

    kind: Kind
    what: str
    then: str = ""
    at: Moment | None = None
    wait: str = ""
    attempt_id: str | None = None


def badge_of_leg(leg: Leg) -> Badge:
    """How a leg stands."""
    return _BADGES[leg.state]


def ordered(legs: Sequence[Leg]) -> list[Leg]:
    """The legs with the worst first."""
    return sorted(legs, key=lambda leg: _WORST.index(leg.state))


def badge_of_journey(journey: Journey) -> Badge:
    """How a message stands as a whole: as the leg that stands worst."""
    states = {leg.state for leg in journey.legs}
    return next((_BADGES[state] for state in _WORST if state in states), NOWHERE)


def said(attempt: Attempt) -> str:
    """What came of a failed attempt: `the endpoint answered 503`."""
    return f"the endpoint answered {attempt.code}" if attempt.code else attempt.detail or "there was no answer"


def sentence(journey: Journey, now_us: int, allowed: int) -> str:
    """What happened and why, in one sentence. `allowed` is how many attempts the schedule has."""
    message, legs = journey.message, journey.legs
    if not legs:
        return _nowhere(journey, now_us)
    if len(legs) == 1:
        return sentence_of_leg(legs[0], message, now_us, allowed)
    counts = {state: sum(leg.state is state for leg in legs) for state in State}
    parts = [f"Delivered to {counts[State.DELIVERED]} of {counted(len(legs), 'endpoint')}"]
    names = (
        (State.DEAD, "dead"),
        (State.ENDED, "given up"),
        (State.RETRYING, "retrying"),
        (State.WAITING, "waiting"),
        (State.DISCARDED, "discarded"),
        (State.CANCELLED, "cancelled"),
    )
    parts += [f"{counts[state]} {name}" for state, name in names if counts[state]]
    failing = next((leg for state in _WORST for leg in legs if leg.state is state and leg.attempts), None)
    if failing is not None and failing.state is not State.DELIVERED and failing.attempts:
        why = said(failing.attempts[-1])
        others = sum(leg.state is failing.state and bool(leg.attempts) and said(leg.attempts[-1]) != why for leg in legs)
        parts.append(f"{why}, and {counted(others, 'other')} for another reason" if others else why)
    following = min((leg.next_at for leg in legs if leg.next_at is not None and leg.state is State.RETRYING), default=None)
    if following is not None:
        parts.append(_next(following, now_us))
    return "; ".join(parts) + "."


def sentence_of_leg(leg: Leg, message: Message, now_us: int, allowed: int) -> str:
    """What happened on the way to one endpoint, and why."""
    attempts = leg.attempts
    failed = sum(attempt.status == AttemptStatus.FAIL for attempt in attempts)
    times = "once" if failed == 1 else f"{failed} times"
    scheduled = sum(attempt.trigger == Trigger.SCHEDULED and attempt.status == AttemptStatus.FAIL for attempt in attempts)
    if leg.state is State.DELIVERED:
        taken = next(attempt for attempt in attempts if attempt.status == AttemptStatus.SUCCESS)
        took = max(taken.started_at + taken.duration_us - message.created_at, 0)
        after = f"after it failed {times}" if failed else "at the first attempt"
        return f"Delivered {after}, {duration(took / SECOND_US)} after it came."
    if leg.state is State.WAITING:
        due_us = leg.next_at if leg.next_at is not None else leg.asked_at
        if message.deliver_at is not None and due_us is not None and due_us > now_us:
            return f"Waits for its time: it is to be sent in {duration((due_us - now_us) / SECOND_US)}."
        return "Waits for its first attempt."
    if leg.state is State.RETRYING and attempts:
        of = f" of {allowed}" if 0 < scheduled < allowed else ""
        following = leg.next_at if leg.next_at is not None else leg.asked_at
        tries = f"Failed {scheduled}{of} times" if of else f"Failed {times}"
        return f"{tries}; {said(attempts[-1])}; {_next(following, now_us) if following is not None else 'another attempt is under way'}."
    if leg.state is State.DEAD:
        last = said(attempts[-1]) if attempts else (leg.letter.detail if leg.letter is not None else "")
        return f"Failed {times}, and no attempt is left; {last}. It is a dead letter, and waits for somebody."
    if leg.state is State.DISCARDED:
        return f"Failed {times}; its dead letter was discarded."
    if leg.state is State.CANCELLED:
        return "Cancelled before it was sent."
    off = "was deleted" if leg.deleted else "was disabled" if leg.endpoint.disabled else "gets no further attempt by itself"
    return f"{f'Failed {times}; {said(attempts[-1])}; the' if attempts else 'Never attempted; the'} endpoint {off}."


def _next(due_us: int, now_us: int) -> str:
    return f"next try in {duration((due_us - now_us) / SECOND_US)}" if due_us > now_us + SECOND_US else "next try now"


def _nowhere(journey: Journey, now_us: int) -> str:
    message, misses = journey.message, journey.misses
    if message.deliver_at is not None and message.deliver_at > now_us:
        return f"Waits for its time: it is to be sent in {duration((message.deliver_at - now_us) / SECOND_US)}."
    if not misses:
        return "Stored and sent nowhere: the application has no endpoint."
    return f"Stored and sent nowhere: {'the endpoint does not' if len(misses) == 1 else f'none of {len(misses)} endpoints does'} want it."


def timeline(leg: Leg, message: Message, now_us: int) -> list[Event]:
    """What happened on one leg, from the acceptance on."""
    events = [Event("ok", "accepted", "stored, with the duty to deliver it", moment(message.created_at, now_us))]
    before_us = message.created_at
    if message.deliver_at is not None:
        past = message.deliver_at <= now_us
        events.append(Event("ok" if past else "wait", "held until its time", "deliverAt", moment(message.deliver_at, now_us)))
        before_us = message.deliver_at
    former: Attempt | None = None
    for attempt in leg.attempts:
        events.append(event_of(attempt, former, before_us, now_us))
        before_us = attempt.started_at + attempt.duration_us
        former = attempt if attempt.trigger == Trigger.SCHEDULED else former
    if leg.asked_at is not None:
        events.append(Event("wait", "manual attempt", "asked for, and made as soon as the endpoint has room", moment(leg.asked_at, now_us)))
    if leg.next_at is not None and leg.state is State.RETRYING:
        cause = None if former is None else former.next_cause
        wait = (
            f"waits {duration(max(leg.next_at - before_us, 0) / SECOND_US)}, {_WAITS.get(cause or '', 'by the retry schedule')}"
            if former
            else ""
        )
        # What is due is made as soon as its endpoint has room: no time can be told any more.
        at = moment(leg.next_at, now_us) if leg.next_at > now_us else None
        events.append(Event("retry", "next attempt" if at else "next attempt is due", "", at, wait))
    elif leg.next_at is not None and leg.state is State.WAITING and (message.deliver_at is None or message.deliver_at <= now_us):
        events.append(Event("wait", "waits for its first attempt", "its endpoint is busy, limited, or left alone for a moment"))
    elif leg.state in (State.DEAD, State.DISCARDED) and leg.letter is not None:
        events.append(Event("dead", "dead letter", leg.letter.detail, moment(leg.letter.died_at, now_us)))
        if leg.state is State.DISCARDED:
            events.append(Event("off", "discarded", "somebody took it off the list"))
    elif leg.state is State.ENDED:
        why = "the endpoint was deleted" if leg.deleted else "the endpoint is disabled" if leg.endpoint.disabled else "nothing is scheduled"
        events.append(Event("off", "ended", why))
    return events


def event_of(attempt: Attempt, former: Attempt | None, before_us: int, now_us: int) -> Event:
    """One attempt on the line of time, after the scheduled one that was `former`; `before_us` is when that ended."""
    manual = attempt.trigger == Trigger.MANUAL
    badge = badge_of(attempt.status)
    what = "manual attempt" if manual else f"attempt {attempt.number}"
    took = milliseconds(attempt.duration_us)
    # A detail may end in a time of its own: "no complete response headers within 2 s".
    said_so = f"answered {attempt.code} in {took}" if attempt.code else f"{attempt.detail}, after {took}"
    return Event(
        badge.kind,
        f"{what} {badge.word}",
        said_so,
        moment(attempt.started_at, now_us),
        "" if manual else waited(attempt, former, before_us),
        attempt.id,
    )


def waited(attempt: Attempt, former: Attempt | None, before_us: int) -> str:
    """What a scheduled attempt waited for, and how long; "" when it hardly waited."""
    whole_s = (attempt.started_at - before_us) / SECOND_US
    if whole_s < 1 and attempt.wait is None:
        return ""
    reasons = []
    if former is not None and former.next_cause is not None:
        reasons.append(_WAITS.get(former.next_cause, former.next_cause))
    if attempt.wait is not None:
        late_s = 0.0 if former is None or former.next_due_at is None else (attempt.started_at - former.next_due_at) / SECOND_US
        longer = f"then {duration(late_s)} longer: " if reasons and late_s >= 1 else ""
        if longer or not reasons:
            reasons.append(longer + _WAITS.get(attempt.wait, attempt.wait))
    return ", ".join([f"waited {duration(max(whole_s, 0))}", *reasons])


def reason_of(miss: Miss, message: Message) -> str:
    """Why a message does not go to an endpoint, in words."""
    endpoint = miss.endpoint
    if miss.reason is WhyNot.FILTER and miss.clause is not None:
        return f"Its filter does not let it through: the payload does not fit {miss.clause}."
    if miss.reason is WhyNot.FILTER:
        return "It has a filter, and the payload is gone: nobody can tell whether it fits."
    if miss.younger:
        return "It was created after the message came. Replay-missing sends it what it missed."
    if miss.reason is WhyNot.DISABLED:
        return "It is disabled."
    if miss.reason is WhyNot.EVENT_TYPE:
        return f"It wants {', '.join(sorted(endpoint.event_types or ()))}, and this is {message.event_type}."
    if miss.reason is WhyNot.CHANNEL:
        on = ", ".join(message.channels) if message.channels else "no channel"
        return f"It listens on {', '.join(sorted(endpoint.channels or ()))}, and the message is on {on}."
    return "It would match as it is now; when the message came it did not: it was disabled, or asked for something else."


def badges_of_tally(message: Message, delivered: int, retrying: int, failed: int, cancelled: int) -> Sequence[Badge]:
    """How a message stands, for a line of a list: the worst first."""
    badges = []
    if failed:
        badges.append(Badge("dead", f"{failed} failed"))
    if retrying:
        badges.append(Badge("retry", f"{retrying} retrying"))
    if delivered:
        badges.append(Badge("ok", f"{delivered} delivered" if delivered > 1 or badges else "delivered"))
    if cancelled:
        badges.append(Badge("off", f"{cancelled} cancelled"))
    waiting = message.endpoints - delivered - retrying - failed - cancelled
    if not badges and not message.endpoints:
        return (NOWHERE,)
    if waiting > 0:
        badges.append(Badge("wait", f"{waiting} waiting" if badges or waiting > 1 else "waiting"))
    return badges
