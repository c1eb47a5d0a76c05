"""What can be done in the background? Tasks are asked for, looked at and cancelled; `advance` does one step of one.

A task is a stored row from the moment that its caller hears of it. Each step reads what comes next, then acts on that and moves the task's
position in one transaction: a crash at any point repeats nothing and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from ringback import ids
from ringback.clock import Clock, to_us
from ringback.errors import CallerError, FieldProblem, Forbidden, InvalidField, NotFound, Refused
from ringback.ids import IdMaker
from ringback.model.tasks import AppStats, Definition, Erasure, EventTypeStats, Letters, PurgeContent, Resend, Task, TaskKind, TaskStatus
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Channel, Flags, Instant, Name, Problem, Rule, Tag
from ringback.policy.windows import between
from ringback.services.applications import find
from ringback.services.attempts import find_endpoint
from ringback.services.dead_letters import STEP, chosen_of, oldest_first, scope_of
from ringback.services.dead_letters import Picked as PickedLetters
from ringback.services.ports import Handoff
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications, dead_letters, task_picks, tasks
from ringback.store.operations.dead_letters import Chosen, Scope
from ringback.store.operations.task_picks import Picked
from ringback.telemetry.active import note

# Tasks older than this are in no list (contract, 3.7): 90 days.
LISTED_US: Final = 90 * 86_400 * 1_000_000
# How far back a recovery may reach (contract, 8): 14 days, and 5 minutes for clocks that differ.
RECOVER_US: Final = (14 * 86_400 + 300) * 1_000_000
# How far back a replay may reach (contract, 8): 90 days, and as much grace.
REPLAY_US: Final = (90 * 86_400 + 300) * 1_000_000

# Messages at which counting them before a task is asked for ends; and picks that look for them, each some 20 ms of a reader.
FORESEEN: Final = 1_000
_FORESEEN_PICKS: Final = 30

# Hears of each task that has ended, in its transaction.
Ended = Callable[[Transaction, Task], None]
# Does one step of a task, of which it has heard how it stands.
Step = Callable[[Task], Awaitable[None]]
# What the caller adds to the transaction that stores a new task.
Also = Callable[[Transaction, Task], None]

# As many as a query may name (contract, 3.5 has no bound): more is a catalogue, and null means all.
_EventTypes = Annotated[Flags, msgspec.Meta(max_length=1_000)]


def _single(rule: Rule, value: str) -> list[Problem]:
    """What a rule for lists says of one item."""
    return [((), text) for _, text in rule((value,))]


class ReplayIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Messages of which time: from `since` until before `until` (None: now)."""

    since: Instant
    until: Instant | None = None


class BulkReplayIn(ReplayIn, frozen=True, kw_only=True, rename="camel"):
    """Which messages of that time; None = no condition. `status` is how a message stands with the endpoint."""

    event_types: _EventTypes | None = None
    channel: Channel | None = None
    tag: Tag | None = None
    status: Literal[0, 1, 2, 3, 4] | None = None
    status_code_class: Literal[0, 100, 200, 300, 400, 500] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "event_types": lambda values: validation.names(values) if values else (),
        "channel": lambda value: _single(validation.channels, value),
        "tag": lambda value: _single(validation.tags, value),
    }


class AppUsageStatsIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Count the attempts of a time, for some applications (ids or uids) or for all."""

    since: Instant
    until: Instant
    app_ids: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1_000)] | None = None


class Foreseen(msgspec.Struct, frozen=True):
    """How many messages were found before a task is asked for; not `whole`: looking ended there, and there may be more."""

    count: int
    whole: bool


class Acted(msgspec.Struct, frozen=True):
    """What one step did: on how many it acted, how many it passed over, whom to wake; and where the next step goes on, if there is one."""

    count: int
    position: str
    done: bool
    skipped: int = 0
    woken: frozenset[tuple[str, str]] = frozenset()


class Tasks:
    """The background tasks of every organisation."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, handoff: Handoff, ended: Ended = lambda tx, task: None) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._handoff = handoff
        self._ended = ended
        self._begun: Callable[[], None] = lambda: None
        self._entrusted: dict[TaskKind, Step] = {}

    def watch(self, begun: Callable[[], None]) -> None:
        """Have somebody told of each new task."""
        self._begun = begun

    def entrust(self, kind: TaskKind, step: Step) -> None:
        """Have the steps of a kind of task done by somebody who knows more; he begins them by `begin` and keeps them by `keep`."""
        self._entrusted[kind] = step

    # -- looking

    async def page(
        self, who: Principal, walk: Walk, status: TaskStatus | None, kind: TaskKind | None, *, without: frozenset[TaskKind] = frozenset()
    ) -> Page[Task]:
        """One page of the tasks of the caller's organisation, or of its application; results are left out, and some kinds."""
        walk = between(ids.TASK, walk, self._clock.now_us() - LISTED_US, None)
        return cut(await self._store.read(lambda tx: tasks.page(tx, who.org_id, who.app_id, walk, status, kind, without)), walk)

    async def get(self, who: Principal, task_id: str) -> Task:
        """One task, with its result. Raises NotFound."""

        def query(tx: Transaction) -> Task:
            task = _find(tx, who, task_id)
            key = _ITEMS.get(task.kind)
            if key is None or task.status is not TaskStatus.FINISHED:
                return task
            return msgspec.structs.replace(task, data={**task.data, key: tasks.items(tx, task_id)})

        return await self._store.read(query)

    # -- asking

    async def resend(self, who: Principal, app: str, endpoint: str, kind: TaskKind, wanted: ReplayIn, also: Also | None = None) -> Task:
        """Give messages of a time one manual attempt each to an endpoint; which ones says the kind.

        Raises NotFound, InvalidField, and Refused when the endpoint is disabled.
        """
        window = self._resend_window(kind, wanted)

        def operation(tx: Transaction) -> Task:
            definition = _resend_of(tx, who, app, endpoint, window, wanted)
            return self._insert(tx, who, definition.app_id, kind, definition, also)

        return await self._start(operation)

    async def foresee(self, who: Principal, app: str, endpoint: str, kind: TaskKind, wanted: ReplayIn) -> Foreseen:
        """How many messages `resend` would pick now. Raises as `resend` does."""
        window = self._resend_window(kind, wanted)
        found, position = 0, ""
        for _ in range(_FORESEEN_PICKS):

            def look(tx: Transaction, position: str = position) -> Picked:
                definition = _resend_of(tx, who, app, endpoint, window, wanted)
                return _pick_messages(tx, kind, definition, position, self._clock.now_us())

            picked = await self._store.read(look)
            found, position = found + len(picked.message_ids), picked.position
            if picked.done:
                return Foreseen(found, whole=True)
            if found >= FORESEEN:
                break
        return Foreseen(found, whole=False)

    async def purge_content(self, who: Principal, app: str, also: Also | None = None) -> Task:
        """Forget all payloads of an application that are there now. Raises NotFound."""

        def operation(tx: Transaction) -> Task:
            app_id = find(tx, who, app).id
            # Ids are in the order of commits: what has a later one was not there yet.
            definition = PurgeContent(app_id, self._ids.make(ids.MESSAGE, self._clock.now_us()))
            return self._insert(tx, who, app_id, TaskKind.PURGE_CONTENT, definition, also)

        return await self._start(operation)

    async def app_stats(
        self, who: Principal, wanted: AppUsageStatsIn, also: Callable[[Transaction, tuple[Task, list[str]]], None] | None = None
    ) -> tuple[Task, list[str]]:
        """Count the attempts of applications; the task, and those of the ids and uids that no application has.

        Raises InvalidField when none has.
        """
        since_us, until_us = self._window(wanted.since, wanted.until, None)

        def operation(tx: Transaction) -> tuple[Task, list[str]]:
            found, unresolved = list[str](), list[str]()
            for ref in dict.fromkeys(wanted.app_ids or ()):
                application = applications.by_ref(tx, who.org_id, ref)
                if application is None:
                    unresolved.append(ref)
                else:
                    found.append(application.id)
            if wanted.app_ids is not None and not found:
                raise InvalidField(FieldProblem(("body", "appIds"), "no application has one of these ids or uids"))
            definition = AppStats(since_us, until_us, None if wanted.app_ids is None else tuple(dict.fromkeys(found)))
            result = self._insert(tx, who, None, TaskKind.APP_STATS, definition, None), unresolved
            if also is not None:
                also(tx, result)
            return result

        result = await self._store.write(operation)
        self._begun()
        return result

    async def event_type_stats(self, who: Principal, also: Also | None = None) -> Task:
        """List which event types the endpoints of each application ask for."""
        return await self._start(lambda tx: self._insert(tx, who, None, TaskKind.EVENT_TYPE_STATS, EventTypeStats(), also))

    async def dead_letters(self, who: Principal, app: str | None, picked: PickedLetters, *, discard: bool) -> Task:
        """Replay the picked dead letters, or discard them, the oldest first. Raises NotFound."""

        def operation(tx: Transaction) -> Task:
            scope, chosen = scope_of(tx, who, app, picked), chosen_of(picked)
            walk = oldest_first(picked, self._clock.now_us())
            total = dead_letters.count(tx, scope, walk, chosen)
            definition = Letters(scope.column, scope.value, walk.above, walk.below, total, chosen.event_types, chosen.cause, chosen.ids)
            kind = TaskKind.DISCARD_DEAD_LETTERS if discard else TaskKind.REPLAY_DEAD_LETTERS
            return self._insert(tx, who, None if app is None else find(tx, who, app).id, kind, definition, None)

        return await self._start(operation)

    async def begin(self, who: Principal, kind: TaskKind, define: Callable[[Transaction], Definition], also: Also | None) -> Task:
        """Begin a task of a kind that is entrusted to the caller; `define` may raise whatever it refuses."""
        return await self._start(lambda tx: self._insert(tx, who, None, kind, define(tx), also))

    def keep(self, tx: Transaction, before: Task, after: Task) -> bool:
        """Store how a task stands after a step of the caller's; False = it is over, or another step was made: do nothing."""
        task = tasks.by_id(tx, before.id)
        if task is None or task.status is not TaskStatus.RUNNING or task.position != before.position:
            return False
        self._save(tx, after)
        return True

    async def cancel(self, who: Principal, task_id: str) -> Task:
        """Stop a task where it is: it has failed. One that is over stays as it is. Raises NotFound, Forbidden."""

        def operation(tx: Transaction) -> Task:
            task = _find(tx, who, task_id)
            if who.app_id is not None and not isinstance(task.definition, Resend):
                raise Forbidden
            # What was erased stays in the file until that is cleaned, which has an end.
            cleaning = isinstance(task.definition, Erasure) and task.position and ":" not in task.position
            return task if task.status is not TaskStatus.RUNNING or cleaning else self._failed(tx, task, "cancelled")

        return await self._store.write(operation)

    # -- doing

    async def running(self) -> list[str]:
        """The ids of the tasks that are not done, the oldest first. Raises StoreFailure."""
        return await self._store.read(tasks.running)

    async def advance(self, task_id: str) -> None:
        """Do one step of a task, if it still runs. Raises StoreFailure: then nothing of the step was done."""

        def look(tx: Transaction) -> tuple[Task, Picked] | None:
            task = tasks.by_id(tx, task_id)
            if task is None or task.status is not TaskStatus.RUNNING:
                return None
            return task, _pick(tx, task, self._clock.now_us())

        looked = await self._store.read(look)
        if looked is None:
            return
        before, picked = looked
        note({"ringback.task.kind": before.kind.value})
        if before.kind in self._entrusted:
            await self._entrusted[before.kind](before)
            return
        now_us = self._clock.now_us()

        def step(tx: Transaction) -> Acted | None:
            task = tasks.by_id(tx, task_id)
            if task is None or task.status is not TaskStatus.RUNNING or task.position != before.position:
                return None
            try:
                acted = _act(tx, task, picked, now_us)
            except CallerError as error:
                self._failed(tx, task, str(error))
                return None
            status = TaskStatus.FINISHED if acted.done else TaskStatus.RUNNING
            self._save(tx, msgspec.structs.replace(task, status=status, position=acted.position, data=_counted(task, acted)))
            return acted

        acted = await self._store.write(step)
        for endpoint_id, app_id in () if acted is None else acted.woken:
            self._handoff.wake(endpoint_id, app_id, now_us)

    async def give_up(self, task_id: str, why: str) -> None:
        """A task cannot go on. Raises StoreFailure."""

        def operation(tx: Transaction) -> None:
            task = tasks.by_id(tx, task_id)
            if task is not None and task.status is TaskStatus.RUNNING:
                self._failed(tx, task, why)

        await self._store.write(operation)

    async def purge(self, before_us: int, limit: int) -> int:
        """Remove some tasks that were made before that time; how many rows. Raises StoreFailure."""
        return await self._store.write(lambda tx: tasks.purge(tx, ids.start_id(ids.TASK, before_us), limit))

    def _resend_window(self, kind: TaskKind, wanted: ReplayIn) -> tuple[int, int]:
        return self._window(wanted.since, wanted.until, RECOVER_US if kind is TaskKind.RECOVER else REPLAY_US)

    def _window(self, since: datetime, until: datetime | None, longest_us: int | None) -> tuple[int, int]:
        since_us = to_us(since)
        until_us = self._clock.now_us() if until is None else to_us(until)
        if since_us >= until_us:
            raise InvalidField(FieldProblem(("body", "since"), f"{since.isoformat()} must lie before until"))
        if longest_us is not None and until_us - since_us > longest_us:
            days = longest_us // (86_400 * 1_000_000)
            raise InvalidField(FieldProblem(("body", "since"), f"{since.isoformat()} must lie at most {days} days before until"))
        return since_us, until_us

    async def _start(self, operation: Callable[[Transaction], Task]) -> Task:
        task = await self._store.write(operation)
        self._begun()
        return task

    def _insert(
        self, tx: Transaction, who: Principal, app_id: str | None, kind: TaskKind, definition: Definition, also: Also | None
    ) -> Task:
        now_us = self._clock.now_us()
        data = {_COUNTED[kind]: 0} if kind in _COUNTED else {}
        if isinstance(definition, Letters):
            data["total"] = definition.total
        task = Task(self._ids.make(ids.TASK, now_us), who.org_id, app_id, kind, TaskStatus.RUNNING, definition, "", data, now_us)
        tasks.insert(tx, task)
        if also is not None:
            also(tx, task)
        return task

    def _failed(self, tx: Transaction, task: Task, why: str) -> Task:
        return self._save(tx, msgspec.structs.replace(task, status=TaskStatus.FAILED, data={**task.data, "error": why}))

    def _save(self, tx: Transaction, task: Task) -> Task:
        task = msgspec.structs.replace(task, updated_at=max(self._clock.now_us(), task.updated_at + 1))
        tasks.save(tx, task)
        if task.status is not TaskStatus.RUNNING:
            self._ended(tx, task)
        return task


