"""Which source is called at this path, right now? Sources made ready for requests, remembered in front of the store."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.errors import RingbackError
from ringback.model.arrivals import ACCEPTED
from ringback.model.sources import NO_ACTIVITY, Activity, Rules, Source
from ringback.policy import sources as rules_of
from ringback.policy.addresses import Network, parse_networks
from ringback.policy.json_instances import QuickLook
from ringback.policy.sources_answers import Answerer, needs_answerer
from ringback.policy.sources_arrival import Bucket, unmapped
from ringback.policy.sources_events import EventReader
from ringback.policy.sources_signals import SIGNALS
from ringback.policy.sources_silence import habit, silence
from ringback.services.directory import Directory
from ringback.signing.handshake import Knowledge
from ringback.signing.request import Verifier
from ringback.store.base import Store, Transaction
from ringback.store.operations import arrivals, deduplication, organisations, quarantine, source_traffic, sources, subscriptions, versions
from ringback.store.operations.endpoints import Sealer
from ringback.telemetry.events import SOURCE_OLD_SECRET, SOURCE_SILENT
from ringback.telemetry.log import log
from ringback.telemetry.prometheus import SOURCE_OUTCOMES, Metrics

# How long a payload is kept unless its source says otherwise (contract, 3.4).
_LIFE_US: Final = 90 * 86_400 * SECOND_US
# Paths remembered: some 10 kB each with the source behind them.
_REMEMBERED: Final = 5_000
# Later than every token's end.
_NEVER_US: Final = 1 << 62
# An old secret that still matches is told once in so many microseconds (an hour), not with each request.
_TELL_EVERY_US: Final = 3_600 * SECOND_US

# A source, until when its path is good, what came from it so far, the rate of its organisation, and what its hubs were asked for.
_Found: TypeAlias = tuple[Source, int | None, Activity, int | None, tuple[str, ...]]
# Rows in a slice: 1 to 3 ms of the writer.
_SLICE: Final = 100
# How long a request stays in quarantine, microseconds: 30 days, ten times the longest retries.
_QUARANTINE_US: Final = 30 * 86_400 * SECOND_US

# `{source_id}/in/{token}` below the ingest prefix, or a readable route.
_INGEST: Final = re.compile(rb"/ingest/api/v1/source/([A-Za-z0-9_-]{1,80})/in/([A-Za-z0-9]{1,80})/?")
_ROUTE: Final = re.compile(rb"/((?:webhooks|hooks)/[A-Za-z0-9_.-]{1,64})/?")


def is_ours(path: bytes) -> bool:
    """Is this path a source's, if there is one?"""
    return path.startswith((b"/webhooks/", b"/hooks/")) or (path.startswith(b"/ingest/") and b"/in/" in path)


