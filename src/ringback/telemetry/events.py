"""What does the server tell about itself? Every log event there is: its name, its fields, and what it means to an operator.

Nothing is logged per message or attempt at `info` and above: those are counted (`ringback.telemetry.prometheus`) and kept as history.
A line in the log is something that an operator may want to act on. `docs/reference/events.md` is made from this catalogue.
"""

from __future__ import annotations

import msgspec


class LogEvent(msgspec.Struct, frozen=True):
    """One kind of log line. `level` is debug, info, warning or error; `fields` are the only keys it may carry."""

    name: str
    level: str
    fields: tuple[str, ...]
    meaning: str


SERVER_STARTED = LogEvent(
    "server.started", "info", ("url", "database", "version", "pid"), "The server answers requests at `url` and dispatch is running."
)
SERVER_STOPPING = LogEvent(
    "server.stopping", "info", ("cause", "in_flight", "within_s"), "No new requests are taken; what is in flight is being finished."
)
SERVER_STOPPED = LogEvent(
    "server.stopped", "info", ("clean", "cut"), "The server ended. `cut` attempts were broken off and will be repeated at the next start."
)
TOKEN_MADE = LogEvent(
    "token.made", "info", ("token_id", "organisation"), "An org token was made; the token itself is printed, never logged."
)
DATABASE_COPIED = LogEvent("database.copied", "info", ("path", "size_bytes"), "The database was copied before it is upgraded.")
DATABASE_MIGRATED = LogEvent(
    "database.migrated", "info", ("path", "from_version", "to_version"), "The database was brought to this version."
)
SEARCH_REBUILT = LogEvent(
    "search.rebuilt", "warning", ("path", "cause"), "The index of searches was broken or of another database, and is made anew from it."
)
SEARCH_FAILED = LogEvent(
    "search.failed", "error", ("error",), "Messages cannot be indexed for searches; nothing else is affected, and it is tried again."
)
SEARCH_RECOVERED = LogEvent("search.recovered", "info", (), "Messages are indexed for searches again.")
SEARCH_PAUSED = LogEvent(
    "search.paused", "warning", ("free_bytes", "least_bytes"), "The disk is nearly full: no more messages are indexed until there is room."
)
DISK_LOW = LogEvent(
    "disk.low",
    "error",
    ("free_bytes", "least_bytes"),
    "Free disk is below `min_free_disk`: new messages are answered 503, deliveries go on.",
)
DATABASE_GONE = LogEvent(
    "database.gone",
    "error",
    ("path",),
    "The file of the database, or its log, was moved, removed or replaced under the running server, and the next start would not find what "
    "is stored: new messages are answered 503, deliveries go on. Put it back; where its log (`-wal`) alone is lost, restart the server.",
)
DATABASE_BACK = LogEvent("database.back", "info", ("path",), "The file of the database is where it was again; new messages are accepted.")
DISK_RECOVERED = LogEvent("disk.recovered", "info", ("free_bytes",), "There is enough free disk again; new messages are accepted.")
STORE_FAILED = LogEvent(
    "store.failed",
    "error",
    ("error",),
    "A commit failed. What it held was not kept, and was answered 5xx; not repeated until a commit succeeds again.",
)
STORE_RECOVERED = LogEvent("store.recovered", "info", (), "Commits succeed again.")
SPOOL_BEGAN = LogEvent(
    "spool.began",
    "warning",
    ("path",),
    "The store cannot be written: events of providers are kept in the spool and acknowledged, until commits succeed again.",
)
SPOOL_DRAINED = LogEvent(
    "spool.drained", "info", ("events",), "All that was in the spool is in the database; so many events since the start."
)
SPOOL_FAILED = LogEvent(
    "spool.failed",
    "error",
    ("error",),
    "The spool is full or cannot be written: providers are answered 503. Not repeated until something is kept in it again.",
)
SPOOL_TORN = LogEvent(
    "spool.torn",
    "info",
    ("path", "size_bytes"),
    "A file of the spool was never finished, as the process ended; nothing in it was acknowledged.",
)
SPOOL_DAMAGED = LogEvent(
    "spool.damaged",
    "error",
    ("path", "error"),
    "A file of the spool was finished and cannot be brought in: its events were acknowledged. It stays, renamed to end in `.damaged`.",
)
SPOOL_REFUSED = LogEvent(
    "spool.refused",
    "error",
    ("path", "source_id", "app_id", "error"),
    "One request of a file of the spool can never be brought in: it was acknowledged, and is kept in a file of its own that ends in "
    "`.refused`; all others of its file came in.",
)
SPOOL_DROPPED = LogEvent(
    "spool.dropped",
    "warning",
    ("source_id", "app_id", "events"),
    "The application of events that waited in the spool was deleted meanwhile: nobody is left to get them.",
)
RECORDING_PAUSED = LogEvent(
    "recording.paused",
    "error",
    ("error",),
    "Attempts cannot be recorded: dispatch waits, so that nothing is sent again and again.",
)
RECORDING_RESUMED = LogEvent("recording.resumed", "info", ("recorded",), "Attempts are recorded again; dispatch goes on.")
BREAKER_OPENED = LogEvent(
    "breaker.opened",
    "warning",
    ("app_id", "endpoint_id", "share", "rest_s"),
    "So large a share of an endpoint's attempts failed that its circuit breaker opened: what is for it waits, and after `rest_s` one "
    "attempt decides. Told once, not again for each such attempt that fails, until the breaker is closed.",
)
BREAKER_CLOSED = LogEvent(
    "breaker.closed",
    "info",
    ("app_id", "endpoint_id", "cause"),
    "The circuit breaker of an endpoint is closed. `cause` is `success` (of the one attempt, or of one by hand), `changed` (its "
    "configuration) or `forgotten` (nothing was left to send to it for a `breaker_window` after the rest).",
)
ENDPOINT_DISABLED = LogEvent(
    "endpoint.disabled", "warning", ("app_id", "endpoint_id", "cause"), "An endpoint was disabled by its answers, not by a person."
)
LOOP_LAGGED = LogEvent(
    "loop.lagged",
    "warning",
    ("lag_s",),
    "The event loop was held for so long: every request and attempt waited. At most one line a minute.",
)
SOURCE_OLD_SECRET = LogEvent(
    "source.old_secret",
    "warning",
    ("source_id", "secret"),
    "A provider still signs with a secret that was rotated away and will end. At most one line an hour and source.",
)
SOURCE_SILENT = LogEvent(
    "source.silent",
    "warning",
    ("source_id", "silent_s"),
    "Nothing came from a source for longer than its habit, or than its owner allows: providers disable webhooks quietly.",
)
SOURCE_CONFLICT = LogEvent(
    "source.conflict",
    "warning",
    ("source_id", "message_id"),
    "A provider sent another body under the name of an event that came before; both are kept.",
)
SOURCE_DEADLINE_PASSED = LogEvent(
    "source.deadline_passed",
    "warning",
    ("source_id", "message_id", "waited_s"),
    "The endpoint that a source waits for (`processedBy`) has not taken the event within `deadlineS`: the provider was answered 503.",
)
SOURCE_ANSWER_CUT = LogEvent(
    "source.answer_cut",
    "warning",
    ("endpoint_id", "message_id"),
    "The endpoint that a source waits for (`processedBy`) gave an answer of which only a part is there (`response_body_max`, or its "
    "connection broke): the provider was given the source's own.",
)
SOURCE_RECONCILED = LogEvent(
    "source.reconciled",
    "warning",
    ("source_id", "looked_at", "missing", "added"),
    "A provider lists events that never came; `added` of them were taken in from its list.",
)
RECONCILIATION_FAILED = LogEvent(
    "source.reconciliation_failed",
    "warning",
    ("source_id", "cause", "detail"),
    "A source could not be compared with its provider's list; it is tried again. Told at the first failure in a row.",
)
POSITION_LOST = LogEvent(
    "source.position_lost",
    "warning",
    ("source_id",),
    "A provider knows no more where its list of changes was read up to: what changed since and was not read is not known.",
)
EXPECTATION_MISSED = LogEvent(
    "expectation.missed",
    "warning",
    ("source_id", "expectation_id"),
    "An event that somebody waits for did not come by its deadline.",
)
SUBSCRIPTION_RENEWED = LogEvent(
    "source.subscription_renewed",
    "info",
    ("source_id", "expires_at"),
    "The subscription of a source was renewed at its provider.",
)
SUBSCRIPTION_FAILED = LogEvent(
    "source.subscription_failed",
    "warning",
    ("source_id", "cause", "detail"),
    "The subscription of a source could not be renewed; it is tried again. Told at the first failure in a row.",
)
SUBSCRIPTION_ENDED = LogEvent(
    "source.subscription_ended",
    "error",
    ("source_id", "expired_at"),
    "The subscription of a source has ended because it could not be renewed: its provider calls no more. It is tried again.",
)
SOURCE_SIGNAL = LogEvent(
    "source.signal",
    "warning",
    ("source_id", "signal", "detail"),
    "A provider says that it has ended or limits its calls to a source. At most once an hour for each signal.",
)
SOURCE_LATE = LogEvent(
    "source.late",
    "warning",
    ("source_id", "due_at", "late_s"),
    "A source that sends by itself missed its time, by so much: one event, that of the last due minute, made up for all that was missed.",
)
ADDRESSES_UNREAD = LogEvent(
    "source.addresses_unread",
    "warning",
    ("url", "error", "kept"),
    "A list of the addresses that a provider sends from could not be read; as many as are `kept` are used on.",
)
LOGIN_LIMITED = LogEvent(
    "login.limited",
    "warning",
    ("address",),
    "An address failed to log in to the dashboard too often and is made to wait. At most one line a minute.",
)
PAYLOAD_MISFITS = LogEvent(
    "payload.misfits",
    "warning",
    ("event_type", "mode", "where", "rule"),
    "A published payload does not fit the newest schema of its event type. At most one line a minute and event type.",
)
PAYLOAD_SCHEMA_UNUSABLE = LogEvent(
    "payload.schema_unusable",
    "warning",
    ("event_type", "error"),
    "Payloads of this event type are accepted unseen: its newest schema cannot be used. At most one line a minute and event type.",
)
SINK_DISABLED = LogEvent(
    "sink.disabled",
    "warning",
    ("stream_id", "sink_id", "why"),
    "A sink gets no more events until somebody enables it: it asked for that, or accepted nothing for longer than is allowed.",
)
SINK_EVENTS_MISSED = LogEvent(
    "sink.events_missed",
    "warning",
    ("stream_id", "sink_id", "count"),
    "Retention took events of a stream before a sink got to them, which was held, failed or behind for that long. Of a sink with filters, "
    "some of them may be none that it wants.",
)
SINK_PARTLY_REJECTED = LogEvent(
    "sink.partly_rejected",
    "warning",
    ("stream_id", "sink_id", "why"),
    "The receiver of a sink accepted a batch and rejected some of its spans, which are not sent again. Told once while it says the same, "
    "and once a minute when it does not.",
)
RETENTION_SWEPT = LogEvent("retention.swept", "info", ("rows",), "What was past its retention was deleted.")
REQUEST_FAILED = LogEvent(
    "request.failed", "error", ("request_id", "method", "path", "error"), "A request ran into a defect of ours and was answered 500."
)
MESSAGE_UNREADABLE = LogEvent(
    "message.unreadable",
    "error",
    ("app_id", "message_id", "endpoint_id", "why"),
    "What is stored of a message cannot be read, so that its delivery is a dead letter: the disk or another program spoilt it.",
)
SCRIPT_STOPPED = LogEvent(
    "transformation.stopped",
    "warning",
    ("app_id", "endpoint_id", "why"),
    "A transformation brought its process down, or had to be killed; others go on in a new one. At most one line a minute. Of a sink, the "
    "two ids are those of its stream and its own.",
)
SCRIPTS_FAILED = LogEvent(
    "transformation.unavailable",
    "error",
    ("error",),
    "A process that runs transformations could not be started. Their attempts fail and are made again by the schedule of retries.",
)
TRACES_LOST = LogEvent(
    "traces.lost",
    "warning",
    ("lost", "why"),
    "Spans did not reach the collector of traces (`otel_endpoint`) and are lost; deliveries are not affected. At most one line a minute.",
)
TRACES_RESUMED = LogEvent("traces.resumed", "info", (), "The collector takes spans again.")
TASK_FAILED = LogEvent("task.failed", "error", ("task", "error"), "A background task ran into a defect of ours.")
LIBRARY = LogEvent("library", "info", ("logger", "text"), "A line that a library wrote (uvicorn, asyncio); its level is the library's.")


def catalogue() -> tuple[LogEvent, ...]:
    """Every log event, in the order of declaration."""
    return tuple(value for value in globals().values() if isinstance(value, LogEvent))
