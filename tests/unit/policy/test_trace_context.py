"""A context is taken when it is exactly right, and never in part. https://www.w3.org/TR/trace-context-1/"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.trace_context import TraceContext, context_of, fields_in, is_nothing_else, without_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def parent(value: bytes, *states: bytes) -> TraceContext | None:
    return context_of([(b"host", b"x"), (b"traceparent", value), *((b"tracestate", state) for state in states)])


@pytest.mark.parametrize(("flags", "sampled"), [(b"01", True), (b"00", False), (b"03", True), (b"fe", False)])
def test_the_example_of_the_specification_is_read(flags: bytes, sampled: bool) -> None:
    assert parent(PARENT[:-2] + flags) == TraceContext(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        PARENT.upper(),
        PARENT + b"-more",
        PARENT + b"0",
        b"ff" + PARENT[2:],
        b"0" + PARENT,
        PARENT.replace(TRACE.encode(), b"0" * 32),
        PARENT.replace(SPAN.encode(), b"0" * 16),
        PARENT.replace(b"-", b"_"),
        b"cc" + PARENT[2:] + b"-" + b"x" * 1000,
        PARENT + b"\n",
        PARENT.replace(b"a", b"\xc3"),
    ],
)
def test_what_is_not_exactly_right_is_no_context(value: bytes) -> None:
    assert parent(value, b"a=1") is None


def test_later_versions_may_say_more() -> None:
    assert parent(b"cc" + PARENT[2:]) == parent(b"cc" + PARENT[2:] + b"-what-the-future-brings") == TraceContext(TRACE, SPAN, True)


def test_two_parents_are_none() -> None:
    assert context_of([(b"traceparent", PARENT), (b"traceparent", PARENT)]) is None
    assert context_of([(b"tracestate", b"a=1")]) is None


@pytest.mark.parametrize(
    ("states", "read"),
    [
        ([b"a=1,b=2", b" c=3 "], "a=1,b=2,c=3"),
        ([b"fw529a3039@dt=FfZ4/x-*+~"], "fw529a3039@dt=FfZ4/x-*+~"),
        ([b"a=1,,b=2"], "a=1,b=2"),
        ([b"A=1"], ""),
        ([b"a=1;b"], "a=1;b"),
        ([b"a"], ""),
        ([b"a=\xff"], ""),
        ([b"a=1=2"], ""),
        ([b"a=" + b"x" * 600], ""),
        ([b"a=1" + b" ," * 400], "a=1"),
        # Not read to its end: sixty kilobytes of it would take milliseconds of each attempt.
        ([b"a=1" + b" ," * 600], ""),
        ([b"a=1" + b" ," * 300, b" ," * 300], ""),
        ([b",".join(b"a%d=1" % number for number in range(33))], ""),
    ],
)
def test_the_state_of_others_is_passed_on_whole_or_not_at_all(states: list[bytes], read: str) -> None:
    """Source: section 3.3.1."""
    context = parent(PARENT, *states)
    assert context is not None and context.state == read


@given(st.lists(st.tuples(st.sampled_from([b"traceparent", b"tracestate", b"host"]), st.binary(max_size=80) | st.just(PARENT)), max_size=4))
def test_whatever_strangers_send_a_context_is_none_or_can_be_passed_on(fields: list[tuple[bytes, bytes]]) -> None:
    context = context_of(fields)
    if context is not None:
        lines = context.lines()
        assert lines.isascii() and lines.endswith(b"\r\n") and lines.count(b"\r\n") == 1 + bool(context.state)
        assert context_of(fields_in(lines)) == context and is_nothing_else(lines)


def test_other_headers_stay_as_they_are() -> None:
    lines = b"host: x\r\ntraceparent: %b\r\nx-key: traceparent: 1\r\ntracestate: a=1\r\n" % PARENT
    assert without_context(lines, keep_state=True) == b"host: x\r\nx-key: traceparent: 1\r\ntracestate: a=1\r\n"
    assert without_context(lines, keep_state=False) == b"host: x\r\nx-key: traceparent: 1\r\n"
    assert not is_nothing_else(lines)
