"""How is the spool put together? What keeps events is told by the receiver, and what brings them in needs nearly everything."""

from __future__ import annotations

from ringback.app.parts import Parts
from ringback.services.arrivals import Journal
from ringback.services.gateway import SourceDirectory
from ringback.services.receiving import Receiver
from ringback.services.spooling import Aside, Draining


def aside_of(parts: Parts) -> Aside | None:
    """What keeps events that the database cannot take; None: there is no spool."""
    return None if parts.spool is None else Aside(parts.spool, parts.clock, parts.metrics)


def draining_of(parts: Parts, aside: Aside | None, receiver: Receiver, known: SourceDirectory, journal: Journal) -> Draining | None:
    """What brings in what is in the spool; None: there is no spool."""
    if parts.spool is None or aside is None:
        return None
    parts.privacy.spooled = parts.spool.waiting
    return Draining(parts.spool, aside, receiver, parts.store, parts.vault, parts.directory, known, journal, parts.metrics)
