"""What does a transformation see of a batch of events, and what may it make of it? Both sides of the call, as pure functions.

Source: contract, sections 9 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from ringback.model.streams import SinkType
from ringback.policy.otlp import Tracing, spans_body
from ringback.policy.transforming import Transformed, cancels, chosen_headers, chosen_method, chosen_url, in_words, read
from ringback.policy.validation import headers as headers_rule

# The methods that the request of a batch may have; the first is what it has unless the code says otherwise.
METHODS: Final = ("POST", "PUT", "PATCH")
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_CONTENT_TYPE: Final = "content-type"

# Which member of what the code returns is sent: the body of a request, or spans.
Apart = Literal["data", "spans"]


class Batched(msgspec.Struct, frozen=True, gc=False):
    """A batch before its transformation: where it goes, and its events as they would be sent (a JSON list)."""

    id: str
    url: str
    headers: Mapping[str, str]
    events: bytes
    apart: Apart = "data"


class Returned(msgspec.Struct, frozen=True, gc=False):
    """What the code returned: a JSON object without the member that stands apart, and that one, of a kind that the engine tells."""

    document: bytes
    apart: bytes
    kind: str


class _Seen(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The object that `handler` is given; the engine reads the payloads of its events."""

    batch_id: str
    url: str
    events: msgspec.Raw


class _Config(msgspec.Struct, frozen=True, gc=False):
    """How a request is to be made: nothing of it is believed yet. What is left out stays as it was."""

    method: Any = msgspec.UNSET
    url: Any = msgspec.UNSET
    headers: Any = msgspec.UNSET
    format: Any = "json"


class _Given(msgspec.Struct, frozen=True, gc=False):
    """The object that `handler` returns, without its `data`."""

    config: _Config | None = None
    cancel: Any = None


class _GivenSpans(msgspec.Struct, frozen=True, gc=False):
    """The object that `handler` of a sink for spans returns, without its `spans`."""

    config: Tracing | None = None
    cancel: Any = None


_seen: Final = msgspec.json.Encoder()
_given: Final = msgspec.json.Decoder(_Given)
_given_spans: Final = msgspec.json.Decoder(_GivenSpans)
_text: Final = msgspec.json.Encoder()


def seen(batch: Batched) -> bytes:
    """The document that the code is called with, JSON."""
    return _seen.encode(_Seen(batch.id, batch.url, msgspec.Raw(batch.events)))


def apart_of(kind: SinkType) -> Apart:
    """Which member of what the code of such a sink returns is sent."""
    return "spans" if kind is SinkType.OTEL_TRACING else "data"


def transformed(batch: Batched, returned: Returned, trace_space: str, *, https_only: bool = False) -> Transformed:
    """The request that the code wants. Raises ValueError with a sentence for one that cannot be sent.

    `trace_space`: equal keys of spans mean the same trace within it, and nowhere else. Takes some 50 ms for 2 MiB of spans.
    """
    if batch.apart == "spans":
        given = read(returned.document, _given_spans, "spans")
        if cancels(given.cancel):
            return Transformed(cancelled=True)
        if returned.kind != "json":
            raise ValueError("`spans` is missing; it must be an array of objects, each describing a span")
        body = spans_body(returned.apart, given.config or Tracing(), trace_space, batch.id)
        return Transformed(METHODS[0], batch.url, batch.headers, body, _JSON)
    return _request(batch, returned, https_only=https_only)


def _request(batch: Batched, returned: Returned, *, https_only: bool) -> Transformed:
    given = read(returned.document, _given, "data")
    if cancels(given.cancel):
        return Transformed(cancelled=True)
    config = given.config or _Config()
    method = chosen_method(config.method, METHODS)
    url = chosen_url(batch.url, config.url, https_only=https_only)
    wanted, content_type = _headers(batch, config.headers)
    if returned.kind == "none":
        raise ValueError("`data` is missing; it is what is sent")
    if config.format == "raw":
        if returned.kind != "text":
            raise ValueError("`data` is no text, which the format 'raw' needs")
        return Transformed(method, url, wanted, returned.apart, content_type or _TEXT)
    if config.format != "json":
        raise ValueError(f"`config.format` is {in_words(config.format)}; it must be 'json' or 'raw'")
    body = _text.encode(returned.apart.decode()) if returned.kind == "text" else returned.apart
    return Transformed(method, url, wanted, body, content_type or _JSON)


def _headers(batch: Batched, given: Any) -> tuple[dict[str, str], str]:
    """The sink's own headers and those that the code adds or changes; and the content type that it names, "" = none."""
    own = dict(batch.headers)
    if given is msgspec.UNSET or given is None:
        return own, ""
    added = chosen_headers(given)
    names = {name.lower() for name in added}
    wanted = {name: value for name, value in own.items() if name.lower() not in names} | added
    problems = headers_rule(wanted)
    if problems:
        raise ValueError(f"`headers` cannot be used: {problems[0][1]}")
    kinds = [value for name, value in given.items() if name.lower() == _CONTENT_TYPE]
    # A name that any header may have stands for the one that is nobody's to set elsewhere.
    problems = headers_rule({"x": kinds[0]}) if kinds else ()
    if problems:
        raise ValueError(f"the header {_CONTENT_TYPE!r} cannot be used: {problems[0][1]}")
    return wanted, kinds[0] if kinds else ""
