"""What came and made no message? Duplicates, questions of providers, what nobody wanted, and what was turned away without a trace."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.messages import Remote

# An event that is a message now, and of which there is no entry.
ACCEPTED: Final = "accepted"
# An event that had come before.
DUPLICATE: Final = "duplicate"
# A provider asked who we are.
HANDSHAKE: Final = "handshake"
# Believed, and of a type that its source does not take, or a batch without an item.
IGNORED: Final = "ignored"
EMPTY_BATCH: Final = "empty_batch"
# Turned away, and not kept in quarantine.
REJECTED: Final = "rejected"
# The provider says that it calls no more, or less; there may be a message as well.
SIGNAL: Final = "signal"
# An event that was older than what had been accepted of the same thing.
SUPERSEDED: Final = "superseded"
# An event that waited in the spool until the database could be written; its message is kept.
SPOOLED: Final = "spooled"
OUTCOMES: Final = (DUPLICATE, HANDSHAKE, IGNORED, REJECTED, SIGNAL, SUPERSEDED, SPOOLED)


class Arrival(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One request, or one event of a batch, that made no message. `id` tells when it came; `came_at` of one that waited in the spool.

    `target` is the path and query that were called, without what may be a credential. `status` is what was answered, 0 where nobody was
    there to hear it. `what` says which handshake or signal it was, why it was turned away, or that an ignored one was an `empty_batch`;
    `settled` is False of a handshake whose answer did not give the provider what it asked for. Of a duplicate, `message_id` is the message
    that its event came as, of a superseded event the one that superseded it, and the rest is in the provider's words. `unkept` counts
    others of the same outcome that came beside it, within some seconds, and have no entry.
    """

    id: str
    source_id: str
    outcome: str
    method: str
    target: str
    body_bytes: int
    status: int
    remote: Remote | None = None
    what: str = ""
    settled: bool = True
    message_id: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    redelivery: str | None = None
    unkept: int = 0
    came_at: int | None = None
