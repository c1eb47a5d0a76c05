"""How is the write-ahead log kept small? By copying it into the database beside the writer, and then its tail between two commits.

A passive checkpoint never catches up with a writer that never pauses, and the log is only reused from its start once all of it is copied.
So most of it is copied on a connection of its own; the few frames that came meanwhile follow on the commit thread, where no commit can
add more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

import apsw

# Pages (4 KiB) of log that start a checkpoint: 16 MiB, about a second at full speed, and quick to recover after a crash.
START_PAGES: Final = 4_096

# Seconds between two looks for the end of a copy that is being made.
_LOOK_S: Final = 0.01


class Checkpoints:
    """Watches the log of one writer connection. `between` runs a job when no transaction is open."""

    def __init__(
        self, path: str, writer: apsw.Connection, between: Callable[[Callable[[], None]], None], call: Callable[..., object]
    ) -> None:
        self._path = path
        self._writer = writer
        self._between = between
        self._call = call
        self._running = False
        self._thread: threading.Thread | None = None
        self.wal_pages = 0
        writer.set_wal_hook(self._committed)

    def _committed(self, connection: apsw.Connection, database: str, pages: int) -> int:
        # Called on the commit thread, inside the commit: only take note.
        self.wal_pages = pages
        if pages >= START_PAGES and not self._running:
            self._running = True
            self._call(self._start)
        return apsw.SQLITE_OK

    async def close(self) -> None:
        """Wait for a copy that is being made: the file is not let go under it."""
        while self._thread is not None and self._thread.is_alive():
            await asyncio.sleep(0.001)

    async def empty(self) -> bool:
        """Copy all of the log into the database and cut it to nothing; False = somebody reads in it, or the disk fails: try again."""
        while self._running:
            await asyncio.sleep(_LOOK_S)
        self._running = True
        loop, copied = asyncio.get_running_loop(), asyncio.Event()
        emptied = False

        def cut() -> None:
            nonlocal emptied
            try:
                self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                self.wal_pages = 0
                emptied = True
            finally:
                self._running = False
                loop.call_soon_threadsafe(copied.set)

        try:
            # Most of it beside the writer, so that the last part, during which no commit can be made, is short.
            await asyncio.to_thread(self._copy_beside)
        except apsw.Error:
            self._running = False
            return False
        self._between(cut)
        await copied.wait()
        return emptied

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._copy, name="ringback-checkpoint", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # No thread to be had: the next commit asks again.
            self._thread = None
            self._running = False

    def _copy(self) -> None:
        try:
            self._copy_beside()
        except apsw.Error:
            # A full disk, for one: the log stays as it is, and the next commit asks again.
            self._running = False
            return
        self._call(self._between, self._finish)

    def _copy_beside(self) -> None:
        connection = apsw.Connection(self._path)
        connection.execute("PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL")
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        connection.close()

    def _finish(self) -> None:
        try:
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            self._running = False
