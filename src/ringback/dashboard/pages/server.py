"""How does the server do? What waits and why, how fast it commits, what it takes; and every setting as it is in force."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Action, Choice, Fact, Head, choices
from ringback.dashboard.desk import Services
from ringback.dashboard.health import Figure, backlog_figure
from ringback.dashboard.names import EndpointName, name_of
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, duration, moment, size
from ringback.model.attempts import WaitCause
from ringback.model.settings import Origin, SettingInForce
from ringback.services.ports import Held, Pending
from ringback.services.server import BACKLOG_MAX, ENDPOINTS_MAX, Process, Waiting

# Seconds between two looks of a page that is looked at: the numbers are taken once a second.
_REFRESH_S: Final = 5
# Seconds that the event loop may be held before everybody notices.
_HELD_S: Final = 0.05
_NOT_YOURS: Final = (
    "It belongs to whoever runs this server: log in with a token of the organisation “default”, or with the link that it prints."
)
_ORIGINS: Final = {
    Origin.DEFAULT: "default",
    Origin.FILE: "file",
    Origin.ENVIRONMENT: "environment",
    Origin.FLAG: "flag",
    Origin.PROGRAM: "the command",
}
_PORTAL: Final = Action("Customers' portal", f"{BASE}/settings/portal", panel=False)
_WHICH: Final = (("", "all settings"), ("set", "only those that were set"))


class WaitingRow(msgspec.Struct, frozen=True):
    """One endpoint that waits."""

    endpoint: EndpointName
    why: str
    number: str
    flying: str
    due: Moment | None


class QueueView(msgspec.Struct, frozen=True):
    """What waits, and how the process does; `process` and `files` are empty for who does not run the server (`hidden` says so)."""

    here: str
    refresh_s: int
    figures: Sequence[Figure]
    rows: Sequence[WaitingRow]
    more: bool
    process: Sequence[Fact]
    files: Sequence[Fact]
    hidden: str
    spooled: str


class SettingRow(msgspec.Struct, frozen=True):
    """One setting."""

    name: str
    value: str
    hint: str
    origin: str
    where: str
    default: str
    meaning: str
    allowed: str
    given: bool


class SettingsView(msgspec.Struct, frozen=True):
    """All settings."""

    here: str
    q: str
    which: Sequence[Choice]
    filtered: bool
    rows: Sequence[SettingRow]
    hidden: str


def why_words(pending: Pending) -> str:
    """What a delivery waits for, in words."""
    standing = pending.standing
    left = duration(max(standing.left_us / SECOND_US, 1))
    if pending.why is Held.REST:
        if standing.cause is WaitCause.THROTTLE:
            return f"its rate is used up; the next attempt within {left}"
        if standing.cause is WaitCause.BREAKER:
            return f"its circuit breaker is open for {left}: too many attempts failed"
        return f"left alone for {left}: it asked for that, or gave no answer several times"
    if pending.why is Held.LIMIT and standing.deciding:
        return "one attempt is on the wire, which decides whether its circuit breaker closes"
    return {
        Held.APPLICATION_RATE: "the rate of its application is used up",
        Held.LIMIT: f"it may get {count(standing.limit or 0)} at once now, and these are on the wire",
        Held.PLACE: "all places on the wire are taken",
    }.get(pending.why, "its turn is about to come")


def row_of(waiting: Waiting, now_us: int) -> WaitingRow:
    """An endpoint that waits as a line."""
    number = count(waiting.backlog) + ("+" if waiting.backlog >= BACKLOG_MAX else "")
    return WaitingRow(
        name_of(waiting.pending.endpoint_id, waiting.named),
        "it is disabled" if waiting.named.disabled else why_words(waiting.pending),
        number,
        count(waiting.pending.flying),
        None if waiting.due_at is None else moment(waiting.due_at, now_us),
    )


def _within(bound_s: float | None) -> str:
    """A share's bound in words."""
    if bound_s is None:
        return "–"
    return f"{bound_s * 1000:g} ms" if bound_s != float("inf") else "longer than 4 s"


def figures_of(process: Process, now_us: int) -> list[Figure]:
    """What the process does, in figures."""
    held = process.loop_lag_s > _HELD_S
    return [
        backlog_figure(process.backlog, process.oldest_due_us, now_us),
        Figure("On the wire", count(process.in_flight), "attempts right now"),
        Figure("Commit, p99", _within(process.commit_p99_s), f"p50 {_within(process.commit_p50_s)}, {counted(process.commits, 'commit')}"),
        Figure("Loop lag", f"{process.loop_lag_s * 1000:.0f} ms", "something holds the loop" if held else "the longest in 10 s"),
        Figure("Memory", size(process.usage.memory_bytes), "resident"),
        search_figure(process, now_us),
    ]


