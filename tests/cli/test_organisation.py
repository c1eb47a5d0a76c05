"""`ringback organisation` with and without a server, as real processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from benchmarks import server
from ringback.clock import SystemClock
from ringback.config.running import find
from ringback.store.opening import open_store
from tests.cli.running import ringback


async def made(database: Path) -> None:
    """An empty database."""
    store = await open_store(f"sqlite:///{database}", SystemClock())
    await store.close()


def test_a_limit_is_set_where_no_server_runs_and_changed_in_one_that_does(tmp_path: Path) -> None:
    assert ringback(tmp_path, "token", "create", "--org", "tenant").returncode == 0
    made = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "1")
    assert (made.stdout, made.stderr, made.returncode) == ("tenant: 1/s\n", "", 0)

    running = server.start(tmp_path / "ringback.db")
    try:
        listed = [line.split() for line in ringback(tmp_path, "organisation", "list").stdout.splitlines()[1:]]
        assert {words[3]: words[1] for words in listed} == {"tenant": "1/s", "default": "default"}
        operator = find(str(running.database))
        assert operator is not None
        token = running.call("POST", "/operator/token", {"org": "tenant"}, {"authorization": f"Bearer {operator.token}"})[1]["token"]
        tenant = {"authorization": f"Bearer {token}"}
        app = running.call("POST", "/app", {"name": "a"}, tenant)[1]["id"]
        source = running.call("POST", f"/app/{app}/source", {"name": "s", "type": "generic-webhook"}, tenant)[1]
        with httpx.Client(trust_env=False) as client:
            assert 429 in {client.post(source["ingestUrl"], content=b"{}").status_code for _ in range(30)}
            changed = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "unlimited")
            assert changed.stdout == "tenant: unlimited\n"
            assert {client.post(source["ingestUrl"], content=b"{}").status_code for _ in range(30)} == {200}
    finally:
        running.stop()


def test_what_is_no_rate_and_who_is_no_organisation_is_told(tmp_path: Path) -> None:
    wrong = ringback(tmp_path, "organisation", "limit", "tenant", "--receive-rate", "0")
    assert wrong.returncode == 2 and "'0' is no rate; use a number from 1 to 1000000, `unlimited` or `default`" in wrong.stderr
    missing = ringback(tmp_path, "organisation", "list")
    assert missing.returncode == 2 and "there is no database" in missing.stderr and list(tmp_path.iterdir()) == []
    asyncio.run(made(tmp_path / "ringback.db"))
    unknown = ringback(tmp_path, "organisation", "limit", "nobody", "--receive-rate", "5")
    assert (unknown.returncode, unknown.stderr) == (1, "ringback: no organisation is named 'nobody'\n")
