"""Do the deliveries of a real server go through its proxy?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.acceptance.receiver import Receiver
from tests.acceptance.serving import Serve
from tests.delivery.proxies import Pipe, http, proxying, socks5
from tests.waiting import wait_until


@pytest.mark.parametrize(("scheme", "speak"), [("http", http), ("socks5", socks5)])
def test_deliveries_go_through_the_proxy_of_the_settings_but_for_the_exceptions(
    serve: Serve, receiver: Receiver, scheme: str, speak: Pipe
) -> None:
    def deliver(running: Any, app_id: str) -> Any:
        sent = running.make(f"/app/{app_id}/msg", {"eventType": "order.paid", "payload": {"a": 1}})["id"]
        wait_until(lambda: sent in receiver.ids(), what="the message is delivered")

        def attempts() -> list[Any]:
            found: list[Any] = running.call("GET", f"/app/{app_id}/attempt/msg/{sent}")[1]["data"]
            return found

        return wait_until(attempts)[0]

    async def story() -> None:
        async with proxying(speak, login=("user", "pass word")) as proxy:
            address = f"{scheme}://user:pass%20word@127.0.0.1:{proxy.port}"
            running = await asyncio.to_thread(serve, settings={"proxy_addr": address, "noproxy": "localhost"})
            app_id = running.make("/app", {"name": "proxied"})["id"]
            endpoint = f"/app/{app_id}/endpoint"
            made = running.make(endpoint, {"url": f"{receiver.url}/in", "uid": "e"})
            first = await asyncio.to_thread(deliver, running, app_id)
            assert proxy.tunnels == 1
            assert proxy.goals[0][0] == "127.0.0.1"
            assert first["address"].endswith(f" by way of 127.0.0.1:{proxy.port}")
            # An exception goes past it.
            url = made["url"].replace("127.0.0.1", "localhost")
            assert running.call("PATCH", f"{endpoint}/e", {"url": url})[0] == 200
            await asyncio.to_thread(deliver, running, app_id)
            assert proxy.connections == 1
            assert await asyncio.to_thread(running.stop) == 0
            assert "pass word" not in running.log.read_text() and "pass%20word" not in running.log.read_text()

    asyncio.run(story())
