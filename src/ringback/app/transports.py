"""Which clients does the server send with? One that delivers, one that fetches what providers publish, one that asks their APIs."""

from __future__ import annotations

import resource
from ssl import SSLContext
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.config import Settings
from ringback.delivery.http import ResponseLimits
from ringback.delivery.pool import HttpSettings, HttpTransport
from ringback.delivery.proxied import ProxySettings
from ringback.policy.addresses import AddressPolicy
from ringback.services.provider_api import MAX_BODY_BYTES, TIMEOUT_S

# A provider's key comes within so many seconds, or its request is answered 503: the provider's own patience is between 1 and 30 s.
_FETCH_S: Final = 5.0
# The largest key set that is known (Microsoft's) has some 30 kB, GitHub's lists of addresses some hundreds.
_PUBLISHED_MAX_BYTES: Final = 1024 * 1024
# Heads of such APIs have some 4 kB, with the link to the next page anywhere in them.
_ASKED_HEAD_BYTES: Final = 64 * 1024
# Files that are no connections: the database with its readers and its index, the spool, pipes to other processes.
_FILES_BESIDE: Final = 96
# With fewer connections nothing is delivered, whatever the system says.
_FEWEST: Final = 8


class Room(msgspec.Struct, frozen=True):
    """How many connections deliveries may have open, and how many attempts are on the wire at once."""

    connections: int
    in_flight: int


def room(max_in_flight: int, files: int) -> Room:
    """What there is where a process may open so many files: endpoints that hang take half of them, or nobody could publish any more."""
    # What is on the wire leaves a quarter to sinks, and to bodies that are still read.
    wanted = max(HttpSettings().max_connections, max_in_flight + max_in_flight // 3)
    connections = min(wanted, max((files - _FILES_BESIDE) // 2, _FEWEST))
    return Room(connections, min(max_in_flight, connections - connections // 4))


def delivering(settings: Settings, tls: SSLContext, clock: Clock) -> tuple[HttpTransport, int]:
    """What delivers to endpoints and sinks, and how many attempts it may have on the wire at once."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = room(settings.max_in_flight, files)
    http = HttpSettings(
        request_timeout_s=settings.request_timeout.total_seconds(),
        max_connections=found.connections,
        slow_bodies=min(HttpSettings().slow_bodies, found.connections // 8),
        response=ResponseLimits(body_max_bytes=settings.response_body_max, body_time_s=settings.response_body_time.total_seconds()),
    )
    return _transport(settings, tls, clock, http), found.in_flight


def fetching(settings: Settings, tls: SSLContext, clock: Clock) -> HttpTransport:
    """What fetches what providers publish: keys, certificates, lists of addresses."""
    limits = ResponseLimits(body_max_bytes=_PUBLISHED_MAX_BYTES, body_time_s=_FETCH_S)
    return _transport(settings, tls, clock, HttpSettings(request_timeout_s=_FETCH_S, response=limits))


def asking(settings: Settings, tls: SSLContext, clock: Clock) -> HttpTransport:
    """What asks the APIs of providers: their answers are long, and say in their heads where they go on."""
    limits = ResponseLimits(head_kept_bytes=_ASKED_HEAD_BYTES, body_max_bytes=MAX_BODY_BYTES, body_time_s=TIMEOUT_S)
    return _transport(settings, tls, clock, HttpSettings(request_timeout_s=TIMEOUT_S, response=limits))


def _transport(settings: Settings, tls: SSLContext, clock: Clock, http: HttpSettings) -> HttpTransport:
    policy = AddressPolicy(settings.whitelist_subnets)
    return HttpTransport(policy=policy, settings=http, ssl_context=tls, clock=clock, proxy=_proxy(settings))


def _proxy(settings: Settings) -> ProxySettings | None:
    """The proxy that everything sent from here goes through."""
    return None if settings.proxy_addr is None else ProxySettings(settings.proxy_addr, settings.noproxy, settings.proxy_resolves)
