"""The types of source that the ingest API names."""

from __future__ import annotations

import hmac

import pytest

from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.providers.ingest import INGEST_TYPES
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.verify import prepare_provider

BODY = b'{"type":"nodeCreated"}'


def test_a_type_is_a_row_of_the_catalogue_where_there_is_one() -> None:
    assert INGEST_TYPES["open-ai"] is PROVIDERS["openai"]
    assert all(INGEST_TYPES[name] is PROVIDERS[name] for name in set(INGEST_TYPES) & set(PROVIDERS))


def test_tailscale_looks_at_the_age_only_when_a_grace_is_set() -> None:
    signature = hmac.digest(b"s", b"1600000000." + BODY, "sha256").hex()
    request = InboundRequest(Headers.of({"Tailscale-Webhook-Signature": f"t=1600000000,v1={signature}"}), BODY)
    assert prepare_provider(INGEST_TYPES["tailscale"], [Secret("s")]).verify(request, now_s=1_700_000_000)
    with pytest.raises(VerificationError):
        prepare_provider(INGEST_TYPES["tailscale"], [Secret("s")], tolerance_s=300).verify(request, now_s=1_700_000_000)


def test_segment_signs_with_sha1() -> None:
    request = InboundRequest(Headers.of({"X-Signature": hmac.digest(b"s", BODY, "sha1").hex()}), BODY)
    assert prepare_provider(INGEST_TYPES["segment"], [Secret("s")]).verify(request, now_s=0)
