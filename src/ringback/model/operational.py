"""What does the platform itself tell its owner? The operational events, by name, and what each says (contract, section 7).

Times in them are text, as in every answer of the API.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.model.endpoints import DisabledBy

ENDPOINT_CREATED: Final = "endpoint.created"
ENDPOINT_UPDATED: Final = "endpoint.updated"
ENDPOINT_DELETED: Final = "endpoint.deleted"
ENDPOINT_ENABLED: Final = "endpoint.enabled"
ENDPOINT_DISABLED: Final = "endpoint.disabled"
ATTEMPT_FAILING: Final = "message.attempt.failing"
ATTEMPT_EXHAUSTED: Final = "message.attempt.exhausted"
ATTEMPT_RECOVERED: Final = "message.attempt.recovered"
ATTEMPT_LOG: Final = "message.attempt.log"
TASK_FINISHED: Final = "background_task.finished"
LANE_BLOCKED: Final = "endpoint.lane.blocked"
EXPECTATION_MISSED: Final = "source.expectation.missed"
SUBSCRIPTION_FAILING: Final = "source.subscription.failing"
SUBSCRIPTION_ENDED: Final = "source.subscription.ended"
SOURCE_SIGNAL: Final = "source.signal"
# What an event is called where the endpoint belongs to an ingest source; what is not here is told of no such endpoint.
INGEST: Final = {name: f"ingest.{name}" for name in (ENDPOINT_DISABLED, ATTEMPT_FAILING, ATTEMPT_EXHAUSTED, ATTEMPT_RECOVERED)}

# In this organisation an application whose uid is the id of an organisation hears what happens there: so the reference server does it.
MANAGEMENT_ORG: Final = "org_00000000000SvixManagement00"


class EndpointNews(msgspec.Struct, frozen=True, rename="camel"):
    """An endpoint was made, changed, deleted or enabled."""

    app_id: str
    app_uid: str | None
    endpoint_id: str
    endpoint_uid: str | None


class EndpointDisabled(EndpointNews, frozen=True, rename="camel"):
    """An endpoint was disabled; `fail_since` is when it began to fail, where that is the reason."""

    fail_since: str | None
    trigger: DisabledBy


class IngestEndpointDisabled(msgspec.Struct, frozen=True, rename="camel"):
    """As `EndpointDisabled`, for an endpoint of an ingest source."""

    source_id: str
    endpoint_id: str
    endpoint_uid: str | None
    fail_since: str | None
    trigger: DisabledBy


class LastAttempt(msgspec.Struct, frozen=True, rename="camel"):
    """The attempt that made it news."""

    id: str
    response_status_code: int
    timestamp: str


class AttemptNews(msgspec.Struct, frozen=True, rename="camel"):
    """A delivery fails again and again, has failed for good, or succeeded after all."""

    app_id: str
    app_uid: str | None
    msg_id: str
    msg_event_id: str | None
    endpoint_id: str
    last_attempt: LastAttempt


class IngestAttemptNews(msgspec.Struct, frozen=True, rename="camel"):
    """As `AttemptNews`, for an endpoint of an ingest source."""

    source_id: str
    msg_id: str
    msg_event_id: str | None
    endpoint_id: str
    last_attempt: LastAttempt


class TaskFinished(msgspec.Struct, frozen=True, rename="camel"):
    """A background task has ended; `data` is its result, or says why there is none."""

    task_id: str
    task: str
    status: str
    data: dict[str, Any]


class ExpectationMissed(msgspec.Struct, frozen=True, rename="camel"):
    """An event that somebody waits for did not come by its deadline; `match` is what it should have had.

    `app_id` is None for an ingest source.
    """

    app_id: str | None
    source_id: str
    source_uid: str | None
    expectation_id: str
    expectation_uid: str | None
    deadline: str
    match: dict[str, str]


class LaneBlocked(msgspec.Struct, frozen=True, rename="camel"):
    """The first delivery of a lane is a dead letter, and nothing behind it is sent until somebody replays or discards that.

    `ordering_key` is None where all deliveries of the endpoint are one lane; of an ingest source's endpoint there is no application.
    """

    app_id: str | None
    app_uid: str | None
    source_id: str | None
    endpoint_id: str
    ordering_key: str | None
    msg_id: str
    sequence: int
    dead_letter_id: str


class SubscriptionNews(msgspec.Struct, frozen=True, rename="camel"):
    """A source's subscription at its provider could not be renewed, for `cause`; it ends, or ended, at `expires_at` (None: unknown).

    `app_id` is None for an ingest source, `topic` where the source is not subscribed to several.
    """

    app_id: str | None
    source_id: str
    source_uid: str | None
    topic: str | None
    cause: str
    detail: str
    expires_at: str | None


class SignalNews(msgspec.Struct, frozen=True, rename="camel"):
    """A provider says that it calls a source no more, or less: `signal` is which word it had for that, `detail` the rest of it.

    `app_id` is None for an ingest source.
    """

    app_id: str | None
    source_id: str
    source_uid: str | None
    signal: str
    detail: str


class HttpTimes(msgspec.Struct, frozen=True):
    """When the request began to go out, and when its answer came."""

    start: str
    end: str


class AttemptLogged(msgspec.Struct, frozen=True, rename="camel"):
    """One attempt, as it was made; `http_times` is None when there was no answer."""

    org_id: str
    app_id: str
    app_uid: str | None
    endpoint_id: str
    msg_id: str
    msg_event_id: str | None
    msg_created: str
    attempt_start: str
    attempt_end: str
    attempt_id: str
    response_status_code: int
    attempt_count: int
    status: int
    event_type: str | None
    http_times: HttpTimes | None


class Event(msgspec.Struct, frozen=True):
    """What is delivered: the event's name, which is also the type of the message, and what it says."""

    type: str
    data: Any


