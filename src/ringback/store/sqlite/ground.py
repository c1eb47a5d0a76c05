"""May anything new be kept in the file? Not while the disk is nearly full, nor while the next start would not find the file."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from ringback.errors import StoreFailure
from ringback.telemetry.events import DATABASE_BACK, DATABASE_GONE, DISK_LOW, DISK_RECOVERED
from ringback.telemetry.log import log

# How often disk and file are looked at, seconds: a disk that fills at 100 MB/s still leaves most of the reserve.
_EVERY_S: Final = 0.5

# Device and number of a file.
_Identity = tuple[int, int]


class Ground:
    """Looks at the disk and at the file from when it is made until `close`. `refusal` is why nothing new may be kept now."""

    def __init__(self, path: str, min_free_disk: int) -> None:
        # Absolute from the start: the working directory may change.
        self._path = os.path.abspath(path)
        self._min_free_disk = min_free_disk
        # The file and its log as they were found first: SQLite goes on writing to these, whatever lies at their paths.
        self._found: dict[str, _Identity] = {}
        self._gone = ""
        self._low = False
        self.refusal: StoreFailure | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle
        self._look()

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(_EVERY_S, self._look)
        try:
            gone = next((path for path in (self._path, f"{self._path}-wal") if self._has_gone(path)), "")
            space = os.statvfs(os.path.dirname(self._path)) if not gone else None
        except OSError:
            # Nothing is known now; what was known last stands.
            return
        if gone and gone != self._gone:
            log(DATABASE_GONE, path=gone)
        elif self._gone and not gone:
            log(DATABASE_BACK, path=self._gone)
        self._gone = gone
        if space is None:
            self.refusal = StoreFailure(
                "the file of the database was moved, removed or replaced while the server runs; nothing was stored; its log names the file"
            )
            return
        free = space.f_bavail * space.f_frsize
        low = free < self._min_free_disk
        if low and not self._low:
            log(DISK_LOW, free_bytes=free, least_bytes=self._min_free_disk)
        elif self._low and not low:
            log(DISK_RECOVERED, free_bytes=free)
        self._low = low
        self.refusal = self._too_little(free) if low else None

    def _has_gone(self, path: str) -> bool:
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return path in self._found
        identity = (status.st_dev, status.st_ino)
        return self._found.setdefault(path, identity) != identity

    def _too_little(self, free: int) -> StoreFailure:
        return StoreFailure(
            f"only {free >> 20} MiB of disk are free, and min_free_disk is {self._min_free_disk >> 20} MiB; nothing was stored; "
            "free space and try again"
        )
