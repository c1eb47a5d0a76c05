"""What does a transformation see of a request, and what may it make of it? Both sides of the call, as pure functions (contract, 9)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from ringback.policy.urls import normalise_url
from ringback.policy.validation import FORBIDDEN_HEADER_PREFIXES, FORBIDDEN_HEADERS, headers

_Read = TypeVar("_Read")
# The methods that a request may have; the first is what it has unless the code says otherwise.
METHODS: Final = ("POST", "PUT")
_JSON: Final = "application/json"
# Characters of a stranger's value that a sentence repeats.
_SHOWN: Final = 60


class Webhook(msgspec.Struct, frozen=True, gc=False):
    """A request before its transformation. `raw`: the payload is not a JSON object. `variables` are those of the transformation."""

    url: str
    headers: Mapping[str, str]
    payload: bytes
    content_type: str
    raw: bool
    event_type: str
    channels: Sequence[str] | None
    variables: Mapping[str, str] | None


class Transformed(msgspec.Struct, frozen=True, gc=False):
    """A request as it is to be sent; or `cancelled`: it is not to be sent at all."""

    method: str = METHODS[0]
    url: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""
    content_type: str = _JSON
    cancelled: bool = False


class _Seen(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The object that `handler` is given."""

    method: str
    url: str
    headers: Mapping[str, str]
    payload: msgspec.Raw | str
    event_type: str
    channels: Sequence[str] | None
    variables: Mapping[str, str]


class _Given(msgspec.Struct, frozen=True, gc=False):
    """The object that `handler` returns, without its payload: nothing of it is believed yet. What is left out stays as it was."""

    method: Any = msgspec.UNSET
    url: Any = msgspec.UNSET
    headers: Any = msgspec.UNSET
    cancel: Any = None


_seen: Final = msgspec.json.Encoder()
_given: Final = msgspec.json.Decoder(_Given)
# What an object may be beside its payload: reading more would hold the event loop for milliseconds.
_BESIDE_BYTES: Final = 512 * 1024


def seen(webhook: Webhook) -> bytes:
    """The document that the code is called with, JSON.

    A payload that is no JSON object or array is its text, or in base64 when it is none. Takes 2 us, and 1 ms for each MiB.
    """
    payload = msgspec.Raw(webhook.payload) if not webhook.raw else _readable(webhook.payload)
    return _seen.encode(
        _Seen(METHODS[0], webhook.url, webhook.headers, payload, webhook.event_type, webhook.channels, webhook.variables or {})
    )


def _readable(payload: bytes) -> msgspec.Raw | str:
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return base64.b64encode(payload).decode()
    if text.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(payload, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            # Looks like JSON and is none.
            return text
    return text


def place_of(line: int, column: int) -> str:
    """Where in the code an error was raised, to be put behind its words; "" when that is not known (0)."""
    return f" (line {line}, column {column})" if line else ""


def transformed(webhook: Webhook, document: bytes, payload: bytes, kind: str, *, https_only: bool = False) -> Transformed:
    """What the object that the code returned says. Raises ValueError with a sentence for one that cannot be used.

    `document` is the object without its `payload`, whose kind is `none`, `same`, `json` or `text`. One that is the same is sent byte for
    byte as it came, whatever JavaScript makes of its numbers.
    """
    given = read(document, _given, "payload")
    if cancels(given.cancel):
        return Transformed(cancelled=True)
    method = chosen_method(given.method, METHODS)
    body, content_type = _body(webhook, payload, kind)
    url = chosen_url(webhook.url, given.url, https_only=https_only)
    wanted = webhook.headers if given.headers is msgspec.UNSET else chosen_headers(given.headers)
    return Transformed(method, url, wanted, body, content_type)


def _body(webhook: Webhook, payload: bytes, kind: str) -> tuple[bytes, str]:
    if kind == "none":
        raise ValueError("`payload` is missing; it must be an object, an array or a text")
    if kind == "same":
        return webhook.payload, webhook.content_type
    if kind == "text":
        return payload, webhook.content_type
    if payload[:1] not in (b"{", b"["):
        raise ValueError(f"`payload` is {payload[:_SHOWN].decode(errors='replace')}; it must be an object, an array or a text")
    return payload, webhook.content_type if not webhook.raw else _JSON


def read(document: bytes, decoder: msgspec.json.Decoder[_Read], apart: str) -> _Read:
    """The object that the code returned, without the member that stands `apart`. Raises ValueError for what cannot be read."""
    if len(document) > _BESIDE_BYTES:
        raise ValueError(f"beside its {apart} the object has {len(document)} bytes; at most {_BESIDE_BYTES} are allowed")
    try:
        return decoder.decode(document)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"handler returned what cannot be read: {error}") from None


def cancels(given: Any) -> bool:
    """Does the `cancel` that the code returned say that nothing is to be sent? Raises ValueError for what is neither yes nor no."""
    if given is True:
        return True
    if given not in (None, False):
        raise ValueError(f"`cancel` is {in_words(given)}; it must be true or false")
    return False


def chosen_method(given: Any, methods: Sequence[str]) -> str:
    """The method that the code returned, the first of `methods` if it returned none. Raises ValueError for another one."""
    if given is msgspec.UNSET:
        return methods[0]
    if given not in methods:
        raise ValueError(f"`method` is {in_words(given)}; it must be {', '.join(methods[:-1])} or {methods[-1]}")
    return str(given)


def chosen_url(own: str, given: Any, *, https_only: bool) -> str:
    """The URL that the code returned, the receiver's own if it returned none. Raises ValueError for what is no URL that may be used."""
    if given is msgspec.UNSET or given == own:
        return own
    if not isinstance(given, str):
        raise ValueError(f"`url` is {in_words(given)}; it must be a text")
    try:
        wanted = normalise_url(given)
    except ValueError as error:
        raise ValueError(f"`url` cannot be used: {error}") from None
    if https_only and not wanted.startswith("https://"):
        raise ValueError("`url` does not begin with https://, which this server asks of all endpoints")
    return wanted


def chosen_headers(given: Any) -> dict[str, str]:
    """The headers that the code returned, without those that belong to the delivery. Raises ValueError for what cannot be sent."""
    if not isinstance(given, dict):
        raise ValueError(f"`headers` is {in_words(given)}; it must be an object of texts")
    wanted: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, str):
            raise ValueError(f"the header {name!r} is {in_words(value)}; it must be a text")
        lower = name.lower()
        if lower not in FORBIDDEN_HEADERS and not lower.startswith(FORBIDDEN_HEADER_PREFIXES):
            wanted[name] = value
    problems = headers(wanted)
    if problems:
        raise ValueError(f"`headers` cannot be used: {problems[0][1]}")
    return wanted


def in_words(value: Any) -> str:
    """A value that the code returned, as a sentence repeats it."""
    text = msgspec.json.encode(value).decode(errors="replace")
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
