"""The command line from outside: real processes, exit codes, what stands on stdout and stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ringback
from ringback.cli import main

ROOT = Path(__file__).parent.parent.parent


def run(*words: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ringback.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT / "src"), **environ},
    )


@pytest.mark.parametrize("words", [("version",), ("--version",)])
def test_the_version_is_printed(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (0, f"ringback {ringback.__version__}\n")


def test_the_version_loads_nothing_that_serving_needs() -> None:
    code = "import sys; from ringback.cli.main import main; main(['version']); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0
    loaded = set(done.stdout.splitlines()[1].split())
    assert not {"asyncio", "apsw", "cryptography", "msgspec", "rich", "starlette", "uvicorn"} & loaded


def test_help_lists_every_command() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in main.COMMANDS)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_its_own_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0 and f"ringback {command}" in done.stdout


@pytest.mark.parametrize("words", [(), ("fly",), ("serve", "--wings"), ("token",), ("token", "revoke")])
def test_a_wrong_command_line_exits_2_with_its_usage(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert done.returncode == 2 and "usage: ringback" in done.stderr and "Traceback" not in done.stderr


def test_words_alone_show_what_there_is() -> None:
    done = run()
    assert all(f"    {name}" in done.stderr for name in main.COMMANDS) and "error" not in done.stderr


def test_what_a_command_does_not_take_is_told_with_the_way_to_its_own_help() -> None:
    assert "serve does not know --wings; `ringback serve --help` lists what it takes" in run("serve", "--wings").stderr


def test_wrong_settings_exit_2_with_every_problem_and_no_traceback(tmp_path: Path) -> None:
    done = run("serve", "--listen", "nowhere", cwd=tmp_path, RINGBACK_REQUEST_TIMEOUT="1 year", RINGBACK_TOKN="x")
    assert done.returncode == 2
    assert done.stderr.startswith("ringback: These 3 settings are wrong:")
    assert "Did you mean RINGBACK_TOKEN?" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--help",), ("serve", "--help"), ("version",), ("providers",)])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_left_is_told_nothing_and_no_traceback(words: tuple[str, ...], buffered: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, *([] if buffered else ["-u"]), "-m", "ringback.cli.main", *words]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, env={"PYTHONPATH": str(ROOT / "src")})
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
