"""HMAC with prepared keys. Source: https://www.rfc-editor.org/rfc/rfc2104."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.signing.hmac_body import prepare


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512", "md5"])
@given(key=st.binary(max_size=200), data=st.binary(max_size=300))
def test_a_prepared_key_gives_the_same_bytes_as_the_standard_library(algorithm: str, key: bytes, data: bytes) -> None:
    mac = prepare(key, algorithm)
    assert mac(data) == hmac.digest(key, data, algorithm)
    assert mac(data) == hmac.digest(key, data, algorithm)
