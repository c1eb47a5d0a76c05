"""What is an attempt? One try to bring one message to one endpoint: the request, the answer, the time it took."""

from __future__ import annotations

import enum

import msgspec


class ErrorClass(enum.StrEnum):
    """Why there was no usable answer. Stored, shown and counted under these names."""

    DNS = "dns"
    BLOCKED = "blocked"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    CONNECT_TIMEOUT = "connect_timeout"
    PROXY = "proxy"
    TLS = "tls"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    PAYLOAD_GONE = "payload_gone"
    # Its transformation failed, was stopped for its time or memory, or did not want it sent.
    TRANSFORMATION = "transformation"
    TRANSFORMATION_LIMIT = "transformation_limit"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class WaitCause(enum.StrEnum):
    """What a delivery waited for. Stored and shown under these names.

    Between two attempts: the schedule, a Retry-After that was longer, or the least delay after a timeout or a 429. Before an attempt that
    was due: a rate limit, the endpoint (its own Retry-After, or no answer to several attempts), its circuit breaker, the time its sender
    chose, a server that was not running, those before it in its lane, or its turn (a free place, others before it, the database).
    """

    SCHEDULE = "schedule"
    RETRY_AFTER = "retry_after"
    OVERLOAD = "overload"
    THROTTLE = "throttle"
    PAUSED = "paused"
    BREAKER = "breaker"
    DELIVER_AT = "deliver_at"
    RESTART = "restart"
    ORDER = "order"
    BACKLOG = "backlog"


class Phases(msgspec.Struct, frozen=True, gc=False):
    """How long each phase of an attempt took, microseconds; -1 = the phase did not happen (a pooled connection, or it ended before)."""

    dns_us: int = -1
    connect_us: int = -1
    tls_us: int = -1
    send_us: int = -1
    wait_us: int = -1
    body_us: int = -1


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """The facts of one attempt on the wire, before anybody judges them.

    `status` is 0 without an HTTP answer; then `error` and `detail` (a sentence) say why. With a status, `error` is None even when the
    body broke off: the outcome is decided once the status is in. `head` is the status line and headers as received, at most 4 KiB; `body`
    is at most the configured number of bytes, `body_truncated` tells whether more came or might have come. `address` is `ip:port`, ""
    when none was connected to. `duration_us` runs from the start to the response headers (or to the failure).
    """

    status: int
    head: bytes = b""
    body: bytes = b""
    body_truncated: bool = False
    error: ErrorClass | None = None
    detail: str = ""
    address: str = ""
    reused: bool = False
    duration_us: int = 0
    phases: Phases = Phases()


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """History: one try, as it is stored and shown. Never changed, except that its bodies may be expunged.

    `status` and `trigger` are numbers of the contract (see `model.deliveries`); `started_at` is microseconds since 1970. `number` counts
    the attempts of this delivery from 1. `response` is None once expunged. `wait` is why the attempt began later than it was due, None when
    it did not. When another one follows this failure, `next_due_at` is the time it was planned for, and `next_cause` what decided that.
    """

    id: str
    app_id: str
    endpoint_id: str
    message_id: str
    url: str
    number: int
    status: int
    trigger: int
    code: int
    started_at: int
    duration_us: int
    error: str | None
    detail: str
    address: str
    phases: Phases
    response: bytes | None
    response_head: bytes
    request_head: bytes
    sequence: int
    wait: str | None = None
    next_due_at: int | None = None
    next_cause: str | None = None
