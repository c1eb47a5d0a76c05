"""What is done in the background? Work that takes longer than a request: asked for at once, done in steps, looked at while it runs."""

from __future__ import annotations

import enum
from typing import Any, Final, Literal

import msgspec


class TaskKind(enum.StrEnum):
    """What a task does, in the contract's words (5.3); those of its list that nobody here starts are left out.

    The last ones are our own, and in no list that clients of the contract read: those know no other kinds than theirs.
    """

    RECOVER = "endpoint.recover"
    REPLAY_MISSING = "endpoint.replay"
    BULK_REPLAY = "endpoint.bulk-replay"
    PURGE_CONTENT = "application.purge_content"
    APP_STATS = "application.stats"
    EVENT_TYPE_STATS = "event-type.aggregate"
    REPLAY_DEAD_LETTERS = "dead-letter.replay"
    DISCARD_DEAD_LETTERS = "dead-letter.discard"
    FIND_SUBJECT = "privacy.find"
    ERASE_SUBJECT = "privacy.erase"


OWN_KINDS: Final = frozenset({TaskKind.REPLAY_DEAD_LETTERS, TaskKind.DISCARD_DEAD_LETTERS, TaskKind.FIND_SUBJECT, TaskKind.ERASE_SUBJECT})


class TaskStatus(enum.StrEnum):
    """How a task stands (contract, 5.3)."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Resend(msgspec.Struct, frozen=True, tag="resend"):
    """Give messages one manual attempt each to an endpoint: which ones depends on the task's kind. Times are microseconds since 1970."""

    app_id: str
    endpoint_id: str
    since_us: int
    until_us: int
    event_types: tuple[str, ...] = ()
    channel: str | None = None
    tag: str | None = None
    status: int | None = None
    code_class: int | None = None


class PurgeContent(msgspec.Struct, frozen=True, tag="purge"):
    """Forget the payloads of an application's messages whose ids sort below `below`."""

    app_id: str
    below: str


class AppStats(msgspec.Struct, frozen=True, tag="app_stats"):
    """Count the attempts begun in [since, until), for each of some applications or for all of the organisation (None)."""

    since_us: int
    until_us: int
    app_ids: tuple[str, ...] | None


class EventTypeStats(msgspec.Struct, frozen=True, tag="event_type_stats"):
    """List which event types the enabled endpoints of each application ask for."""


class Letters(msgspec.Struct, frozen=True, tag="letters"):
    """Replay or discard dead letters: those with this value in this column, whose ids lie between `above` and `below`, and that fit.

    `total` is how many there were when somebody asked for it.
    """

    column: Literal["org_id", "app_id", "endpoint_id"]
    value: str
    above: str
    below: str
    total: int
    event_types: tuple[str, ...] = ()
    cause: str | None = None
    ids: tuple[str, ...] | None = None


class Reach(msgspec.Struct, frozen=True):
    """Where is looked for a subject: in one organisation, one application or source of it if they are given, and in a time (microseconds).

    `top` is the number of the newest message that counts. `bins`: in request bins too, which belong to nobody.
    """

    org_id: str
    app_id: str | None
    source_id: str | None
    since_us: int
    until_us: int
    top: int
    bins: bool


class Erasure(msgspec.Struct, frozen=True, tag="erasure"):
    """Find what is kept of a subject (a person's address, a customer's number), and erase it unless it is a `dry_run`.

    `sealed` holds the subject itself, encrypted, and nothing once the task has ended; `digest` stands for it in the audit log. `at` is the
    path at which it must stand. `token_id` asked for it, through `door`.
    """

    sealed: bytes
    digest: str
    at: str | None
    reach: Reach
    dry_run: bool
    token_id: str | None
    door: str


Definition = Resend | PurgeContent | AppStats | EventTypeStats | Letters | Erasure


class Task(msgspec.Struct, frozen=True):
    """One task. `position` is how far it is, empty at the start; `data` what its owner sees: progress, then the result or an `error`."""

    id: str
    org_id: str
    app_id: str | None
    kind: TaskKind
    status: TaskStatus
    definition: Definition
    position: str
    data: dict[str, Any]
    updated_at: int
