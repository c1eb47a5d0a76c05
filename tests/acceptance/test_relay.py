"""Does the relay work in a real server process? Deliveries reach a listener, SIGTERM says goodbye, and who needs none pays nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest
import websockets

from benchmarks.server import Server
from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.waiting import wait_until

TOKEN = "c_ABCDEFGHIJ"


@contextlib.asynccontextmanager
async def _listening(server: Server) -> AsyncIterator[websockets.ClientConnection]:
    async with websockets.connect(f"ws://127.0.0.1:{server.port}/api/v1/listen/") as connection:
        await connection.send(json.dumps({"type": "start", "version": 1, "data": {"token": TOKEN}}))
        assert json.loads(await connection.recv())["data"]["token"] == TOKEN
        yield connection


async def _closed(connection: websockets.ClientConnection) -> int:
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await connection.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


def test_a_message_delivered_to_a_relay_reaches_the_listener_signed(serve: Serve) -> None:
    running = serve()
    app_id = running.make("/app", {"name": "relayed"})["id"]
    running.make(f"/app/{app_id}/endpoint", {"url": f"{running.url}/in/{TOKEN}/"})

    async def story() -> None:
        async with _listening(running) as connection:
            sent = await asyncio.to_thread(running.make, f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"a": 1}})
            event = json.loads(await connection.recv())["data"]
            assert json.loads(base64.b64decode(event["body"])) == {"a": 1}
            assert event["headers"]["webhook-id"] == sent["id"]
            assert event["headers"]["webhook-signature"].startswith("v1,")
            answer = {"id": event["id"], "status": 200, "headers": {}, "body": ""}
            await connection.send(json.dumps({"type": "event", "version": 1, "data": answer}).encode())

        def delivered() -> bool:
            found = running.call("GET", f"/app/{app_id}/attempt/msg/{sent['id']}")[1]["data"]
            return [attempt["responseStatusCode"] for attempt in found] == [200]

        await asyncio.to_thread(wait_until, delivered)

    asyncio.run(story())


def test_sigterm_lets_a_listener_answer_and_closes_its_socket_with_a_reason(serve: Serve) -> None:
    running = serve()

    async def story() -> None:
        async with _listening(running) as connection, httpx.AsyncClient(base_url=running.url, timeout=20) as http:
            asked = asyncio.ensure_future(http.post(f"/in/{TOKEN}/", content=b"last"))
            event = json.loads(await connection.recv())["data"]
            running.process.send_signal(signal.SIGTERM)
            answer = {"id": event["id"], "status": 207, "headers": {}, "body": ""}
            await connection.send(json.dumps({"type": "event", "version": 1, "data": answer}).encode())
            assert (await asked).status_code == 207
            assert await _closed(connection) == 1012

    asyncio.run(story())
    assert running.process.wait(10) == 0
    assert "Traceback" not in running.log.read_text()


def test_sigterm_does_not_wait_for_a_listener_that_hangs(serve: Serve, receiver: Receiver) -> None:
    running = serve()

    async def story() -> None:
        async with _listening(running) as connection, httpx.AsyncClient(base_url=running.url, timeout=20) as http:
            asked = asyncio.ensure_future(http.post(f"/in/{TOKEN}/", content=b"last"))
            await connection.recv()
            running.process.send_signal(signal.SIGTERM)
            assert (await asked).json()["code"] == "relay_gone"
            assert await _closed(connection) == 1012

    asyncio.run(story())
    assert running.process.wait(10) == 0
    assert "Traceback" not in running.log.read_text()


def test_a_server_that_relays_nothing_loads_nothing_for_it() -> None:
    code = "import sys, ringback.app.server; print([name for name in ('websockets', 'jinja2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_an_endpoint_that_is_a_bin_of_this_very_server_counts_as_one(serve: Serve) -> None:
    running = serve(settings={"public_url": "http://localhost:1234"})
    port = running.port
    for uid, url in {
        "own": f"http://127.0.0.1:{port}/in/plainbin42/",
        "named": f"http://localhost:{port}/in/c_ABCDEFGHIJ/further?x=1",
        "public": "http://localhost:1234/in/plainbin42",
        "beside": f"http://127.0.0.1:{port}/webhooks/own",
        "other port": "http://127.0.0.1:9/in/plainbin42/",
        "other host": "https://hooks.example.com/in/plainbin42/",
        "svix": "https://play.svix.com/in/c_ABCDEFGHIJ/",
    }.items():
        app_id = running.make("/app", {"name": uid})["id"]
        running.make(f"/app/{app_id}/endpoint", {"url": url})
    listed = running.call("GET", "/app?exclude_apps_with_svix_play_endpoints=true")[1]["data"]
    assert [application["name"] for application in listed] == ["beside", "other port", "other host"]
