"""Does an inbox of your own keep its promises? `check`, called from a test, raises AssertionError with the one that was broken.

Example:
    >>> import tempfile, pathlib
    >>> from ringback.receiver import SqliteInbox
    >>> from ringback.receiver.conformance import check
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     check(lambda: SqliteInbox(pathlib.Path(directory) / "inbox.db"))
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Callable
from typing import Any, Final

from ringback.receiver.dedup import Claim, EventKey, Inbox, key_of

# Claims of one event at once: enough for two to meet on any machine.
_AT_ONCE: Final = 8
# Microseconds: some moment, a lease of a minute, and the longest time that a provider tries again.
_NOW_US: Final = 1_700_000_000_000_000
_LEASE_US: Final = 60_000_000
_KEEP_US: Final = 75 * 3_600_000_000
# Seconds that a claim may be kept waiting by another's transaction.
_WAIT_S: Final = 30.0


def check(make: Callable[[], Inbox], *, transactional: bool = False) -> None:
    """Check an inbox. `make` gives one over the same database each time: they stand for several processes.

    `transactional`: it holds an open transaction from `claim` to `finish` or `release` instead of a lease, so that a claim may wait for
    another one's end, and one that is never ended is ended by the database.
    """
    checks = _Checks(make, transactional)
    checks.an_event_that_ran_is_done_for_everybody()
    checks.the_answer_is_kept()
    checks.a_failed_run_lets_the_next_one_through()
    checks.another_body_under_a_known_id_is_an_event_of_its_own_and_flagged()
    checks.receivers_do_not_share_ids()
    checks.of_many_at_once_one_runs()
    checks.what_is_past_its_time_is_forgotten()
    if not transactional:
        checks.an_event_that_runs_is_running_for_others()
        checks.the_lease_of_a_killed_process_ends()
        checks.who_is_late_does_not_release_the_claim_of_another()


class _Checks:
    def __init__(self, make: Callable[[], Inbox], transactional: bool) -> None:
        self._make = make
        self._transactional = transactional
        self._numbers = itertools.count(1)

    def key(self, body: bytes = b"{}") -> EventKey:
        """A key that was never used: the database may hold more than this test's."""
        return key_of("conformance", f"evt_{id(self)}_{next(self._numbers)}", body)

    @staticmethod
    def claim(inbox: Inbox, key: EventKey, now_us: int = _NOW_US) -> Claim:
        claim: Claim = _settled(inbox.claim(key, now_us, now_us + _LEASE_US))
        return claim

    @staticmethod
    def finish(inbox: Inbox, key: EventKey, claim: Claim, reply: bytes = b"", now_us: int = _NOW_US) -> None:
        _settled(inbox.finish(key, claim, reply, now_us + _KEEP_US))

    def ran(self, key: EventKey, reply: bytes = b"") -> None:
        """Have an event run."""
        inbox = self._make()
        claim = self.claim(inbox, key)
        assert claim.state == "new", f"an event that nobody knows was {claim.state}"
        self.finish(inbox, key, claim, reply)

    def an_event_that_ran_is_done_for_everybody(self) -> None:
        key = self.key()
        self.ran(key)
        for now_us in (_NOW_US, _NOW_US + 2 * _LEASE_US, _NOW_US + _KEEP_US - 1):
            state = self.claim(self._make(), key, now_us).state
            assert state == "done", f"an event that ran was {state} for the next one"

    def the_answer_is_kept(self) -> None:
        key = self.key()
        self.ran(key, b"an answer \x00\xff")
        kept = self.claim(self._make(), key).reply
        assert kept == b"an answer \x00\xff", f"the kept answer came back as {kept!r}"

    def a_failed_run_lets_the_next_one_through(self) -> None:
        key, inbox = self.key(), self._make()
        _settled(inbox.release(key, self.claim(inbox, key)))
        again = self.claim(inbox, key)
        assert again.state == "new", f"after a failed run the next claim was {again.state}"
        self.finish(inbox, key, again)

    def another_body_under_a_known_id_is_an_event_of_its_own_and_flagged(self) -> None:
        key = self.key()
        self.ran(key)
        other = EventKey(key.receiver, key.event_id, key_of("", "", b"another body").digest)
        inbox = self._make()
        claim = self.claim(inbox, other)
        assert claim.state == "new" and claim.conflict, f"another body under a known id was {claim.state}, conflict={claim.conflict}"
        self.finish(inbox, other, claim)

    def receivers_do_not_share_ids(self) -> None:
        key = self.key()
        self.ran(key)
        other, inbox = EventKey("another receiver", key.event_id, key.digest), self._make()
        claim = self.claim(inbox, other)
        assert claim.state == "new" and not claim.conflict, "an id of one receiver was known to another"
        self.finish(inbox, other, claim)

    def of_many_at_once_one_runs(self) -> None:
        key, runs, failures = self.key(), list[str](), list[Exception]()
        inboxes, start = [self._make() for _ in range(_AT_ONCE)], threading.Barrier(_AT_ONCE)

        def one(inbox: Inbox) -> None:
            start.wait(_WAIT_S)
            try:
                claim = self.claim(inbox, key)
                if claim.state == "new":
                    runs.append(claim.token)
                    self.finish(inbox, key, claim)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=one, args=(inbox,)) for inbox in inboxes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_WAIT_S)
        assert not failures, f"claims at once failed: {failures[0]!r}"
        assert len(runs) == 1, f"of {_AT_ONCE} claims at once {len(runs)} ran"

    def what_is_past_its_time_is_forgotten(self) -> None:
        key = self.key()
        self.ran(key)
        inbox, later_us = self._make(), _NOW_US + _KEEP_US
        claim = self.claim(inbox, key, later_us)
        assert claim.state == "new", f"an event past its time was {claim.state}"
        self.finish(inbox, key, claim, now_us=later_us)

    def an_event_that_runs_is_running_for_others(self) -> None:
        key, inbox = self.key(), self._make()
        claim = self.claim(inbox, key)
        state = self.claim(self._make(), key, _NOW_US + _LEASE_US - 1).state
        assert state == "running", f"an event that runs was {state} for another"
        self.finish(inbox, key, claim)

    def the_lease_of_a_killed_process_ends(self) -> None:
        key = self.key()
        self.claim(self._make(), key)
        state = self.claim(self._make(), key, _NOW_US + _LEASE_US).state
        assert state == "new", f"after its lease an event was {state}"

    def who_is_late_does_not_release_the_claim_of_another(self) -> None:
        key, inbox = self.key(), self._make()
        late = self.claim(inbox, key)
        self.claim(inbox, key, _NOW_US + _LEASE_US)
        _settled(inbox.release(key, late))
        state = self.claim(inbox, key, _NOW_US + _LEASE_US + 1).state
        assert state == "running", f"a late release made the claim of another {state}"


def _settled(value: Any) -> Any:
    return asyncio.run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value
