"""What a spool holds survives everything but what was never finished; and nothing of it is there to read."""

from __future__ import annotations

import asyncio
import functools
import os
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from ringback.errors import OperatorError
from ringback.store.spool import Spool, SpoolFailure
from ringback.store.vault import Vault

KEY = b"k" * 32
MIB = 1024 * 1024


def runs(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        async def whole() -> None:
            await test(*arguments, **named)

        asyncio.run(whole())

    return run


def opened(place: Path, most: int = MIB, key: bytes = KEY) -> Spool:
    return Spool.open(place / "spool", most, Vault(key))


def files(place: Path) -> list[Path]:
    return sorted(path for path in (place / "spool").iterdir() if path.name != "lock")


async def held(spool: Spool) -> list[bytes]:
    """All records, in order; the files go."""
    found: list[bytes] = []
    while (name := spool.oldest) is not None:
        found += await spool.read(name)
        await spool.remove(name)
    return found


@runs
async def test_records_come_back_in_their_order_after_a_restart(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(3):
        await spool.append(b"alone %d" % number)
    await asyncio.gather(*(spool.append(b"together %d" % number) for number in range(50)))
    assert len(files(tmp_path)) < 53, "what comes at once shares a file"
    assert spool.size_bytes == sum(path.stat().st_size for path in files(tmp_path))
    await spool.close()
    again = opened(tmp_path)
    assert (again.events, again.size_bytes) == (53, spool.size_bytes)
    await again.append(b"last")
    assert await held(again) == [*(b"alone %d" % n for n in range(3)), *(b"together %d" % n for n in range(50)), b"last"]
    assert (again.events, again.size_bytes, files(tmp_path)) == (0, 0, [])
    await again.close()


@runs
async def test_nothing_is_in_the_clear_and_others_may_not_read_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await spool.append(b"a secret of somebody" * 10)
    (path,) = files(tmp_path)
    assert b"secret" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    assert (tmp_path / "spool").stat().st_mode & 0o077 == 0
    await spool.close()
    other = opened(tmp_path, key=b"o" * 32)
    with pytest.raises(OperatorError, match="main_secret"):
        await other.read(path.name)
    assert files(tmp_path) == [path]
    await other.close()


@runs
async def test_a_file_that_is_cut_anywhere_was_never_acknowledged_and_is_gone(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await asyncio.gather(spool.append(b"one"), spool.append(b"two"))
    await spool.append(b"three")
    await spool.close()
    first, last = files(tmp_path)[0], files(tmp_path)[-1]
    whole = last.read_bytes()
    for length in range(len(whole)):
        last.write_bytes(whole[:length])
        again = opened(tmp_path)
        assert again.events == 2
        assert files(tmp_path) == [first]
        await again.close()


@runs
async def test_a_finished_file_that_is_spoilt_is_kept_for_a_person_and_counts(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for text in (b"one", b"two", b"three"):
        await spool.append(text)
    await spool.close()
    middle = files(tmp_path)[1]
    content = bytearray(middle.read_bytes())
    content[-1] ^= 1
    middle.write_bytes(content)
    again = opened(tmp_path)
    assert again.events == 2
    assert again.size_bytes == sum(path.stat().st_size for path in files(tmp_path))
    assert await held(again) == [b"one", b"three"]
    (kept,) = files(tmp_path)
    assert kept.name == f"{middle.name}.damaged"
    await again.close()
    third = opened(tmp_path)
    assert (third.events, third.size_bytes) == (0, kept.stat().st_size)
    await third.append(b"four")
    assert await held(third) == [b"four"]
    await third.close()


@runs
async def test_a_spoilt_file_that_cannot_be_renamed_is_not_removed_either(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await spool.append(b"one")
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    # A directory stands where it would go: as on a full disk, it cannot be renamed, and could be removed.
    path.with_name(f"{path.name}.damaged").mkdir()
    assert await held(spool) == []
    assert path.read_bytes() == content
    assert (spool.events, spool.size_bytes) == (0, len(content))
    await spool.close()


@runs
async def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_read_later(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await spool.append(b"one")
    name = spool.oldest or ""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, allowed[1]))
    try:
        with pytest.raises(SpoolFailure, match="cannot be read now"):
            await spool.read(name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)
    assert await held(spool) == [b"one"]
    await spool.close()


@runs
async def test_whoever_comes_when_nothing_can_be_written_any_more_is_told(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await spool.close()
    with pytest.raises(SpoolFailure, match="nothing was kept"):
        await asyncio.wait_for(spool.append(b"late"), 5)
    assert files(tmp_path) == []


@runs
async def test_every_bit_that_is_turned_is_noticed(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    await spool.append(b"one")
    await spool.close()
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x10
        path.write_bytes(spoilt)
        again = opened(tmp_path)
        assert again.events == 0
        await again.close()
        (tmp_path / "spool" / f"{path.name}.damaged").unlink()


@runs
async def test_no_more_is_kept_than_it_may_hold(tmp_path: Path) -> None:
    spool = opened(tmp_path, 64 * 1024)
    kept = 0
    with pytest.raises(SpoolFailure, match="spool_max_bytes"):
        for _ in range(100):
            await spool.append(os.urandom(4_000))
            kept += 1
    assert kept == 16
    assert "the spool is full" in (await spool.problem() or "")
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 64 * 1024
    assert spool.oldest is not None
    await spool.remove(spool.oldest)
    await spool.append(os.urandom(4_000))
    await spool.close()


@runs
async def test_a_second_server_is_refused_the_same_directory(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(OperatorError, match="in use"):
        opened(tmp_path)
    await spool.close()
    await opened(tmp_path).close()


@runs
async def test_what_is_no_directory_is_refused_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(OperatorError, match="spool_path"):
        opened(tmp_path)
