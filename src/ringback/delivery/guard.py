"""Is this address checked? An `Admitted` is the proof: connecting takes nothing else, and its constructor refuses every other address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from itertools import zip_longest

from ringback.delivery.failure import CannotConnect
from ringback.model.attempts import ErrorClass
from ringback.policy.addresses import AddressPolicy


class Admitted:
    """An address and port that we may connect to. Raises CannotConnect (blocked) when the policy refuses the address."""

    __slots__ = ("family", "parsed", "sockaddr", "text")

    def __init__(self, policy: AddressPolicy, address: str, port: int) -> None:
        parsed = ipaddress.ip_address(address.partition("%")[0])
        reason = policy.refusal(parsed)
        if reason is not None:
            raise CannotConnect(
                ErrorClass.BLOCKED,
                f"requests to this IP range are blocked: {parsed} is {reason}; the setting whitelist_subnets can allow it",
                address=f"{parsed}:{port}",
            )
        self.parsed = parsed
        # Built from the parsed address, so that what is connected to is what was checked, never a spelling of it.
        self.sockaddr = (str(parsed), port)
        self.family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
        self.text = f"{parsed}:{port}" if parsed.version == 4 else f"[{parsed}]:{port}"

    def __repr__(self) -> str:
        return f"Admitted({self.text})"


def admit(policy: AddressPolicy, addresses: Iterable[str], port: int) -> list[Admitted]:
    """Those of a name's addresses that may be connected to, IPv6 and IPv4 in turn, the resolver's favourite family first.

    Raises CannotConnect (blocked) naming the first refused address when none is left.
    """
    admitted: list[Admitted] = []
    refused: CannotConnect | None = None
    for address in addresses:
        try:
            admitted.append(Admitted(policy, address, port))
        except CannotConnect as blocked:
            refused = refused or blocked
    if not admitted:
        raise refused or CannotConnect(ErrorClass.DNS, "the name has no address")
    first = admitted[0].family
    pairs = zip_longest((a for a in admitted if a.family == first), (a for a in admitted if a.family != first))
    return [address for pair in pairs for address in pair if address is not None]
