"""On which machine, and on which code, was this measured? Figures without it mean nothing."""

from __future__ import annotations

import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

from benchmarks.server import ROOT

# How many syncs the disk is timed with: enough for a p99, and seconds even on a slow disk.
SYNCS = 200


def describe(directory: pathlib.Path) -> dict[str, str]:
    """The machine, the code, and the disk below `directory`."""
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "disk": f"{_filesystem(directory)}, fsync of 4 KiB takes {statistics.median(sync_ms(directory)):.2f} ms (median)",
        "revision": _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "--", "src") else ""),
    }


def _cpu_model() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _filesystem(directory: pathlib.Path) -> str:
    found = subprocess.run(["stat", "-f", "-c", "%T", str(directory)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown file system"


def sync_ms(directory: pathlib.Path, pause_s: float = 0.0) -> list[float]:
    """How long each of `SYNCS` syncs took, milliseconds, the shortest first; one every `pause_s` seconds, as a paced load would."""
    took = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
            time.sleep(pause_s)
    return sorted(took)


def _git(*arguments: str) -> str:
    found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return found.stdout.strip()
