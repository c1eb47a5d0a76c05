"""What is kept of a person, and how does it go? A subject (an address, a number) is found wherever it stands, exported, or erased.

Finding and erasing are background tasks; what identifies the person is sealed while one runs and gone when it ends. The audit log has a
keyed digest of it. An erasure ends when nothing is left in the file either: pages that were freed are overwritten, the index of searches
has been written anew, and the log is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, ClassVar, Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, Clock, to_us
from ringback.errors import FieldProblem, InvalidField, NotFound, StoreFailure, Unavailable
from ringback.ids import IdMaker
from ringback.model.dashboard import AuditEntry, Door
from ringback.model.tasks import Erasure, Reach, Task, TaskKind, TaskStatus
from ringback.policy import ordering
from ringback.policy.subjects import MAX_CHARS, MIN_CHARS, Subject
from ringback.policy.validation import Instant, Problem, Rule
from ringback.services.applications import find
from ringback.services.audit import RETENTION_US
from ringback.services.server import runs_it
from ringback.services.tasks import Also, Tasks
from ringback.services.tokens import LINK, Principal
from ringback.store.base import SearchIndex, Store, Transaction
from ringback.store.operations import audit, erasing, search_log, sources, subject_rows
from ringback.store.operations.subject_rows import WALKS, Reading
from ringback.store.vault import Vault

# Exports under way at once, of everybody: each keeps a reader busy.
EXPORTS_MAX: Final = 2
# Where no end is given: later than any task ends.
_AHEAD_US: Final = 86_400 * SECOND_US
# Seconds between two steps of an export, and before the log is looked at again.
_PAUSE_S: Final = 0.005
_AGAIN_S: Final = 0.1

# What follows when all was looked through and something was erased: free pages, then the pages that filled them, the index of searches,
# and the log.
_FILL: Final = "freePages"
_FREE: Final = "filledPages"
_INDEX: Final = "searchIndex"
_LOG: Final = "log"
_CLEANING: Final = (_FILL, _FREE, _INDEX, _LOG)
# Parts of the name that stand for a subject in the audit log: 16 hexadecimal digits of a keyed hash.
_DIGEST_CHARS: Final = 16


def _long_enough(value: str) -> list[Problem]:
    """The rule for subjects."""
    if len(value.strip()) < MIN_CHARS:
        return [((), f"{len(value.strip())} characters stand in too much; give at least {MIN_CHARS}")]
    if not value.isprintable() or value != value.strip():
        return [((), "a subject is one line of text, without blanks at its ends")]
    return []


def _path(value: str) -> list[Problem]:
    """The rule for paths in payloads: names of fields with dots between, and `[]` for each item of a list."""
    return [((), text) for text in ordering.path_problems(value.replace("[]", ""))]


class SubjectIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whose data is meant: a text, and the path in JSON payloads at which it must be the value (None: anywhere).

    Of one application or source (ids or uids) and of a time, if they are given.
    """

    subject: Annotated[str, msgspec.Meta(min_length=MIN_CHARS, max_length=MAX_CHARS)]
    at: Annotated[str, msgspec.Meta(min_length=1, max_length=ordering.MAX_PATH_CHARS)] | None = None
    app: str | None = None
    source: str | None = None
    since: Instant | None = None
    until: Instant | None = None

    RULES: ClassVar[dict[str, Rule]] = {"subject": _long_enough, "at": _path}


