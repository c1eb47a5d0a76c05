"""What every test runs under: which event loop, how hard hypothesis tries, and an environment without settings of the machine."""

from __future__ import annotations

import asyncio
import collections
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The suite runs on the loop that `ringback serve` runs on; RINGBACK_TEST_LOOP=asyncio runs it on Python's own.
LOOP = os.environ.get("RINGBACK_TEST_LOOP", "uvloop")

ROOT = Path(__file__).parent
# Modules that take a minute and more, the longest first. Begun late, one of them would keep one process at work when all others are done.
LONGEST = (
    "dashboard/test_browser.py",
    "acceptance/test_crash.py",
    "acceptance/test_operational_crash.py",
    "acceptance/test_drain.py",
    "acceptance/test_delivery.py",
    "acceptance/test_sdk_ingest.py",
    "engine/test_memory_and_restarts.py",
    "acceptance/test_receiving_crash.py",
    "acceptance/test_openapi_fuzz.py",
    "acceptance/test_subscriptions.py",
    "acceptance/test_reconciliation.py",
    "dashboard/test_receiving.py",
    "dashboard/test_pages.py",
    "dashboard/test_entrance.py",
    "gateway/test_bins.py",
    "acceptance/test_polling.py",
    "acceptance/test_ordering.py",
    "gateway/test_relay.py",
    "cli/test_token.py",
    "unit/signing/test_official_packages_hostile.py",
    "store/operations/test_filtered_lists.py",
)

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
    if LOOP == "uvloop":
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    elif LOOP != "asyncio":
        raise pytest.UsageError(f"RINGBACK_TEST_LOOP={LOOP!r}: uvloop or asyncio")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several processes: the longest modules first, then those with the most tests."""
    if not hasattr(config, "workerinput"):
        return
    sizes = collections.Counter(item.path for item in items)
    first = {ROOT / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (first.get(item.path, len(first)), -sizes[item.path]))


def pytest_report_header(config: pytest.Config) -> str:
    return f"event loop: {LOOP}"


@pytest.fixture(autouse=True)
def _no_settings_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A developer's own RINGBACK_* or proxy variables must not decide what a test sees."""
    for name in list(os.environ):
        ours = name.startswith(("RINGBACK_", "SVIX_")) and not name.startswith("RINGBACK_TEST_")
        if ours or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    yield
