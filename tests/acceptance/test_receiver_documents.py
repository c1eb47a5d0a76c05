"""What the documents say of the receiver library runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _pieces(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


def _run(directory: Path, program: str, *command: str) -> str:
    (directory / "test_program.py").write_text(program, "utf-8")
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "STRIPE_SECRET": "a", "TWILIO_TOKEN": "a", "GITHUB_SECRET": "a"}
    done = subprocess.run(
        [sys.executable, *command, "test_program.py"], cwd=directory, capture_output=True, text=True, timeout=120, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tutorial_runs(tmp_path: Path) -> None:
    said = _run(tmp_path, "\n".join(_pieces("docs/tutorial/receive-in-python.md"))).splitlines()
    assert said == [
        "believed: evt_1 invoice.paid 1200",
        "refused: signature_mismatch",
        "paid: in_2",
        "first: 200",
        "again: 200",
        "fails: 500",
        "stored: 200",
        "attempt 1 of evt_4",
        "attempt 2 of evt_4",
    ]


@pytest.mark.parametrize("page", ["docs/how-to/receive-in-fastapi.md", "docs/how-to/receive-in-flask.md", "README.md"])
def test_programs_of_the_guides_are_whole(tmp_path: Path, page: str) -> None:
    pieces = [piece for piece in _pieces(page) if "ringback" in piece]
    assert pieces
    assert _run(tmp_path, "\n".join(pieces)) == ""


def test_the_guide_to_tests_is_a_test_and_the_inbox_of_the_guide_keeps_its_promises(tmp_path: Path) -> None:
    pieces = _pieces("docs/how-to/run-events-once.md")
    schema = (
        "import sqlite3\ndb = sqlite3.connect('shop.db')\n"
        "db.execute('CREATE TABLE inbox (receiver, event_id, digest, reply, until_us, PRIMARY KEY (receiver, event_id, digest))')\n"
        "db.commit()\ndb.close()\n"
    )
    program = schema + "\n".join([*_pieces("docs/how-to/test-a-receiver.md"), *pieces[2:]])
    assert "3 passed" in _run(tmp_path, program, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis")


def test_the_guide_to_workers_knows_the_names_of_things(tmp_path: Path) -> None:
    worker, dead_letters = _pieces("docs/how-to/run-events-once.md")[:2]
    assert _run(tmp_path, worker.partition("if __name__")[0] + dead_letters) == ""
