"""Who is told that a provider calls no more, or less? The owner of its source, before the provider is answered; once an hour each."""

from __future__ import annotations

from typing import Final

from ringback.clock import SECOND_US, Clock
from ringback.model import operational as news
from ringback.model.sources import Source
from ringback.policy.sources_signals import Signal
from ringback.services.operational import Operational
from ringback.store.base import Store
from ringback.telemetry.events import SOURCE_SIGNAL
from ringback.telemetry.log import log

# A provider that limits its calls says so each minute; once in so many microseconds (an hour) is enough.
_TELL_EVERY_US: Final = 3_600 * SECOND_US
# Signals remembered as told.
_REMEMBERED: Final = 10_000


class Signals:
    """Tells owners. Belongs to one event loop."""

    def __init__(self, store: Store, clock: Clock, operational: Operational) -> None:
        self._store = store
        self._clock = clock
        self._operational = operational
        self._told: dict[tuple[str, str], int] = {}

    async def heard(self, source: Source, signal: Signal) -> None:
        """A source's provider says this. Raises StoreFailure: then it shall say so again."""
        now_us = self._clock.now_us()
        key = (source.id, signal.name)
        if now_us - self._told.get(key, -_TELL_EVERY_US) < _TELL_EVERY_US:
            return
        said = news.SignalNews(
            app_id=None if source.ingest else source.app_id,
            source_id=source.id,
            source_uid=source.uid,
            signal=signal.name,
            detail=signal.detail,
        )
        await self._store.write(lambda tx: self._operational.tell(tx, source.org_id, news.SOURCE_SIGNAL, said))
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[key] = now_us
        log(SOURCE_SIGNAL, source_id=source.id, signal=signal.name, detail=signal.detail)
