"""Where may a delivery go? Whatever the URL or the DNS says, only to an address that the policy admits."""

from __future__ import annotations

import socket

import pytest

from ringback.delivery.failure import CannotConnect
from ringback.delivery.guard import Admitted, admit
from ringback.delivery.resolver import Resolver, ResolverSettings
from ringback.delivery.seal import make_plan, seal
from ringback.model.attempts import ErrorClass
from ringback.policy.addresses import AddressPolicy, parse_networks
from tests.delivery.conftest import Run
from tests.delivery.hostile import OK, answering, serving
from tests.delivery.sending import attempt, request, transport


class Names:
    """Answers lookups from a list, one after the other, the last one for ever; counts them."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = answers
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[tuple[object, ...]]:
        addresses = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


class NoSignature:
    def sign(self, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        return b"v1,none"


BLOCKED_HOSTS = [
    "127.0.0.1", "127.1", "127.255.255.254", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "017700000001", "127.0.0.1.",
    "0", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "2852039166", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[0:0:0:0:0:ffff:a9fe:a9fe]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:1::1]",
    "[fd00::1]", "[fc00::1]", "[fe80::1]", "[fec0::1]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]", "[4000::1]",
    "[2606:4700::5efe:10.0.0.1]", "①②⑦.0.0.1", "127。0。0。1",
]  # fmt: skip


@pytest.mark.parametrize("host", BLOCKED_HOSTS)
def test_a_url_with_a_blocked_address_in_any_spelling_is_not_connected_to(run: Run, host: str) -> None:
    plan = make_plan(url=f"http://{host}:9/hook", signer=NoSignature())
    sealed = seal(plan, message_id=b"msg_1", now_s=1, body=b"{}", content_type=b"application/json", sequence=1)

    async def story() -> None:
        async with transport(allowed="") as client:
            exchange = await attempt(client, sealed)
            assert (exchange.status, exchange.error) == (0, ErrorClass.BLOCKED), exchange
            assert "requests to this IP range are blocked" in exchange.detail
            assert "whitelist_subnets" in exchange.detail

    run(story())


def test_a_name_with_blocked_addresses_only_is_not_connected_to(run: Run) -> None:
    async def story() -> None:
        async with transport(allowed="", resolver=Resolver(lookup=Names(["10.0.0.1", "127.0.0.1"]))) as client:
            exchange = await attempt(client, request(9, "inside.example"))
            assert (exchange.status, exchange.error) == (0, ErrorClass.BLOCKED)
            assert "10.0.0.1" in exchange.detail

    run(story())


def test_of_mixed_addresses_only_the_admitted_are_tried(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK), host="127.0.0.1") as inner:
            names = Names(["127.0.0.1", "127.0.0.2", "10.9.9.9"])
            async with transport(allowed="127.0.0.2/32", resolver=Resolver(lookup=names)) as client:
                exchange = await attempt(client, request(inner.port, "mixed.example"))
            # Only 127.0.0.2 was tried, where nobody listens on that port.
            assert (exchange.error, exchange.address) == (ErrorClass.REFUSED, f"127.0.0.2:{inner.port}")
            assert inner.connections == 0

    run(story())


def test_every_admitted_address_is_tried_in_turn(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server:
            names = Names(["127.0.0.9", "::1", "127.0.0.1"])
            async with transport(resolver=Resolver(lookup=names)) as client:
                exchange = await attempt(client, request(server.port, "several.example"))
            assert (exchange.status, exchange.address) == (200, f"127.0.0.1:{server.port}")

    run(story())


def test_an_address_that_does_not_answer_leaves_time_for_the_next(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(OK)) as server:
            with socket.create_server(("127.0.0.2", server.port), backlog=0):
                fillers = [socket.socket() for _ in range(4)]
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(("127.0.0.2", server.port))
                async with transport(resolver=Resolver(lookup=Names(["127.0.0.2", "127.0.0.1"]))) as client:
                    exchange = await attempt(client, request(server.port, "half-dead.example"))
                for filler in fillers:
                    filler.close()
            assert (exchange.status, exchange.address) == (200, f"127.0.0.1:{server.port}")

    run(story())


def test_a_name_that_changes_after_the_check_is_not_asked_again(run: Run) -> None:
    """DNS rebinding: first a harmless address, a moment later an inner one."""

    async def story() -> None:
        async with serving(answering(OK), host="127.0.0.1") as inner:
            names = Names(["127.0.0.2"], ["127.0.0.1"])
            async with transport(allowed="127.0.0.2/32", resolver=Resolver(lookup=names)) as client:
                exchange = await attempt(client, request(inner.port, "rebinding.example"))
            assert exchange.address == f"127.0.0.2:{inner.port}"
            assert names.asked == 1
            assert inner.connections == 0

    run(story())


def test_a_second_answer_is_checked_like_the_first(run: Run) -> None:
    async def story() -> None:
        async with serving(answering(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"), host="127.0.0.2") as server:
            resolver = Resolver(lookup=Names(["127.0.0.2"], ["127.0.0.1"]), settings=ResolverSettings(keep_s=0.0))
            async with transport(allowed="127.0.0.2/32", resolver=resolver) as client:
                first = await attempt(client, request(server.port, "rebinding.example"))
                second = await attempt(client, request(server.port, "rebinding.example"))
            assert (first.status, second.error) == (200, ErrorClass.BLOCKED)

    run(story())


def test_an_address_cannot_be_admitted_against_the_policy() -> None:
    with pytest.raises(CannotConnect, match=r"10\.1\.2\.3 is private"):
        Admitted(AddressPolicy(), "10.1.2.3", 80)
    assert Admitted(AddressPolicy(parse_networks("10.0.0.0/8")), "10.1.2.3", 80).sockaddr == ("10.1.2.3", 80)


def test_addresses_are_tried_with_families_in_turn() -> None:
    addresses = ["2606:4700::1", "2606:4700::2", "2606:4700::3", "8.8.8.8", "8.8.4.4"]
    assert [a.sockaddr[0] for a in admit(AddressPolicy(), addresses, 443)] == [
        "2606:4700::1",
        "8.8.8.8",
        "2606:4700::2",
        "8.8.4.4",
        "2606:4700::3",
    ]
