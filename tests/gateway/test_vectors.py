"""Every known answer and every handshake of tests/vectors/providers.json, through the running gateway."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from ringback.signing.providers.catalogue import PROVIDERS
from tests.gateway.conftest import Running, path_of

VECTORS: dict[str, Any] = json.loads(Path(__file__).parents[1].joinpath("vectors/providers.json").read_text())
TYPES = {name: row.id for row in PROVIDERS.values() for name in row.scheme_names}
# What the vectors leave to us; see tests/unit/signing/test_vectors.py.
DECISIONS = {"twilio-special-chars-query-raw-apostrophe": None, "stripe-future": "timestamp_in_future"}
# Signed questions: they are answered, and no events.
QUESTIONS = {"xero", "discord-ping"}


def ids(vector: dict[str, Any]) -> str:
    return str(vector["id"])


def secrets_of(vector: dict[str, Any]) -> list[Any]:
    given = vector["secret"]
    texts = given if isinstance(given, list) else [given] if given is not None else []
    return [{"text": text, "encoding": vector["secret_encoding"]} for text in texts]


def headers_of(given: Any) -> list[tuple[bytes, bytes]]:
    pairs = given.items() if isinstance(given, dict) else given
    return [(name.encode("latin-1"), raw(value)) for name, value in pairs]


def raw(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=ids)
def test_a_known_answer_is_accepted_or_kept_with_its_reason(running: Running, vector: dict[str, Any]) -> None:
    url = vector["url"] or ""
    parts = urlsplit(url)
    source = running.made(
        type=TYPES[vector["scheme"]],
        scheme=vector["scheme"],
        secrets=secrets_of(vector),
        toleranceS=vector.get("tolerance_s"),
        publicUrl=url.partition("?")[0] or None,
        methods=[vector["method"]],
    )
    running.clock.set(vector.get("now", 1_700_000_000))
    query = url.partition("?")[2].encode() if parts.query else b""
    body = b64decode(vector["body_b64"])
    answer = running.ask(path_of(source), body, headers_of(vector["headers"]), method=vector["method"], query=query)
    expected = DECISIONS[vector["id"]] if vector["expected"] is None else None if vector["expected"] else vector["expected_reason"]
    if expected is None:
        assert answer.status == 200, running.quarantined(source)
        payloads = [message.payload or b"" for message in running.messages()]
        if vector["id"] in QUESTIONS:
            assert payloads == []
        elif PROVIDERS[source.type].batch:
            plain = unquote_to_bytes(body.replace(b"+", b" ")) if vector["scheme"] == "mandrill" else body
            assert payloads and all(payload in plain for payload in payloads)
        else:
            assert payloads == [body]
        assert running.quarantined(source) == []
    else:
        assert (answer.status, answer.body) == (401, b"")
        (kept,) = running.quarantined(source)
        assert kept.reason == expected
        assert kept.request.body == body
        assert running.messages() == []
