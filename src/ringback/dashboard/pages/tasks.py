"""What goes on in the background? Tasks with their progress, one of them with its result, and an end before its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Badge, Choice, Empty, Fact, Head, Link, Pager, address, choices, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.names import EndpointName, name_of
from ringback.dashboard.visits import Change, Moved, Notice, Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, count, counted, duration, moment, utc
from ringback.model.tasks import AppStats, Erasure, Letters, PurgeContent, Resend, Task, TaskKind, TaskStatus
from ringback.services.naming import Named

_SECTION: Final = "tasks"
# Seconds between two looks while something runs, and while nothing does.
_RUNNING_S: Final = 2
_RESTING_S: Final = 15
# Rows of a result that a page shows; the API gives all of them.
_ITEMS: Final = 200
# Why a task has failed that somebody stopped (`services.tasks.cancel`).
_CANCELLED: Final = "cancelled"

KIND_WORDS: Final[Mapping[TaskKind, str]] = {
    TaskKind.RECOVER: "Recover failed messages",
    TaskKind.REPLAY_MISSING: "Replay missing messages",
    TaskKind.BULK_REPLAY: "Bulk replay",
    TaskKind.PURGE_CONTENT: "Expunge all payloads",
    TaskKind.APP_STATS: "Usage of applications",
    TaskKind.EVENT_TYPE_STATS: "Use of event types",
    TaskKind.REPLAY_DEAD_LETTERS: "Replay dead letters",
    TaskKind.DISCARD_DEAD_LETTERS: "Discard dead letters",
    TaskKind.FIND_SUBJECT: "Look for a person's data",
    TaskKind.ERASE_SUBJECT: "Erase a person's data",
}
_STATUSES: Final = (("", "any state"), ("running", "running"), ("finished", "finished"), ("failed", "failed or cancelled"))
# What a kind counts: its name in `Task.data`, what that is called, and what was done with it.
_COUNTED: Final[Mapping[TaskKind, tuple[str, str, str]]] = {
    TaskKind.RECOVER: ("messagesSent", "message", "sent"),
    TaskKind.REPLAY_MISSING: ("messagesSent", "message", "sent"),
    TaskKind.BULK_REPLAY: ("messagesSent", "message", "sent"),
    TaskKind.PURGE_CONTENT: ("messagesPurged", "payload", "expunged"),
    TaskKind.REPLAY_DEAD_LETTERS: ("replayed", "dead letter", "replayed"),
    TaskKind.DISCARD_DEAD_LETTERS: ("discarded", "dead letter", "discarded"),
}
# The rows of a result: under which name they stand, and which columns they have besides the application.
_RESULTS: Final[Mapping[TaskKind, tuple[str, tuple[tuple[str, str], ...]]]] = {
    TaskKind.APP_STATS: ("appStats", (("appUid", "Uid"), ("messageDestinations", "Attempts"))),
    TaskKind.EVENT_TYPE_STATS: ("event_types", (("explicitlySubscribedEventTypes", "Event types"), ("hasCatchAllEndpoint", "Takes all"))),
}


class TaskRow(msgspec.Struct, frozen=True):
    """One line of the list. `share` is how far it is, in per cent; None: nobody knows."""

    id: str
    href: str
    what: str
    about: EndpointName | None
    app: str
    badge: Badge
    progress: str
    share: int | None
    begun: Moment


class ListView(msgspec.Struct, frozen=True):
    """A page of the list."""

    here: str
    address: str
    refresh_s: int
    rows: Sequence[TaskRow]
    pager: Pager
    empty: Empty
    statuses: Sequence[Choice]
    kinds: Sequence[Choice]
    filtered: bool


class ResultRow(msgspec.Struct, frozen=True):
    """One row of a result: an application, and what was found out about it."""

    name: str
    href: str
    cells: Sequence[str]


class TaskView(msgspec.Struct, frozen=True):
    """One task."""

    here: str
    refresh_s: int
    badge: Badge
    sentence: str
    share: int | None
    facts: Sequence[Fact]
    columns: Sequence[str]
    rows: Sequence[ResultRow]
    more: int
    cancel: str


def badge_of(task: Task) -> Badge:
    """How a task stands."""
    if task.status is TaskStatus.RUNNING:
        return Badge("wait", "running")
    if task.status is TaskStatus.FINISHED:
        return Badge("ok", "finished")
    return Badge("off", "cancelled") if task.data.get("error") == _CANCELLED else Badge("dead", "failed")


def share_of(task: Task) -> int | None:
    """How far a task is, in per cent; None where nobody knows how much there is."""
    if task.status is TaskStatus.FINISHED:
        return 100
    definition, data = task.definition, task.data
    if isinstance(definition, Letters):
        done = sum(int(data.get(name, 0)) for name in ("replayed", "discarded", "skipped"))
        return min(done * 100 // max(definition.total, 1), 100)
    if isinstance(definition, Resend) and ids.is_id(ids.MESSAGE, task.position):
        # Tasks walk along the messages: how far in their time is how far in all, unless some hours were busier than others.
        passed_us = ids.created_us(task.position) - definition.since_us
        return min(max(passed_us * 100 // max(definition.until_us - definition.since_us, 1), 0), 100)
    return None


def progress_of(task: Task) -> str:
    """What a task has done so far, in words."""
    if isinstance(task.definition, Erasure):
        things = sum(value for value in task.data.values() if isinstance(value, int))
        return f"{counted(things, 'thing')} {'found' if task.definition.dry_run else 'erased'}"
    named = _COUNTED.get(task.kind)
    if named is None:
        return ""
    key, one, done = named
    number, total = task.data.get(key, 0), task.data.get("total")
    words = f"{counted(number, one)} {done}" if total is None else f"{count(number)} of {counted(total, one)} {done}"
    skipped = task.data.get("skipped")
    return f"{words}, {count(skipped)} passed over" if skipped else words


def sentence_of(task: Task, now_us: int) -> str:
    """How a task stands, in one sentence."""
    done, begun_us = progress_of(task), ids.created_us(task.id)
    if task.status is TaskStatus.RUNNING:
        so_far = f": {done} so far" if done else ""
        share, left = share_of(task), ""
        passed_s = (now_us - begun_us) / SECOND_US
        if share and passed_s > _RUNNING_S:
            left = f"; about {duration(max(passed_s * (100 - share) / share, 1), parts=1)} to go"
        return f"It is running{so_far}{left}."
    took = duration(max((task.updated_at - begun_us) / SECOND_US, 0.001))
    if task.status is TaskStatus.FINISHED:
        return f"Finished after {took}{f': {done}' if done else ''}."
    if task.data.get("error") == _CANCELLED:
        return f"Cancelled after {took}{f': {done} until then' if done else ''}. What was done stays done."
    return f"Failed after {took}: {task.data.get('error', 'the log says why')}{f'; {done} until then' if done else ''}."


def definition_facts(task: Task) -> list[Fact]:
    """What a task was asked to do."""
    definition = task.definition
    facts: list[Fact] = []
    if isinstance(definition, Resend | AppStats):
        facts += [Fact("Since", utc(definition.since_us)), Fact("Until", utc(definition.until_us))]
    if isinstance(definition, Resend):
        named = {"Event types": ", ".join(definition.event_types), "Channel": definition.channel or "", "Tag": definition.tag or ""}
        facts += [Fact(name, value) for name, value in named.items() if value]
    if isinstance(definition, Letters):
        facts += [Fact("Event types", ", ".join(definition.event_types))] if definition.event_types else []
        facts += [Fact("Cause", definition.cause, mono=True)] if definition.cause else []
        facts.append(Fact("In all", count(definition.total)))
    if isinstance(definition, PurgeContent):
        facts.append(Fact("Of messages", "that were there when it began"))
    return facts


def endpoint_of(task: Task) -> str | None:
    """The endpoint that a task is about."""
    definition = task.definition
    if isinstance(definition, Resend):
        return definition.endpoint_id
    return definition.value if isinstance(definition, Letters) and definition.column == "endpoint_id" else None


def cell_of(value: Any) -> str:
    """A value of a result as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "" if value is None else str(value)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        at, status, kind = visit.text("at"), visit.text("status"), visit.text("kind")
        status = status if status in tuple(TaskStatus) else ""
        kind = kind if kind in tuple(TaskKind) else ""
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.TASK, key))
        page = await self._services.tasks.page(visit.who, walk, TaskStatus(status) if status else None, TaskKind(kind) if kind else None)
        endpoints, apps = await self._names(visit, page.items)
        rows = [self._row(task, endpoints, apps, visit.now_us) for task in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        running = sum(task.status is TaskStatus.RUNNING for task in page.items)
        view = ListView(
            address("/tasks"),
            address("/tasks", at=at, status=status, kind=kind),
            _RUNNING_S if running else _RESTING_S,
            rows,
            pager(page, first, last, at, "/tasks", status=status, kind=kind),
            self._empty(bool(status or kind)),
            choices(_STATUSES, status),
            [Choice("", "any kind", not kind), *(Choice(k.value, words, k == kind) for k, words in KIND_WORDS.items())],
            bool(status or kind),
        )
        sentence = f"{counted(running, 'task is', 'tasks are')} running." if running else "No task is running." if rows else ""
        return Shown("tasks/list.html", view, Head("Background tasks", sentence))

    def _empty(self, filtered: bool) -> Empty:
        if filtered:
            return Empty("No such task", "Nothing fits the filters; take some away.")
        return Empty(
            "No task yet",
            "What takes longer than a request runs here: replays of dead letters, recovering what an endpoint missed, expunging payloads. "
            "This recovers what failed in the last day:",
            f"curl -X POST {self._services.url()}/api/v1/app/APP/endpoint/ENDPOINT/recover -H 'authorization: Bearer TOKEN' "
            '-d "{\\"since\\": \\"$(date -u -d \'1 day ago\' +%FT%TZ)\\"}"',
        )

    async def _names(self, visit: Visit, tasks: Sequence[Task]) -> tuple[dict[str, Named], dict[str, str]]:
        naming = self._services.naming
        endpoints = await naming.endpoints(visit.who, filter(None, map(endpoint_of, tasks)))
        return endpoints, await naming.applications(visit.who, (task.app_id for task in tasks if task.app_id is not None))

    @staticmethod
    def _row(task: Task, endpoints: Mapping[str, Named], apps: Mapping[str, str], now_us: int) -> TaskRow:
        endpoint_id = endpoint_of(task)
        named = None if endpoint_id is None else endpoints.get(endpoint_id)
        app = apps.get(task.app_id or "", "")
        return TaskRow(
            task.id,
            f"{BASE}/tasks/{task.id}",
            KIND_WORDS[task.kind],
            None if endpoint_id is None else name_of(endpoint_id, named),
            named.app_name if named is not None and not app else app,
            badge_of(task),
            progress_of(task),
            share_of(task) if task.status is TaskStatus.RUNNING else None,
            moment(ids.created_us(task.id), now_us),
        )

    async def show(self, visit: Visit) -> Reply:
        task = await self._services.tasks.get(visit.who, visit.params["task_id"])
        endpoints, apps = await self._names(visit, [task])
        row = self._row(task, endpoints, apps, visit.now_us)
        here, running = row.href, task.status is TaskStatus.RUNNING
        facts = [
            *([Fact("Endpoint", row.about.name, href=row.about.href)] if row.about else []),
            *([Fact("Application", row.app, href=f"{BASE}/apps/{task.app_id}" if task.app_id else None)] if row.app else []),
            *definition_facts(task),
            Fact("Begun", "", moment=row.begun),
            Fact("Changed", "", moment=moment(task.updated_at, visit.now_us)),
            Fact("Id", task.id, copy=True, mono=True),
        ]
        items = _items(task)
        result_apps = await self._services.naming.applications(visit.who, (str(item.get("appId")) for item in items[:_ITEMS]))
        columns, rows = _result(task, items[:_ITEMS], result_apps)
        view = TaskView(
            here,
            _RUNNING_S if running else 0,
            row.badge,
            sentence_of(task, visit.now_us),
            share_of(task) if running else None,
            facts,
            columns,
            rows,
            max(len(items) - _ITEMS, 0),
            f"{here}/cancel" if running else "",
        )
        about = f"To {row.about.name}." if row.about else f"Of {row.app}." if row.app else "Of the whole organisation."
        head = Head(row.what, about, (Link("Background tasks", f"{BASE}/tasks"),), id=task.id)
        return Shown("tasks/show.html", view, head)

    async def cancel(self, visit: Visit) -> Reply:
        task = await self._services.tasks.cancel(visit.who, visit.params["task_id"])
        here = f"{BASE}/tasks/{task.id}"
        if task.data.get("error") != _CANCELLED:
            return Moved(here, Notice("It had ended before."))
        change = Change("task.cancelled", task.id, task.app_id, KIND_WORDS[task.kind])
        return Moved(here, Notice("It was cancelled. What was done until then stays done."), change)


def _items(task: Task) -> list[dict[str, Any]]:
    """The rows that a task has found out."""
    return task.data.get(_RESULTS[task.kind][0], []) if task.kind in _RESULTS else []


def _result(task: Task, items: Sequence[dict[str, Any]], apps: Mapping[str, str]) -> tuple[list[str], list[ResultRow]]:
    """The columns of a result, and rows of it."""
    if task.kind not in _RESULTS:
        return [], []
    _, columns = _RESULTS[task.kind]
    rows = []
    for item in items:
        app_id = str(item.get("appId"))
        rows.append(ResultRow(apps.get(app_id, app_id), f"{BASE}/apps/{app_id}", [cell_of(item.get(name)) for name, _ in columns]))
    return ["Application", *(label for _, label in columns)], rows


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    return [
        Route("GET", "/tasks", pages.index, _SECTION),
        Route("GET", "/tasks/{task_id}", pages.show, _SECTION),
        Route("POST", "/tasks/{task_id}/cancel", pages.cancel, _SECTION),
    ]