class ErasureIn(SubjectIn, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The same, to be erased; with `dry_run` it is only counted."""

    dry_run: bool = False


class Privacy:
    """Finds, exports and erases what is kept of people. `empty_log` cuts the store's log to nothing, or says that it could not yet."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        make_id: IdMaker,
        tasks: Tasks,
        empty_log: Callable[[], Awaitable[bool]],
        index: SearchIndex | None,
        index_bytes: int,
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._tasks = tasks
        self._empty_log = empty_log
        self._index = index
        self._index_bytes = index_bytes
        self._exports = 0
        # What is only in memory and will be written down.
        self.settle: Callable[[], Awaitable[None]] | None = None
        # Requests that wait in the spool, which nobody looks through.
        self.spooled: Callable[[], int] = lambda: 0
        for kind in (TaskKind.FIND_SUBJECT, TaskKind.ERASE_SUBJECT):
            tasks.entrust(kind, self._advance)

    def digest(self, subject: str) -> str:
        """What stands for a subject where its text must not."""
        return self._vault.fingerprint(b"subject\0" + subject.encode("utf-8", "surrogatepass")).hex()[:_DIGEST_CHARS]

    async def erase(self, who: Principal, wanted: ErasureIn, also: Also | None = None, *, door: Door = Door.API, address: str = "") -> Task:
        """Begin to erase what is kept of a subject, or to count it. Raises NotFound, InvalidField, and Unavailable."""
        await self._settle()

        def define(tx: Transaction) -> Erasure:
            reach = self._reach(tx, who, wanted)
            sealed = self._vault.seal(wanted.subject.encode())
            return Erasure(sealed, self.digest(wanted.subject), wanted.at, reach, wanted.dry_run, _token(who), door.value)

        def noted(tx: Transaction, task: Task) -> None:
            action = "privacy.searched" if wanted.dry_run else "privacy.erasure_begun"
            self._note(tx, who.org_id, _token(who), door, action, task.id, f"subject {self.digest(wanted.subject)}", address)
            if also is not None:
                also(tx, task)

        kind = TaskKind.FIND_SUBJECT if wanted.dry_run else TaskKind.ERASE_SUBJECT
        return await self._tasks.begin(who, kind, define, noted)

    async def export(self, who: Principal, wanted: SubjectIn, *, door: Door = Door.API, address: str = "") -> AsyncIterator[bytes]:
        """Everything that is kept of a subject, a line of JSON for each thing, and one with the counts at the end.

        Raises NotFound, InvalidField, and Unavailable when too many are under way; what it returns may raise StoreFailure.
        """
        if self._exports >= EXPORTS_MAX:
            raise Unavailable(f"{EXPORTS_MAX} exports are under way already; try again when one has ended")
        lines = self._exported(who, wanted, door, address)
        # Nothing is waited for between the look above and the count, so that no two are let in by the same look.
        await anext(lines)
        return lines

    async def _exported(self, who: Principal, wanted: SubjectIn, door: Door, address: str) -> AsyncGenerator[bytes]:
        """Nothing, once it is counted, looked up and noted; then the lines. It counts until it is closed, though nobody reads a line."""
        self._exports += 1
        try:
            await self._settle()
            reach = await self._store.read(lambda tx: self._reach(tx, who, wanted))
            detail = f"subject {self.digest(wanted.subject)}"
            await self._store.write(lambda tx: self._note(tx, who.org_id, _token(who), door, "privacy.exported", "", detail, address))
            yield b""
            reading = Reading(reach, Subject(wanted.subject, wanted.at), self._vault, content=True)
            counts = dict.fromkeys(WALKS, 0)
            for name, look in WALKS.items():
                position: str | None = ""
                while position is not None:
                    at = position
                    looked = await self._store.read(lambda tx, look=look, at=at: look(tx, reading, at))  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
                    counts[name] += len(looked.found)
                    if looked.found:
                        yield b"".join(msgspec.json.encode({"kind": name, **found.record}) + b"\n" for found in looked.found)
                    position = looked.position
                    await asyncio.sleep(_PAUSE_S)
            yield msgspec.json.encode({"kind": "end", "counts": counts}) + b"\n"
        finally:
            self._exports -= 1

    async def _settle(self) -> None:
        """Have everything where it is looked for. Raises Unavailable where that is not so."""
        if waiting := self.spooled():
            raise Unavailable(f"requests of providers wait in the spool ({waiting}), where nobody looks; try again when they have come in")
        if self.settle is not None:
            await self.settle()

    def _reach(self, tx: Transaction, who: Principal, wanted: SubjectIn) -> Reach:
        since_us = 0 if wanted.since is None else to_us(wanted.since)
        # What is attempted or comes while the task runs is looked at too, if the walk comes by after it.
        until_us = self._clock.now_us() + _AHEAD_US if wanted.until is None else to_us(wanted.until)
        if since_us >= until_us:
            raise InvalidField(FieldProblem(("body", "since"), "must lie before until"))
        app_id = None if wanted.app is None else find(tx, who, wanted.app).id
        source_id = None
        if wanted.source is not None:
            source = sources.by_ref(tx, self._vault, who.org_id, wanted.source)
            if source is None:
                raise NotFound
            source_id = source.id
        alone = app_id is None and source_id is None
        return Reach(who.org_id, app_id, source_id, since_us, until_us, subject_rows.top(tx), alone and runs_it(who))

    def _note(
        self, tx: Transaction, org_id: str, token_id: str | None, door: Door, action: str, about: str, detail: str, address: str = ""
    ) -> None:
        now_us = self._clock.now_us()
        made = self._ids.make(ids.AUDIT_ENTRY, now_us)
        audit.insert(tx, AuditEntry(made, org_id, token_id, None, door, action, about, None, detail, address), now_us - RETENTION_US)

    # -- one step of a task

    async def _advance(self, task: Task) -> None:
        stage, _, position = task.position.partition(":")
        if stage in _CLEANING:
            await self._clean(task, stage)
        else:
            await self._walk(task, stage or next(iter(WALKS)), position)

    async def _walk(self, task: Task, walk: str, position: str) -> None:
        definition = task.definition
        assert isinstance(definition, Erasure)
        subject = Subject(self._vault.open(definition.sealed).decode(), definition.at)
        reading = Reading(definition.reach, subject, self._vault)
        looked = await self._store.read(lambda tx: WALKS[walk](tx, reading, position))
        count = task.data.get(walk, 0) + len(looked.found)
        data = {**task.data, "stage": walk, walk: count}
        after = _behind(walk) if looked.position is None else f"{walk}:{looked.position}"
        done = definition.dry_run and after in _CLEANING
        if done:
            data = {name: value for name, value in data.items() if name != "stage"}
        now = msgspec.structs.replace(task, position=after, data=data, status=TaskStatus.FINISHED if done else TaskStatus.RUNNING)

        def step(tx: Transaction) -> None:
            if self._tasks.keep(tx, task, now) and not definition.dry_run:
                erasing.erase(tx, walk, subject, [found.key for found in looked.found])

        await self._store.write(step)

    async def _clean(self, task: Task, stage: str) -> None:
        """What was erased leaves the file, the index and the log as well."""
        if stage == _FILL:
            await self._move(task, stage, erasing.fill_free_pages)
        elif stage == _FREE:
            await self._move(task, stage, erasing.free_filler)
        elif stage == _INDEX:
            goes_on = await self._clean_index()
            await self._move(task, stage, lambda tx: goes_on)
        elif await self._empty_log():
            await self._end(task)
        else:
            await asyncio.sleep(_AGAIN_S)

    async def _move(self, task: Task, stage: str, work: Callable[[Transaction], bool]) -> None:
        def step(tx: Transaction) -> None:
            after = stage if work(tx) else _CLEANING[_CLEANING.index(stage) + 1]
            if after != task.position or task.data.get("stage") != after:
                self._tasks.keep(tx, task, msgspec.structs.replace(task, position=after, data={**task.data, "stage": after}))

        await self._store.write(step)

    async def _clean_index(self) -> bool:
        """Have the index of searches forget, and be written anew where it has; False = it holds nothing more."""
        if self._index is None:
            return False
        try:
            progress = await self._index.step()
            if progress.cleared is not None:
                until = progress.cleared
                await self._store.write(lambda tx: search_log.clear(tx, until))
            if progress.removed or not await self._store.read(erasing.index_has_forgotten):
                return True
            return await self._index.tidy(self._index_bytes)
        except StoreFailure:
            # It tells the log by itself, and is tried again until it works: other tasks go on meanwhile.
            await asyncio.sleep(_AGAIN_S)
            return True

    async def _end(self, task: Task) -> None:
        """The erasure is over, which the audit log hears with its counts; what this writes says nothing of the subject."""
        definition = task.definition
        assert isinstance(definition, Erasure)
        data: dict[str, Any] = {name: value for name, value in task.data.items() if name != "stage"}
        counts = ", ".join(f"{name} {data[name]}" for name in WALKS if data.get(name))
        detail = f"subject {definition.digest}: {counts or 'nothing was found'}"

        def step(tx: Transaction) -> None:
            if self._tasks.keep(tx, task, msgspec.structs.replace(task, status=TaskStatus.FINISHED, data=data)):
                self._note(tx, task.org_id, definition.token_id, Door(definition.door), "privacy.erased", task.id, detail)

        await self._store.write(step)


def _behind(walk: str) -> str:
    """The stage behind a walk."""
    names = [*WALKS, *_CLEANING]
    after = names[names.index(walk) + 1]
    return after if after in _CLEANING else f"{after}:"


def _token(who: Principal) -> str | None:
    return None if who.token_id == LINK else who.token_id
