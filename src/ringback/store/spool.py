"""Where does wait what the database cannot take now? In files of sealed records beside it, durable before anybody hears of it.

One file for all that is put down together, and never changed after that: it is whole, or it was never acknowledged. Named by numbers, so
that the order of the names is that of the events.

    RBSPOOL1  u64 bytes that follow  u32 CRC-32 of these two  { u32 bytes  u32 CRC-32  sealed record }*
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ringback.errors import OperatorError, RingbackError, Unavailable
from ringback.store.vault import Vault
from ringback.telemetry.events import SPOOL_DAMAGED, SPOOL_TORN
from ringback.telemetry.log import log

T = TypeVar("T")

_MAGIC: Final = b"RBSPOOL1"
_HEAD: Final = struct.Struct(">8sQ")
_CHECK: Final = struct.Struct(">I")
_HEAD_BYTES: Final = _HEAD.size + _CHECK.size
_RECORD: Final = struct.Struct(">II")
# A file, or one record of it that was set apart; those that wait for a person end in a word more.
_NAME: Final = re.compile(r"(\d{16})(?:\.\d+)*\.spool(\.damaged|\.refused)?")
# What ails the process, and not the file: too many files are open, or memory is short.
_LATER: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
# Records of one file are opened together: a few of the largest bodies.
_FILE_BYTES: Final = 8 * 1024 * 1024
# What a look writes: a block of most file systems.
_PROBE_BYTES: Final = 4096


class SpoolFailure(Unavailable):
    """The spool is full, or could not be written: nothing of it was kept."""


class _Damaged(Exception):
    """A file whose length is right, and whose content is not."""


class _Torn(Exception):
    """A file that was never finished, so that nobody was told of it."""


class Spool:
    """The files of one directory. Belongs to one event loop; what it reads and writes is done on a thread of its own."""

    def __init__(self, directory: Path, most_bytes: int, vault: Vault) -> None:
        self.directory = directory
        self._most_bytes = most_bytes
        self._vault = vault
        self._thread = ThreadPoolExecutor(1, "ringback-spool")
        self._lock = -1
        self._next = 1
        # Records that wait for the next file, with those who wait for them.
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        # Files by name, the oldest first: their bytes and records.
        self._files: dict[str, tuple[int, int]] = {}
        # Records that wait, and bytes of all files: of those that cannot be read too, which stay until a person takes them away.
        self.events = 0
        self.size_bytes = 0
        self._filled = asyncio.Event()

    @classmethod
    def open(cls, directory: Path, most_bytes: int, vault: Vault) -> Spool:
        """The spool of a directory, which is made if it is not there. Raises OperatorError."""
        spool = cls(directory, most_bytes, vault)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            spool._hold()
            for entry in sorted(directory.iterdir()):
                spool._take_over(entry)
        except OSError as error:
            raise OperatorError(f"spool_path {directory}: {error.strerror}; it must be a directory that can be written") from error
        return spool

    async def problem(self) -> str | None:
        """Why not even a small record could be kept now; None: one could. Writes a file to find out."""
        if self.size_bytes + _PROBE_BYTES > self._most_bytes:
            return f"the spool is full: it holds {self.size_bytes} bytes, and spool_max_bytes is {self._most_bytes}"
        try:
            await self._aside(self._try)
        except OSError as error:
            return f"the spool cannot be written: {error.strerror}"
        except (RuntimeError, MemoryError) as error:
            return f"the spool cannot be written: {str(error) or 'no memory is left'}"
        return None

    def _try(self) -> None:
        path = self.directory / "probe"
        path.unlink(missing_ok=True)
        try:
            # As large as a small record: a full disk may take an empty file.
            _put(path, bytes(_PROBE_BYTES))
        finally:
            path.unlink(missing_ok=True)

    @property
    def oldest(self) -> str | None:
        """The name of the file that comes first; None: nothing waits."""
        return next(iter(self._files), None)

    def waiting(self) -> int:
        """Records that wait: acknowledged, and not where they belong."""
        return self.events

    async def filled(self) -> None:
        """Wait until something waits."""
        await self._filled.wait()

    async def append(self, record: bytes) -> None:
        """Keep a record; it is durable when this returns. Raises SpoolFailure."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, future))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        await future

    async def read(self, name: str) -> list[bytes]:
        """The records of a file, in order; nothing of one that is spoilt, which is put aside.

        Raises OperatorError for another key, and SpoolFailure where the system has no room to read it now.
        """
        try:
            return await self._aside(lambda: [self._vault.open(sealed) for sealed in _records((self.directory / name).read_bytes())])
        except OSError as error:
            if error.errno in _LATER:
                raise SpoolFailure(f"spool file {name} cannot be read now: {error.strerror}") from error
            self.put_aside(name, error)
            return []
        except (_Damaged, _Torn) as error:
            self.put_aside(name, error)
            return []

    async def remove(self, name: str) -> None:
        """Let a file go, as all of it is where it belongs. Raises SpoolFailure. One that was put aside stays, though it kept its name."""
        if name not in self._files:
            return
        try:
            await self._aside((self.directory / name).unlink)
        except FileNotFoundError:
            # Somebody has taken it away by hand.
            pass
        except OSError as error:
            raise SpoolFailure(f"spool file {name} cannot be removed: {error.strerror}") from error
        self.size_bytes -= self._without(name)

    async def close(self) -> None:
        """Write what waits, and let the directory go."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()
        if self._lock >= 0:
            os.close(self._lock)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _write(self) -> None:
        try:
            while self._waiting:
                some = self._taken()
                records = [record for record, _ in some]
                failure = await self._kept(records)
                for _, future in some:
                    if future.cancelled():
                        continue
                    if failure is None:
                        future.set_result(None)
                    else:
                        future.set_exception(failure)
        finally:
            self._writing = None

    def _taken(self) -> list[tuple[bytes, asyncio.Future[None]]]:
        size = 0
        for taken, (record, _) in enumerate(self._waiting):
            size += len(record)
            if taken and size > _FILE_BYTES:
                some, self._waiting = self._waiting[:taken], self._waiting[taken:]
                return some
        some, self._waiting = self._waiting, []
        return some

    async def _kept(self, records: Sequence[bytes]) -> RingbackError | None:
        """Write a file of these; why it is not there."""
        name = f"{self._next:016}.spool"
        self._next += 1
        try:
            used = self.size_bytes
            size = await self._aside(lambda: self._written(name, records, used))
        except OSError as error:
            return SpoolFailure(f"the spool cannot be written: {error.strerror}; nothing was kept")
        except SpoolFailure as error:
            return error
        except (RuntimeError, MemoryError) as error:
            # No thread or no memory was to be had: somebody waits for an answer all the same.
            return SpoolFailure(f"the spool cannot be written: {str(error) or 'no memory is left'}; nothing was kept")
        self._with(name, size, len(records))
        return None

    def _with(self, name: str, size: int, records: int) -> None:
        self._files[name] = (size, records)
        self.events += records
        self.size_bytes += size
        self._filled.set()

    def _without(self, name: str) -> int:
        """A file waits no more; its bytes."""
        size, records = self._files.pop(name, (0, 0))
        self.events -= records
        if not self._files:
            self._filled.clear()
        return size

    def _content(self, records: Sequence[bytes]) -> bytes:
        """A whole file of these."""
        pieces = []
        for record in records:
            sealed = self._vault.seal(record)
            pieces += [_RECORD.pack(len(sealed), zlib.crc32(sealed)), sealed]
        body = b"".join(pieces)
        head = _HEAD.pack(_MAGIC, len(body))
        return head + _CHECK.pack(zlib.crc32(head)) + body

    def _written(self, name: str, records: Sequence[bytes], used: int) -> int:
        content = self._content(records)
        if used + len(content) > self._most_bytes:
            raise SpoolFailure(f"the spool holds {used} bytes, and spool_max_bytes is {self._most_bytes}; nothing was kept")
        path = self.directory / name
        try:
            _put(path, content)
            _sync(self.directory)
        except OSError:
            # Nobody is told that it was kept: it must not come in later.
            path.unlink(missing_ok=True)
            raise
        return len(content)

    def _hold(self) -> None:
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OperatorError(f"spool_path {self.directory} is in use by another ringback server; give each its own") from None

    def _take_over(self, entry: Path) -> None:
        """Learn of a file that an earlier run has left."""
        named = _NAME.fullmatch(entry.name)
        if named is None:
            return
        self._next = max(self._next, int(named[1]) + 1)
        content = entry.read_bytes()
        if named[2]:
            self.size_bytes += len(content)
            return
        try:
            self._with(entry.name, len(content), len(_records(content)))
        except _Torn:
            log(SPOOL_TORN, path=str(entry), size_bytes=len(content))
            entry.unlink()
        except _Damaged as error:
            self.size_bytes += len(content)
            self.put_aside(entry.name, error)

    async def set_apart(self, name: str, number: int, record: bytes) -> Path:
        """Keep one record of a file for a person to look at, in a file of its own; durable when this returns. Raises SpoolFailure.

        Its name follows from the file and the number, so that a crash in between makes no second one.
        """
        path = self.directory / f"{name.removesuffix('.spool')}.{number}.spool.refused"
        try:
            self.size_bytes += await self._aside(lambda: self._apart(path, record))
        except OSError as error:
            raise SpoolFailure(f"spool file {path.name} cannot be written: {error.strerror}") from error
        return path

    def _apart(self, path: Path, record: bytes) -> int:
        """Write a file of one record; how many bytes more the directory has."""
        content = self._content([record])
        before = path.stat().st_size if path.exists() else 0
        # One that an earlier run began may be torn.
        path.unlink(missing_ok=True)
        _put(path, content)
        _sync(self.directory)
        return len(content) - before

    def put_aside(self, name: str, error: Exception) -> None:
        """Leave a file for a person to look at: what is in it was acknowledged, and cannot be read."""
        path = self.directory / name
        log(SPOOL_DAMAGED, path=str(path), error=str(error) or type(error).__name__)
        size = self._without(name)
        try:
            path.rename(f"{path}.damaged")
        except FileNotFoundError:
            # Somebody has taken it away by hand.
            self.size_bytes -= size
        except OSError:
            # It is looked at again at the next start.
            return


def _records(content: bytes) -> list[bytes]:
    """The sealed records of a file. Raises _Torn when it was never finished, and _Damaged when it is not what was written."""
    if len(content) < _HEAD_BYTES:
        raise _Torn
    magic, size = _HEAD.unpack_from(content)
    if magic != _MAGIC or _CHECK.unpack_from(content, _HEAD.size)[0] != zlib.crc32(content[: _HEAD.size]):
        raise _Damaged("it does not begin as files of a spool do")
    if len(content) < _HEAD_BYTES + size:
        raise _Torn
    at, end, found = _HEAD_BYTES, _HEAD_BYTES + size, list[bytes]()
    while at < end:
        if at + _RECORD.size > end:
            raise _Damaged("a record is cut")
        length, checksum = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        sealed = content[at : at + length]
        if at + length > end or zlib.crc32(sealed) != checksum:
            raise _Damaged(f"the checksum of record {len(found) + 1} does not fit")
        found.append(sealed)
        at += length
    if len(content) != end:
        raise _Damaged("there is more in it than was written")
    return found


def _put(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