# What a kind of task counts, and under which name its result is shown (contract, 8).
_COUNTED: Final[Mapping[TaskKind, str]] = {
    TaskKind.RECOVER: "messagesSent",
    TaskKind.REPLAY_MISSING: "messagesSent",
    TaskKind.BULK_REPLAY: "messagesSent",
    TaskKind.PURGE_CONTENT: "messagesPurged",
    TaskKind.REPLAY_DEAD_LETTERS: "replayed",
    TaskKind.DISCARD_DEAD_LETTERS: "discarded",
}
_ITEMS: Final[Mapping[TaskKind, str]] = {TaskKind.APP_STATS: "appStats", TaskKind.EVENT_TYPE_STATS: "event_types"}


def _find(tx: Transaction, who: Principal, task_id: str) -> Task:
    task = tasks.by_id(tx, task_id)
    if task is None or task.org_id != who.org_id or who.app_id not in (None, task.app_id):
        raise NotFound
    return task


def _resend_of(tx: Transaction, who: Principal, app: str, endpoint: str, window: tuple[int, int], wanted: ReplayIn) -> Resend:
    """What is to be sent again, by ids. Raises NotFound, and Refused when the endpoint is disabled."""
    app_id = find(tx, who, app).id
    found = find_endpoint(tx, app_id, endpoint)
    if found.disabled:
        raise Refused("endpoint_disabled", f"endpoint {found.id} is disabled; enable it before sending to it")
    definition = Resend(app_id, found.id, *window)
    if not isinstance(wanted, BulkReplayIn):
        return definition
    return msgspec.structs.replace(
        definition,
        event_types=wanted.event_types or (),
        channel=wanted.channel,
        tag=wanted.tag,
        status=wanted.status,
        code_class=wanted.status_code_class,
    )


