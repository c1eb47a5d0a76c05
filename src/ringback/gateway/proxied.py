"""Who called the proxy that calls us? It says so in a PROXY header before all else, or in the header Forwarded of each request.

Each is laid over all other protocols of a connection, whose names it uses, and only where the operator says so; else it is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ringback.policy.addresses import Network
from ringback.policy.forwarded import rewritten
from ringback.policy.proxy_protocol import read_header
from ringback.policy.sources_arrival import is_trusted


class ProxiedDoor(HttpToolsProtocol):
    """One connection; `trusted` is set on the subclass that is made."""

    trusted: Sequence[Network]
    # What has come of the header; None once it was read, or where there is none.
    _header: bytes | None = None

    def connection_made(self, transport: Any) -> None:
        """Does a proxy call?"""
        super().connection_made(transport)
        if self.client is not None and is_trusted(self.client[0], self.trusted):
            self._header = b""

    def data_received(self, data: bytes) -> None:
        """The header first, and all else as ever."""
        if self._header is None:
            super().data_received(data)
            return
        self._header += data
        try:
            found = read_header(self._header)
        except ValueError:
            # A proxy that does not say for whom it speaks is set up wrongly: to serve it would take all for the proxy itself.
            self.transport.close()
            return
        if found is None:
            return
        rest, self._header = self._header[found.size :], None
        if found.client is not None:
            self.client = found.client
        if rest:
            super().data_received(rest)


class ForwardedDoor(HttpToolsProtocol):
    """One connection whose proxies write Forwarded: every door behind it reads of the other headers only what that one says."""

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self.headers = rewritten(self.headers)
        super().on_headers_complete()


def forwarded_class(door: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """The protocol of one server behind proxies that write Forwarded."""
    return type("Forwarded", (ForwardedDoor, door), {})


def proxied_class(door: type[asyncio.Protocol], trusted: Sequence[Network]) -> type[asyncio.Protocol]:
    """The protocol of one server behind proxies that begin each connection with a PROXY header."""
    return type("Proxied", (ProxiedDoor, door), {"trusted": tuple(trusted)})
