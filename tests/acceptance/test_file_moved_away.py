"""What does an operator read while the file of the database is somewhere else? One line when it goes, one when it is back."""

from __future__ import annotations

import json
import urllib.request

import pytest

from tests.acceptance.receiver import OK, SILENCE, Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until


@pytest.mark.parametrize("moved", ["ringback.db", "."], ids=["file", "directory"])
def test_a_file_that_was_moved_away_is_told_once_and_gauges_go_on(serve: Serve, receiver: Receiver, moved: str) -> None:
    place = serve.directory / "place"
    place.mkdir()
    running = serve(place / "ringback.db")
    app_id = running.make("/app", {"name": "moved"})["id"]
    endpoint_id = running.make(f"/app/{app_id}/endpoint", {"url": f"{receiver.url}/in"})["id"]
    message_id = running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"a": 1}})["id"]
    wait_until(lambda: receiver.accepted, what="the first attempt arrives")

    def told() -> list[str]:
        return [json.loads(line)["event"] for line in running.log.read_text().splitlines() if line.startswith("{")]

    def in_flight(count: int) -> bool:
        with urllib.request.urlopen(f"{running.url}/metrics") as answer:
            return f"\nringback_in_flight {count}.0\n".encode() in answer.read()

    there, aside = place / moved, serve.directory / "aside"
    there.rename(aside)
    wait_until(lambda: "database.gone" in told(), what="the log says that the file is gone")
    receiver.decide = lambda arrival: SILENCE
    for count in (1, 2, 3):
        # Each is seen by another round of the gauges.
        running.make(f"/app/{app_id}/msg/{message_id}/endpoint/{endpoint_id}/resend", {})
        wait_until(lambda count=count: in_flight(count), what="the gauge follows")
    receiver.decide = lambda arrival: OK
    aside.rename(there)
    wait_until(lambda: "database.back" in told(), what="the log says that the file is back")
    assert [event for event in told() if event not in ("database.migrated", "server.started")] == ["database.gone", "database.back"]
