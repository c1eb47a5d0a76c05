"""What does this process take? Memory and processor time, as the system tells it."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

import msgspec

# Bytes in the unit of `ru_maxrss` (getrusage(2) of Linux).
_KIB: Final = 1024


class Usage(msgspec.Struct, frozen=True):
    """Resident memory now, bytes, and processor time since the start, seconds."""

    memory_bytes: int
    cpu_s: float


def usage() -> Usage:
    """Of this process, now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Usage(_resident() or used.ru_maxrss * _KIB, used.ru_utime + used.ru_stime)


def _resident() -> int:
    """Resident memory, bytes; 0 where there is no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
