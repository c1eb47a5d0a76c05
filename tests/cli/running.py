"""Runs the command as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def ringback(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`ringback` with these words, in a directory."""
    return subprocess.run(
        [sys.executable, "-m", "ringback.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=where,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
