"""How does a test talk to a whole server? One process for a module, an application for a test, and a receiver behind its endpoints."""

from __future__ import annotations

import itertools
import json
import pathlib
import typing

import httpx

from benchmarks import server
from tests.acceptance.receiver import Arrival, Receiver
from tests.waiting import wait_until


class Live:
    """A running server. Paths without `/api/` begin at `/api/v1`."""

    def __init__(self, running: server.Server) -> None:
        self.server = running
        self.client = httpx.Client(base_url=running.url, trust_env=False, timeout=20)
        self._numbers = itertools.count(1)

    def call(
        self, method: str, path: str, body: typing.Any = None, *, token: str | None = None, headers: typing.Any = None
    ) -> httpx.Response:
        """One request, with the server's org token unless another is given ("" = none)."""
        chosen = self.server.token if token is None else token
        sent = dict(headers or {}) | ({"authorization": f"Bearer {chosen}"} if chosen else {})
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        target = path if "/api/" in path else f"/api/v1{path}"
        response = self.client.request(method, target, content=content, headers=sent)
        if response.content and method != "HEAD":
            assert response.headers["content-type"] == "application/json", response.text
        return response

    def get(self, path: str, **parts: typing.Any) -> httpx.Response:
        """Read."""
        return self.call("GET", path, **parts)

    def post(self, path: str, body: typing.Any = None, **parts: typing.Any) -> httpx.Response:
        """Make, or ask for something."""
        return self.call("POST", path, body, **parts)

    def put(self, path: str, body: typing.Any = None, **parts: typing.Any) -> httpx.Response:
        """Replace."""
        return self.call("PUT", path, body, **parts)

    def patch(self, path: str, body: typing.Any = None, **parts: typing.Any) -> httpx.Response:
        """Change."""
        return self.call("PATCH", path, body, **parts)

    def delete(self, path: str, **parts: typing.Any) -> httpx.Response:
        """Delete."""
        return self.call("DELETE", path, **parts)

    def made(self, path: str, body: typing.Any = None, **parts: typing.Any) -> typing.Any:
        """What a POST made or answered."""
        response = self.post(path, body, **parts)
        assert 200 <= response.status_code < 300, response.text
        return response.json()

    def name(self, word: str = "name") -> str:
        """A name that nobody else on this server has."""
        return f"{word}-{next(self._numbers)}"

    def app(self, **more: typing.Any) -> str:
        """The id of a new application."""
        return str(self.made("/app", {"name": "Shop", **more})["id"])

    def portal_token(self, app: str, **grant: typing.Any) -> str:
        """A token of an application."""
        return str(self.made(f"/auth/app-portal-access/{app}", grant)["token"])

    def close(self) -> None:
        """End the server, which must still run."""
        self.client.close()
        assert self.server.process.poll() is None, self.server.log_tail()
        self.server.stop()


def opened(directory: pathlib.Path, settings: dict[str, str] | None = None) -> typing.Iterator[Live]:
    """A server of its own for a test module."""
    live = Live(server.start(directory / "ringback.db", {"log_level": "warning"} | (settings or {})))
    yield live
    live.close()


def arrived(receiver: Receiver, path: str, count: int = 1) -> list[Arrival]:
    """What came to a path of the receiver, once so many requests have."""
    wait_until(lambda: len(receiver.at(path)) >= count, what=f"{count} requests at {path}")
    return receiver.at(path)


def problems(response: httpx.Response) -> list[tuple[list[str], str]]:
    """Where a refused body is wrong, and what is said of it."""
    assert response.status_code == 422, response.text
    return [(problem["loc"], problem["msg"]) for problem in response.json()["detail"]]


def error(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and detail of an error."""
    content = response.json()
    assert set(content) == {"code", "detail"}, content
    return response.status_code, content["code"], content["detail"]
