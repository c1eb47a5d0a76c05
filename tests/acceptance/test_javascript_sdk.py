"""Does the official JavaScript SDK work with nothing changed but the server URL? Its suite is in tests/javascript, run by Node."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import typing

import pytest

from tests.acceptance.sdk_surface import Sdk

ROOT: typing.Final = pathlib.Path(__file__).parent.parent.parent
SUITE: typing.Final = ROOT / "tests" / "javascript" / "sdk.test.mjs"
# Longest time of the whole suite, seconds: it takes three.
PATIENCE_S: typing.Final = 120.0
# And of installing what it needs, which is there already in CI.
INSTALL_S: typing.Final = 300.0


def declared() -> list[str]:
    """The names of the tests in the suite."""
    return re.findall(r'^test\("([^"]+)"', SUITE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def report(sdk: Sdk) -> str:
    """What Node's runner says after the whole suite, in the Test Anything Protocol."""
    subprocess.run([ROOT / "scripts" / "node"], check=True, timeout=INSTALL_S)
    chosen = {"RINGBACK_TEST_URL": sdk.server.url, "RINGBACK_TEST_TOKEN": sdk.server.token, "RINGBACK_TEST_RUN": sdk.name("js")}
    ran = subprocess.run(
        ["node", "--test-reporter=tap", str(SUITE)],
        env=os.environ | chosen,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("name", declared())
def test_the_suite_of_the_javascript_sdk(report: str, name: str) -> None:
    assert re.search(rf"^ok \d+ - {re.escape(name)}$", report, re.MULTILINE), report
