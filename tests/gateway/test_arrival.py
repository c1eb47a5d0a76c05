"""Where does a request come from? Lists of addresses that providers publish, what proxies say, and clients' certificates."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.errors import InvalidField
from ringback.gateway.app import Place
from ringback.policy.address_lists import Networks, read_networks
from ringback.policy.addresses import Address, Network, parse_networks
from ringback.policy.forwarded import Hop, hops, rewritten
from ringback.policy.sources_arrival import base_url
from ringback.services.address_lists import AddressLists, Read
from ringback.services.gateway import Ready
from ringback.signing.headers import Headers
from ringback.store.operations.published import MOST
from tests.gateway.conftest import Running, path_of
from tests.gateway.signing import NOW_S, event, signed

LIST = "https://api.github.com/meta#hooks"
WHERE = "https://api.github.com/meta"
TRUSTED = parse_networks("10.0.0.0/8, fd00::/8")


def _networks(address: Address) -> st.SearchStrategy[Network]:
    lengths = st.integers(address.max_prefixlen - 6, address.max_prefixlen)
    return lengths.map(lambda length: ip_network((address, length), strict=False))


# -- lists that providers publish


def test_addresses_of_a_published_list_may_send_and_no_others(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["192.0.2.0/24","2001:db8::/32"],"actions":["203.0.113.0/24"]}'
    source = running.made(allowedIps=["198.51.100.7"], allowedIpsFrom=[LIST])
    path = path_of(source)
    assert running.ask(path, event(1), signed(event(1)), peer="192.0.2.9").status == 200
    assert running.ask(path, event(2), signed(event(2)), peer="::ffff:192.0.2.10").status == 200
    assert running.ask(path, event(3), signed(event(3)), peer="2001:db8::5").status == 200
    assert running.ask(path, event(4), signed(event(4)), peer="198.51.100.7").status == 200, "the source's own list counts too"
    assert running.ask(path, event(5), signed(event(5)), peer="203.0.113.9").status == 403
    assert running.published.fetched == [WHERE], "it is fetched once, without what names the place in it"
    assert [item.reason for item in running.quarantined(source)] == ["ip_denied"]


@pytest.mark.parametrize(("unknown", "status"), [("refuse", 503), ("allow", 200)])
def test_while_a_list_could_never_be_read_the_source_says_who_may_send(running: Running, unknown: str, status: int) -> None:
    source = running.made(allowedIpsFrom=[LIST], allowedIpsUnknown=unknown)
    assert running.ask(path_of(source), event(), signed(event())).status == status
    assert running.ask(path_of(source), event(), signed(event())).status == status
    assert running.published.fetched == [WHERE], "one that cannot be had is not asked for with each request"
    assert running.quarantined(source) == [], "it is our trouble, not the sender's"


def test_a_list_that_cannot_be_read_anew_is_kept_as_it_was(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["203.0.113.0/24"]}'
    path = path_of(running.made(allowedIpsFrom=[LIST]))
    assert running.ask(path, event(1), signed(event(1))).status == 200
    for number, body in enumerate((b"", b"<html>", b'{"hooks":[]}', b'{"hooks":{"a":1}}'), 2):
        running.published.bodies[WHERE] = body
        running.clock.set(NOW_S + number * 4_000)
        running.run(running.lists.refresh())
        at_s = NOW_S + number * 4_000
        assert running.ask(path, event(number), signed(event(number), at_s=at_s)).status == 200, body
    running.published.bodies[WHERE] = b'{"hooks":["198.51.100.0/24"]}'
    running.clock.set(NOW_S + 40_000)
    running.run(running.lists.refresh())
    assert running.ask(path, event(9), signed(event(9), at_s=NOW_S + 40_000)).status == 403, "a new one counts"


def test_lists_that_nobody_asks_for_are_read_no_more(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["203.0.113.0/24"]}'
    assert running.ask(path_of(running.made(allowedIpsFrom=[LIST])), event(), signed(event())).status == 200
    running.clock.set(NOW_S + 100_000)
    running.run(running.lists.refresh())
    assert running.published.fetched == [WHERE]


def restarted(running: Running) -> None:
    """As after a restart: the lists that were in memory are gone."""
    running.lists = AddressLists(running.published, running.clock, running.kept)
    running.gateway._lists = running.lists


def test_a_list_outlives_a_restart_however_old_it_is_and_is_read_anew_as_before(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["203.0.113.0/24","2001:db8::/32"]}'
    path = path_of(running.made(allowedIpsFrom=[LIST]))
    assert running.ask(path, event(1), signed(event(1))).status == 200
    del running.published.bodies[WHERE]
    later_s = NOW_S + 7 * 86_400
    running.clock.set(later_s)
    restarted(running)
    assert running.lists.states((LIST,)) == [Read(LIST, None, None)]
    assert running.ask(path, event(2), signed(event(2), at_s=later_s)).status == 200
    assert running.ask(path, event(3), signed(event(3), at_s=later_s), peer="198.51.100.9").status == 403
    assert running.lists.states((LIST,)) == [Read(LIST, 2, 7 * 86_400.0)]
    assert running.published.fetched == [WHERE], "whoever calls does not wait for the provider of the list"
    running.run(running.lists.refresh())
    assert running.published.fetched == [WHERE, WHERE], "it was due"
    running.published.bodies[WHERE] = b'{"hooks":["198.51.100.0/24"]}'
    running.clock.set(later_s + 60)
    running.run(running.lists.refresh())
    assert running.ask(path, event(4), signed(event(4), at_s=later_s + 60)).status == 403
    restarted(running)
    assert running.ask(path, event(5), signed(event(5), at_s=later_s + 60), peer="198.51.100.9").status == 200


def test_places_in_one_list_are_kept_apart(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["203.0.113.0/24"],"actions":["198.51.100.0/24"]}'
    hooks, actions = path_of(running.made(allowedIpsFrom=[LIST])), path_of(running.made(allowedIpsFrom=[f"{WHERE}#actions"]))
    for _ in range(2):
        assert running.ask(hooks, event(1), signed(event(1))).status == 200
        assert running.ask(actions, event(1), signed(event(1))).status == 403
        running.published.bodies.clear()
        restarted(running)


def test_a_list_that_is_used_is_kept_for_ever_and_one_that_is_not_for_a_month(running: Running) -> None:
    running.published.bodies[WHERE] = b'{"hooks":["203.0.113.0/24"]}'
    path = path_of(running.made(allowedIpsFrom=[LIST]))
    assert running.ask(path, event(1), signed(event(1))).status == 200
    running.published.bodies.clear()
    for day in range(1, 40):
        running.clock.set(NOW_S + day * 86_400 - 60)
        running.ask(path, event(day), signed(event(day), at_s=NOW_S + day * 86_400 - 60))
        running.run(running.lists.refresh())
        assert running.run(running.kept.forget()) == 0
    restarted(running)
    running.clock.set(NOW_S + 39 * 86_400)
    assert running.ask(path, event(40), signed(event(40), at_s=NOW_S + 39 * 86_400)).status == 200
    running.clock.set(NOW_S + 70 * 86_400)
    assert running.run(running.kept.forget()) == 1
    assert running.run(running.kept.find("addresses", LIST)) is None


def test_of_many_lists_the_ones_that_were_used_last_are_kept(running: Running) -> None:
    for number in range(MOST + 5):
        running.clock.at_us += 1
        running.run(running.kept.keep("addresses", f"https://{number}.example/", b"192.0.2.1"))
    found = [number for number in range(MOST + 5) if running.run(running.kept.find("addresses", f"https://{number}.example/")) is not None]
    assert found == list(range(5, MOST + 5))


@pytest.mark.parametrize("url", ["http://api.github.com/meta", "ftp://x/", "https://", "nonsense"])
def test_a_list_is_fetched_over_tls_alone(running: Running, url: str) -> None:
    with pytest.raises(InvalidField):
        running.made(allowedIpsFrom=[url])


@pytest.mark.parametrize(
    ("body", "path", "found"),
    [
        (b'{"us":["192.0.2.1/32"],"eu":{"a":["198.51.100.0/24"]}}', "", {"192.0.2.1/32", "198.51.100.0/24"}),
        (b'{"WEBHOOKS":["192.0.2.1"],"API":["192.0.2.2"]}', "WEBHOOKS", {"192.0.2.1/32"}),
        (b'{"prefixes":[{"ipv4Prefix":"192.0.2.0/24"},{"ipv6Prefix":"2001:db8::/32"}]}', "", {"192.0.2.0/24", "2001:db8::/32"}),
        (b"# ours\r\n192.0.2.1\r\n\r\n2001:db8::/32, office\n192.0.2.3 # x\n", "", {"192.0.2.1/32", "2001:db8::/32", "192.0.2.3/32"}),
        (b'["192.0.2.77/24", "::ffff:198.51.100.0/120", "x", 7, null]', "", {"192.0.2.0/24", "198.51.100.0/24"}),
    ],
)
def test_lists_of_every_shape_are_read(body: bytes, path: str, found: set[str]) -> None:
    assert {str(network) for network in read_networks(body, path)} == found


@pytest.mark.parametrize(
    ("body", "path"),
    [(b"", ""), (b"{}", ""), (b'{"a":["192.0.2.1"]}', "b"), (b"192.0.2.1", "a"), (b"\xff\xfe", ""), (b"[" * 5_000, "")],
)
def test_what_is_no_list_is_refused(body: bytes, path: str) -> None:
    with pytest.raises(ValueError, match="list"):
        read_networks(body, path)


def test_a_list_of_everybody_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        read_networks(b"\n".join(b"10.%d.%d.0/24" % (high, low) for high in range(60) for low in range(250)), "")


@given(
    st.lists(
        st.ip_addresses(network="10.0.0.0/28").flatmap(_networks) | st.ip_addresses(network="fd00::/125").flatmap(_networks), max_size=6
    ),
    st.ip_addresses(network="10.0.0.0/27") | st.ip_addresses(network="fd00::/124"),
)
def test_an_address_is_found_among_many_networks_as_in_each_of_them(networks: list[Network], address: Address) -> None:
    assert (address in Networks(networks)) is any(address in network for network in networks)


# -- the header Forwarded


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([b"for=192.0.2.1"], [Hop(b"192.0.2.1")]),
        ([b'For="[2001:db8::1]:4711";proto=https;Host=h.example'], [Hop(b"[2001:db8::1]:4711", b"https", b"h.example")]),
        ([b"for=192.0.2.1, for=198.51.100.2;proto=http"], [Hop(b"192.0.2.1"), Hop(b"198.51.100.2", b"http")]),
        ([b"for=192.0.2.1", b"for=198.51.100.2"], [Hop(b"192.0.2.1"), Hop(b"198.51.100.2")]),
        ([b'for="a\\"b", for=192.0.2.1'], [Hop(b'a"b'), Hop(b"192.0.2.1")]),
        ([b"for=1.2.3.4 nonsense, for=192.0.2.1"], [Hop(b"192.0.2.1")]),
        ([b'for="1.2.3.4', b"for=192.0.2.1"], [Hop(b"192.0.2.1")]),
        ([b"for=192.0.2.1;for=1.2.3.4"], [Hop(b"192.0.2.1")]),
        ([b"\xff\x00"], []),
        ([], []),
        ([b"for=192.0.2.1, "], []),
    ],
)
def test_what_proxies_say_is_read_and_what_cannot_be_read_counts_for_nothing(values: list[bytes], found: list[Hop]) -> None:
    # Source: https://www.rfc-editor.org/rfc/rfc7239#section-4
    assert hops(values) == found


def sender(place: Place, peer: str, *fields: tuple[str, str]) -> str:
    headers = Headers(rewritten([(name.encode(), value.encode()) for name, value in fields]), lowered=True)
    return str(place.sender(peer, headers))


def test_only_the_header_that_proxies_write_is_believed() -> None:
    said = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=198.51.100.2")]
    assert sender(Place(TRUSTED), "10.0.0.1", *said) == "198.51.100.2"
    assert sender(Place(TRUSTED), "203.0.113.9", *said) == "203.0.113.9", "a stranger says nothing"
    assert sender(Place(TRUSTED), "10.0.0.1", said[0]) == "10.0.0.1"
    assert rewritten([(b"x-forwarded-host", b"evil"), (b"x-forwarded-proto", b"https"), (b"accept", b"a")]) == [(b"accept", b"a")]


def test_the_nearest_address_that_is_no_proxy_sent_it() -> None:
    place = Place(TRUSTED)
    assert sender(place, "10.0.0.1", ("forwarded", 'for=1.2.3.4, for="[2001:db8::7]:9", for=10.0.0.2')) == "2001:db8::7"
    assert sender(place, "10.0.0.1", ("forwarded", "for=1.2.3.4"), ("forwarded", "for=192.0.2.7")) == "192.0.2.7"
    assert sender(place, "10.0.0.1", ("forwarded", "for=1.2.3.4, for=unknown")) == "10.0.0.1"
    assert sender(place, "10.0.0.1", ("forwarded", 'for="1.2.3.4,5.6.7.8"')) == "10.0.0.1"
    assert sender(place, "10.0.0.1", ("forwarded", "proto=https")) == "10.0.0.1"


def test_the_nearest_proxy_says_how_it_was_called(running: Running) -> None:
    ready = Ready(running.made(), running.clock.now_us())
    fields = [
        (b"host", b"internal"),
        (b"x-forwarded-host", b"evil.example"),
        (b"forwarded", b"host=old;proto=ftp, host=h.example;proto=https"),
    ]
    named = dict(rewritten(fields))
    assert Place(TRUSTED).url(b"http", b"/hooks/x", b"a=1", named, "10.0.0.1", ready) == b"https://h.example/hooks/x?a=1"
    assert Place(TRUSTED).url(b"http", b"/hooks/x", b"a=1", named, "203.0.113.9", ready) == b"http://internal/hooks/x?a=1"
    odd = dict(rewritten([(b"host", b"internal"), (b"forwarded", b'host="a,b";proto="x,y"')]))
    assert Place(TRUSTED).url(b"http", b"/", b"", odd, "10.0.0.1", ready) == b"http://internal/"


# -- clients' certificates


CERTIFICATE = {"X-Client-Verify": "SUCCESS", "X-Client-DN": "CN=hooks.example*"}
PROVED = [(b"x-client-verify", b"SUCCESS"), (b"x-client-dn", b"CN=hooks.example,O=A")]


def certified(running: Running, path: str, number: int, fields: list[tuple[bytes, bytes]], peer: str = "10.0.0.1") -> int:
    headers = [(name.encode(), value.encode()) for name, value in signed(event(number)).items()]
    return running.ask(path, event(number), [*headers, *fields], peer=peer).status


def test_a_trusted_proxy_says_whose_certificate_it_saw(running: Running) -> None:
    source = running.made(clientCertificate=CERTIFICATE)
    path = path_of(source)
    assert certified(running, path, 1, PROVED) == 200
    assert certified(running, path, 2, PROVED, peer="203.0.113.9") == 403, "a stranger can say anything"
    assert certified(running, path, 3, PROVED[:1]) == 403
    assert certified(running, path, 4, [PROVED[0], (b"x-client-dn", b"CN=other")]) == 403
    assert certified(running, path, 5, [*PROVED, (b"x-client-dn", b"CN=hooks.example")]) == 403, "one of the two is a stranger's"
    assert {item.reason for item in running.quarantined(source)} == {"client_certificate"}
    assert len(running.messages()) == 1


def test_a_certificate_does_not_stand_for_the_signature(running: Running) -> None:
    path = path_of(running.made(clientCertificate=CERTIFICATE))
    assert running.ask(path, event(), PROVED, peer="10.0.0.1").status == 401


def test_a_content_type_that_is_not_wanted_is_answered_415(running: Running) -> None:
    path = path_of(running.made(requiredHeaders={"Content-Type": "application/json*"}))
    assert running.ask(path, event(), {**signed(event()), "content-type": "text/plain"}).status == 415
    assert running.ask(path, event(), signed(event())).status == 200


# -- the URL of this server


@pytest.mark.parametrize(
    ("peer", "headers", "base"),
    [
        ("127.0.0.1", {b"host": b"localhost:8071"}, "http://localhost:8071"),
        ("::1", {b"host": b"[::1]:8071"}, "http://[::1]:8071"),
        ("127.0.0.1", {b"host": b"Hooks.example"}, "http://hooks.example"),
        ("10.0.0.1", {b"host": b"internal:8071", b"x-forwarded-proto": b"https", b"x-forwarded-host": b"h.example"}, "https://h.example"),
        ("10.0.0.1", {b"host": b"h.example"}, "http://h.example"),
        ("127.0.0.1", {b"host": b"localhost", b"x-forwarded-proto": b"https", b"x-forwarded-host": b"evil.example"}, "http://localhost"),
        ("203.0.113.9", {b"host": b"evil.example", b"x-forwarded-host": b"evil.example"}, None),
        ("127.0.0.1", {}, None),
        ("127.0.0.1", {b"host": b"evil.example/a?b#"}, None),
        ("127.0.0.1", {b"host": b"a@evil.example"}, None),
        ("10.0.0.1", {b"host": b"h.example", b"x-forwarded-proto": b"javascript"}, None),
        ("", {b"host": b"h.example"}, None),
    ],
)
def test_a_program_on_this_machine_and_trusted_proxies_say_under_which_url_we_are_reached(
    peer: str, headers: dict[bytes, bytes], base: str | None
) -> None:
    assert base_url(b"http", headers, peer, TRUSTED) == base
