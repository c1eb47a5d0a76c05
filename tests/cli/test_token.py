"""`ringback token` and `ringback migrate` on a database that no server holds, as real processes."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from pathlib import Path

import pytest

from benchmarks import server
from ringback.clock import SystemClock
from ringback.config.running import RunningServer, announce, find, withdraw
from ringback.ids import IdMaker
from ringback.services.tokens import Principal, Tokens
from ringback.store.opening import open_store
from tests.cli.running import ringback


def believed(where: Path, text: str) -> Principal | str:
    """Who a server on this database takes the bearer of this token for, or why for nobody."""

    async def scenario() -> Principal | str:
        clock = SystemClock()
        store = await open_store(f"sqlite:///{where / 'ringback.db'}", clock)
        tokens = Tokens(store, clock, IdMaker(), secrets.randbits)
        try:
            await tokens.ensure_first(None)
            return await tokens.authenticate(f"Bearer {text}".encode())
        except Exception as error:
            return type(error).__name__
        finally:
            await store.close()

    return asyncio.run(scenario())


def test_a_token_that_is_made_is_believed_until_it_is_revoked(tmp_path: Path) -> None:
    made = ringback(tmp_path, "token", "create")
    assert made.returncode == 0
    text = made.stdout.strip()
    assert text.startswith("sk_") and isinstance(believed(tmp_path, text), Principal)

    listed = ringback(tmp_path, "token", "list").stdout
    assert text not in listed and "usable" in listed
    (identifier,) = (line.split()[0] for line in listed.splitlines() if line.startswith("key_") and "first" not in line)

    assert ringback(tmp_path, "token", "revoke", identifier).stdout == f"revoked {identifier}\n"
    assert believed(tmp_path, text) == "Unauthenticated"
    assert "revoked" in ringback(tmp_path, "token", "list").stdout


def test_a_database_that_was_made_for_a_token_is_told_of_once_and_beside_the_token(tmp_path: Path) -> None:
    first, second = ringback(tmp_path, "token", "create"), ringback(tmp_path, "token", "create")
    assert first.stderr == "ringback: made the database ringback.db; if your server has another, name that one with --database\n"
    assert (first.stdout.count("\n"), second.stderr) == (1, "")


def test_tokens_belong_to_the_organisation_that_is_named(tmp_path: Path) -> None:
    one, other = (ringback(tmp_path, "token", "create", "--org", org).stdout.strip() for org in ("acme", "default"))
    of_acme, of_default = believed(tmp_path, one), believed(tmp_path, other)
    assert isinstance(of_acme, Principal) and isinstance(of_default, Principal) and of_acme.org_id != of_default.org_id
    assert len(ringback(tmp_path, "token", "list", "--org", "acme").stdout.splitlines()) == 2


def test_no_token_is_made_for_an_organisation_without_a_name(tmp_path: Path) -> None:
    done = ringback(tmp_path, "token", "create", "--org", "")
    assert (done.returncode, done.stdout) == (2, "") and "leave --org out" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [("revoke", "key_unknown"), ("list", "--org", "unknown")])
def test_what_does_not_exist_is_named_on_stderr_alone(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert ringback(tmp_path, "migrate").returncode == 0
    done = ringback(tmp_path, "token", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "unknown" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("revoke", "key_unknown"), ("list",)])
def test_a_database_whose_name_was_mistyped_is_not_made(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = ringback(tmp_path, "token", *words, "--database", "rinkback.db")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ringback: there is no database rinkback.db; name the one of your server with --database\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("serve", "--listen", "127.0.0.1:0"), ("migrate",)])
def test_a_file_that_is_no_database_is_told_and_left_as_it_is(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "ringback.db").write_bytes(b"not a database at all " * 300)
    done = ringback(tmp_path, *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ringback: database ringback.db: the file is damaged, or was never a SQLite database")
    assert (tmp_path / "ringback.db").read_bytes() == b"not a database at all " * 300


def test_migrate_makes_a_private_database_and_may_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        done = ringback(tmp_path, "migrate", "--database", "some.db")
        assert done.returncode == 0 and done.stdout == "some.db is at this version\n"
    assert stat.S_IMODE((tmp_path / "some.db").stat().st_mode) == 0o600


def test_a_directory_that_does_not_exist_is_one_clear_message(tmp_path: Path) -> None:
    done = ringback(tmp_path, "migrate", "--database", "missing/some.db")
    assert done.returncode == 2
    assert "missing/some.db" in done.stderr and "Traceback" not in done.stderr


def test_a_running_server_is_found_by_its_owner_alone(tmp_path: Path) -> None:
    database = str(tmp_path / "ringback.db")
    assert find(database) is None
    announce(database, RunningServer("http://127.0.0.1:1", "hush"))
    found = find(database)
    assert found == RunningServer("http://127.0.0.1:1", "hush") and "hush" not in repr(found)
    assert stat.S_IMODE(os.stat(f"{database}.server").st_mode) == 0o600
    withdraw(database)
    withdraw(database)
    assert find(database) is None


def test_a_server_that_was_killed_does_not_stand_in_the_way(tmp_path: Path) -> None:
    announce(str(tmp_path / "ringback.db"), RunningServer("http://127.0.0.1:1", "hush"))
    assert ringback(tmp_path, "token", "create").returncode == 0


def test_the_list_says_when_a_token_was_used_last(tmp_path: Path) -> None:
    text = ringback(tmp_path, "token", "create").stdout.strip()
    unused = ringback(tmp_path, "token", "list").stdout.splitlines()
    assert "LAST USED" in unused[0] and unused[1].split()[5] == "-"
    running = server.start(tmp_path / "ringback.db")
    used = {"authorization": f"Bearer {text}"}
    try:
        app = running.call("POST", "/app", {"name": "a"}, used)[1]["id"]
        assert running.call("POST", f"/app/{app}/msg", {"eventType": "a", "payload": {}}, used)[0] == 202
    finally:
        # It is written down once a minute, and at the end.
        assert running.stop() == 0
    line = next(line for line in ringback(tmp_path, "token", "list").stdout.splitlines() if line.split()[1:2] and "usable" in line)
    assert line.split()[5] > line.split()[4], "used after it was made"
