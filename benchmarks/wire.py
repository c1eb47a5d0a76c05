"""How do load tool and sink read HTTP/1.1 at next to no cost? They trust each other and the server: framing by content-length alone."""

from __future__ import annotations

import time

HEAD_END = b"\r\n\r\n"

# Opens the number that carries the moment of sending in every payload; the sink looks for it and leaves the rest unread.
SENT_AT = b'"sent_ns":'

# Digits of the moment: monotonic nanoseconds, zero-padded, so that every request has the same length and its head is built once.
# A leading zero is no JSON number, hence the leading 1.
SENT_AT_DIGITS = 19
SENT_AT_BASE: int = 10 ** (SENT_AT_DIGITS - 1)


def now_ns() -> int:
    """Monotonic nanoseconds: one clock for all processes of the machine."""
    return time.monotonic_ns()


def stamp(moment_ns: int) -> bytes:
    """The moment as exactly `SENT_AT_DIGITS` digits."""
    return b"%d" % (SENT_AT_BASE + moment_ns)


def read_stamp(buffer: bytes, start: int, end: int) -> int | None:
    """The moment of sending carried between `start` and `end`, in monotonic nanoseconds; None when there is none."""
    at = buffer.find(SENT_AT, start, end)
    if at < 0:
        return None
    at += len(SENT_AT)
    return int(buffer[at : at + SENT_AT_DIGITS]) - SENT_AT_BASE


def content_length(buffer: bytes, start: int, head_end: int) -> int:
    """The length of the body behind the head in `buffer[start:head_end]`; 0 when the head names none."""
    at = buffer.find(b"ontent-length: ", start, head_end)
    if at < 0:
        at = buffer.find(b"ontent-Length: ", start, head_end)
        if at < 0:
            return 0
    at += 15
    line_end = buffer.find(b"\r\n", at, head_end)
    return int(buffer[at : line_end if line_end >= 0 else head_end])


def percentiles(samples_ns: list[int]) -> dict[str, float]:
    """The figures of a set of durations, in milliseconds; empty when there are no samples."""
    if not samples_ns:
        return {}
    ordered = sorted(samples_ns)
    last = len(ordered) - 1
    return {
        "p50_ms": ordered[round(last * 0.50)] / 1e6,
        "p90_ms": ordered[round(last * 0.90)] / 1e6,
        "p99_ms": ordered[round(last * 0.99)] / 1e6,
        "max_ms": ordered[last] / 1e6,
    }
