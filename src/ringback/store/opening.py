"""Which database is it, and is it fit for use? Opens a store: lock, copy, migrate, check. The only module that names vendors."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import apsw

from ringback.clock import Clock
from ringback.errors import OperatorError
from ringback.store.base import SearchIndex, Store
from ringback.store.migrations.steps import migrations
from ringback.store.operations import search_log
from ringback.store.sqlite.connection import open_writer, translated
from ringback.store.sqlite.searching import SqliteSearch, search_path
from ringback.store.sqlite.searching import remove as remove_search
from ringback.store.sqlite.store import SqliteStore
from ringback.telemetry.events import DATABASE_COPIED, DATABASE_MIGRATED
from ringback.telemetry.log import log

_SQLITE: Final = "sqlite:///"
# Pages copied per step of the copy made before a migration.
_COPY_PAGES: Final = 1_000


def database_path(url: str) -> str:
    """The file that a `sqlite:///…` URL names (three slashes: relative, four: absolute), or `:memory:`. Blocks for a look at the file.

    Raises OperatorError for any other URL.
    """
    path = named_path(url)
    # SQLite puts its log beside the file that a link leads to, and so must we with lock and key: each link would have its own.
    return os.path.realpath(path) if os.path.islink(path) else path


def named_path(url: str) -> str:
    """The same, a link where it is one. Raises OperatorError."""
    if not url.startswith(_SQLITE):
        raise OperatorError(
            f"database_url {url!r}: only sqlite:///FILE is supported; three slashes for a relative path, four for an absolute one"
        )
    path = unquote(url[len(_SQLITE) :])
    if not path:
        raise OperatorError(f"database_url {url!r}: a file name must follow sqlite:///")
    return path


async def open_store(
    url: str,
    clock: Clock,
    *,
    min_free_disk: int = 0,
    observe: Callable[[float, int], None] = lambda seconds, rows: None,
) -> SqliteStore:
    """Open a database on the running loop, migrated to this version.

    Raises OperatorError when another server has it, when it is newer than this program, or when it cannot be opened.
    """
    path = database_path(url)
    with contextlib.ExitStack() as until_open:
        lock = None if path == ":memory:" else until_open.enter_context(_lock(path))
        try:
            connection = open_writer(path)
            migrate(connection, path)
        except apsw.Error as error:
            raise OperatorError(f"database {path}: {translated(error)}") from error
        except OSError as error:
            raise OperatorError(f"database {path}: {error.strerror}; free space and try again") from error
        until_open.pop_all()
    return SqliteStore(
        connection, path, clock, min_free_disk=min_free_disk, observe=observe, released=lock.close if lock is not None else lambda: None
    )


async def open_search(url: str, store: Store, *, wanted: bool, key: str) -> SearchIndex | None:
    """The index of searches of an open database, or None: not wanted (then its file is removed), or there is no file to lay it beside.

    `key` is the name of a new index. Raises StoreFailure when the database cannot be written.
    """
    path = database_path(url)
    if path == ":memory:":
        return None
    known = await store.read(search_log.key)
    if known is None or not wanted:
        # One that nobody knows may hold what was forgotten while nobody logged it.
        remove_search(search_path(path))
    if not wanted:
        if known is not None:
            await store.write(search_log.switch_off)
        return None
    if known is None:
        known = await store.write(lambda tx: search_log.switch_on(tx, key))
    return SqliteSearch(path, known)


def _lock(path: str) -> contextlib.ExitStack:
    """Hold the file for this process; two servers on one file would deliver everything twice."""
    with contextlib.ExitStack() as opened:
        try:
            # Made here with its final mode, so that no moment exists in which others can read it. Held itself too, because it may have
            # other names (a hard link, a mount in a container), with another lock beside each. Closing it gives the file to others, and
            # ends SQLite's own locks on it: not before the store is closed.
            database = opened.enter_context(os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "rb"))
            # Says who has the file.
            lock = opened.enter_context(os.fdopen(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600), "r+"))
        except OSError as error:
            raise OperatorError(f"database {path}: {error.strerror}; its directory must exist and be writable") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = lock.read().strip() or "unknown"
            raise OperatorError(
                f"database {path} is in use by another ringback server (process {holder}); stop it first, or give this one its own file"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        return opened.pop_all()


def migrate(connection: apsw.Connection, path: str) -> list[str]:
    """Bring the schema to this version, after a copy of a file that holds something; the names of the steps taken.

    Raises OperatorError when the schema is newer than this program.
    """
    version = int(connection.pragma("user_version"))
    steps = migrations()
    newest = steps[-1].version
    if version > newest:
        raise OperatorError(f"database {path} has schema {version}, and this version knows up to {newest}; use a newer ringback")
    pending = [step for step in steps if step.version > version]
    if pending and version > 0 and path != ":memory:":
        copy = Path(f"{path}.before-{newest}")
        _copy(connection, copy)
        log(DATABASE_COPIED, path=str(copy), size_bytes=copy.stat().st_size)
    for step in pending:
        with connection:
            connection.execute(step.sql)
            connection.pragma("user_version", step.version)
    if pending:
        log(DATABASE_MIGRATED, path=path, from_version=version, to_version=newest)
    return [step.name for step in pending]


def _copy(connection: apsw.Connection, target: Path) -> None:
    copy = apsw.Connection(str(target))
    os.chmod(target, 0o600)
    with copy.backup("main", connection, "main") as backup:
        while not backup.done:
            backup.step(_COPY_PAGES)
    copy.close()
