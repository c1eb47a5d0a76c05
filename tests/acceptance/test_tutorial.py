"""The tutorial does what it says: its pieces, put into one file as the reader is told, run against a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance.serving import Serve, Shared

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-webhook.md"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"


def test_the_tutorial_runs(serve: Serve, tmp_path: Path) -> None:
    text = TUTORIAL.read_text("utf-8")
    (settings,) = re.findall(r"^(RINGBACK_\S+(?: RINGBACK_\S+)*) scripts/serve$", text, re.MULTILINE)
    chosen = dict(setting.split("=") for setting in settings.split())
    running = serve(settings={name.removeprefix("RINGBACK_").lower(): value for name, value in chosen.items()})

    program = tmp_path / "tutorial.py"
    program.write_text("\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL)), "utf-8")
    environ = {"PATH": os.environ["PATH"], "RINGBACK_TOKEN": running.token, "SERVER_URL": running.url}
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120, env=environ)
    assert done.returncode == 0, done.stderr
    assert "delivered, signed and verified: {'order': 1, 'customer': 'Zoë'}" in done.stdout
    assert "verified with the old secret" in done.stdout


def test_the_requests_of_the_reference_run_as_they_stand(shared: Shared) -> None:
    server = shared()
    page = REFERENCE.read_text("utf-8")
    (commands,) = re.findall(r"## By curl\n.*?```bash\n(.*?)```", page, re.DOTALL)
    assert commands.count("http://127.0.0.1:8071/api/v1") == 1
    environment = {**os.environ, "RINGBACK_TOKEN": server.token, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-eu", "-c", commands.replace("http://127.0.0.1:8071", server.url).replace("https://example.com", "http://127.0.0.1:9")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"uid":"ada"' in done.stdout and '"eventType":"order.created"' in done.stdout and '"data":[' in done.stdout