class Described(msgspec.Struct, frozen=True):
    """One event for the documents: its name, what its data are, when it is told."""

    name: str
    data: type[msgspec.Struct]
    told: str


CATALOGUE: Final = (
    Described(ENDPOINT_CREATED, EndpointNews, "An endpoint was made."),
    Described(
        ENDPOINT_UPDATED,
        EndpointNews,
        "An endpoint, its headers, its secret or its transformation were changed; also by a request that left all as it was.",
    ),
    Described(ENDPOINT_DELETED, EndpointNews, "An endpoint was deleted by itself, not with its application."),
    Described(ENDPOINT_ENABLED, EndpointNews, "An endpoint that was disabled was enabled; after its `endpoint.updated`."),
    Described(
        ENDPOINT_DISABLED, EndpointDisabled, "An endpoint was disabled: by hand, after its `endpoint.updated`, or because of its answers."
    ),
    Described(
        ATTEMPT_FAILING,
        AttemptNews,
        "The fourth scheduled attempt of a delivery has failed, and another will follow. Once for each delivery.",
    ),
    Described(ATTEMPT_EXHAUSTED, AttemptNews, "The last scheduled attempt of a delivery has failed: it is a dead letter."),
    Described(ATTEMPT_RECOVERED, AttemptNews, "A delivery that failed four times or more has succeeded, by schedule or by hand."),
    Described(
        ATTEMPT_LOG,
        AttemptLogged,
        "Attempts were made, of whatever outcome. Only for who names this event; `data` is a list, collected over a second.",
    ),
    Described(TASK_FINISHED, TaskFinished, "A background task has ended: it is done, it has failed, or it was cancelled."),
    Described(
        LANE_BLOCKED,
        LaneBlocked,
        "A lane of an ordered endpoint is blocked by a dead letter: what is behind it waits until that is replayed or discarded.",
    ),
    Described(EXPECTATION_MISSED, ExpectationMissed, "An event that was to come from a source by a deadline did not."),
    Described(
        SUBSCRIPTION_FAILING,
        SubscriptionNews,
        "A source's subscription could not be renewed, three times in a row, or for a cause that needs somebody. Once until it is.",
    ),
    Described(SUBSCRIPTION_ENDED, SubscriptionNews, "A source's subscription has ended because it could not be renewed."),
    Described(
        SOURCE_SIGNAL,
        SignalNews,
        "A provider says in a request that was believed that it has ended or limits its calls. At most once an hour for each signal.",
    ),
    Described(INGEST[ENDPOINT_DISABLED], IngestEndpointDisabled, "As `endpoint.disabled`, of an endpoint of an ingest source."),
    Described(INGEST[ATTEMPT_FAILING], IngestAttemptNews, "As `message.attempt.failing`, of an endpoint of an ingest source."),
    Described(INGEST[ATTEMPT_EXHAUSTED], IngestAttemptNews, "As `message.attempt.exhausted`, of an endpoint of an ingest source."),
    Described(INGEST[ATTEMPT_RECOVERED], IngestAttemptNews, "As `message.attempt.recovered`, of an endpoint of an ingest source."),
)
# All names, in the order of the catalogue.
EVENTS: Final = tuple(described.name for described in CATALOGUE)
