"""What is kept of a person? It is looked for by a text, counted, exported, and erased by who types the text again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, to_datetime
from ringback.dashboard.components import BASE, Badge, Empty, Fact, Head, Link
from ringback.dashboard.desk import Services
from ringback.dashboard.forms import Wrong, checked, problems_of
from ringback.dashboard.pages.tasks import KIND_WORDS, badge_of, sentence_of
from ringback.dashboard.visits import Moved, Notice, Reply, Route, Saved, Shown, Visit, lost
from ringback.dashboard.words import Moment, count, counted, moment
from ringback.errors import InvalidField, NotFound
from ringback.model.dashboard import Door
from ringback.model.tasks import Erasure, Task, TaskKind, TaskStatus
from ringback.policy.paging import Walk
from ringback.services.privacy import ErasureIn, SubjectIn

_SECTION: Final = "privacy"
# Tasks of a kind that the page shows.
_SHOWN: Final = 10
# Seconds between two looks while something runs, and while nothing does.
_RUNNING_S: Final = 1
_RESTING_S: Final = 15
# What a task counts, in the words of a person.
WORDS: Final[Mapping[str, str]] = {
    "messages": "Messages",
    "attempts": "Attempts: answers, and bodies that were sent",
    "deadLetters": "Dead letters",
    "orderingKeys": "Deliveries in order by it",
    "quarantine": "Requests in quarantine",
    "arrivals": "Entries of journals",
    "eventNames": "Events that are known by it",
    "expectations": "Events that are waited for",
    "streamEvents": "Events of streams",
    "sinkFailures": "Sinks: their last failures",
    "savedViews": "Saved views of lists",
    "binRequests": "Requests in bins",
}
_STAGES: Final[Mapping[str, str]] = {
    "freePages": "Free pages of the file are overwritten",
    "filledPages": "Free pages of the file are given back",
    "searchIndex": "The index of searches is written anew",
    "log": "The log is emptied",
}
# Fields of the form, by what the API calls them.
_FIELDS: Final = {"subject": "subject", "at": "where", "app": "app", "source": "source"}


class TaskRow(msgspec.Struct, frozen=True):
    """A search or an erasure that was begun."""

    href: str
    what: str
    badge: Badge
    found: str
    begun: Moment


class IndexView(msgspec.Struct, frozen=True):
    """The form, with what was written into it, and what was asked for before."""

    here: str
    refresh_s: int
    values: Mapping[str, str]
    problems: Mapping[str, str]
    rows: Sequence[TaskRow]
    empty: Empty


class CountRow(msgspec.Struct, frozen=True):
    """How many things of a kind were found."""

    what: str
    number: str


class ShowView(msgspec.Struct, frozen=True):
    """A search or an erasure. `found`: something was, and may be exported or erased now; `problem`: what was typed is another text."""

    here: str
    refresh_s: int
    badge: Badge
    sentence: str
    stage: str
    rows: Sequence[CountRow]
    facts: Sequence[Fact]
    found: bool
    problem: str
    cancel: str


def total_of(task: Task) -> int:
    """How many things a task has found."""
    return sum(int(task.data.get(name, 0)) for name in WORDS)


class _Pages:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def index(self, visit: Visit) -> Reply:
        return await self._index(visit, dict.fromkeys(_FIELDS.values(), ""), {})

    async def _index(self, visit: Visit, values: Mapping[str, str], problems: Mapping[str, str]) -> Reply:
        tasks: list[Task] = []
        for kind in (TaskKind.FIND_SUBJECT, TaskKind.ERASE_SUBJECT):
            tasks += (await self._services.tasks.page(visit.who, Walk(_SHOWN, descending=True), None, kind)).items
        tasks.sort(key=lambda task: task.id, reverse=True)
        rows = [
            TaskRow(
                f"{BASE}/privacy/{task.id}",
                KIND_WORDS[task.kind],
                badge_of(task),
                counted(total_of(task), "thing"),
                moment(ids.created_us(task.id), visit.now_us),
            )
            for task in tasks[:_SHOWN]
        ]
        running = any(task.status is TaskStatus.RUNNING for task in tasks)
        empty = Empty("Nothing was looked for yet", "Searches and erasures stand here, with what they found. None of them keeps the text.")
        view = IndexView(f"{BASE}/privacy", _RUNNING_S if running else _RESTING_S, values, problems, rows, empty)
        about = "Find what is kept of a person, export it, and erase it for good."
        return Shown("privacy/index.html", view, Head("Personal data", about), 422 if problems else 200)

    async def find(self, visit: Visit) -> Reply:
        values = {field: visit.field(field).strip() for field in _FIELDS.values()}
        try:
            given: dict[str, Any] = {name: values[field] for name, field in _FIELDS.items() if values[field]}
            if "subject" not in given:
                raise Wrong({"subject": "this is needed"})
            wanted = checked(ErasureIn, given | {"dryRun": True})
            task = await self._services.privacy.erase(visit.who, wanted, door=Door.DASHBOARD, address=visit.address)
        except (Wrong, InvalidField) as error:
            return await self._index(visit, values, {_FIELDS.get(name, ""): text for name, text in problems_of(error).items()})
        except NotFound:
            return await self._index(visit, values, {"": "There is no such application or source."})
        return Moved(f"{BASE}/privacy/{task.id}")

    async def show(self, visit: Visit) -> Reply:
        return self._shown(visit, *await self._task(visit), "")

    async def _task(self, visit: Visit) -> tuple[Task, Erasure]:
        task = await self._services.tasks.get(visit.who, visit.params["task_id"])
        if not isinstance(task.definition, Erasure):
            lost(f"task {task.id}")
        return task, task.definition

    def _shown(self, visit: Visit, task: Task, asked: Erasure, problem: str) -> Shown:
        running, total = task.status is TaskStatus.RUNNING, total_of(task)
        here = f"{BASE}/privacy/{task.id}"
        facts = [
            Fact("The text", f"is not kept; {asked.digest} stands for it in the audit log", mono=False),
            *([Fact("At", asked.at, mono=True)] if asked.at else []),
            *([Fact("Application", asked.reach.app_id, mono=True, href=f"{BASE}/apps/{asked.reach.app_id}")] if asked.reach.app_id else []),
            *(
                [Fact("Source", asked.reach.source_id, mono=True, href=f"{BASE}/sources/{asked.reach.source_id}")]
                if asked.reach.source_id
                else []
            ),
            Fact("Begun", "", moment=moment(ids.created_us(task.id), visit.now_us)),
            Fact("Id", task.id, copy=True, mono=True),
        ]
        stage = str(task.data.get("stage", ""))
        view = ShowView(
            here,
            _RUNNING_S if running else 0,
            badge_of(task),
            sentence_of(task, visit.now_us),
            _STAGES.get(stage, f"{WORDS.get(stage, '')} are looked through" if stage else ""),
            [CountRow(words, count(task.data[name])) for name, words in WORDS.items() if task.data.get(name)],
            facts,
            task.kind is TaskKind.FIND_SUBJECT and task.status is TaskStatus.FINISHED and total > 0,
            problem,
            f"{BASE}/tasks/{task.id}/cancel" if running and not stage.startswith(tuple(_STAGES)) else "",
        )
        trail = (Link("Personal data", f"{BASE}/privacy"),)
        return Shown("privacy/show.html", view, Head(KIND_WORDS[task.kind], "", trail, id=task.id), 422 if problem else 200)

    def _wanted(self, visit: Visit, task: Task, asked: Erasure) -> dict[str, Any] | None:
        """The same search again, by who types the text again; None = it is another text."""
        text = visit.field("subject").strip()
        if not text or self._services.privacy.digest(text) != asked.digest:
            return None
        given: dict[str, Any] = {"subject": text, "at": asked.at, "app": asked.reach.app_id, "source": asked.reach.source_id}
        if asked.reach.since_us:
            given["since"] = to_datetime(asked.reach.since_us)
        if asked.reach.until_us < ids.created_us(task.id) - SECOND_US:
            given["until"] = to_datetime(asked.reach.until_us)
        return given

    async def erase(self, visit: Visit) -> Reply:
        task, asked = await self._task(visit)
        given = self._wanted(visit, task, asked)
        if given is None:
            return self._shown(visit, task, asked, "That is not the text that was looked for; nothing was erased.")
        begun = await self._services.privacy.erase(visit.who, ErasureIn(**given), door=Door.DASHBOARD, address=visit.address)
        return Moved(f"{BASE}/privacy/{begun.id}", Notice("The erasure has begun."))

    async def export(self, visit: Visit) -> Reply:
        task, asked = await self._task(visit)
        given = self._wanted(visit, task, asked)
        if given is None:
            return self._shown(visit, task, asked, "That is not the text that was looked for; nothing was exported.")
        privacy, who, address = self._services.privacy, visit.who, visit.address

        async def lines() -> AsyncIterator[bytes]:
            async for part in await privacy.export(who, SubjectIn(**given), door=Door.DASHBOARD, address=address):
                yield part

        return Saved(lines, "application/x-ndjson", f"personal-data-{asked.digest}.jsonl")


def routes(services: Services) -> list[Route]:
    """The pages of this module."""
    pages = _Pages(services)
    one = "/privacy/{task_id}"
    return [
        Route("GET", "/privacy", pages.index, _SECTION),
        Route("POST", "/privacy", pages.find, _SECTION),
        Route("GET", one, pages.show, _SECTION),
        Route("POST", f"{one}/erase", pages.erase, _SECTION),
        Route("POST", f"{one}/export", pages.export, _SECTION),
    ]
