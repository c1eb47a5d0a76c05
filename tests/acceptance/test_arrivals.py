"""The journal of a source over an orderly end: what was noted is written down, however short the server lived since."""

from __future__ import annotations

import signal

from tests.acceptance.provider import SECRET, send
from tests.acceptance.serving import Serve


def test_what_was_noted_in_the_last_seconds_is_written_down_at_sigterm(serve: Serve) -> None:
    running = serve()
    app_id = running.make("/app", {"name": "shop"})["id"]
    made = running.make(f"/app/{app_id}/source", {"name": "s", "type": "stripe", "secrets": [SECRET]})
    called = "/" + made["ingestUrl"].split("/", 3)[3]
    assert [send(running, called, 1) for _ in range(3)] == [200] * 3
    running.stop(signal.SIGTERM)
    again = serve(running.database)
    status, page = again.call("GET", f"/app/{app_id}/source/{made['id']}/arrival?outcome=duplicate")
    assert status == 200 and len(page["data"]) == 2
    _, events = again.call("GET", f"/app/{app_id}/source/{made['id']}/event")
    assert {entry["duplicateOf"] for entry in page["data"]} == {event["id"] for event in events["data"]}
    _, source = again.call("GET", f"/app/{app_id}/source/{made['id']}")
    assert (source["activity"]["accepted"], source["activity"]["duplicates"]) == (1, 2)
