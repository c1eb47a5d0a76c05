"""How does a provider call a server whose URL is known? One request on a connection of its own."""

from __future__ import annotations

import http.client
import typing

from benchmarks.server import Server


def post(server: Server, path: str, body: bytes, headers: typing.Sequence[tuple[str, str]]) -> int:
    """The status of the answer."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    try:
        connection.request("POST", path, body, dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()
