"""Which networks are in this list? Read from what providers publish: JSON of any shape, or a line each. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ringback.policy.addresses import Address, Network
from ringback.policy.sources_arrival import unmapped
from ringback.signing.documents import find

# GitHub's longest list has some five thousand.
_MOST: Final = 10_000
# The longest way to write a network has 49 characters.
_MAX_CHARS: Final = 64


class Networks:
    """Many networks, in which an address is found by as many looks as they have lengths."""

    __slots__ = ("_by_length", "_size")

    def __init__(self, networks: Sequence[Network]) -> None:
        by_length: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            host_bits = network.max_prefixlen - network.prefixlen
            by_length.setdefault((network.version, host_bits), set()).add(int(network.network_address) >> host_bits)
        self._by_length = tuple((version, bits, numbers) for (version, bits), numbers in by_length.items())
        self._size = len(networks)

    def __len__(self) -> int:
        return self._size

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, Address):
            return False
        number, kind = int(address), address.version
        return any(version == kind and number >> bits in numbers for version, bits, numbers in self._by_length)


def read_networks(body: bytes, path: str) -> tuple[Network, ...]:
    """The networks in a list: all of a JSON document, or what stands at a path in it; or one at the beginning of each line.

    Raises ValueError when there is none, or there are too many: such a list is not what it should be.
    """
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        if path:
            raise ValueError("the list is no JSON, so nothing is at a path in it") from None
        texts = _lines(body.decode("utf-8", "replace"))
    else:
        texts = _texts(list(find(document, path)) if path else document)
    networks: dict[Network, None] = {}
    for text in texts:
        network = _network(text)
        if network is not None:
            networks[network] = None
            if len(networks) > _MOST:
                raise ValueError(f"the list has more than {_MOST} networks")
    if not networks:
        raise ValueError("no network is in the list")
    return tuple(networks)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.replace(",", " ").split()
        yield from words[:1]


def _texts(value: object) -> Iterator[str]:
    # Not by recursion: the list may be nested as deeply as JSON can be.
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            left += item
        elif isinstance(item, dict):
            left += item.values()


def _network(text: str) -> Network | None:
    if len(text) > _MAX_CHARS:
        return None
    try:
        return unmapped(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        return None
