"""Which trace does a request belong to? W3C Trace Context, read from what strangers send; whatever is not exactly right is no context.

Source: https://www.w3.org/TR/trace-context-1/ (sections 3.2 and 3.3).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

PARENT: Final = b"traceparent"
STATE: Final = b"tracestate"
# Version, trace, span and flags of version 00; a later version may go on behind a dash, in no more than a header has in all.
_PARENT: Final = re.compile(rb"(?P<version>[0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?P<more>-[!-~]{0,200})?")
_SAMPLED: Final = 0x01
# What has to be passed on at least (3.3.1.5); longer ones are dropped whole, as a list that was cut says something else.
_STATE_MAX_BYTES: Final = 512
# Bytes beyond which nobody counts the members: blanks and empty ones are no part of the 512, and reading them costs time of each attempt.
_STATE_READ_BYTES: Final = 2 * _STATE_MAX_BYTES
# Members of a list (3.3.1.1).
_STATE_MAX_MEMBERS: Final = 32
_MEMBER: Final = re.compile(rb"[a-z0-9][a-z0-9_\-*/@]{0,255}=[ -+\--<>-~]{0,255}[!-+\--<>-~]")


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """Where a request stands in a trace: its trace, the span that made it, in hexadecimal, and whether that is recorded."""

    trace_id: str
    span_id: str
    sampled: bool
    state: str = ""

    def lines(self) -> bytes:
        """The headers that say so: lower-case names, each line ended by CR LF."""
        state = f"tracestate: {self.state}\r\n" if self.state else ""
        return f"traceparent: 00-{self.trace_id}-{self.span_id}-{self.sampled:02x}\r\n{state}".encode()


def context_of(fields: Collection[tuple[bytes, bytes]]) -> TraceContext | None:
    """The context that these headers (lower-case names) give; None when there is none, more than one, or one that is not valid."""
    for name, _ in fields:
        if name == PARENT:
            break
    else:
        # Most have none.
        return None
    parents, states = [], []
    for name, value in fields:
        if name == PARENT:
            parents.append(value)
        elif name == STATE:
            states.append(value)
    if len(parents) != 1:
        return None
    match = _PARENT.fullmatch(parents[0].strip(b" \t"))
    if match is None or match["version"] == b"ff" or (match["version"] == b"00" and match["more"]):
        return None
    _, trace_id, span_id, flags, _ = match.groups()
    if not trace_id.strip(b"0") or not span_id.strip(b"0"):
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED), _state(states))


def _state(values: list[bytes]) -> str:
    if sum(map(len, values)) > _STATE_READ_BYTES:
        return ""
    members = [member for value in values for part in value.split(b",") if (member := part.strip(b" \t"))]
    whole = b",".join(members)
    if len(members) > _STATE_MAX_MEMBERS or len(whole) > _STATE_MAX_BYTES or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return whole.decode()


def fields_in(lines: bytes) -> list[tuple[bytes, bytes]]:
    """The headers in lines as `Message.headers` has them."""
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines.splitlines())]


def without_context(lines: bytes, *, keep_state: bool) -> bytes:
    """Those lines without the ones that say where in a trace they stand."""
    dropped = (b"traceparent:",) if keep_state else (b"traceparent:", b"tracestate:")
    return b"".join(line for line in lines.splitlines(keepends=True) if not line.startswith(dropped))


def is_nothing_else(lines: bytes) -> bool:
    """Do these lines hold a context alone? So are those of messages that were published, and not received."""
    return not without_context(lines, keep_state=False)
