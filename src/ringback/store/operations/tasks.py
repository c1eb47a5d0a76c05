"""Which background tasks are there, and how far are they?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from ringback.model.tasks import Definition, Erasure, Task, TaskKind, TaskStatus
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.walks import one_of

_COLUMNS: Final = "id, org_id, app_id, kind, status, definition, position, data, updated_at"
# A limit that is none.
_ALL: Final = 1 << 62
_definitions: Final[msgspec.json.Decoder[Definition]] = msgspec.json.Decoder(Definition)


def insert(tx: Transaction, task: Task) -> None:
    """Add a task."""
    tx.run(
        f"INSERT INTO task ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            task.id,
            task.org_id,
            task.app_id,
            task.kind.value,
            task.status.value,
            _json(task.definition),
            task.position,
            _json(task.data),
            task.updated_at,
        ),
    )


def save(tx: Transaction, task: Task) -> None:
    """Store how a task stands now. One that has ended keeps nothing of a subject that it looked for."""
    tx.run(
        "UPDATE task SET status = ?, position = ?, data = ?, updated_at = ? WHERE id = ?",
        (task.status.value, task.position, _json(task.data), task.updated_at, task.id),
    )
    if isinstance(task.definition, Erasure) and task.status is not TaskStatus.RUNNING:
        tx.run("UPDATE task SET definition = ? WHERE id = ?", (_json(msgspec.structs.replace(task.definition, sealed=b"")), task.id))


def add_items(tx: Transaction, task_id: str, items: Sequence[tuple[str, Any]]) -> None:
    """Keep what a task has found out, by key."""
    tx.run_many("INSERT INTO task_item (task_id, key, item) VALUES (?, ?, ?)", [(task_id, key, _json(item)) for key, item in items])


def items(tx: Transaction, task_id: str, most: int = _ALL) -> list[Any]:
    """What a task has found out, in the order of the keys; the first `most`."""
    rows = tx.rows("SELECT item FROM task_item WHERE task_id = ? ORDER BY key LIMIT ?", (task_id, most))
    return [msgspec.json.decode(row[0]) for row in rows]


def by_id(tx: Transaction, task_id: str) -> Task | None:
    """The task of that id."""
    row = tx.row(f"SELECT {_COLUMNS} FROM task WHERE id = ?", (task_id,))
    return None if row is None else _task(row)


def running(tx: Transaction) -> list[str]:
    """The ids of the tasks that are not done, the oldest first."""
    return [row[0] for row in tx.rows("SELECT id FROM task WHERE status = 'running' ORDER BY id")]


def page(
    tx: Transaction,
    org_id: str,
    app_id: str | None,
    walk: Walk,
    status: TaskStatus | None,
    kind: TaskKind | None,
    without: Collection[TaskKind] = (),
) -> list[Task]:
    """The tasks of an organisation, or of one of its applications, that a walk reads, and one more; some kinds are left out."""
    condition, values = "org_id = ?", list[Any]([org_id])
    for column, value in (("app_id", app_id), ("status", status), ("kind", kind)):
        if value is not None:
            condition += f" AND {column} = ?"
            values.append(str(value))
    if without:
        condition += f" AND kind NOT IN {one_of(list(without))}"
        values += [str(left_out) for left_out in without]
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM task WHERE {condition} AND id > ? AND id < ? ORDER BY id {walk.direction} LIMIT ?",
        (*values, walk.above, walk.below, walk.fetch),
    )
    return [_task(row) for row in rows]


def purge(tx: Transaction, below: str, limit: int) -> int:
    """Remove some tasks whose ids sort below `below`, with what they found; how many rows. Running ones stay."""
    row = tx.row("SELECT id FROM task WHERE id < ? AND status != 'running' ORDER BY id LIMIT 1", (below,))
    if row is None:
        return 0
    keys = tx.rows("SELECT task_id, key FROM task_item WHERE task_id = ? LIMIT ?", (row[0], limit))
    tx.run_many("DELETE FROM task_item WHERE task_id = ? AND key = ?", keys)
    if len(keys) == limit:
        return limit
    return len(keys) + tx.run("DELETE FROM task WHERE id = ?", (row[0],))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _task(row: Row) -> Task:
    identifier, org_id, app_id, kind, status, definition, position, data, updated_at = row
    return Task(
        identifier,
        org_id,
        app_id,
        TaskKind(kind),
        TaskStatus(status),
        _definitions.decode(definition),
        position,
        msgspec.json.decode(data, type=dict[str, Any]),
        updated_at,
    )
