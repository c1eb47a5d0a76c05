"""Searches of a real server: they follow what is published, and neither a kill nor a broken index costs anything but time."""

from __future__ import annotations

import signal
import urllib.parse

from benchmarks import server
from tests.acceptance.serving import Serve
from tests.waiting import wait_until


def _found(running: server.Server, text: str) -> list[str] | None:
    status, answer = running.call("GET", f"/search?{urllib.parse.urlencode({'q': text, 'limit': 100})}")
    # While the index is made anew there is no answer.
    return [hit["msg"]["id"] for hit in answer["data"]] if status == 200 else None


def _publish(running: server.Server, *texts: str) -> list[str]:
    return [running.make("/app/shop/msg", {"eventType": "order.paid", "payload": {"text": text}})["id"] for text in texts]


def _until_found(running: server.Server, text: str, expected: list[str]) -> None:
    wait_until(lambda: _found(running, text) == sorted(expected, reverse=True), what=f"{text!r} is found")


def test_what_is_published_is_found_within_moments_and_after_a_kill(serve: Serve) -> None:
    running = serve()
    running.make("/app", {"name": "Shop", "uid": "shop"})
    known = _publish(running, *(f"word {n}" for n in range(30)))
    _until_found(running, "word", known)
    # Some of these are committed and not yet indexed.
    known += _publish(running, *(f"word {n}" for n in range(30)))
    running.stop(signal.SIGKILL)
    running = serve()
    _until_found(running, "word", known)
    assert _found(running, '"word 7"') == [known[37], known[7]]


def test_a_broken_index_is_made_anew_while_everything_else_goes_on(serve: Serve) -> None:
    running = serve()
    running.make("/app", {"name": "Shop", "uid": "shop"})
    known = _publish(running, "first", "second")
    _until_found(running, "first", known[:1])
    running.stop()
    path = running.database.with_name(running.database.name + ".search")
    path.write_bytes(b"this is no database" * 5_000)
    running = serve()
    known += _publish(running, "third")
    _until_found(running, "first", known[:1])
    _until_found(running, "third", known[2:])
    assert "search.rebuilt" in running.log_tail()


def test_switched_off_there_is_no_index_and_no_search(serve: Serve) -> None:
    running = serve()
    running.make("/app", {"name": "Shop", "uid": "shop"})
    _until_found(running, "word", _publish(running, "word"))
    running.stop()
    path = running.database.with_name(running.database.name + ".search")
    assert path.exists()
    running = serve(settings={"search": "false"})
    assert not path.exists()
    status, answer = running.call("GET", "/search?q=word")
    assert (status, answer["code"]) == (400, "search_disabled")
