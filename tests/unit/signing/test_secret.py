"""Secrets as text: what is accepted, what is shown."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.signing.secret import Ed25519Key, HmacKey, generate_secret, parse_public_key, parse_secret, shown


def text(size: int) -> str:
    return b64encode(bytes(size)).decode()


@pytest.mark.parametrize("size", [24, 32, 64, 75])
def test_an_hmac_secret_of_24_to_75_bytes_is_accepted_with_or_without_its_prefix(size: int) -> None:
    assert parse_secret("whsec_" + text(size)) == parse_secret(text(size)) == HmacKey(bytes(size))


PAIR = generate_secret("ed25519", lambda n: bytes(range(n)))


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "whsec_",
        text(23),
        text(76),
        "whsec_!!!",
        "whsec_é",
        "whsk_" + text(64),
        "whsk_" + text(32),
        "whpk_" + text(32),
        PAIR[:-8] + "AAAAAA==",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed_and_without_the_secret(wrong: str) -> None:
    with pytest.raises(ValueError, match="24 to 75 bytes") as failure:
        parse_secret(wrong)
    assert len(wrong) < 10 or wrong not in str(failure.value)


def test_an_ed25519_secret_is_accepted_under_both_prefixes() -> None:
    key = parse_secret(PAIR)
    assert isinstance(key, Ed25519Key)
    assert key == parse_secret(PAIR.replace("whsk_", "whsk1_"))
    assert key.seed == bytes(range(32))


def test_an_hmac_secret_is_shown_as_it_is_and_of_an_ed25519_pair_only_the_public_half() -> None:
    secret = generate_secret("hmac256", lambda n: b"k" * n)
    assert shown(secret) == secret == "whsec_" + b64encode(b"k" * 24).decode()
    assert shown(secret.removeprefix("whsec_")) == secret
    key = parse_secret(PAIR)
    assert isinstance(key, Ed25519Key)
    assert parse_public_key(shown(PAIR)).public == key.public


def test_keys_do_not_show_their_secret_in_logs() -> None:
    assert "kkk" not in repr(HmacKey(b"k" * 24))
    assert repr(bytes(range(32)))[2:-1] not in repr(parse_secret(PAIR))


@given(st.text(max_size=40))
def test_a_public_key_is_parsed_or_refused_with_a_value_error(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"whpk_|base64"):
        parse_public_key(wrong)
