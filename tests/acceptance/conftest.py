"""Real servers and a real receiver, ended with the test that used them."""

from __future__ import annotations

import os
import pathlib
import typing

import pytest

from benchmarks import server
from tests.acceptance.comparing import Play
from tests.acceptance.disk import DISK_MIB, Disk
from tests.acceptance.provider_api import Asked, ProviderApi, Said
from tests.acceptance.receiver import Receiver
from tests.acceptance.sdk_surface import Sdk
from tests.acceptance.serving import QUICK_RETRIES, Serve, Shared


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> typing.Iterator[Serve]:
    starter = Serve(tmp_path)
    yield starter
    starter.end()


@pytest.fixture
def disk_mib() -> int:
    """The size of the disk; a module may have another one."""
    return DISK_MIB


@pytest.fixture
def disk(tmp_path: pathlib.Path, disk_mib: int) -> typing.Iterator[Disk]:
    made = Disk(tmp_path, disk_mib)
    trouble = "mounting needs root" if os.geteuid() else made.make()
    if trouble:
        pytest.skip(f"no disk of our own: {trouble}")
    yield made
    made.unmount()


# After `disk`, so that the servers end before their disk is taken away.
@pytest.fixture
def serve_there(disk: Disk, serve: Serve) -> Serve:
    return serve


@pytest.fixture
def receiver() -> typing.Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture
def play() -> typing.Iterator[Play]:
    made: list[ProviderApi] = []

    def start(answer: typing.Callable[[Asked], Said]) -> ProviderApi:
        made.append(ProviderApi(answer))
        return made[-1]

    yield start
    for api in made:
        api.close()


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Shared]:
    servers = Shared(tmp_path_factory.mktemp("shared"))
    yield servers
    servers.end()


@pytest.fixture
def shared(_shared: Shared, receiver: Receiver) -> typing.Iterator[Shared]:
    """Servers that this test shares with others, and leaves as it found them, while its receiver still listens."""
    yield _shared
    _shared.give_back()


@pytest.fixture(scope="session")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> typing.Iterator[Sdk]:
    """One server for all tests that only ask it for things; each brings its own application."""
    running = server.start(tmp_path_factory.mktemp("sdk") / "ringback.db", QUICK_RETRIES)
    opened = Receiver()
    yield Sdk(running, opened)
    running.stop()
    opened.close()