class Ready:
    """A source with all that a request needs made beforehand.

    `stale` from the moment that it changed; `unsure` while nobody has looked whether its application is still there.
    """

    __slots__ = (
        "allowed",
        "answer",
        "answerer",
        "asked_for",
        "bucket",
        "bytes",
        "counts",
        "dropped",
        "events",
        "gap_us",
        "handshakes",
        "kind",
        "knowledge",
        "last_at",
        "learned_at",
        "life_us",
        "longest_us",
        "metrics",
        "needs_url",
        "old_secret_at",
        "plain",
        "prompt",
        "reasons",
        "redelivery",
        "refused",
        "reply",
        "rotating",
        "schema",
        "sensitive",
        "shared",
        "signals",
        "source",
        "stale",
        "taken_bytes",
        "told_at",
        "told_silent",
        "unsure",
        "valid_until",
        "verifier",
        "versions",
        "window_us",
    )  # fmt: skip

    def __init__(self, source: Source, now_us: int, activity: Activity = NO_ACTIVITY) -> None:
        self.source = source
        row, sender = rules_of.provider_of(source.type), source.verification.secret_by
        self.events = EventReader(row, source.rules, f"{source.type}.webhook", sender)
        # Where the provider counts how often it sent an event.
        self.redelivery: tuple[str, ...] = source.rules.redelivery_at or (() if row is None else row.redelivery)
        self.verifier: Verifier | None = rules_of.make_verifier(source.type, source.verification, now_us)
        self.handshakes = rules_of.handshakes_of(source)
        self.knowledge: Knowledge = rules_of.knowledge(source, now_us)
        self.allowed: tuple[Network, ...] = tuple(map(unmapped, parse_networks(",".join(source.rules.allowed_ips))))
        self.bucket = None if source.rules.rate is None else Bucket(source.rules.rate)
        # Nothing has to be looked at before the body is read.
        rules = source.rules
        checked = rules.rate or rules.allowed_ips or rules.allowed_ips_from or rules.required_headers or rules.client_certificate
        self.plain = "POST" in rules.methods and not checked
        # How its provider says that it calls no more.
        self.signals = SIGNALS.get(source.type)
        self.dropped = rules_of.dropped_headers(source)
        self.needs_url = rules_of.needs_url(source)
        self.schema = None if source.rules.schema is None else QuickLook(source.rules.schema)
        # Does any of its secrets end? Else no old one can match.
        self.rotating = any(secret.expires_at is not None for secret in source.verification.secrets)
        # The content type that came last, as it came and as it is stored: most requests of a source have the same.
        self.kind = (b"", "application/octet-stream")
        self.window_us = source.rules.deduplication.window_s * SECOND_US
        # What versions are compared under; None: they are not compared.
        self.versions = _compared_under(rules)
        self.valid_until = rules_of.next_end(source, now_us)
        self.stale = False
        self.unsure = False
        self.answer = rules_of.answer_of(source)
        self.answerer: Answerer | None = None
        if self.answer is not None and needs_answerer(self.answer):
            self.answerer = Answerer(self.answer, rules_of.own_secret(source.verification, now_us))
        # What it answers follows from the source alone, and is known once the event is durable.
        self.prompt = self.answerer is None and rules.processed_by is None
        self.life_us = _LIFE_US if rules.retention_s is None else rules.retention_s * SECOND_US
        self.sensitive = rules_of.hidden_fields(source)
        # `services.receiving` makes it of the answer.
        self.reply: Any = None
        self.refused = Bucket(_REFUSALS_PER_S)
        self.counts = [0, 0, 0, 0, 0, 0]
        # Bytes of bodies since they were counted, by outcome; and of those that the hot door took.
        self.bytes: dict[str, int] = {}
        self.taken_bytes = 0
        self.reasons: dict[str, int] = {}
        self.last_at: int | None = activity.last_at
        # The last event that `gap_us` knows of, and the longest gap since.
        self.learned_at: int | None = activity.last_at
        self.longest_us = 0
        self.gap_us: int | None = activity.gap_us
        self.old_secret_at: int | None = None
        self.told_at = 0
        self.told_silent = False
        # The rate of its organisation, which it shares with all sources of that; None: there is none.
        self.shared: Bucket | None = None
        # The topics that hubs were asked for, besides those of its settings.
        self.asked_for: tuple[str, ...] = ()
        # Where it is counted how far signed times are from ours; nowhere for what is only tried out.
        self.metrics: Metrics | None = None

    def share(self, bucket: Bucket | None, asked_for: tuple[str, ...], now_us: int) -> None:
        """Take in no more than all sources of the organisation may together, grant no more to providers that ask, and know these topics."""
        if bucket is not self.shared or asked_for != self.asked_for:
            self.shared, self.asked_for = bucket, asked_for
            self.knowledge = rules_of.knowledge(self.source, now_us, None if bucket is None else int(bucket.per_s), asked_for)

    def heard(self, now_us: int) -> None:
        """An event came; what it says of the source's habit is worked out for many events together (`learn`)."""
        self.counts[0] += 1
        last_at = self.last_at
        if last_at is None:
            self.learned_at = now_us
        elif now_us - last_at > self.longest_us:
            self.longest_us = now_us - last_at
        self.last_at = now_us
        self.told_silent = False

    def learn(self) -> None:
        """Take the events since the last call into the source's habit."""
        last_at, learned_at = self.last_at, self.learned_at
        if last_at is None or learned_at is None or last_at == learned_at:
            return
        self.gap_us = habit(self.gap_us, self.longest_us, last_at - learned_at)
        self.learned_at, self.longest_us = last_at, 0

    def weighed(self, outcome: str, size: int) -> None:
        """A request with a body of so many bytes had this outcome."""
        self.bytes[outcome] = self.bytes.get(outcome, 0) + size

    def rejected(self, reason: str) -> None:
        """A request was not taken."""
        self.counts[2] += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def matched(self, key_index: int, now_us: int) -> bool:
        """Secret number `key_index` of the active ones signed: is it an old one?"""
        if not self.rotating:
            return False
        secrets = rules_of.active(self.source.verification.secrets, now_us)
        if key_index >= len(secrets) or secrets[key_index].expires_at is None:
            return False
        self.old_secret_at = now_us
        if now_us - self.told_at > _TELL_EVERY_US:
            self.told_at = now_us
            log(SOURCE_OLD_SECRET, source_id=self.source.id, secret=key_index)
        return True


