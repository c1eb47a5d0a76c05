"""How does a process become a server? Its limits, its event loop, its socket and its greeting."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import resource
import socket
import sys
from collections.abc import Callable
from typing import Final

from ringback import __version__
from ringback.app.server import Server
from ringback.config import Settings
from ringback.config.running import RunningServer, announce, withdraw
from ringback.config.values import HostPort
from ringback.errors import OperatorError
from ringback.services.sessions import LINK_LIFE_S
from ringback.store.opening import database_path
from ringback.telemetry.events import SERVER_STARTED
from ringback.telemetry.log import configure_logging, log

# Connections of clients and to endpoints (at most 4,096 of these), and some files.
_FILES: Final = 16_384
# Connections that may wait to be accepted: a burst of clients that all reconnect at once.
_BACKLOG: Final = 2_048
# New objects before the collector looks at the young ones, and how many such looks before it looks at older ones.
_GC_THRESHOLDS: Final = (50_000, 20, 20)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Raises OperatorError when the server cannot start as it is set up."""
    configure_logging(settings.log_level, settings.log_format)
    # What is imported stays for good, and what a request leaves behind is hardly ever cyclic: look rarely, and only at what is new.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.enable()
    _hold_standard_streams()
    _allow_files()
    with asyncio.Runner(loop_factory=_loop_factory(settings.uvloop)) as runner:
        return runner.run(_serve(settings))


def _hold_standard_streams() -> None:
    """Open what was closed (`>&-`): the next socket would be standard output, which libuv cannot stand."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # It takes the lowest free number, which is this one, and is kept.
            os.open(os.devnull, os.O_RDWR)


def _allow_files() -> None:
    """Take as many file descriptors as the system gives: each connection is one, and many systems start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, _FILES) if hard != resource.RLIM_INFINITY else _FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _loop_factory(wanted: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if not wanted:
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(settings: Settings) -> int:
    sock = _listen(settings.listen_address)
    url = _url(sock)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(sock.close)
        server = await Server.open(settings, stack)
        first = await server.tokens.ensure_first(settings.token.reveal() if settings.token else None)
        path = database_path(settings.database_url)
        if path != ":memory:":
            announce(path, RunningServer(url, server.operator_token))
            stack.callback(withdraw, path)
        # Whoever reads what a server on loopback prints is on this machine; elsewhere the lines may go far.
        _greet(url, first, server.offer_link(url) if _is_loopback(sock) else None)
        log(SERVER_STARTED, url=url, database=settings.database_url, version=__version__, pid=os.getpid())
        return await server.run(sock, url)


def _greet(url: str, token: str | None, link: str | None) -> None:
    lines = [f"ringback {__version__} serves {url}"]
    if token is not None:
        lines.append(f"org token (shown this once): {token}")
    if link is not None:
        lines.append(f"dashboard (logs in once, within {LINK_LIFE_S // 60} minutes): {link}")
    try:
        print("\n".join(lines), flush=True)
    except OSError:
        # Nobody is there to read it, or its disk is full: no reason not to serve. `ringback token create` makes another token. What is in
        # the buffer goes nowhere, or it would be tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_loopback(sock: socket.socket) -> bool:
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def _listen(address: HostPort) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {address}: {error.strerror}; choose another with --listen HOST:PORT, or end what has it"
        ) from error
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
