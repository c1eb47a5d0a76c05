"""Does the index of a SQLite log stay writable when the disk is full? On file systems with small blocks it must be given its blocks.

SQLite maps the index (`-shm`) into memory, and touches one byte of each page (4 KiB) to have it on the disk. Where blocks are smaller
than pages (1 KiB, as ext4 makes them on a small disk) that leaves holes, and the first write into a hole of a full disk ends the
process with SIGBUS, which nothing can catch.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
from collections.abc import Callable
from typing import Final

# Index of some 30,000 pages of log: eight times what starts a checkpoint of the store.
_RESERVED: Final = 256 * 1024

# What SQLite writes until the index is there to be given its blocks: the first pages of the file, its log and the index.
_BEFORE: Final = 256 * 1024

# Unit of `st_blocks`, bytes: the same on every file system (POSIX leaves it open; Linux and macOS say 512).
_STAT_BLOCK: Final = 512


def may_open(path: str) -> None:
    """To be called before a database is opened or made. Raises OSError (ENOSPC) where its index might not fit on the disk."""
    if not _has_room(path, _RESERVED + _BEFORE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def reserve(path: str, execute: Callable[[str], object]) -> None:
    """To be called once a database is open and has a log; `execute` runs a statement there. Raises OSError (ENOSPC) when the disk is full.

    In a process of its own: to close a file here would drop the locks that SQLite holds on it.
    """
    if _small_blocks(path) is None:
        return
    execute("SELECT 1 FROM sqlite_schema LIMIT 1")  # the first read makes the index
    index = f"{path}-shm"
    if os.stat(index).st_blocks * _STAT_BLOCK >= _RESERVED:
        return
    try:
        done = subprocess.run(["fallocate", "-l", str(_RESERVED), index], check=False, capture_output=True)
    except FileNotFoundError:
        return  # a system without util-linux: as good as SQLite alone
    # With room for it, it was no full disk that refused but a file system that sets nothing aside (ext3, many in user space): the same.
    if done.returncode != 0 and not _has_room(path, _RESERVED):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _has_room(path: str, wanted: int) -> bool:
    system = _small_blocks(path)
    return system is None or system.f_bavail * system.f_frsize >= wanted


def _small_blocks(path: str) -> os.statvfs_result | None:
    """What the file system says of itself, if its blocks are smaller than a page."""
    if path == ":memory:":
        return None
    try:
        system = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return None  # opening the file tells better what is wrong
    return system if system.f_frsize < mmap.PAGESIZE else None
