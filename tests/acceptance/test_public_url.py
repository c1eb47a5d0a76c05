"""Which URLs does a server write into its answers where no `public_url` is set? Those that it is asked under, if that is to be believed."""

from __future__ import annotations

import typing

import httpx
import pytest

from benchmarks.server import Server
from tests.acceptance.serving import Shared

FORWARDED = {"host": "inside", "x-forwarded-proto": "https", "x-forwarded-host": "hooks.example.com"}


class Asking:
    """The API, asked under a name of one's choice."""

    def __init__(self, running: Server, headers: dict[str, str]) -> None:
        self.running = running
        self.headers = {"authorization": f"Bearer {running.token}", **headers}

    def post(self, path: str, body: object, key: str = "") -> typing.Any:
        headers = {**self.headers, "idempotency-key": key} if key else self.headers
        answer = httpx.post(f"{self.running.url}{path}", json=body, headers=headers, trust_env=False, timeout=30)
        assert answer.is_success, answer.text
        return answer.json()

    def urls(self, key: str = "") -> list[str]:
        """What links begin with: of a portal, a source, a source whose token was rotated, an ingest source and its portal."""
        app = self.post("/api/v1/app", {"name": "shop"})["id"]
        source = self.post(f"/api/v1/app/{app}/source", {"name": "so", "type": "github", "secrets": ["It-is-a-secret"]}, key and f"{key}-1")
        ingest = self.post("/ingest/api/v1/source", {"name": "in", "type": "github", "config": {"secret": "It-is-a-secret"}})
        rotated = f"/api/v1/app/{app}/source/{source['id']}/token/rotate"
        found = [
            self.post(f"/api/v1/auth/app-portal-access/{app}", {}, key and f"{key}-2")["url"],
            source["ingestUrl"],
            self.post(rotated, {}, key and f"{key}-3")["ingestUrl"],
            ingest["ingestUrl"],
            self.post(f"/ingest/api/v1/source/{ingest['id']}/dashboard", {}, key and f"{key}-4")["url"],
        ]
        return ["/".join(url.split("/")[:3]) for url in found]


@pytest.mark.parametrize("key", ["", "key"])
def test_a_program_on_this_machine_gets_links_under_the_name_that_it_used(shared: Shared, key: str) -> None:
    running = shared()
    assert set(Asking(running, {"host": "hooks.localhost:9000"}).urls(key)) == {"http://hooks.localhost:9000"}
    assert set(Asking(running, {}).urls()) == {running.url}
    # Nobody has said that this proxy is to be believed.
    assert set(Asking(running, FORWARDED).urls()) == {"http://inside"}


def test_behind_a_trusted_proxy_links_are_as_the_world_has_them(shared: Shared) -> None:
    behind = shared({"trusted_proxies": "127.0.0.0/8"})
    assert set(Asking(behind, FORWARDED).urls("proxied")) == {"https://hooks.example.com"}


def test_a_url_that_is_set_stands_in_all_links(shared: Shared) -> None:
    running = shared({"public_url": "https://set.example.com"})
    assert set(Asking(running, {"host": "hooks.localhost:9000"}).urls()) == {"https://set.example.com"}
