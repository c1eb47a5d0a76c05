"""How is a Ringback server started, measured and stopped as a process of its own? Used by the benchmarks and by the acceptance tests."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The org token that every server started here accepts; the shape is the one that the server issues.
TOKEN = "sk_" + "benchmark0" * 4

# Longest time from start to health, seconds: far above the target, so that a slow start is a figure and not a failure of the tool.
START_S = 60.0

# Pause between two looks at the health of a starting server, seconds: the resolution of the start-up time.
LOOK_S = 0.01

# Longest time from SIGTERM to the end, seconds: the drain of the contract takes 8.
STOP_S = 15.0


class StartFailed(Exception):
    """The server ended or stayed silent instead of becoming ready; the message holds the end of its log."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def command() -> list[str]:
    """The command that runs `ringback`: the installed script, else the module."""
    script = ROOT / ".venv" / "bin" / "ringback"
    if script.exists():
        return [str(script)]
    return [sys.executable, "-m", "ringback.cli.main"]


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment of a server: ours without its `RINGBACK_*` variables, and `settings` (lower case, without the prefix).

    An empty value leaves the setting out. Names in upper case are passed on as they are (`SSL_CERT_FILE`).
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RINGBACK_", "SVIX_"))}
    chosen = {"token": TOKEN, "whitelist_subnets": "127.0.0.1/32,::1/128"} | settings
    named = {name if name.isupper() else f"RINGBACK_{name.upper()}": value for name, value in chosen.items() if value}
    return inherited | {"PYTHONPATH": str(ROOT / "src")} | named


@dataclasses.dataclass
class Server:
    """One running server. `start_s` is how long it took to answer its health check."""

    process: subprocess.Popen[bytes]
    host: str
    port: int
    database: pathlib.Path
    log: pathlib.Path
    token: str
    start_s: float = 0.0

    @property
    def url(self) -> str:
        """The base URL, without a path."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> tuple[int, typing.Any]:
        """One API call under `/api/v1`, on a connection of its own: the status and the parsed body (None when it is empty)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json"} | (headers or {})
            connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def make(self, path: str, body: object) -> typing.Any:
        """Create something by POST and return it; raises AssertionError on anything but a 2xx."""
        status, answer = self.call("POST", path, body)
        if not 200 <= status < 300:
            raise AssertionError(f"POST {path} answered {status}: {answer}")
        return answer

    def healthy(self) -> bool:
        """Whether the health check answers 200 now."""
        try:
            return self.call("GET", "/health")[0] == 200
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit code. A server that ignores SIGTERM is killed, and TimeoutExpired raised."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def log_tail(self) -> str:
        """The last 4,000 characters of what the server printed."""
        return self.log.read_text(errors="replace")[-4000:]

    def cpu_s(self) -> float:
        """CPU time, user and system, of the server and its children so far, seconds (resolution 10 ms)."""
        return sum(_cpu_s(pid) for pid in _family(self.process.pid))

    def rss_mb(self) -> float:
        """Resident memory of the server and its children, in MB of a million bytes."""
        return sum(_rss_bytes(pid) for pid in _family(self.process.pid)) / 1e6


def start(
    database: pathlib.Path,
    settings: dict[str, str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    wrapper: typing.Sequence[str] = (),
    log: pathlib.Path | None = None,
    wait: bool = True,
) -> Server:
    """Start a server on `database` and wait until it is ready.

    `wrapper` goes before the command and must end in `exec` (the process measured is the one started). What it prints goes to `log`, or
    beside the database. With `wait=False` returns at once. Raises StartFailed.
    """
    port = port or free_port(host)
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    chosen = settings or {}
    log = log or database.with_suffix(".log")
    began = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*wrapper, *command(), "serve", "--listen", listen, "--database", str(database)],
            env=environment(chosen),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
        )
    server = Server(process, host, port, database, log, chosen.get("token", TOKEN))
    if wait:
        _wait_ready(server, began)
    return server


def _wait_ready(server: Server, began: float) -> None:
    while not server.healthy():
        if server.process.poll() is not None:
            raise StartFailed(f"exit code {server.process.returncode}\n{server.log_tail()}")
        if time.monotonic() - began > START_S:
            server.process.kill()
            server.process.wait()
            raise StartFailed(f"not ready within {START_S:.0f} s\n{server.log_tail()}")
        time.sleep(LOOK_S)
    server.start_s = time.monotonic() - began


def _family(pid: int) -> list[int]:
    """The process and all that descend from it and still run.

    Asked of all processes: the list of children that the kernel keeps for each thread would be a thousand files while a thousand names
    hang, read ten times a second beside what is measured.
    """
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (pathlib.Path(entry.path) / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    family = [pid]
    for member in family:
        family += parents.get(member, ())
    return family


def _cpu_s(pid: int) -> float:
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    try:
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0