def _compared_under(rules: Rules) -> bytes | None:
    return "\0".join((*rules.ordering_key_at, "", *rules.ordering_version_at, "")).encode() if rules.ordering_version_at else None


# Refused requests of one source that are kept, a second: enough to see what is wrong, too few for a flood to fill the disk.
_REFUSALS_PER_S: Final = 10.0


class SourceDirectory:
    """Sources by the paths of their URLs. `receive_rate` is that of organisations without their own. Belongs to one event loop."""

    def __init__(
        self, store: Store, vault: Sealer, clock: Clock, directory: Directory, metrics: Metrics, receive_rate: int | None = None
    ) -> None:
        directory.watch(self._application_changed)
        self._receive_rate = receive_rate
        self._rates: dict[str, Bucket] = {}
        self._store = store
        self._vault = vault
        self._clock = clock
        self._metrics = metrics
        self._by_path: dict[bytes, tuple[Ready, int]] = {}
        # Sources that say how long what came from them is kept, and for how long (microseconds).
        self._short_lived: dict[str, int] = {}
        self._by_id: dict[str, Ready] = {}
        # Those that others took the place of, until nothing of theirs is left to be written down.
        self._former: list[Ready] = []
        self._changes = 0
        self._watchers: list[Callable[[str], None]] = []
        # Sources that are kept in memory.
        self.remembered_max = _REMEMBERED

    def known(self, path: bytes) -> Ready | None:
        """The source that is called at a path, if it is remembered. Never blocks."""
        found = self.remembered(path)
        return found[0] if found is not None and self.holds(found) else None

    def remembered(self, path: bytes) -> tuple[Ready, int] | None:
        """What was found at a path the last time, and until when the path is good: to be used only while it `holds`."""
        return self._by_path.get(hashlib.sha256(path).digest())

    def holds(self, found: tuple[Ready, int]) -> bool:
        """Is it still so?"""
        ready, until = found
        now_us = self._clock.now_us()
        return not ready.stale and not ready.unsure and until > now_us and ready.valid_until > now_us

    async def current(self, ready: Ready, path: bytes) -> Ready | None:
        """The source of a request whose body is there by now: as it is, if it was changed meanwhile. As `find`."""
        return await self.find(path) if ready.stale else ready

    async def find(self, path: bytes) -> Ready | None:
        """The source that is called at a path; None when there is none, or it is off. Raises StoreFailure."""
        ready = self.known(path)
        if ready is not None:
            return ready
        while True:
            changes = self._changes
            now_us = self._clock.now_us()
            query = self._query(path, now_us)
            found = None if query is None else await self._store.read(query)
            if changes == self._changes:
                break
        if found is None or found[0].disabled or found[0].cron is not None:
            return None
        source, until, activity, rate, asked_for = found
        ready = self._by_id.get(source.id)
        if ready is None or ready.stale or ready.valid_until <= now_us:
            try:
                ready = self.made_ready(source, activity)
            except ValueError:
                # It cannot verify any more: its last secret has ended. Strangers learn nothing of that.
                return None
        ready.share(self._shared(source.org_id, rate), asked_for, now_us)
        ready.unsure = False
        if len(self._by_path) >= _REMEMBERED:
            self._by_path.clear()
        self._by_path[hashlib.sha256(path).digest()] = (ready, _NEVER_US if until is None else until)
        return ready

    def made_ready(self, source: Source, activity: Activity) -> Ready:
        """A source made ready for what comes from it; its counts are written down from now on. Raises ValueError when it cannot verify."""
        made = Ready(source, self._clock.now_us(), activity)
        former = self._by_id.get(source.id)
        if former is not None:
            self._former.append(former)
        ready = self._by_id[source.id] = made
        ready.metrics = self._metrics
        return ready

    def ready(self, source_id: str) -> Ready | None:
        """The source of this id, if it is remembered."""
        return self._by_id.get(source_id)

    def _shared(self, org_id: str, rate: int | None) -> Bucket | None:
        """The bucket that all sources of an organisation take from."""
        per_s = self._receive_rate if rate is None else rate
        if not per_s:
            self._rates.pop(org_id, None)
            return None
        bucket = self._rates.get(org_id)
        if bucket is None or bucket.per_s != per_s:
            bucket = self._rates[org_id] = Bucket(per_s)
        return bucket

    def organisation_changed(self, org_id: str) -> None:
        """The rate of an organisation was changed, durably."""
        self._changes += 1
        for ready in self._by_id.values():
            if ready.source.org_id == org_id:
                ready.unsure = True

    def watch(self, changed: Callable[[str], None]) -> None:
        """Have somebody told the id of each source that changes."""
        self._watchers.append(changed)

    def changed(self, source_id: str) -> None:
        """The source was changed or deleted, durably."""
        self._changes += 1
        for watcher in self._watchers:
            watcher(source_id)
        ready = self._by_id.pop(source_id, None)
        if ready is not None:
            ready.stale = True
            self._former.append(ready)
            self._by_path = {path: found for path, found in self._by_path.items() if not found[0].stale}

    def _application_changed(self, app_id: str) -> None:
        """An application or one of its endpoints was changed, or it is gone: with it go its sources."""
        self._changes += 1
        for source_id in [ready.source.id for ready in self._by_id.values() if ready.source.app_id == app_id]:
            self._by_id[source_id].unsure = True

    async def note(self) -> None:
        """Write down what came since the last time. To be called every few seconds."""
        self._weigh()
        self._let_go()
        # Those of the past first: what came last of a source is what the present one says.
        every = (*self._former, *self._by_id.values())
        told = [(ready, more, ready.reasons) for ready in every if (more := _taken(ready)) is not None]
        # Whoever still has a request in hand may count it yet; who has had nothing to say since the last time goes.
        speaking = {id(ready) for ready, _, _ in told}
        self._former = [ready for ready in self._former if id(ready) in speaking]
        if not told:
            return
        for ready, _, _ in told:
            ready.reasons = {}

        def operation(tx: Transaction) -> None:
            now_us = self._clock.now_us()
            for ready, more, reasons in told:
                if ready.stale and not sources.is_kept(tx, ready.source.id):
                    continue
                sources.add_activity(tx, ready.source.id, more, now_us)
                if reasons:
                    source_traffic.add_refusals(tx, ready.source.id, reasons, now_us)

        try:
            await self._store.write(operation)
        except RingbackError:
            # Counts that could not be kept: they are told again with the next ones.
            for ready, more, reasons in told:
                for index, count in enumerate(_counted(more)):
                    ready.counts[index] += count
                ready.reasons = dict(Counter(reasons) + Counter(ready.reasons))
            return
        metrics, requests, rejections = self._metrics, Counter(self._metrics.source_requests), Counter(self._metrics.source_rejections)
        for _, more, reasons in told:
            requests.update(dict(zip(SOURCE_OUTCOMES, _counted(more), strict=True)))
            rejections.update(reasons)
        metrics.source_requests = dict(requests)
        metrics.source_rejections = dict(rejections)

    def _weigh(self) -> None:
        """Count the bytes that came since the last time: in memory alone, so that nothing can fail."""
        weights = Counter(self._metrics.source_bytes)
        for ready in (*self._former, *self._by_id.values()):
            weights.update(ready.bytes)
            weights[ACCEPTED] += ready.taken_bytes
            ready.bytes, ready.taken_bytes = {}, 0
        self._metrics.source_bytes = dict(weights)

    def _let_go(self) -> None:
        """Remember no more sources than there is memory for: those that were quiet for longest go, once they are written down."""
        over = len(self._by_id) - self.remembered_max
        if over <= 0:
            return
        quiet = [ready for ready in self._by_id.values() if not any(ready.counts)]
        for ready in sorted(quiet, key=lambda ready: ready.last_at or 0)[:over]:
            ready.stale = True
            del self._by_id[ready.source.id]
        self._by_path = {path: found for path, found in self._by_path.items() if not found[0].stale}

    async def forget(self) -> int:
        """Forget some of what is past its time: events past their window, requests in quarantine, deleted sources. 0 = nothing is left."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> int:
            removed = deduplication.purge(tx, now_us, _SLICE) + versions.purge(tx, now_us, _SLICE) + sources.purge(tx, _SLICE)
            for source_id, life_us in self._short_lived.items():
                removed += quarantine.drop(tx, source_id, None, ids.start_id(ids.QUARANTINED, now_us - life_us), _SLICE)
                removed += arrivals.purge_of(tx, source_id, now_us - life_us, _SLICE)
                if removed >= _SLICE:
                    return removed
            return removed + quarantine.purge(tx, now_us - _QUARANTINE_US, _SLICE)

        return await self._store.write(operation)

    async def silent(self) -> list[Source]:
        """Sources that were not heard for longer than their habit, or than their owner allows; each is told once. Raises StoreFailure."""
        now_us = self._clock.now_us()
        found: list[Source] = []
        self._short_lived = {}
        after: str | None = ""
        while after is not None:
            listed, after = await self._store.read(lambda tx, at=after: self._live(tx, at))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            for source, activity in listed:
                if source.rules.retention_s is not None:
                    self._short_lived[source.id] = source.rules.retention_s * SECOND_US
                ready = self._by_id.get(source.id)
                if ready is not None and ready.last_at is not None:
                    ready.learn()
                    activity = msgspec.structs.replace(activity, last_at=ready.last_at, gap_us=ready.gap_us)
                silent_us = silence(source, activity, now_us)
                if silent_us is None:
                    continue
                if ready is None:
                    try:
                        ready = self._by_id[source.id] = Ready(source, now_us, activity)
                    except ValueError:
                        continue
                if not ready.told_silent:
                    ready.told_silent = True
                    log(SOURCE_SILENT, source_id=source.id, silent_s=silent_us // SECOND_US)
                    found.append(source)
        return found

    def _live(self, tx: Transaction, after: str) -> tuple[list[tuple[Source, Activity]], str | None]:
        listed = sources.live(tx, self._vault, after, 100)
        return [(source, sources.activity(tx, source.id)) for source in listed], listed[-1].id if len(listed) == 100 else None

    def _query(self, path: bytes, now_us: int) -> Callable[[Transaction], _Found | None] | None:
        match = _INGEST.fullmatch(path)
        if match is not None:
            source_id, token = match[1].decode(), match[2].decode()
            return lambda tx: _with_activity(tx, sources.by_token(tx, self._vault, source_id, token, now_us))
        match = _ROUTE.fullmatch(path)
        if match is None:
            return None
        route = match[1].decode()

        def query(tx: Transaction) -> _Found | None:
            source = sources.by_route(tx, self._vault, route)
            return None if source is None else _with_activity(tx, (source, None))

        return query


def _with_activity(tx: Transaction, found: tuple[Source, int | None] | None) -> _Found | None:
    if found is None:
        return None
    source, until = found
    asked_for = subscriptions.asked_for(tx, source.id) if "websub" in rules_of.handshakes_of(source) else ()
    return source, until, sources.activity(tx, source.id), organisations.receive_rate(tx, source.org_id), asked_for


def _taken(ready: Ready) -> Activity | None:
    if not any(ready.counts) and ready.old_secret_at is None:
        return None
    ready.learn()
    accepted, duplicates, rejected, ignored, asked, superseded = ready.counts
    ready.counts = [0, 0, 0, 0, 0, 0]
    old_secret_at, ready.old_secret_at = ready.old_secret_at, None
    return Activity(accepted, duplicates, rejected, ignored, ready.last_at, ready.gap_us, old_secret_at, asked, superseded)


def _counted(activity: Activity) -> tuple[int, int, int, int, int, int]:
    """The counts in the order of `Ready.counts` and `SOURCE_OUTCOMES`."""
    return activity.accepted, activity.duplicates, activity.rejected, activity.ignored, activity.asked, activity.superseded
