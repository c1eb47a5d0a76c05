"""Every known answer of tests/vectors/providers.json, by scheme and by provider."""

from __future__ import annotations

import doctest
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

import ringback.signing.verify
from ringback.errors import VerificationError
from ringback.signing.headers import Headers
from ringback.signing.providers.catalogue import PROVIDERS, scheme
from ringback.signing.request import InboundRequest, Secret
from ringback.signing.verdict import REASONS
from ringback.signing.verify import prepare_provider, prepare_scheme

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).parents[2].joinpath("vectors/providers.json").read_text())["vectors"]
# What the vectors leave to us: Twilio writes an apostrophe as %27, whatever a proxy makes of it; Stripe's own package lets the future pass.
DECISIONS = {"twilio-special-chars-query-raw-apostrophe": None, "stripe-future": "timestamp_in_future"}


def ids(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def request_of(vector: dict[str, Any]) -> InboundRequest:
    return InboundRequest(
        Headers.of(vector["headers"]), b64decode(vector["body_b64"]), vector["method"].encode(), (vector["url"] or "").encode()
    )


def secrets_of(vector: dict[str, Any]) -> list[Secret]:
    given = vector["secret"]
    texts = given if isinstance(given, list) else [given] if given is not None else []
    return [Secret(text, vector["secret_encoding"]) for text in texts]


def expected_reason(vector: dict[str, Any]) -> str | None:
    if vector["expected"] is None:
        return DECISIONS[vector["id"]]
    return None if vector["expected"] else vector["expected_reason"]


@pytest.mark.parametrize("vector", VECTORS, ids=ids)
def test_a_known_answer_is_given_under_the_name_of_its_scheme(vector: dict[str, Any]) -> None:
    verifier = prepare_scheme(scheme(vector["scheme"]), secrets_of(vector), tolerance_s=vector.get("tolerance_s"))
    now_s = vector.get("now", 1_700_000_000)
    reason = expected_reason(vector)
    if reason is None:
        assert verifier.verify(request_of(vector), now_s=now_s).scheme == vector["scheme"]
    else:
        assert reason in REASONS
        with pytest.raises(VerificationError) as refused:
            verifier.verify(request_of(vector), now_s=now_s)
        assert refused.value.reason == reason


FREELY_CHOSEN = {scheme.name: row for row in PROVIDERS.values() for scheme in row.schemes}


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector["scheme"] in FREELY_CHOSEN], ids=ids)
def test_choosing_the_provider_gives_the_same_answer(vector: dict[str, Any]) -> None:
    verifier = prepare_provider(FREELY_CHOSEN[vector["scheme"]], secrets_of(vector), tolerance_s=vector.get("tolerance_s"))
    now_s = vector.get("now", 1_700_000_000)
    reason = expected_reason(vector)
    if reason is None:
        assert verifier.verify(request_of(vector), now_s=now_s).scheme == vector["scheme"]
    else:
        with pytest.raises(VerificationError) as refused:
            verifier.verify(request_of(vector), now_s=now_s)
        assert refused.value.reason == reason


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector["expected"] and vector["secret"]], ids=ids)
def test_a_known_answer_fails_with_one_byte_of_the_body_changed(vector: dict[str, Any]) -> None:
    verifier = prepare_scheme(scheme(vector["scheme"]), secrets_of(vector), tolerance_s=vector.get("tolerance_s"))
    good = request_of(vector)
    if vector["scheme"] in ("adyen-standard", "rfc9421"):
        pytest.skip("only fields of the body, or nothing of it, are signed there")
    changed = InboundRequest(good.headers, good.body + b"x", good.method, good.url)
    with pytest.raises(VerificationError):
        verifier.verify(changed, now_s=vector.get("now", 1_700_000_000))


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if vector["expected"] and vector["secret"] and vector["headers"]], ids=ids)
def test_a_known_answer_fails_when_its_signature_header_came_twice(vector: dict[str, Any]) -> None:
    verifier = prepare_scheme(scheme(vector["scheme"]), secrets_of(vector), tolerance_s=vector.get("tolerance_s"))
    good = request_of(vector)
    twice = InboundRequest(Headers([*good.headers, *good.headers]), good.body, good.method, good.url)
    with pytest.raises(VerificationError) as refused:
        verifier.verify(twice, now_s=vector.get("now", 1_700_000_000))
    assert refused.value.reason == "malformed_header"


def test_the_example_of_the_documentation_runs() -> None:
    assert doctest.testmod(ringback.signing.verify) == (0, 7)
