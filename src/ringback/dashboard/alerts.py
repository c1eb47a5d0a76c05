"""How is what needs a person told? One line for each thing in trouble, the most urgent first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.causes import words_of_cause
from ringback.dashboard.components import BASE, Badge, Empty, address
from ringback.dashboard.health import failure_badge
from ringback.dashboard.names import name_of
from ringback.dashboard.source_words import reason_words
from ringback.dashboard.words import Moment, count, counted, duration, listed, moment, relative, size, utc
from ringback.model.endpoints import DisableCause
from ringback.model.tasks import Task
from ringback.model.trends import Worst
from ringback.services.alerts import Comparison, Failures, Found, Missed, Renewal, SinkTrouble, Trouble
from ringback.services.dead_letters import Group
from ringback.services.quarantine import Heap
from ringback.services.server import Process
from ringback.services.source_views import Seen

_DISABLED: Final = {
    DisableCause.GONE: "It answered 410 Gone. Ask its owner; enable it, then replay what it missed.",
    DisableCause.ASKED: "It asked for it (webhook-delivery). Ask its owner; enable it, then replay what it missed.",
    DisableCause.FAILING: "It had failed for too long. Once it works: enable it, then replay what it missed.",
}
# The order of kinds of trouble among lines of one urgency is that of the page's sentence, which is theirs here.
_LOOKS: Final = ("dead", "retry")


class AlertRow(msgspec.Struct, frozen=True):
    """One thing that needs somebody. `href` is where it is mended; `word` says what happened at `at` (since, last, newest)."""

    badge: Badge
    what: str
    where: str
    why: str
    href: str
    number: str = ""
    word: str = ""
    at: Moment | None = None


class AlertsView(msgspec.Struct, frozen=True):
    """All of them."""

    here: str
    refresh_s: int
    rows: Sequence[AlertRow]
    more: str
    empty: Empty


def endpoint_rows(found: Found, now_us: int) -> list[AlertRow]:
    """Endpoints that were disabled, that fail, or whose lanes wait."""

    def row(endpoint_id: str, badge: Badge, why: str, since: Moment, *, word: str = "since", number: int = 0, href: str = "") -> AlertRow:
        named = found.named.get(endpoint_id)
        name = name_of(endpoint_id, named)
        where = " · ".join(part for part in (name.app, "" if named is None else named.description) if part)
        there = href or name.href or address("/find", q=endpoint_id)
        return AlertRow(badge, name.name, where, why, there, count(number) if number else "", word, since)

    def trouble(one: Trouble, badge: Badge, why: str, href: str = "") -> AlertRow:
        there = href or (f"{BASE}/operational/{one.endpoint_id}" if one.told else "")
        return row(one.endpoint_id, badge, why, moment(one.since_us, now_us), number=one.number, href=there)

    def failing(worst: Worst) -> AlertRow:
        known = found.failures[worst.endpoint_id]
        share = f"{count(worst.fail)} of {counted(worst.success + worst.fail, 'attempt')} in the last hour failed"
        since, word = moment(known.since_us, now_us), "since" if known.whole else "before"
        return row(worst.endpoint_id, failure_badge(worst), f"{share}{_newest(known)}.", since, word=word, number=worst.fail)

    def spent(one: Trouble) -> AlertRow:
        why = f"Its messages run out of attempts{_newest(found.failures.get(one.endpoint_id))}. When it works, replay its dead letters."
        return trouble(one, Badge("dead", "giving up"), why)

    behind = "Lanes wait behind a dead letter: replay or discard that."
    return [
        *(trouble(one, Badge("dead", "disabled"), _DISABLED.get(DisableCause(one.cause), "")) for one in found.disabled),
        *(trouble(one, Badge("dead", "blocked"), behind, address("/dead-letters/list", endpoint=one.endpoint_id)) for one in found.blocked),
        *(spent(one) for one in found.spent),
        *(failing(worst) for worst in found.failing if failure_badge(worst).kind == "dead"),
    ]


def _newest(known: Failures | None) -> str:
    return f"; the newest: {words_of_cause(known.cause)}" if known is not None and known.cause else ""


def letter_row(group: Group, found: Found, now_us: int) -> AlertRow:
    """Dead letters of an endpoint with one cause."""
    name = name_of(group.endpoint_id, found.named.get(group.endpoint_id))
    why = f"No attempts left: {words_of_cause(group.cause)}. Replay or discard them."
    href = address("/dead-letters/list", endpoint=group.endpoint_id, cause=group.cause)
    return AlertRow(
        Badge("dead", "dead letters"), name.name, name.app, why, href, count(group.letters), "newest", moment(group.last_at, now_us)
    )


def heap_row(heap: Heap, names: dict[str, str], now_us: int) -> AlertRow:
    """Requests of a source in quarantine for one reason."""
    why = f"Refused and kept: {reason_words(heap.reason)}. Mend the cause, then verify and release them, or drop them."
    href = address("/quarantine/list", source=heap.source_id, reason=heap.reason)
    at = moment(ids.created_us(heap.newest), now_us)
    return AlertRow(
        Badge("dead", "quarantine"), names.get(heap.source_id, heap.source_id), "", why, href, count(heap.requests), "newest", at
    )


def source_rows(seen: Iterable[Seen], now_us: int) -> list[AlertRow]:
    """Sources that are silent, and those whose providers sign with an old secret."""
    rows = []
    for one in seen:
        source, last = one.source, one.activity.last_at
        href = f"{BASE}/sources/{source.id}"
        if one.silent_us is not None:
            quiet = duration(one.silent_us / SECOND_US)
            why = f"Nothing has come for {quiet}, longer than usual. The provider may have disabled the webhook: look there."
            since = now_us - one.silent_us
            rows.append(
                AlertRow(Badge("retry", "silent"), source.name, "", why, href, "", "last" if last else "since", moment(since, now_us))
            )
        ends = [s.expires_at for s in source.verification.secrets if s.expires_at is not None and s.expires_at > now_us]
        used = one.activity.old_secret_at
        if used is not None and ends and not source.disabled:
            why = f"The provider signs with a secret that ends {utc(max(ends))}. Give it the new one before."
            rows.append(AlertRow(Badge("retry", "old secret"), source.name, "", why, href, "", "last", moment(used, now_us)))
    return rows


def renewal_row(one: Renewal, now_us: int) -> AlertRow:
    """A subscription that cannot be renewed."""
    progress = one.progress
    over = 0 < progress.expires_at <= now_us
    ends = f" It ended {relative(progress.expires_at, now_us)}." if over else ""
    later = f" It ends {relative(progress.expires_at, now_us)}." if progress.expires_at and not over else ""
    why = f"The subscription at the provider cannot be renewed: {progress.detail}.{ends or later}"
    at = None if progress.failed_at is None else moment(progress.failed_at, now_us)
    badge = Badge("dead", "ended") if over else Badge("retry", "not renewed")
    href = f"{BASE}/sources/{one.source_id}/subscription"
    return AlertRow(badge, one.source, one.topic, why, href, count(progress.failures), "last" if at else "", at)


def comparison_row(one: Comparison, now_us: int) -> AlertRow:
    """A source that cannot be compared with its provider's list."""
    at = None if one.progress.failed_at is None else moment(one.progress.failed_at, now_us)
    why = f"It cannot be compared with its provider: {one.progress.detail}."
    href = f"{BASE}/sources/{one.source_id}/reconciliation"
    return AlertRow(Badge("retry", "not compared"), one.source, "", why, href, count(one.progress.failures), "last" if at else "", at)


