"""A transport that may reach loopback, and single attempts through it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from ringback.delivery.http import ResponseLimits
from ringback.delivery.pool import HttpSettings, HttpTransport
from ringback.delivery.proxied import ProxySettings
from ringback.delivery.resolver import Resolver
from ringback.delivery.transport import Origin, SealedRequest
from ringback.model.attempts import Exchange
from ringback.policy.addresses import AddressPolicy, parse_networks

# Short, so that tests of what hangs are quick; long beside what anything healthy takes on a busy machine.
TIMEOUT_S = 1.0
BODY_TIME_S = 0.3


def settings(**changes: object) -> HttpSettings:
    values: dict[str, object] = {"request_timeout_s": TIMEOUT_S, "response": ResponseLimits(body_time_s=BODY_TIME_S)}
    return HttpSettings(**{**values, **changes})  # type: ignore[arg-type] # the tests name fields of HttpSettings only


@contextlib.asynccontextmanager
async def transport(
    *,
    allowed: str = "127.0.0.0/8, ::1",
    resolver: Resolver | None = None,
    ca: ssl.SSLContext | None = None,
    proxy: ProxySettings | None = None,
    **changes: object,
) -> AsyncIterator[HttpTransport]:
    policy = AddressPolicy(parse_networks(allowed))
    # Without an authority nobody is trusted; loading the machine's own ones takes longer than most tests.
    opened = HttpTransport(
        policy=policy,
        settings=settings(**changes),
        resolver=resolver,
        ssl_context=ca or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        proxy=proxy,
    )
    try:
        yield opened
    finally:
        await opened.close()


def request(port: int, host: str = "127.0.0.1", *, tls: bool = False, body: bytes = b'{"a":1}', target: str = "/hook") -> SealedRequest:
    head = f"POST {target} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-length: {len(body)}\r\n\r\n"
    return SealedRequest(Origin(tls, host, port), head.encode(), body)


async def attempt(through: HttpTransport, sealed: SealedRequest) -> Exchange:
    """One attempt; fails the test when `done` is called twice."""
    facts: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
    through.send(sealed, facts.set_result)
    return await facts
