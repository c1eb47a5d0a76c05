"""May we connect to this address?

https://www.iana.org/assignments/iana-ipv4-special-registry https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringback.policy.addresses import AddressPolicy, blocked_reason, parse_literal, parse_networks

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255",
    "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700::1111", "2a00:1450::1", "2001:200::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2606:4700::5efe:8.8.8.8",
]  # fmt: skip

BLOCKED = [
    ("0.0.0.0", "unspecified"), ("0.1.2.3", "unspecified"), ("10.0.0.0", "private"), ("10.255.255.255", "private"),
    ("100.64.0.0", "carrier"), ("100.127.255.255", "carrier"), ("127.0.0.1", "loopback"), ("127.255.255.255", "loopback"),
    ("169.254.169.254", "link-local"), ("172.16.0.0", "private"), ("172.31.255.255", "private"), ("192.0.0.170", "protocols"),
    ("192.0.2.5", "documentation"), ("192.88.99.1", "6to4"), ("192.168.255.255", "private"), ("198.18.0.1", "benchmark"),
    ("198.19.255.255", "benchmark"), ("198.51.100.5", "documentation"), ("203.0.113.5", "documentation"), ("224.0.0.1", "multicast"),
    ("239.255.255.255", "multicast"), ("240.0.0.1", "reserved"), ("255.255.255.254", "reserved"), ("255.255.255.255", "broadcast"),
    ("::", "unspecified"), ("::1", "loopback"), ("::8.8.8.8", "IPv4-compatible"), ("::ffff:127.0.0.1", "loopback, inside IPv4-mapped"),
    ("::ffff:0:8.8.8.8", "IPv4-translated"), ("64:ff9b::10.0.0.1", "private, inside NAT64"), ("64:ff9b:1::8.8.8.8", "local NAT64"),
    ("2002:7f00:1::1", "loopback, inside 6to4"), ("2002:a9fe:a9fe::", "link-local, inside 6to4"), ("2001:0:808:808::1", "Teredo"),
    ("2001:10::1", "protocols"), ("2001:db8::1", "documentation"), ("3fff:fff::1", "documentation"), ("fc00::1", "unique local"),
    ("fdff::1", "unique local"), ("fe80::1", "link-local"), ("febf::1", "link-local"), ("fec0::1", "site-local"), ("ff02::1", "multicast"),
    ("100::1", "discard"), ("5f00::1", "reserved"), ("4000::1", "reserved"), ("1::1", "reserved"),
    ("2606:4700::5efe:192.168.0.1", "private, inside ISATAP"), ("fe80::5efe:8.8.8.8", "link-local"),
]  # fmt: skip


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert blocked_reason(ipaddress.ip_address(address)) is None


@pytest.mark.parametrize(("address", "reason"), BLOCKED)
def test_an_address_that_is_not_public_is_blocked_with_a_reason(address: str, reason: str) -> None:
    assert reason in (blocked_reason(ipaddress.ip_address(address)) or "")


EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("2002::/16"))


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.31.196.1"))
@example(ipaddress.ip_address("2002:100::"))
def test_nothing_that_the_standard_library_calls_private_is_admitted(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    inner = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
    if not inner and (address.is_private or address.is_multicast or address.is_reserved or address.is_link_local or address.is_loopback):
        # These are judged by the IPv4 address inside; versions of the library differ over them.
        judged_inside = isinstance(address, ipaddress.IPv6Address) and any(address in network for network in EMBEDDING)
        assert judged_inside or blocked_reason(address) is not None


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_alike(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [0xFFFF << 32 | number, 0x0064FF9B << 96 | number, 0x2002 << 112 | number << 80]
    for form in forms:
        assert (blocked_reason(ipaddress.IPv6Address(form)) is None) == (blocked_reason(address) is None)


def test_allowed_subnets_admit_what_is_blocked_otherwise_and_nothing_else() -> None:
    policy = AddressPolicy(parse_networks("10.1.0.0/16, fd00:1::/32,127.0.0.1"))
    for address in ("10.1.2.3", "fd00:1::5", "127.0.0.1", "::ffff:10.1.2.3", "8.8.8.8"):
        assert policy.refusal(ipaddress.ip_address(address)) is None
    for address in ("10.2.0.0", "fd00:2::5", "127.0.0.2", "::ffff:10.2.0.0", "64:ff9b::10.1.2.3", "2002:a01:203::1"):
        assert policy.refusal(ipaddress.ip_address(address)) is not None


def test_an_empty_list_of_subnets_allows_nothing() -> None:
    assert parse_networks("") == ()
    assert parse_networks(" , ") == ()


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0", "fe80::/200"])
def test_a_wrong_subnet_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not a subnet"):
        parse_networks(f"127.0.0.0/8,{text}")


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"), ("127.0.0.1.", "127.0.0.1"), ("127.1", "127.0.0.1"), ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"), ("017700000001", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("0X7F000001", "127.0.0.1"), ("0", "0.0.0.0"),
        ("1.2.772", "1.2.3.4"), ("[::1]", "::1"), ("::1", "::1"), ("fe80::1%eth0", "fe80::1"), ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("0x", "0.0.0.0"), ("00", "0.0.0.0"),
    ],
)  # fmt: skip
def test_every_spelling_of_a_literal_is_read_as_the_c_library_reads_it(host: str, address: str) -> None:
    assert parse_literal(host) == ipaddress.ip_address(address)


NAMES = ["example.com", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "08.1.1.1", "4294967296", "a.1", "1..2", "", "-1", "1_0", "+1", ":::1"]


@pytest.mark.parametrize("host", NAMES)
def test_what_is_no_literal_is_a_name(host: str) -> None:
    assert parse_literal(host) is None


@given(st.one_of(st.text(max_size=30), st.text(alphabet="0123456789abcdefx.:%[]", max_size=20)))
def test_any_text_at_all_can_be_asked_about(host: str) -> None:
    assert parse_literal(host) is None or isinstance(parse_literal(host), ipaddress.IPv4Address | ipaddress.IPv6Address)


@given(st.from_regex(r"(0x[0-9a-f]{1,8}|0?[0-9]{1,10})(\.(0x[0-9a-f]{1,4}|0?[0-9]{1,5})){0,3}", fullmatch=True))
def test_the_c_library_agrees_about_numbers(host: str) -> None:
    try:
        expected = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        expected = None
    assert parse_literal(host) == expected
