"""The operations that begin background tasks, and those that look at them."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.messages import cursor_shape
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import Answer, Call, Handler, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Capability
from ringback.model.tasks import OWN_KINDS, Task, TaskKind, TaskStatus
from ringback.services.tasks import AppUsageStatsIn, BulkReplayIn, ReplayIn, Tasks

_LIST: Final = "/api/v1/background-task"
_ONE: Final = _LIST + "/{task_id}"
_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"

REPLAY_IN: Final = Body(ReplayIn)
BULK_REPLAY_IN: Final = Body(BulkReplayIn)
USAGE_IN: Final = Body(AppUsageStatsIn)

StatusText = Literal["running", "finished", "failed"]
# All that the contract knows; a filter may name those that nobody here starts.
_KINDS: Final = (
    "endpoint.replay",
    "endpoint.recover",
    "endpoint.bulk-replay",
    "application.stats",
    "application.purge_content",
    "message.broadcast",
    "sdk.generate",
    "event-type.aggregate",
)
_FILTERS: Final = (
    Parameter("status", {"type": "string", "enum": [status.value for status in TaskStatus]}, "Only tasks that stand so"),
    Parameter("task", {"type": "string", "enum": list(_KINDS)}, "Only tasks of this kind"),
)


class TaskOut(msgspec.Struct, frozen=True, rename="camel"):
    """A task that has begun."""

    id: str
    status: StatusText
    task: str
    updated_at: Timestamp


class AppUsageStatsOut(TaskOut, frozen=True, rename="camel"):
    """A count that has begun, and the ids and uids that no application has."""

    unresolved_app_ids: list[str]


class BackgroundTaskOut(TaskOut, frozen=True, rename="camel"):
    """A task. `data` is its progress, then its result; lists leave out results that are lists themselves."""

    data: dict[str, Any]


class ListResponseBackgroundTaskOut(ListOut[BackgroundTaskOut], frozen=True, rename="camel"):
    """One page of tasks."""


def shown(task: Task) -> BackgroundTaskOut:
    """The task as clients see it."""
    return BackgroundTaskOut(task.id, task.status.value, task.kind.value, rfc3339(task.updated_at), task.data)


def begun(task: Task) -> Answer:
    """The answer to whoever has asked for a task."""
    return answer(202, TaskOut(task.id, task.status.value, task.kind.value, rfc3339(task.updated_at)))


def _counting(result: tuple[Task, list[str]]) -> Answer:
    task, unresolved = result
    return answer(202, AppUsageStatsOut(task.id, task.status.value, task.kind.value, rfc3339(task.updated_at), unresolved))


class _Handlers:
    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, cursor_shape(ids.TASK), descending=True)
        status = call.query.choice("status", tuple(TaskStatus))
        kind = call.query.choice("task", _KINDS)
        if kind is not None and kind not in tuple(TaskKind):
            return answer(200, ListResponseBackgroundTaskOut([], None, None, True))
        wanted = None if status is None else TaskStatus(status)
        page = await self._tasks.page(call.who, walk, wanted, None if kind is None else TaskKind(kind), without=OWN_KINDS)
        return answer(200, listing(page, lambda task: task.id, shown))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._tasks.get(call.who, call.params["task_id"])))

    async def cancel(self, call: Call) -> Answer:
        return answer(200, shown(await self._tasks.cancel(call.who, call.params["task_id"])))

    async def recover(self, call: Call) -> Answer:
        return await self._resend(call, TaskKind.RECOVER, call.parsed(REPLAY_IN))

    async def replay_missing(self, call: Call) -> Answer:
        return await self._resend(call, TaskKind.REPLAY_MISSING, call.parsed(REPLAY_IN))

    async def bulk_replay(self, call: Call) -> Answer:
        return await self._resend(call, TaskKind.BULK_REPLAY, call.parsed(BULK_REPLAY_IN))

    async def _resend(self, call: Call, kind: TaskKind, wanted: ReplayIn) -> Answer:
        app, endpoint = call.params["app_id"], call.params["endpoint_id"]
        return begun(await self._tasks.resend(call.who, app, endpoint, kind, wanted, also=call.keeping(begun)))

    async def purge(self, call: Call) -> Answer:
        return begun(await self._tasks.purge_content(call.who, call.params["app_id"], also=call.keeping(begun)))

    async def usage(self, call: Call) -> Answer:
        return _counting(await self._tasks.app_stats(call.who, call.parsed(USAGE_IN), also=call.keeping(_counting)))

    async def event_types(self, call: Call) -> Answer:
        return begun(await self._tasks.event_type_stats(call.who))


def routes(tasks: Tasks) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(tasks)
    return [*_looks(h), *_resends(h), *_others(h)]


def _looks(h: _Handlers) -> list[Operation]:
    return [
        Operation(
            method="GET",
            path=_LIST,
            summary="List background tasks, the newest first",
            handler=h.list,
            access=Access.ANY,
            query=(LIMIT, ITERATOR, ORDER, *_FILTERS),
            answers={200: ListResponseBackgroundTaskOut},
        ),
        Operation(
            method="GET",
            path=_ONE,
            summary="Get a background task",
            handler=h.get,
            access=Access.ANY,
            answers={200: BackgroundTaskOut},
        ),
        Operation(
            method="POST",
            path=_ONE + "/cancel",
            summary="Stop a background task where it is",
            handler=h.cancel,
            access=Access.ANY,
            needs=Capability.CREATE_ATTEMPTS,
            answers={200: BackgroundTaskOut},
        ),
    ]


def _resends(h: _Handlers) -> list[Operation]:
    declared: list[tuple[str, str, Handler, Body[Any]]] = [
        ("recover", "Send again what failed in a time", h.recover, REPLAY_IN),
        ("replay-missing", "Send what was never sent in a time", h.replay_missing, REPLAY_IN),
        ("bulk-replay", "Send again what was sent in a time", h.bulk_replay, BULK_REPLAY_IN),
    ]
    return [
        Operation(
            method="POST",
            path=f"{_ENDPOINT}/{verb}",
            summary=summary,
            handler=handler,
            access=Access.APPLICATION,
            needs=Capability.CREATE_ATTEMPTS,
            body=body,
            answers={202: TaskOut},
        )
        for verb, summary, handler, body in declared
    ]


def _others(h: _Handlers) -> list[Operation]:
    return [
        Operation(
            method="POST",
            path="/api/v1/app/{app_id}/msg/expunge-all-contents",
            summary="Forget all payloads of an application",
            handler=h.purge,
            access=Access.ORGANISATION,
            answers={202: TaskOut},
        ),
        Operation(
            method="POST",
            path="/api/v1/stats/usage/app",
            summary="Count the attempts of applications",
            handler=h.usage,
            access=Access.ORGANISATION,
            body=USAGE_IN,
            answers={202: AppUsageStatsOut},
        ),
        Operation(
            method="PUT",
            path="/api/v1/stats/usage/event-types",
            summary="List which event types applications ask for",
            handler=h.event_types,
            access=Access.ORGANISATION,
            answers={202: TaskOut},
        ),
    ]
