from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringback.api.app import Services, Settings, build
from ringback.api.auth import Access
from ringback.api.intake import BodyReader
from ringback.api.routing import Answer, Call, Operation, answer
from ringback.clock import SystemClock
from ringback.ids import IdMaker
from ringback.services.applications import Applications
from ringback.services.endpoints import Endpoints
from ringback.services.event_types import EventTypes
from ringback.services.health import Health
from ringback.services.idempotency import Idempotency
from ringback.services.tokens import Tokens
from ringback.store.opening import open_store
from ringback.store.vault import Vault
from tests.fresh import laid

TOKEN = "sk_test_token_of_the_default_organisation"
HOUR_US = 3_600_000_000


class Changes:
    """A directory that only notes what it was told."""

    def __init__(self) -> None:
        self.changed_ids: list[str] = []

    def changed(self, app_id: str) -> None:
        self.changed_ids.append(app_id)


class Api:
    """The real application over a real store, called without a socket; plain functions, so that a test reads from top to bottom."""

    def __init__(self, runner: asyncio.Runner, database: Path) -> None:
        self._runner = runner
        self._database = database
        self.broken = True
        self.run(self._open())

    def run(self, work: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await work

        return self._runner.run(awaited())

    async def _open(self) -> None:
        clock = SystemClock()
        make_id = IdMaker()
        self.vault = Vault(secrets.token_bytes(32))
        self.store = await open_store(f"sqlite:///{laid(self._database)}", clock)
        self.directory = Changes()
        self.tokens = Tokens(self.store, clock, make_id, secrets.randbits)
        self.idempotency = Idempotency(self.store, self.vault, clock, 12 * HOUR_US)
        self.services = Services(
            tokens=self.tokens,
            idempotency=self.idempotency,
            health=Health(self.store, clock),
            applications=Applications(self.store, clock, make_id, self.directory, self.tokens),
            endpoints=Endpoints(self.store, self.vault, clock, make_id, self.directory, secrets.token_bytes),
            event_types=EventTypes(self.store, clock),
        )
        await self.tokens.ensure_first(TOKEN)
        self.reader = BodyReader(64 * 1024, 1024 * 1024)
        faulty = Operation(
            method="POST",
            path="/api/v1/faulty",
            summary="Breaks while `broken`",
            handler=self._faulty,
            access=Access.ORGANISATION,
            answers={},
        )
        self.app = build(self.services, self.reader, Settings(idempotency_wait_s=1.0), metrics=lambda: b"up 1\n", more=[faulty])

    async def _faulty(self, call: Call) -> Answer:
        if self.broken:
            raise ZeroDivisionError("a secret detail")
        return answer(200, "whole")

    async def _call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, **parts)

    def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, headers: Any = None, **parts: Any
    ) -> httpx.Response:
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("authorization", f"Bearer {token}")
        if body is not None:
            parts["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = self.run(self._call(method, "/api/v1" + path, headers=sent, **parts))
        if response.content and method != "HEAD":
            assert response.headers["content-type"] == "application/json"
        return response

    def get(self, path: str, **parts: Any) -> httpx.Response:
        return self.call("GET", path, **parts)

    def post(self, path: str, body: Any = None, **parts: Any) -> httpx.Response:
        return self.call("POST", path, body, **parts)

    def put(self, path: str, body: Any = None, **parts: Any) -> httpx.Response:
        return self.call("PUT", path, body, **parts)

    def patch(self, path: str, body: Any = None, **parts: Any) -> httpx.Response:
        return self.call("PATCH", path, body, **parts)

    def delete(self, path: str, **parts: Any) -> httpx.Response:
        return self.call("DELETE", path, **parts)

    def made(self, path: str, body: Any) -> Any:
        """What a POST made."""
        response = self.post(path, body)
        assert response.status_code == 201, response.text
        return response.json()

    def close(self) -> None:
        self.run(self.store.close())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        opened = Api(runner, tmp_path / "ringback.db")
        yield opened
        opened.close()
