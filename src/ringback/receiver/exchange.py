"""What if a server takes its time? One exchange over HTTPS within one deadline, whatever it is spent on, with the standard library.

The standard library's own limit counts anew for each address, for TLS and for each read, so that a server which sends a byte now and then
holds a thread for as long as it likes.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Callable
from functools import partial
from http.client import HTTPResponse, HTTPSConnection
from typing import Any
from urllib.request import AbstractHTTPHandler, Request

# How many seconds are left. Raises TimeoutError when none are.
Left = Callable[[], float]


class InTime(AbstractHTTPHandler):
    """Opens `https://` alone. `begin` is called for each exchange, and tells how many seconds of that one are left.

    Without a `context` the system's certificates are trusted. They are read at the first exchange, which takes a tenth of a second: most
    receivers never have one.
    """

    # Completes the headers, as for every handler of HTTP.
    https_request = AbstractHTTPHandler.do_request_

    def __init__(self, context: ssl.SSLContext | None, begin: Callable[[], Left]) -> None:
        super().__init__()
        self._trust = context
        self._begin = begin

    def https_open(self, req: Request) -> HTTPResponse:
        """One exchange. Raises OSError, and what `http.client` raises for an answer that is none."""
        if self._trust is None:
            self._trust = ssl.create_default_context()
            self._trust.set_alpn_protocols(["http/1.1"])
        opened: HTTPResponse = self.do_open(partial(_Connection, trust=self._trust, left=self._begin()), req)
        return opened


class _Connection(HTTPSConnection):
    """Connects, and reads, in what is left."""

    def __init__(self, host: str, *, trust: ssl.SSLContext, left: Left, **named: Any) -> None:
        super().__init__(host, context=trust, **named)
        self._trust = trust
        self._left = left
        self.response_class = partial(_Response, left=left)  # type: ignore[assignment]  # typeshed wants a class

    def connect(self) -> None:
        """Try each address. Only the system's resolver is as slow as the system lets it be."""
        failure = OSError(f"{self.host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM):
            self.sock = socket.socket(family, kind, protocol)
            try:
                self.sock.settimeout(self._left())
                self.sock.connect(address)
                self.sock.settimeout(self._left())
                self.sock = self._trust.wrap_socket(self.sock, server_hostname=self.host)
                return
            except OSError as error:
                self.sock.close()
                failure = error
        raise failure


class _Response(HTTPResponse):
    """An answer each of whose reads has what is left."""

    def __init__(self, sock: socket.socket, *args: Any, left: Left, **named: Any) -> None:
        super().__init__(sock, *args, **named)
        self.fp = io.BufferedReader(_Reads(self.fp.detach(), sock, left))


class _Reads(io.RawIOBase):
    """What comes from a socket, each read in what is left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, left: Left) -> None:
        self._raw = raw
        self._sock = sock
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
