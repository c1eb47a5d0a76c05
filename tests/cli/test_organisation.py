"""`ringback organisation` with and without a server, as real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx

from benchmarks import server
from ringback.config.running import find

ROOT = Path(__file__).parent.parent.parent


def ringback(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ringback.cli.main", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=where,
        env={"PYTHONPATH": str(ROOT / "src")},
    )


def rates(where: Path) -> dict[str, str]:
    """The rate of each organisation, as the list shows it."""
    lines = [line.split() for line in ringback(where, "organisation", "list").stdout.splitlines()[1:]]
    return {words[3]: words[1] for words in lines}


def test_a_limit_is_set_where_no_server_runs_and_holds_in_the_one_that_is_started_then(tmp_path: Path) -> None:
    assert ringback(tmp_path, "token", "create", "--org", "tenant").returncode == 0
    assert rates(tmp_path) == {"tenant": "default"}
    made = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "1")
    assert (made.stdout, made.stderr, made.returncode) == ("tenant: 1/s\n", "", 0)
    assert rates(tmp_path) == {"tenant": "1/s"}

    running = server.start(tmp_path / "ringback.db")
    try:
        token = ringback(tmp_path, "token", "create", "--org", "tenant").stdout.strip()
        tenant = {"authorization": f"Bearer {token}"}
        app = running.call("POST", "/app", {"name": "a"}, tenant)[1]["id"]
        source = running.call("POST", f"/app/{app}/source", {"name": "s", "type": "generic-webhook"}, tenant)[1]
        with httpx.Client(trust_env=False) as client:
            assert 429 in {client.post(source["ingestUrl"], content=b"{}").status_code for _ in range(30)}
            changed = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "unlimited")
            assert changed.stdout == "tenant: unlimited\n"
            assert {client.post(source["ingestUrl"], content=b"{}").status_code for _ in range(30)} == {200}
        assert rates(tmp_path)["tenant"] == "unlimited"
        assert find(str(running.database)) is not None
    finally:
        running.stop()


def test_what_is_no_rate_and_who_is_no_organisation_is_told(tmp_path: Path) -> None:
    wrong = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "0")
    assert wrong.returncode == 2 and "'0' is no rate; use a number from 1 to 1000000, `unlimited` or `default`" in wrong.stderr
    missing = ringback(tmp_path, "organisation", "list")
    assert missing.returncode == 2 and "there is no database" in missing.stderr and list(tmp_path.iterdir()) == []
    assert ringback(tmp_path, "token", "create").returncode == 0
    unknown = ringback(tmp_path, "organisation", "limit", "nobody", "--receive-rate", "5")
    assert (unknown.returncode, unknown.stderr) == (1, "ringback: no organisation is named 'nobody'\n")
