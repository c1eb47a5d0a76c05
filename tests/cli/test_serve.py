"""`ringback serve` from outside: what an operator types, sees and is told. Real processes on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
TOKEN = "sk_0123456789abcdef0123456789abcdef"


class Command:
    """A `ringback` process; `out` grows with every line it prints."""

    def __init__(self, where: Path, *words: str, **environ: str) -> None:
        self.out: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ringback.cli.main", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            cwd=where,
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], **environ},
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.out.append(line.rstrip())

    def text(self) -> str:
        return "\n".join(self.out)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/api/v1/health", timeout=5, trust_env=False).status_code == 200
    return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Command, str]]:
    """A server that accepts TOKEN, with its URL."""
    url = f"127.0.0.1:{free_port()}"
    command = Command(tmp_path, "serve", "--listen", url, RINGBACK_TOKEN=TOKEN)
    try:
        wait_until(lambda: answers(f"http://{url}") or command.process.poll() is not None, what="health")
        assert command.process.poll() is None, command.text()
        yield command, f"http://{url}"
    finally:
        command.end()


def ringback(where: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringback.cli.main", *words]
    environ = {"PYTHONPATH": str(ROOT / "src"), **environ}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=where, env=environ)


def status_with(url: str, token: str) -> int:
    return httpx.get(f"{url}/api/v1/app", headers={"authorization": f"Bearer {token}"}, trust_env=False).status_code


def test_sigterm_ends_it_with_success_and_ctrl_c_too(tmp_path: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGINT):
        url = f"127.0.0.1:{free_port()}"
        command = Command(tmp_path, "serve", "--listen", url)
        wait_until(lambda url=url: answers(f"http://{url}"))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        assert command.end(how) == 0, command.text()


def test_it_serves_though_nobody_can_read_what_it_prints(tmp_path: Path) -> None:
    url = f"127.0.0.1:{free_port()}"
    for place in (">/dev/full", ">&-"):
        shell = ["sh", "-c", f'exec "$@" {place}', "sh", sys.executable, "-m", "ringback.cli.main", "serve", "--listen", url]
        process = subprocess.Popen(shell, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]})
        try:
            wait_until(lambda: answers(f"http://{url}"), what=f"health with {place}")
        finally:
            process.terminate()
            assert process.wait(20) == 0, place


def test_tokens_are_made_listed_and_revoked_while_the_server_runs(server: tuple[Command, str], tmp_path: Path) -> None:
    _, url = server
    text = ringback(tmp_path, "token", "create").stdout.strip()
    assert status_with(url, text) == 200

    listed = ringback(tmp_path, "token", "list").stdout.splitlines()
    (identifier,) = (line.split()[0] for line in listed if line.startswith("key_") and "settings" not in line)
    assert ringback(tmp_path, "token", "revoke", identifier).returncode == 0
    assert status_with(url, text) == 401
    assert status_with(url, TOKEN) == 200


def test_the_operators_token_is_no_token_of_the_api(server: tuple[Command, str]) -> None:
    _, url = server
    answer = httpx.get(f"{url}/api/v1/operator/token", headers={"authorization": f"Bearer {TOKEN}"}, trust_env=False)
    assert answer.status_code == 401


def test_the_demo_delivers_retries_and_verifies_until_it_is_stopped(tmp_path: Path) -> None:
    command = Command(tmp_path, "serve", "--demo", "--listen", "127.0.0.1:0")

    def numbers() -> dict[str, float]:
        last = next((line for line in reversed(command.out) if line.startswith("demo: sent")), "")
        return {name: float(value) for name, value in re.findall(r"([a-z0-9][a-z0-9 ]*?) ([\d.]+)(?: ms)?(?:  |$)", last[6:])}

    try:
        wait_until(
            lambda: (numbers().get("delivered", 0) >= 50 and numbers().get("retried", 0) >= 3) or command.process.poll() is not None,
            within_s=40,
            what="demo",
        )
    finally:
        code = command.end()
    assert code == 0, command.text()
    seen = numbers()
    assert seen["delivered"] >= 50 and seen["retried"] >= 3 and seen["bad signatures"] == 0 and 0 < seen["p50"] < 1000
    assert (tmp_path / "ringback-demo.db").exists() and not (tmp_path / "ringback.db").exists()
