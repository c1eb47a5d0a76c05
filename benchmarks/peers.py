"""Who else receives webhooks, and what does it cost them? Other people's receivers, started if they are installed."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import time
import typing

from benchmarks.server import _cpu_s, _family, free_port

# What to do for the row of a receiver that is not there.
HOW_TO_INSTALL = "not installed: apt-get install webhook (https://github.com/adnanh/webhook)"
# Longest time until it listens, seconds.
START_S = 10.0
# Pause between two looks, seconds.
LOOK_S = 0.02


class Webhook:
    """adnanh/webhook, as Debian packages it: checks an HMAC of the body and answers 200. It keeps nothing.

    Its usual job is to run a command for each request. A second rule that never holds spares it that, so that the job is the same: rules
    are looked at in order, and the answer to a request that fits one of them only is set to 200.
    """

    def __init__(self, program: str, secret: str, directory: pathlib.Path) -> None:
        hooks = [
            {
                "id": "received",
                "execute-command": "/bin/true",
                "trigger-rule-mismatch-http-response-code": 200,
                "trigger-rule": {
                    "and": [
                        {
                            "match": {
                                "type": "payload-hmac-sha256",
                                "secret": secret,
                                "parameter": {"source": "header", "name": "X-Hub-Signature-256"},
                            }
                        },
                        {"match": {"type": "value", "value": "never", "parameter": {"source": "header", "name": "X-GitHub-Event"}}},
                    ]
                },
            }
        ]
        path = directory / "hooks.json"
        path.write_text(json.dumps(hooks))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/hooks/received"
        self._process = subprocess.Popen(
            [program, "-hooks", str(path), "-ip", "127.0.0.1", "-port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + START_S
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{program} does not listen (exit code {self._process.poll()})")
            time.sleep(LOOK_S)

    def cpu_s(self) -> float:
        """CPU time so far, user and system, seconds."""
        return sum(_cpu_s(pid) for pid in _family(self._process.pid))

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def webhook(secret: str, directory: pathlib.Path) -> typing.Iterator[Webhook | None]:
    """A running adnanh/webhook; None where it is not installed."""
    program = shutil.which("webhook")
    if program is None:
        yield None
        return
    running = Webhook(program, secret, directory)
    try:
        yield running
    finally:
        running.close()
