"""What does a server need that is shown off? Settings that make failures visible within seconds, and the demo's process beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ringback.config.values import HostPort, Secret

if TYPE_CHECKING:
    from ringback.config import Settings

# Weaker than anything the operator sets. A database of its own, so that a demo never mixes with real messages; a schedule that shows
# a retry within seconds instead of days.
DEFAULTS: Mapping[str, str] = {
    "database_url": "sqlite:///ringback-demo.db",
    "retry_schedule": "1,2,4,8,15,30",
    "request_timeout": "2s",
    "overload_min_delay": "1s",
}
# The one private address that deliveries may reach in a demo: the receiver's own.
RECEIVER_HOST = "127.0.0.1"
# Seconds that the demo's process gets to print its last line.
_FAREWELL_S = 3.0
# Bytes of chance in the demo's token: as many as in one that the server makes.
_TOKEN_BYTES = 24


def prepared(settings: Settings) -> Settings:
    """Settings under which a demo can run: the receiver's address is allowed, the port and the token are known beforehand."""
    listen = settings.listen_address
    if listen.port == 0:
        listen = HostPort(listen.host, _free_port(listen.host))
    return dataclasses.replace(
        settings,
        listen_address=listen,
        whitelist_subnets=(*settings.whitelist_subnets, ipaddress.ip_network(f"{RECEIVER_HOST}/32")),
        token=settings.token or Secret(f"sk_demo{secrets.token_hex(_TOKEN_BYTES)}"),
    )


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[None]:
    """The demo's process, for as long as the server runs. It waits by itself until the server is ready, and ends when the server does."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.listen_address.host, settings.listen_address.host)
    url = f"http://{HostPort(host, settings.listen_address.port)}"
    assert settings.token is not None
    process = subprocess.Popen([sys.executable, "-m", "ringback.cli.demo", url], stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        # The token goes through a pipe: arguments and environment can be read by others. The pipe stays open; its end tells of ours.
        process.stdin.write(settings.token.reveal().encode() + b"\n")
        process.stdin.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
