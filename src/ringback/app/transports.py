"""Which clients does the server send with? One that delivers, one that fetches what providers publish, one that asks their APIs."""

from __future__ import annotations

from ssl import SSLContext
from typing import Final

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


def delivering(settings: Settings, tls: SSLContext, clock: Clock) -> HttpTransport:
    """What delivers to endpoints and sinks."""
    limits = ResponseLimits(body_max_bytes=settings.response_body_max, body_time_s=settings.response_body_time.total_seconds())
    return _transport(settings, tls, clock, HttpSettings(request_timeout_s=settings.request_timeout.total_seconds(), response=limits))


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
