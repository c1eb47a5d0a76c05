"""Does a server end cleanly? SIGTERM drains: stop accepting, finish what is in flight, lose nothing. And what a start must refuse."""

from __future__ import annotations

import asyncio
import itertools
import json
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

import pytest

from benchmarks import server
from tests.acceptance.publishing import Account, publish
from tests.acceptance.receiver import FAILED, OK, SILENCE, Answer, Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

# The drain of the contract, and what a busy machine may add, seconds.
DRAIN_S = 8.0
SLACK_S = 2.0


def _with_endpoint(running: server.Server, url: str) -> str:
    app_id: str = running.make("/app", {"name": "drain"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": url})
    return app_id


def _send(running: server.Server, app_id: str) -> str:
    sent: str = running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"a": 1}})["id"]
    return sent


def _refuses(running: server.Server) -> bool:
    try:
        socket.create_connection((running.host, running.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_sigterm_finishes_the_attempts_in_flight_and_repeats_none_of_them(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(after_s=1.0)
    running = serve()
    app_id = _with_endpoint(running, f"{receiver.url}/slow")
    sent = {_send(running, app_id) for _ in range(10)}
    wait_until(lambda: len(receiver.arrivals) == 10, what="all attempts are in flight")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < DRAIN_S
    assert receiver.ids() == sent

    running = serve(port=running.port)
    marker = _send(running, app_id)
    wait_until(lambda: marker in receiver.ids(), what="the restarted server delivers")
    assert len(receiver.arrivals) == 11, "an attempt that ended before the stop was made again"


def test_sigterm_does_not_wait_for_an_endpoint_that_hangs_and_its_message_comes_again_later(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: SILENCE
    running = serve()
    app_id = _with_endpoint(running, f"{receiver.url}/hang")
    sent = {_send(running, app_id) for _ in range(5)}
    wait_until(lambda: len(receiver.arrivals) == 5, what="all attempts hang")
    began = time.monotonic()
    assert running.stop() == 0
    assert time.monotonic() - began < DRAIN_S + SLACK_S

    receiver.decide = lambda arrival: OK
    serve(port=running.port)
    wait_until(lambda: receiver.ids() == sent, what="what was cut is delivered after the restart")


def test_sigterm_stops_accepting_at_once(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: Answer(after_s=2.0)
    running = serve()
    app_id = _with_endpoint(running, f"{receiver.url}/slow")
    _send(running, app_id)
    wait_until(lambda: receiver.arrivals, what="the attempt is in flight")
    running.process.send_signal(signal.SIGTERM)
    wait_until(lambda: _refuses(running), what="new connections are refused", within_s=1.5)
    assert running.process.poll() is None, "it should still be finishing the attempt"
    assert running.process.wait(DRAIN_S) == 0
    assert len(receiver.ids()) == 1


def test_sigterm_under_full_load_answers_or_cuts_every_request_and_loses_nothing_acknowledged(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    account = Account()

    async def load_then_stop() -> None:
        asyncio.get_running_loop().call_later(0.5, running.process.send_signal, signal.SIGTERM)
        await publish(running.port, app_id, running.token, itertools.count(1), account, connections=16)

    began = time.monotonic()
    asyncio.run(load_then_stop())
    assert running.process.wait(DRAIN_S + SLACK_S) == 0
    assert time.monotonic() - began < 0.5 + DRAIN_S + SLACK_S
    assert account.acknowledged
    assert set(account.refused.values()) <= {503}
    serve(port=running.port)
    wait_until(
        lambda: not (set(account.acknowledged.values()) - receiver.ids()), what="all that was acknowledged is delivered", within_s=30
    )


def test_retries_survive_a_restart(serve: Serve, receiver: Receiver) -> None:
    receiver.decide = lambda arrival: FAILED
    running = serve(settings={"retry_schedule": "1s,1s"})
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    sent = _send(running, app_id)
    wait_until(lambda: receiver.arrivals, what="the first attempt failed")
    assert running.stop() == 0
    receiver.decide = lambda arrival: OK
    serve(port=running.port, settings={"retry_schedule": "1s,1s"})
    wait_until(lambda: receiver.ids() == {sent}, what="the retry comes after the restart")
    first, second = receiver.arrivals
    assert second.at_s - first.at_s >= 1.0, "the retry came early"


def test_it_listens_on_ipv6(serve: Serve, receiver: Receiver) -> None:
    try:
        server.free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    running = serve(host="::1")
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    sent = _send(running, app_id)
    wait_until(lambda: receiver.ids() == {sent}, what="the message is delivered")


def test_ipv4_clients_of_a_server_on_both_families_are_on_this_machine_too(serve: Serve) -> None:
    try:
        server.free_port("::1")
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    running = serve(host="::")
    for host in ("127.0.0.1", "[::1]"):
        with urllib.request.urlopen(f"http://{host}:{running.port}/metrics", timeout=10) as answer:
            assert b"ringback_messages_accepted_total" in answer.read()


def test_a_second_server_on_the_same_file_refuses_clearly_and_leaves_the_first_alone(serve: Serve, receiver: Receiver) -> None:
    running = serve()
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    second = serve(wait=False)
    assert second.process.wait(15) == 2
    printed = second.log_tail()
    assert "Traceback" not in printed
    assert "in use by another ringback server" in printed and str(running.database) in printed
    sent = _send(running, app_id)
    wait_until(lambda: sent in receiver.ids(), what="the first server goes on")


def test_a_port_that_is_taken_is_refused_clearly(serve: Serve, tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = serve(tmp_path / "other.db", port=port, wait=False)
        assert failed.process.wait(15) in (1, 2)
    assert f"127.0.0.1:{port}" in failed.log_tail()
    assert "Traceback" not in failed.log_tail()


def test_it_works_without_uvloop(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"uvloop": "false"})
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    account = Account()
    asyncio.run(publish(running.port, app_id, running.token, iter(range(200)), account, connections=8))
    assert len(account.acknowledged) == 200
    wait_until(lambda: receiver.ids() == set(account.acknowledged.values()), what="all messages are delivered")
    assert running.stop() == 0


def test_a_wrong_setting_is_refused_with_the_name_that_was_meant(serve: Serve) -> None:
    failed = serve(settings={"retry_shedule": "1,2"}, wait=False)
    assert failed.process.wait(15) > 0
    assert "retry_schedule" in failed.log_tail().lower()
    assert "Traceback" not in failed.log_tail()


def test_the_version_is_printed_without_a_database(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [*server.command(), "version"], env=server.environment({}), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0
    assert done.stdout.strip()
    assert list(tmp_path.iterdir()) == []


def test_logs_never_hold_secrets_or_payloads(serve: Serve, receiver: Receiver) -> None:
    running = serve(settings={"log_level": "debug"})
    app_id = _with_endpoint(running, f"{receiver.url}/in")
    endpoint_id = running.call("GET", f"/app/{app_id}/endpoint")[1]["data"][0]["id"]
    secret = running.call("GET", f"/app/{app_id}/endpoint/{endpoint_id}/secret")[1]["key"]
    running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"card": "4111-secret-payload"}})
    wait_until(lambda: receiver.accepted, what="the message is delivered")
    assert running.stop() == 0
    printed = running.log.read_text()
    for hidden in (secret, secret.removeprefix("whsec_"), running.token, "4111-secret-payload"):
        assert hidden not in printed


def test_the_token_made_at_first_start_is_printed_once_and_works(serve: Serve) -> None:
    running = serve(settings={"token": ""}, wait=False)
    wait_until(running.healthy, what="the server is ready")
    words = running.log.read_text().replace('"', " ").split()
    tokens = {word.strip("',.") for word in words if word.strip("',.").startswith("sk_")}
    assert len(tokens) == 1
    running.token = tokens.pop()
    status, listed = running.call("GET", "/app")
    assert (status, listed["data"]) == (200, [])
    assert running.stop() == 0
    before = running.log.read_text().count(running.token)
    again = serve(settings={"token": ""}, port=running.port)
    assert again.log.read_text().count(running.token) == before == 1
    assert json.dumps(again.call("GET", "/app")[1])