def search_figure(process: Process, now_us: int) -> Figure:
    """How far the index of searches is behind."""
    if not process.search_on:
        return Figure("Not indexed", "–", "search is switched off")
    behind_s = (now_us - process.search_behind_since_us) / SECOND_US if process.search_behind_since_us else 0.0
    note = f"the oldest for {duration(behind_s)}" if behind_s >= 1 else "since a moment ago" if process.search_lag else "all is searched"
    return Figure("Not indexed", count(process.search_lag), note)


def spooled_words(process: Process) -> str:
    """What there is to say of the spool; "" where nothing waits in it."""
    if not process.spooled:
        return ""
    return (
        f"{counted(process.spooled, 'request of a provider waits', 'requests of providers wait')} in the spool "
        f"({size(process.spooled_bytes)}), because the database cannot be written: look at its disk. They come in when it can."
    )


def process_facts(process: Process, now_us: int) -> list[Fact]:
    """What is fixed for the run."""
    up_s = max((now_us - process.started_us) / SECOND_US, 0)
    return [
        Fact("Version", process.version),
        Fact("Up for", duration(up_s)),
        Fact("Started", "", moment=moment(process.started_us, now_us)),
        Fact("Processor time", f"{duration(process.usage.cpu_s)} ({process.usage.cpu_s / up_s:.1%} of one)" if up_s else "–"),
    ]


def file_facts(process: Process) -> list[Fact]:
    """What lies on the disk."""
    search = size(process.search_bytes) if process.search_bytes else "empty so far" if process.search_on else "none: search is switched off"
    return [
        Fact("Database", size(process.store_bytes) if process.store_bytes else "in memory"),
        Fact("Its log", size(process.wal_bytes)),
        Fact("Index of searches", search),
        *([Fact("Spool", size(process.spooled_bytes))] if process.spooled_bytes else []),
        Fact("Free on the disk", size(process.disk_free_bytes) if process.disk_free_bytes else "–"),
    ]


def setting_row(setting: SettingInForce) -> SettingRow:
    """A setting as a line."""
    value = setting.value
    hint = "" if value else "set, never shown" if setting.secret and setting.given else "empty" if "list" in setting.allowed else "not set"
    where = "" if setting.origin in (Origin.DEFAULT, Origin.PROGRAM) else setting.where
    return SettingRow(
        setting.name,
        value,
        hint,
        _ORIGINS[setting.origin],
        where,
        "" if value == setting.default else setting.default or "not set",
        setting.meaning.replace("`", ""),
        setting.allowed,
        setting.origin is not Origin.DEFAULT,
    )


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def queue(self, visit: Visit) -> Reply:
        waiting = await self._services.server.waiting(visit.who)
        process = self._services.server.process(visit.who)
        view = QueueView(
            f"{BASE}/queue",
            _REFRESH_S,
            [] if process is None else figures_of(process, visit.now_us),
            [row_of(one, visit.now_us) for one in waiting],
            len(waiting) >= ENDPOINTS_MAX,
            [] if process is None else process_facts(process, visit.now_us),
            [] if process is None else file_facts(process),
            _NOT_YOURS if process is None else "",
            "" if process is None else spooled_words(process),
        )
        head = Head("Queue and process", sentence_of(waiting, process), answers=True)
        return Shown("server/queue.html", view, head)

    async def settings(self, visit: Visit) -> Reply:
        q, which = visit.text("q"), visit.text("which")
        settings = self._services.server.settings(visit.who)
        rows = [setting_row(setting) for setting in settings or ()]
        wanted = [row for row in rows if (not which or row.given) and (not q or q.lower() in f"{row.name} {row.meaning}".lower())]
        hidden = _NOT_YOURS if settings is None else ""
        view = SettingsView(f"{BASE}/settings", q, choices(_WHICH, which), bool(q or which), wanted, hidden)
        given = sum(row.given for row in rows)
        sentence = "" if settings is None else f"{counted(len(rows), 'setting')}, {given} of them set. They are read at the start."
        return Shown("server/settings.html", view, Head("Settings", sentence, actions=(_PORTAL,)))


def sentence_of(waiting: Sequence[Waiting], process: Process | None) -> str:
    """How it goes, in a sentence."""
    if not waiting:
        backlog = 0 if process is None else process.backlog
        later = f"; {counted(backlog, 'delivery has its', 'deliveries have their')} next attempt later" if backlog else ""
        return f"Nothing that is due waits{later}."
    number = "100 or more endpoints have" if len(waiting) >= ENDPOINTS_MAX else counted(len(waiting), "endpoint has", "endpoints have")
    return f"{number} deliveries that are due and wait."


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/queue", pages.queue, "queue"),
        Route("GET", "/settings", pages.settings, "settings"),
    ]
