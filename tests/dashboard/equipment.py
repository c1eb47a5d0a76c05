"""What the pages beside messages and endpoints need: dead letters, sources, requests in quarantine, and so on. Made through the API.

Used by the tests of the dashboard and by `scripts/screenshots`.
"""

from __future__ import annotations

import dataclasses

from benchmarks.server import Server
from tests.waiting import wait_until


@dataclasses.dataclass
class Equipment:
    """What was made, by name."""

    yard: str
    given_up: str
    task: str


def equip(server: Server, receiver_url: str) -> Equipment:
    """Make all of it."""
    yard = server.make("/app", {"name": "Dead Letter Office", "uid": "office"})["id"]
    given_up = server.make(f"/app/{yard}/endpoint", {"url": f"{receiver_url}/given-up", "description": "Wants no second attempt"})["id"]
    for number in range(3):
        server.make(f"/app/{yard}/msg", {"eventType": "payment.captured", "payload": {"number": number}})
    task = server.make("/stats/usage/app", {"since": "2026-01-01T00:00:00Z", "until": "2099-01-01T00:00:00Z"})["id"]
    wait_until(lambda: len(server.call("GET", f"/app/{yard}/dead-letter")[1]["data"]) == 3, what="dead letters")
    return Equipment(yard, given_up, task)