def _counted(task: Task, acted: Acted) -> dict[str, Any]:
    """What the owner of a task sees after a step."""
    data, name = task.data, _COUNTED.get(task.kind)
    if name is not None:
        data = {**data, name: data.get(name, 0) + acted.count}
    if acted.skipped:
        data = {**data, "skipped": data.get("skipped", 0) + acted.skipped}
    return data


def _pick(tx: Transaction, task: Task, now_us: int) -> Picked:
    """What comes next in a task; steps on dead letters find that out themselves."""
    definition, position = task.definition, task.position
    if isinstance(definition, Letters):
        return Picked(position, False)
    if isinstance(definition, AppStats):
        return task_picks.usage(tx, task.org_id, definition, position)
    if isinstance(definition, EventTypeStats):
        return task_picks.subscriptions(tx, task.org_id, position)
    if isinstance(definition, PurgeContent):
        return task_picks.payloads(tx, definition, position)
    if isinstance(definition, Erasure):
        return Picked(position, False)
    return _pick_messages(tx, task.kind, definition, position, now_us)


def _pick_messages(tx: Transaction, kind: TaskKind, wanted: Resend, position: str, now_us: int) -> Picked:
    if kind is TaskKind.RECOVER:
        return task_picks.failed(tx, wanted, position)
    if kind is TaskKind.REPLAY_MISSING:
        return task_picks.missing(tx, wanted, position)
    return task_picks.attempted(tx, wanted, position, now_us)


