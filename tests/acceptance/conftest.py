"""Real servers and a real receiver, ended with the test that used them."""

from __future__ import annotations

import pathlib
import typing

import pytest

from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> typing.Iterator[Serve]:
    starter = Serve(tmp_path)
    yield starter
    starter.end()


@pytest.fixture
def receiver() -> typing.Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()
