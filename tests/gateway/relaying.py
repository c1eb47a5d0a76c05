"""A whole server in the test's own loop, with times short enough to wait for, and clients that follow the contract (section 14)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import websockets
from websockets.asyncio.client import ClientConnection

from ringback.api.deadlines import Sweeper
from ringback.app.doors import Doors
from ringback.app.parts import Parts
from ringback.config import Settings
from ringback.config.values import HostPort
from ringback.services.relay import Timing

# Long beside what anything healthy takes on a busy machine, except where a test waits for the very time.
PATIENT = Timing(start_s=10.0, answer_s=15.0, ping_s=20.0, pong_s=20.0, close_s=1.0, drain_s=3.0)
TOKEN = "c_ABCDEFGHIJ"
# Seconds for one story: a hang is a failure, not a stuck suite.
STORY_S = 40


class Serving:
    """A running server."""

    def __init__(self, port: int, doors: Doors, http: httpx.AsyncClient, stop: Callable[[], Awaitable[None]]) -> None:
        self.port = port
        self.doors = doors
        self.http = http
        self.stop = stop

    async def send(self, path: str = f"/in/{TOKEN}/", body: bytes = b"", *, method: str = "POST", **headers: str) -> httpx.Response:
        return await self.http.request(method, path, content=body, headers={n.replace("_", "-"): v for n, v in headers.items()})

    @contextlib.asynccontextmanager
    async def socket(self, path: str = "/api/v1/listen/", **options: Any) -> AsyncIterator[ClientConnection]:
        async with websockets.connect(f"ws://127.0.0.1:{self.port}{path}", max_size=None, **options) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def listener(self, token: str = TOKEN, **options: Any) -> AsyncIterator[Listener]:
        async with self.socket(**options) as connection:
            listener = Listener(connection)
            await listener.start(token)
            yield listener

    async def raw(self, *pieces: bytes) -> bytes:
        """Bytes on a connection of their own; all that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


class Listener:
    """The command-line client's side of a socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.token = ""

    async def start(self, token: str) -> None:
        await self.connection.send(json.dumps({"type": "start", "version": 1, "data": {"token": token}}))
        started = json.loads(await self.connection.recv())
        assert (started["type"], started["version"]) == ("start", 1)
        self.token = started["data"]["token"]

    async def event(self) -> dict[str, Any]:
        """The next request; its body decoded."""
        message = json.loads(await self.connection.recv())
        assert (message["type"], message["version"]) == ("event", 1)
        data: dict[str, Any] = message["data"]
        assert set(data) == {"id", "method", "headers", "body"}
        data["body"] = base64.b64decode(data["body"], validate=True)
        return data

    async def answer(self, event_id: str, status: Any = 200, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        encoded = base64.b64encode(body).decode()
        data = {"id": event_id, "status": status, "headers": headers or {}, "body": encoded}
        await self.connection.send(json.dumps({"type": "event", "version": 1, "data": data}).encode())

    async def echo(self) -> None:
        """Answer everything with its own body, until the socket closes."""
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                event = await self.event()
                await self.answer(event["id"], 200, event["body"])


@contextlib.asynccontextmanager
async def serving(folder: Path, timing: Timing = PATIENT, **settings: Any) -> AsyncIterator[Serving]:
    """Serve from a database in `folder`."""
    chosen = Settings(listen_address=HostPort("127.0.0.1", 0), database_url=f"sqlite:///{folder}/r.db", **settings)
    async with contextlib.AsyncExitStack() as stack:
        parts = await Parts.open(chosen, stack)
        doors = Doors(parts, "op_test", ready=lambda: True)
        doors.relay.timing = timing
        config = uvicorn.Config(
            doors.app, "127.0.0.1", 0, http=doors.protocol(), ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        # As the real server: signals are handled elsewhere.
        task = asyncio.ensure_future(server._serve())
        while not server.started:
            await asyncio.sleep(0)
        sweeper = Sweeper(server.server_state.connections)
        port = server.servers[0].sockets[0].getsockname()[1]

        async def stop() -> None:
            server.should_exit = True
            await task
            for connection in list(server.server_state.connections):
                # Left over by a test that fails; the loop could not be closed.
                connection.transport.abort()
            await asyncio.sleep(0)

        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=STORY_S, limits=httpx.Limits()) as http:
                yield Serving(port, doors, http, stop)
        finally:
            await stop()
            sweeper.stop()
            await parts.transport.close()
            await doors.fetching.close()


def tell(story: Awaitable[None]) -> None:
    """Run a story to its end, or fail when it hangs."""

    async def limited() -> None:
        async with asyncio.timeout(STORY_S):
            await story

    with asyncio.Runner() as runner:
        runner.run(limited())
