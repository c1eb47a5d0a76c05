"""`ringback serve` with another key than the one that its database was sealed with. Real processes."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path

import apsw
import httpx

from tests.cli.test_serve import TOKEN, Command, answers
from tests.waiting import wait_until

SERVE = ("serve", "--listen", "127.0.0.1:0", "--database", "ringback.db")
SECRET = "a-main-secret-of-many-characters"


def serve(where: Path, **environ: str) -> tuple[Command, str]:
    """A server that is ready, and its URL."""
    command = Command(where, *SERVE, RINGBACK_TOKEN=TOKEN, **environ)
    wait_until(lambda: "serves http" in command.text(), what="a server", within_s=20)
    url = next(line for line in command.out if "serves http" in line).rpartition(" ")[2]
    # Signals are heard from then on.
    wait_until(lambda: answers(url), what="health")
    return command, url


def refused(where: Path, **environ: str) -> str:
    """What a server says that refuses to start."""
    command = Command(where, *SERVE, RINGBACK_TOKEN=TOKEN, **environ)
    assert command.process.wait(20) == 2, command.text()
    wait_until(lambda: bool(command.out), what="a word")
    assert "Traceback" not in command.text()
    return command.text()


def test_a_server_whose_key_file_is_not_the_first_one_refuses_to_start_and_makes_none(tmp_path: Path) -> None:
    key_file = tmp_path / "ringback.db.key"
    command, url = serve(tmp_path)
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}) as api:
        assert api.post("/app", json={"name": "Shop", "uid": "shop"}).status_code == 201
        assert api.post("/app/shop/endpoint", json={"url": "https://example.com/", "uid": "first"}).status_code == 201
    assert command.end() == 0
    key = key_file.read_text()
    for older in (False, True):
        if older:
            # As a version leaves it that did not keep which key it was.
            with apsw.Connection(str(tmp_path / "ringback.db")) as connection:
                connection.execute("DELETE FROM sealing")
        key_file.unlink()
        assert "there is no key file" in refused(tmp_path) and not key_file.exists()
        assert "sealed with another key than that of main_secret" in refused(tmp_path, RINGBACK_MAIN_SECRET=SECRET)
        key_file.write_text(secrets.token_hex(32))
        assert "sealed with another key than that of key file" in refused(tmp_path)
    key_file.write_text(key)
    command, _ = serve(tmp_path)
    assert command.end() == 0


def test_the_key_may_change_while_nothing_is_sealed_and_not_from_then_on(tmp_path: Path) -> None:
    command, _ = serve(tmp_path)
    assert command.end() == 0
    command, url = serve(tmp_path, RINGBACK_MAIN_SECRET=SECRET)
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}) as api:
        # The answer to a request that may be repeated is kept, and sealed.
        assert api.post("/app", json={"name": "Shop"}, headers={"idempotency-key": "once"}).status_code == 201
    assert command.end() == 0
    assert "sealed with another key than that of key file" in refused(tmp_path)
    (tmp_path / "ringback.db.key").unlink()
    assert "no main_secret is set" in refused(tmp_path)
    assert not (tmp_path / "ringback.db.key").exists()


def test_a_key_file_that_a_kill_left_unfinished_is_made_anew_and_one_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    key_file = tmp_path / "ringback.db.key"
    (tmp_path / "ringback.db.key.new").write_text("0123")
    command, _ = serve(tmp_path)
    assert command.end() == 0
    assert (len(key_file.read_text().strip()), stat.S_IMODE(key_file.stat().st_mode)) == (64, 0o600)
    assert not (tmp_path / "ringback.db.key.new").exists()
    key_file.unlink()
    key_file.mkdir()
    assert "cannot be read" in refused(tmp_path)


def test_a_database_of_an_older_version_with_sources_alone_keeps_its_key(tmp_path: Path) -> None:
    key_file = tmp_path / "ringback.db.key"
    command, url = serve(tmp_path)
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}) as api:
        assert api.post("/app", json={"name": "Shop", "uid": "shop"}).status_code == 201
        made = api.post("/app/shop/source", json={"name": "Bank", "type": "github", "secrets": [{"text": "a secret"}]})
        assert made.status_code == 201, made.text
    assert command.end() == 0
    with apsw.Connection(str(tmp_path / "ringback.db")) as connection:
        connection.execute("DELETE FROM sealing")
        connection.execute("DELETE FROM idempotency")
    key = key_file.read_text()
    key_file.unlink()
    assert "there is no key file" in refused(tmp_path) and not key_file.exists()
    assert "sealed with another key than that of main_secret" in refused(tmp_path, RINGBACK_MAIN_SECRET=SECRET)
    key_file.write_text(key)
    command, _ = serve(tmp_path)
    assert command.end() == 0


def test_a_key_file_beside_the_link_to_a_database_as_older_versions_made_it_is_still_the_key(tmp_path: Path) -> None:
    key_file, elsewhere = tmp_path / "ringback.db.key", tmp_path / "volume"
    command, url = serve(tmp_path)
    with httpx.Client(base_url=f"{url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}) as api:
        assert api.post("/app", json={"name": "Shop", "uid": "shop"}).status_code == 201
        assert api.post("/app/shop/endpoint", json={"url": "https://example.com/", "uid": "first"}).status_code == 201
    assert command.end() == 0
    elsewhere.mkdir()
    for name in ("ringback.db", "ringback.db-wal", "ringback.db-shm"):
        if (tmp_path / name).exists():
            (tmp_path / name).rename(elsewhere / name)
    (tmp_path / "ringback.db").symlink_to(elsewhere / "ringback.db")
    key = key_file.read_text()
    command, url = serve(tmp_path)
    assert httpx.get(f"{url}/api/v1/app/shop/endpoint/first", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert command.end() == 0
    assert key_file.read_text() == key and not (elsewhere / "ringback.db.key").exists()