def missed_row(one: Missed, now_us: int) -> AlertRow:
    """Events that did not come by their deadlines."""
    why = "What was awaited did not come by its deadline. Ask the provider."
    href = f"{BASE}/sources/{one.source_id}/expectations"
    return AlertRow(Badge("dead", "missing"), one.source, "", why, href, count(one.events), "last", moment(one.last_at, now_us))


def sink_row(one: SinkTrouble, now_us: int) -> AlertRow:
    """A sink that fails."""
    badge = Badge("retry", "sink failing") if one.status == "enabled" else Badge("dead", f"sink {one.status}")
    why = f"{one.failure[:1].upper()}{one.failure[1:].rstrip('.')}." if one.failure else "Its last batch failed."
    return AlertRow(badge, one.name, one.stream, why, f"{BASE}/streams", "", "since", moment(one.since_us, now_us))


def task_row(task: Task, name: str, now_us: int) -> AlertRow:
    """A background task that failed."""
    why = f"It stopped before its end: {str(task.data.get('error') or 'the log says why').rstrip('.')}. Begin it again when that is mended."
    return AlertRow(Badge("dead", "task failed"), name, "", why, f"{BASE}/tasks/{task.id}", "", "since", moment(task.updated_at, now_us))


def server_rows(process: Process | None) -> list[AlertRow]:
    """What is wrong with the server itself; nothing for those who do not run it."""
    if process is None:
        return []
    rows, here = [], f"{BASE}/queue"
    if process.disk_low:
        why = f"Only {size(process.disk_free_bytes)} are free, less than min_free_disk: new messages are refused. Make room."
        rows.append(AlertRow(Badge("dead", "disk full"), "Disk of the database", "", why, here))
    if process.spooled:
        why = "The database cannot be written, and what providers send waits beside it: look at its disk."
        rows.append(AlertRow(Badge("dead", "store failing"), "Spool", size(process.spooled_bytes), why, here, count(process.spooled)))
    return rows


def urgent_first(rows: Iterable[AlertRow]) -> list[AlertRow]:
    """The same lines: first what goes wrong for good, then what may still mend itself; each kind stays together."""
    return sorted(rows, key=lambda row: _LOOKS.index(row.badge.kind))


def sentence_of(rows: Sequence[AlertRow]) -> str:
    """How much needs somebody, in one sentence."""
    if not rows:
        return "Nothing needs attention."
    kinds: dict[str, int] = {}
    for row in rows:
        kinds[row.badge.word] = kinds.get(row.badge.word, 0) + 1
    parts = listed([f"{word} ({number})" if number > 1 else word for word, number in kinds.items()], len(kinds))
    return f"{counted(len(rows), 'thing needs', 'things need')} attention: {parts}."
