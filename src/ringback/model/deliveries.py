"""How far is one message on its way to one endpoint? A delivery has a state, and one place in its endpoint's sequence."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from ringback.model.messages import Message


class DeliveryState(enum.StrEnum):
    """The states of a delivery; `policy.transitions` says how they follow each other."""

    WAITING = "waiting"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD = "dead"
    DISCARDED = "discarded"
    CANCELLED = "cancelled"


class Trigger(enum.IntEnum):
    """What made an attempt happen; the values are those of the HTTP contract."""

    SCHEDULED = 0
    MANUAL = 1


class AttemptStatus(enum.IntEnum):
    """How an attempt or a delivery stands; the values are those of the HTTP contract."""

    SUCCESS = 0
    PENDING = 1
    FAIL = 2
    SENDING = 3
    CANCELED = 4


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to one endpoint, unfinished.

    `due_at` is wall time in microseconds; `attempts` counts the scheduled attempts already made; `sequence` is the message's place among
    all messages of this endpoint, from 1 up, given once. A manual delivery (`trigger`) is a single attempt beside the schedule. Of those
    in the same `lane` one is attempted at a time, in the order of their sequence; None = this one waits for no other.
    """

    endpoint_id: str
    message_id: str
    app_id: str
    due_at: int
    sequence: int
    attempts: int = 0
    trigger: Trigger = Trigger.SCHEDULED
    lane: str | None = None


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A delivery that is this process's to attempt until its lease ends, with the message it carries."""

    delivery: Delivery
    message: Message


# The cause of a dead letter whose endpoint asked for no more attempts (`webhook-delivery: abort-message`).
ABORTED: Final = "aborted"


class DeadLetter(msgspec.Struct, frozen=True):
    """A delivery with no attempts left, waiting for a person. `cause` is an error class, `http_<status>`, or `aborted`."""

    id: str
    org_id: str
    app_id: str
    endpoint_id: str
    message_id: str
    event_type: str
    cause: str
    detail: str
    attempts: int
    sequence: int
    died_at: int
    state: DeliveryState = DeliveryState.DEAD
