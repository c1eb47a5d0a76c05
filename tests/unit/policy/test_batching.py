"""What may code make of a batch? Everything it returns is a request that can be sent, or a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.batching import METHODS, Batched, Returned, seen, transformed
from ringback.policy.transforming import Transformed

BATCH = Batched("batch_1", "https://a.example/in", {"X-Team": "ledger", "authorization": "s"}, b'[{"eventType":"a","payload":"1"}]')


def made(config: Any = None, data: bytes = b"[1]", kind: str = "json", *, https_only: bool = False, **more: Any) -> Transformed:
    """The request that follows from what the code returned."""
    given = ({} if config is None else {"config": config}) | more
    return transformed(BATCH, Returned(json.dumps(given).encode(), data, kind), "strm_1", https_only=https_only)


def test_the_code_sees_the_batch_and_where_it_goes_and_no_secrets() -> None:
    assert json.loads(seen(BATCH)) == {
        "batchId": "batch_1",
        "url": "https://a.example/in",
        "events": [{"eventType": "a", "payload": "1"}],
    }


def test_what_is_left_out_stays_as_it_was() -> None:
    assert made() == Transformed("POST", BATCH.url, BATCH.headers, b"[1]", "application/json")
    assert made({}) == made({"format": "json", "headers": {}, "method": "POST", "url": BATCH.url}) == made(cancel=False) == made()


def test_headers_are_added_to_those_of_the_sink_whatever_their_case() -> None:
    wanted = made({"headers": {"x-team": "books", "X-New": "1", "Host": "b.example", "webhook-signature": "v1,x", "Content-Type": "a/b"}})
    assert dict(wanted.headers) == {"authorization": "s", "x-team": "books", "X-New": "1"}
    assert wanted.content_type == "a/b"


def test_a_text_is_sent_as_it_is_or_as_json() -> None:
    assert made({"format": "raw"}, b"a,b", "text") == Transformed("POST", BATCH.url, BATCH.headers, b"a,b", "text/plain; charset=utf-8")
    assert made(None, 'a"\u00e9'.encode(), "text").body == '"a\\"\u00e9"'.encode()


def test_urls_must_be_https_where_the_server_asks_for_that() -> None:
    assert made({"url": "http://b.example/"}).url == "http://b.example/"
    with pytest.raises(ValueError, match="does not begin with https://"):
        made({"url": "http://b.example/"}, https_only=True)


def test_a_batch_can_be_let_go() -> None:
    assert made(cancel=True, kind="none").cancelled
    with pytest.raises(ValueError, match="it must be true or false"):
        made(cancel="yes")


NAMES = st.text(max_size=9) | st.sampled_from(["config", "url", "headers", "method", "format", "cancel"])
TEXTS = st.text() | st.sampled_from(["PUT", "raw", "json", "http://a.example/", "POST"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
        max_leaves=12,
    ),
    st.sampled_from([("json", b"[1]"), ("text", b"a"), ("none", b"")]),
)
def test_whatever_is_returned_is_a_request_or_a_sentence(given_back: Any, apart: tuple[str, bytes]) -> None:
    kind, data = apart
    document = given_back if isinstance(given_back, dict) else {"config": given_back}
    try:
        wanted = transformed(BATCH, Returned(json.dumps(document).encode(), data, kind), "strm_1")
    except ValueError as error:
        assert str(error)
        return
    assert wanted.cancelled or (wanted.method in METHODS and wanted.url.startswith(("http://", "https://")))
    assert all("\n" not in text and "\r" not in text for pair in wanted.headers.items() for text in pair)
    assert "\n" not in wanted.content_type and "\r" not in wanted.content_type