def _act(tx: Transaction, task: Task, picked: Picked, now_us: int) -> Acted:
    """Act on what was picked. Raises CallerError when the task cannot go on."""
    definition = task.definition
    if isinstance(definition, Letters):
        return _act_on_letters(tx, task, definition, now_us)
    if isinstance(definition, PurgeContent):
        return Acted(task_picks.purge(tx, definition, picked.message_ids), picked.position, picked.done)
    if isinstance(definition, Resend):
        if applications.by_ref(tx, task.org_id, definition.app_id) is None:
            raise NotFound("the application was deleted")
        try:
            endpoint = find_endpoint(tx, definition.app_id, definition.endpoint_id)
        except NotFound:
            raise NotFound("the endpoint was deleted") from None
        if endpoint.disabled:
            raise Refused("endpoint_disabled", "the endpoint was disabled")
        count = task_picks.send_again(tx, definition, picked.message_ids, now_us)
        woken = frozenset({(definition.endpoint_id, definition.app_id)}) if count else frozenset()
        return Acted(count, picked.position, picked.done, woken=woken)
    tasks.add_items(tx, task.id, picked.items)
    return Acted(len(picked.items), picked.position, picked.done)


def _act_on_letters(tx: Transaction, task: Task, definition: Letters, now_us: int) -> Acted:
    scope = Scope(definition.column, definition.value)
    chosen = Chosen(definition.event_types, definition.cause, definition.ids)
    walk = Walk(STEP, descending=False, above=max(task.position, definition.above), below=definition.below)
    if task.kind is TaskKind.DISCARD_DEAD_LETTERS:
        step = dead_letters.discard(tx, scope, walk, chosen)
    else:
        step = dead_letters.replay(tx, scope, walk, chosen, now_us)
    return Acted(step.count, task.position if step.rest is None else step.rest.above, step.rest is None, step.skipped, step.woken)
