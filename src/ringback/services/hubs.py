"""Which hub does a topic name now? It is read through the guarded client, and no credential goes there."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urljoin

from ringback import __version__
from ringback.policy.asking import Unreadable
from ringback.policy.heads import header_value
from ringback.policy.hubs import LOOKED_INTO, Hub, hubs_of
from ringback.policy.urls import split_url
from ringback.services.provider_api import ProviderApi, ProviderFailure
from ringback.services.provider_settings import is_safe

# Redirects that are followed: to https, to the name with or without www, and to where it moved.
_REDIRECTS: Final = 3
_MOVED: Final = (301, 302, 303, 307, 308)


async def hub_of(api: ProviderApi, topic: str) -> Hub:
    """The hub to ask for a topic. Raises ProviderFailure."""
    at = topic
    for _ in range(_REDIRECTS + 1):
        place = split_url(at)
        head = f"GET {place.target} HTTP/1.1\r\nhost: {place.authority}\r\nuser-agent: ringback/{__version__}\r\naccept: */*\r\n\r\n"
        exchange = await api.look(place, head.encode("latin-1"))
        if exchange.status not in _MOVED:
            break
        at = _moved(at, exchange.head)
    else:
        raise ProviderFailure("redirected", f"the topic {topic} leads on more than {_REDIRECTS} times; subscribe to where it leads at last")
    if not 200 <= exchange.status < 300:
        cause = "provider" if exchange.status >= 500 else "refused"
        raise ProviderFailure(
            cause, f"the topic {at} answered {exchange.status}, so that its hub is not known; look at its URL, or give baseUrl"
        )
    try:
        # A large document takes longer than the loop may be held.
        hubs = await asyncio.to_thread(hubs_of, exchange.head, exchange.body, at)
    except Unreadable as error:
        raise ProviderFailure("unreadable", f"{error}; give the hub as baseUrl") from None
    if not hubs:
        text = f"the topic {at} names no hub: no Link header and no link element in its first {LOOKED_INTO} bytes has rel=hub"
        raise ProviderFailure("no_hub", f"{text}; give the hub as baseUrl, if it has one")
    for hub in hubs:
        if is_safe(split_url(hub.url)):
            return hub
    text = f"the hub {hubs[0].url} is not https://, so that the secret could be read on its way"
    raise ProviderFailure("no_hub", f"{text}; give one that is as baseUrl, if there is one")


def _moved(at: str, head: bytes) -> str:
    """Where a redirect leads. Raises ProviderFailure."""
    location = (header_value(head, b"location") or b"").decode("latin-1")
    try:
        found = urljoin(at, location) if location else ""
        if not is_safe(split_url(found)):
            raise ValueError("it is not https://, so that anybody on the way could name the hub")
    except ValueError as error:
        text = f"the topic {at} leads on to {location[:200]!r}, which cannot be followed: {error}"
        raise ProviderFailure("redirected", f"{text}; subscribe to another URL of it, or give baseUrl") from None
    return found
