"""Are spans written as OTLP has them, whatever the code gave, and is an answer of a receiver understood?"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.otlp import MAX_BODY_BYTES, MAX_VALUES, Tracing, partial_success, spans_body

TIMES = {"startTime": "2024-01-02T03:04:05.5Z", "endTime": "2024-01-02T03:04:06"}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def spans(*members: dict[str, Any], space: str = "strm_1", batch: str = "batch_1") -> list[dict[str, Any]]:
    """The spans of a request that is made of these."""
    body = spans_body(json.dumps([{"name": "a", **TIMES, **member} for member in members]).encode(), Tracing(), space, batch)
    return list(json.loads(body)["resourceSpans"][0]["scopeSpans"][0]["spans"])


def plain(value: dict[str, Any]) -> Any:
    """What an AnyValue says, read as https://github.com/open-telemetry/opentelemetry-proto (common/v1) defines it."""
    if not value:
        return None
    ((kind, content),) = value.items()
    if kind == "intValue":
        assert isinstance(content, str) and -(2**63) <= int(content) < 2**63, "numbers of 64 bits are texts"
        return int(content)
    if kind == "arrayValue":
        return [plain(item) for item in content["values"]]
    if kind == "kvlistValue":
        return {item["key"]: plain(item["value"]) for item in content["values"]}
    assert kind in ("stringValue", "boolValue", "doubleValue")
    return content


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5))
def test_attributes_say_what_the_code_gave(attributes: dict[str, Any]) -> None:
    (span,) = spans({"attributes": attributes})
    read = {item["key"]: plain(item["value"]) for item in span["attributes"]}
    # What is beyond 64 bits is as near as a double is.
    assert read == json.loads(json.dumps({name: value for name, value in attributes.items() if value is not None}), parse_int=_near)


def _near(text: str) -> float:
    return int(text) if -(2**63) <= int(text) < 2**63 else float(text)


@given(st.binary(max_size=200))
def test_whatever_is_returned_is_spans_or_a_sentence(returned: bytes) -> None:
    try:
        json.loads(spans_body(returned, Tracing(), "strm_1", "batch_1"))
    except ValueError as error:
        assert str(error).startswith("`spans")


def test_keys_join_spans_within_a_stream_and_nowhere_else() -> None:
    order, pay, other = spans(
        {"traceIdKey": "o1", "spanIdKey": "order"},
        {"traceIdKey": "o1", "parentSpanIdKey": "order"},
        {"traceIdKey": "o2", "spanIdKey": "order"},
    )
    assert (pay["traceId"], pay["parentSpanId"]) == (order["traceId"], order["spanId"])
    assert other["traceId"] != order["traceId"] and other["spanId"] != order["spanId"]
    (elsewhere,) = spans({"traceIdKey": "o1", "spanIdKey": "order"}, space="strm_2")
    assert elsewhere["traceId"] != order["traceId"] and elsewhere["spanId"] != order["spanId"]
    (later,) = spans({"traceIdKey": "o1", "spanIdKey": "order"}, batch="batch_2")
    assert (later["traceId"], later["spanId"]) == (order["traceId"], order["spanId"])


def test_without_keys_ids_follow_from_the_batch_and_differ() -> None:
    first, second = spans({}, {})
    assert spans({}, {}) == [first, second]
    assert len({first["traceId"], second["traceId"], *(span["traceId"] for span in spans({}, {}, batch="batch_2"))}) == 4
    assert first["traceId"][:16] != first["spanId"]


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", "0"),
        ("2024-01-02T03:04:05.123456789Z", "1704164645123456000"),
        ("2024-01-02T04:04:05+01:00", "1704164645000000000"),
        ("2024-01-02", "1704153600000000000"),
    ],
)
def test_times_are_nanoseconds(text: str, nanoseconds: str) -> None:
    (span,) = spans({"startTime": text})
    assert span["startTimeUnixNano"] == nanoseconds


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ({"endTime": "1969-12-31"}, '`spans[0].endTime` is "1969-12-31"; it must be a time since 1970'),
        ({"endTime": 5}, "`spans[0]` cannot be used: Expected `str`, got `int` - at `$.endTime`"),
        ({"status": "BAD"}, '`spans[0].status` is "BAD"; it must be one of UNSET, OK, ERROR'),
        ({"attributes": {"a": 10**400}}, "an attribute of `spans[0]` is a number beyond what 64 bits hold; give it as a text"),
        ({"attributes": {"a": json.loads("[" * 40 + "]" * 40)}}, "values in more than 32 others"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(member: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r".") as wrong:
        spans(member)
    assert said in str(wrong.value)


def test_requests_are_bounded() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_BODY_BYTES} are allowed"):
        spans({"attributes": {"a": "x" * MAX_BODY_BYTES}})
    # Each takes a hundred times its place in the text while it is written: no thread may have hundreds of megabytes.
    half = {"attributes": {"a": [1] * (MAX_VALUES // 2 - 1)}}
    assert len(spans(half, half)) == 2
    with pytest.raises(ValueError, match=f"more than {MAX_VALUES} values in their attributes"):
        spans(half, half, {"attributes": {"a": 1}})
    with pytest.raises(ValueError, match="at most 10000 are allowed"):
        spans(*({} for _ in range(10_001)))
    with pytest.raises(ValueError, match="`spans` is empty"):
        spans()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", ""),
        (b"{}", ""),
        (b'{"partialSuccess": {}}', ""),
        (b'{"partialSuccess": null}', ""),
        (b'{"partialSuccess": {"rejectedSpans": "0"}}', ""),
        (b'{"partialSuccess": {"rejectedSpans": "many"}}', ""),
        (b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "old"}}', "the receiver rejected 2 spans of the last batch: old"),
        (b'{"partialSuccess": {"rejectedSpans": 1}}', "the receiver rejected 1 span of the last batch"),
        (b'{"partialSuccess": {"rejectedSpans": 1, "errorMessage": null}}', "the receiver rejected 1 span of the last batch"),
        (b'{"partialSuccess": {"errorMessage": "slow"}}', "the receiver took the last batch with a warning: slow"),
        (b"\x0a\x02\x08\x01", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_what_a_receiver_says_against_a_part_is_understood(answer: bytes, said: str) -> None:
    assert partial_success(answer) == said
