"""Which tests go to one process together, and what is begun first? For `--dist loadfile` of pytest-xdist; neither changes a result."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

# All pages of the dashboard but the module that takes longest: they have one shop and one browser, which each process would start anew.
BROWSER = "tests/dashboard/test_browser.py"
DASHBOARD = "tests/dashboard/"
# What takes a minute and more, the longest first. Begun late, one of them would keep one process at work when all others are done.
LONGEST = (
    BROWSER,
    DASHBOARD,
    "tests/acceptance/test_crash.py",
    "tests/acceptance/test_operational_crash.py",
    "tests/acceptance/test_drain.py",
    "tests/acceptance/test_delivery.py",
    "tests/engine/test_memory_and_restarts.py",
    "tests/acceptance/test_receiving_crash.py",
    "tests/acceptance/test_openapi_fuzz.py",
    "tests/acceptance/test_subscriptions.py",
    "tests/acceptance/test_reconciliation.py",
    "tests/gateway/test_bins.py",
    "tests/acceptance/test_polling.py",
    "tests/acceptance/test_ordering.py",
    "tests/gateway/test_relay.py",
    "tests/acceptance/test_declared_sources.py",
    "tests/acceptance/test_full_disk.py",
    "tests/gateway/test_slow_and_many.py",
    "tests/api/test_bad_input_slow.py",
    "tests/acceptance/test_crash_on_a_full_disk.py",
    "tests/acceptance/test_background_tasks.py",
    "tests/unit/signing/test_official_packages_hostile.py",
    "tests/store/operations/test_filtered_lists.py",
)


def share_of(nodeid: str) -> str:
    """The name of what goes to one process with this test: its module, or the dashboard."""
    module = nodeid.partition("::")[0]
    return DASHBOARD if module.startswith(DASHBOARD) and module != BROWSER else module


def arrange(items: list[pytest.Item]) -> None:
    """The longest shares first, then those with the most tests."""
    sizes = collections.Counter(share_of(item.nodeid) for item in items)
    places = {share: place for place, share in enumerate(LONGEST)}
    items.sort(key=lambda item: (places.get(share := share_of(item.nodeid), len(places)), -sizes[share]))


def scheduler(config: pytest.Config, log: Any) -> Any:
    """What hands out the shares; None for other ways to distribute."""
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByShare(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    return ByShare(config, log)
