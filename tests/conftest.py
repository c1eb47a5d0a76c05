"""What every test runs under: which event loop, how hard hypothesis tries, and an environment without settings of the machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

from tests import shares, syntax

syntax.steady()

# The suite runs on the loop that `ringback serve` runs on; RINGBACK_TEST_LOOP=asyncio runs it on Python's own.
LOOP = os.environ.get("RINGBACK_TEST_LOOP", "uvloop")

hypothesis.settings.register_profile(
    "ringback",
    # A machine with two cores under load makes single examples slow; what is tested is the law, not the time.
    deadline=None,
    # The same examples in every run: a failure in CI is a failure at home.
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
hypothesis.settings.load_profile("ringback")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As a shell has it for what it runs in the background: programs that are tested would not hear Ctrl-C either.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if LOOP == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    elif LOOP != "asyncio":
        raise pytest.UsageError(f"RINGBACK_TEST_LOOP={LOOP!r}: uvloop or asyncio")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        # One of several processes; a single one keeps the order of its arguments.
        shares.arrange(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return shares.scheduler(config, log)


def pytest_report_header(config: pytest.Config) -> str:
    return f"event loop: {LOOP}"


@pytest.fixture(autouse=True)
def _no_settings_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A developer's own RINGBACK_*, OTEL_* or proxy variables must not decide what a test sees."""
    for name in list(os.environ):
        ours = name.startswith(("RINGBACK_", "SVIX_", "OTEL_")) and not name.startswith("RINGBACK_TEST_")
        if ours or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    yield
