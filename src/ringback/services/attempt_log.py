"""Which attempts are told one by one? Those of organisations that asked for it: in batches, each once, whatever happens to the server."""

from __future__ import annotations

import msgspec

from ringback.clock import rfc3339
from ringback.model.operational import ATTEMPT_LOG, AttemptLogged, HttpTimes
from ringback.services.operational import Operational
from ringback.store.base import Store, Transaction
from ringback.store.operations import attempt_log
from ringback.store.operations.attempt_log import Tried

# Attempts in one event: some 150 kB.
BATCH = 250


class Progress(msgspec.Struct, frozen=True):
    """How a round went: does anybody follow, and is there more to tell at once?"""

    followed: bool
    more: bool


class AttemptLog:
    """The logs of all organisations. An event and the place up to which it tells commit together."""

    def __init__(self, store: Store, operational: Operational) -> None:
        self._store = store
        self._operational = operational

    async def round(self) -> Progress:
        """Tell each organisation its next attempts. Raises StoreFailure: then nothing of them was told."""
        followers = await self._store.read(attempt_log.followers)
        more = False
        for org_id, seq in followers:
            more = await self._step(org_id, seq) or more
        return Progress(bool(followers), more)

    async def _step(self, org_id: str, seq: int) -> bool:
        found, reached, newest = await self._store.read(lambda tx: attempt_log.after(tx, org_id, seq, BATCH))
        if reached == seq:
            return False
        told = [_logged(org_id, tried) for tried in found]

        def step(tx: Transaction) -> None:
            if attempt_log.followed_to(tx, org_id) != seq:
                return
            if told and not self._operational.tell(tx, org_id, ATTEMPT_LOG, told):
                # Nobody asks for it any more; who asks again begins anew.
                attempt_log.unfollow(tx, org_id)
            else:
                attempt_log.advance(tx, org_id, reached)

        await self._store.write(step)
        return reached < newest


def _logged(org_id: str, tried: Tried) -> AttemptLogged:
    phases = tried.phases
    # Looking up the name and connecting come before the request.
    begun_us = tried.started_at + sum(us for us in (phases.dns_us, phases.connect_us, phases.tls_us) if us > 0)
    answered_us = tried.started_at + tried.duration_us
    return AttemptLogged(
        org_id=org_id,
        app_id=tried.app_id,
        app_uid=tried.app_uid,
        endpoint_id=tried.endpoint_id,
        msg_id=tried.message_id,
        msg_event_id=tried.event_id,
        msg_created=rfc3339(tried.accepted_at),
        attempt_start=rfc3339(tried.started_at),
        attempt_end=rfc3339(answered_us + max(phases.body_us, 0)),
        attempt_id=tried.attempt_id,
        response_status_code=tried.code,
        attempt_count=tried.number,
        status=tried.status,
        event_type=tried.event_type,
        http_times=HttpTimes(rfc3339(begun_us), rfc3339(answered_us)) if tried.code else None,
    )
