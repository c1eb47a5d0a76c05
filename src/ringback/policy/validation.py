"""Is this text allowed here? The rules for what callers may name, tag and attach, as pure functions.

A `Rule` takes a value of the right type and gives its problems: where inside the value (field names, list positions as `[0]`) and a
sentence that holds the value and what is allowed, and nothing secret. No problems: the value may be believed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, TypeAlias

import msgspec

from ringback.errors import FieldProblem, InvalidField
from ringback.policy.urls import MAX_URL_CHARS, normalise_url
from ringback.signing.secret import parse_secret

Problem: TypeAlias = tuple[tuple[str, ...], str]
Rule: TypeAlias = Callable[[Any], Sequence[Problem]]

# The contract's bound for uids, event type names, group names and feature flags.
MAX_NAME_CHARS = 256
# The contract's bound for one channel and one tag.
MAX_LABEL_CHARS = 128
# Names of event types in one list: more than any catalogue has, and looked up in under 10 ms.
MAX_NAMES = 5_000
# The contract's bounds on lists: channels of an endpoint or a message, tags of a message.
MAX_CHANNELS = 10
MAX_TAGS = 5
# Metadata of one row, as compact JSON: enough for a few ids, too little to use the table as a store.
MAX_METADATA_BYTES = 4096
# What common servers accept in a single header.
MAX_HEADER_VALUE_BYTES = 4096
# Together with the value above this keeps one endpoint's headers below what any server reads (64 KiB is generous).
MAX_HEADERS = 50
# An attempt rate that fits 16 bits, as the official clients send it.
MAX_RATE = 65_535

# JSON Schema patterns, for the specification we publish; the rules below check them whole (`$` would let a final line break through).
_NAME_PATTERN = r"[A-Za-z0-9\-_.]+"
_CHANNEL_PATTERN = r"[A-Za-z0-9\-_.:+]+"
_TAG_PATTERN = r"[A-Za-z0-9\-_./\\#]+"
# What follows the prefix of an id: 27 digits of most kinds, 21 or 22 of some.
_BEHIND_PREFIX = re.compile(r"[A-Za-z0-9]{21,27}")
_NAME = re.compile(_NAME_PATTERN)
_CHANNEL = re.compile(_CHANNEL_PATTERN)
_TAG = re.compile(_TAG_PATTERN)
_CONTROL = re.compile("[\x00-\x08]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# All that a request head cannot carry: control characters other than a tab.
_HEADER_VALUE_FORBIDDEN = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARS, extra_json_schema={"pattern": f"^{_NAME_PATTERN}$"})]
Channel: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=MAX_LABEL_CHARS, extra_json_schema={"pattern": f"^{_CHANNEL_PATTERN}$"})
]
Tag: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL_CHARS, extra_json_schema={"pattern": f"^{_TAG_PATTERN}$"})]
# Base64 of 24 to 75 bytes, or of an ed25519 key's 64: as the rule below, for the specification.
Secret: TypeAlias = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": r"^(whs(ec|k|k1)_)?[A-Za-z0-9+/]{32,100}={0,2}$"})]
# The bounds of lists are told to those who read the specification; the rules below say them in better words.
_EACH_ONCE = {"uniqueItems": True}
Flags: TypeAlias = Annotated[tuple[Name, ...], msgspec.Meta(extra_json_schema=_EACH_ONCE)]
Names: TypeAlias = Annotated[tuple[Name, ...], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_NAMES, **_EACH_ONCE})]
Channels: TypeAlias = Annotated[
    tuple[Channel, ...], msgspec.Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_CHANNELS, **_EACH_ONCE})
]
Tags: TypeAlias = Annotated[tuple[Tag, ...], msgspec.Meta(extra_json_schema={"maxItems": MAX_TAGS, **_EACH_ONCE})]
Rate: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_RATE)]
RatePatch: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_RATE)]
Url: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_URL_CHARS, extra_json_schema={"format": "uri"})]
Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]

# Names that the transport or the signature owns, and those of proxies on the way: setting them would break or forge deliveries.
FORBIDDEN_HEADERS = frozenset(
    [
        "user-agent",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "transfer-encoding",
        "upgrade",
        "age",
        "cache-control",
        "clear-site-data",
        "expires",
        "pragma",
        "warning",
        "content-length",
        "content-type",
        "content-encoding",
        "content-language",
        "content-location",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "host",
        "connection",
    ]
)
FORBIDDEN_HEADER_PREFIXES = ("x-amz-", "x-amzn-", "x-google", "x-goog-", "x-gfe", "x-azure-", "x-fd-", "x-svix-", "svix-")
# Headers that carry credentials: their values are sent, and shown nowhere, neither as settings nor in what is kept of attempts.
SENSITIVE_HEADERS = frozenset(["authorization", "cookie", "set-cookie", "www-authenticate", "x-api-key", "x-auth-token"])
SENSITIVE_HEADER_PREFIXES = ("proxy-",)


def uid(own_prefix: str) -> Rule:
    """The rule for uids of a kind whose ids begin with `own_prefix`: an id must never be mistaken for a uid."""

    def check(value: str) -> Sequence[Problem]:
        if value.startswith(own_prefix):
            return [((), f"{value!r} begins with {own_prefix!r}, as the ids made by the server do; choose another uid")]
        return name(value)

    return check


def uid_in_path(ref: str, rule: Rule, prefix: str, parameter: str) -> str | None:
    """The uid that replacing something unknown gives it: how it is called in the path, or None for an id, which the server makes itself.

    Raises InvalidField for what is neither: nothing could be called so, and each repetition of the request would make another one.
    """
    problems = rule(ref)
    if not problems:
        return ref
    if ref.startswith(prefix) and _BEHIND_PREFIX.fullmatch(ref, len(prefix)) is not None:
        return None
    raise InvalidField(*(FieldProblem(("path", parameter), message) for _, message in problems))


def uid_of_path(uid: str | None, ref: str, field: str) -> str:
    """The uid of what a request brings along, in a field, because the path names nothing that is there: it must be called so.

    Raises InvalidField. Source: contract, 3.4.
    """
    where = ("body", field, "uid")
    if uid is None:
        raise InvalidField(FieldProblem(where, f"the uid is required here, and must be {ref!r}", "application_uid_missing"))
    if uid != ref:
        raise InvalidField(FieldProblem(where, f"{uid!r} must equal {ref!r} of the path", "application_uid_mismatch"))
    return uid


# The same names come again and again.
@lru_cache(maxsize=1_024)
def name(value: str) -> Sequence[Problem]:
    """The rule for uids, event type names, group names and feature flags."""
    return _shaped(value, _NAME, MAX_NAME_CHARS, "letters, digits, '-', '_' and '.'")


def names(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for a list of event type names or feature flags: at least one, and no more than can be looked up in a moment."""
    if len(values) > MAX_NAMES:
        return [((), f"{len(values)} names; at most {MAX_NAMES} are allowed")]
    return _each(values, name)


def channels(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for the channels of an endpoint or a message: 1 to 10 different ones."""
    if len(values) > MAX_CHANNELS:
        return [((), f"{len(values)} channels; at most {MAX_CHANNELS} are allowed")]
    return _each(values, lambda value: _shaped(value, _CHANNEL, MAX_LABEL_CHARS, "letters, digits, '-', '_', '.', ':' and '+'"))


def tags(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for the tags of a message: at most 5 different ones."""
    if len(values) > MAX_TAGS:
        return [((), f"{len(values)} tags; at most {MAX_TAGS} are allowed")]
    problems = [
        *_repeated(values),
        *_inside(values, lambda value: _shaped(value, _TAG, MAX_LABEL_CHARS, "letters, digits and any of - _ . / \\ #")),
    ]
    return problems


def metadata(value: Mapping[str, str]) -> Sequence[Problem]:
    """The rule for metadata: at most 4096 bytes as compact JSON."""
    size = len(msgspec.json.encode(value))
    if size > MAX_METADATA_BYTES:
        return [((), f"the metadata has {size} bytes as compact JSON; at most {MAX_METADATA_BYTES} are allowed")]
    return ()


def text(value: str) -> Sequence[Problem]:
    """The rule for names and descriptions that people read: no control characters below a tab."""
    match = _CONTROL.search(value)
    if match is None:
        return ()
    return [((), f"the text holds the control character {match.group()!r} at position {match.start()}; remove it")]


def url(value: str) -> Sequence[Problem]:
    """The rule for endpoint URLs: absolute, http or https, with a host. Whether its address may be reached is decided at delivery."""
    try:
        normalise_url(value)
    except ValueError as error:
        return [((), str(error))]
    return ()


def secret(value: str) -> Sequence[Problem]:
    """The rule for signing secrets. The problem does not repeat the secret."""
    try:
        parse_secret(value)
    except ValueError as error:
        return [((), str(error))]
    return ()


def headers(value: Mapping[str, str | None]) -> Sequence[Problem]:
    """The rule for headers added to deliveries; None as a value stands for removal. Values are never repeated in a problem."""
    if len(value) > MAX_HEADERS:
        return [((), f"{len(value)} headers; at most {MAX_HEADERS} are allowed")]
    problems: list[Problem] = []
    seen: dict[str, str] = {}
    for header, content in value.items():
        lower = header.lower()
        if _TOKEN.fullmatch(header) is None:
            problems.append(((header,), f"{header!r} is not a header name: letters, digits and any of !#$%&'*+-.^_`|~"))
        elif lower in FORBIDDEN_HEADERS or lower.startswith(FORBIDDEN_HEADER_PREFIXES):
            problems.append(((header,), f"the header {header!r} belongs to the delivery itself and cannot be set"))
        elif lower in seen:
            problems.append(((header,), f"{header!r} and {seen[lower]!r} are the same header; give it once"))
        elif content is not None and _HEADER_VALUE_FORBIDDEN.search(content):
            problems.append(((header,), "the value holds a line break or another control character; headers are a single line of text"))
        elif content is not None and len(content.encode()) > MAX_HEADER_VALUE_BYTES:
            problems.append(((header,), f"the value has {len(content.encode())} bytes; at most {MAX_HEADER_VALUE_BYTES} are allowed"))
        seen[lower] = header
    return problems


def members(value: msgspec.Struct) -> Sequence[Problem]:
    """The rule for a value inside another one: its own `RULES`, under its names on the wire."""
    problems: list[Problem] = []
    for field in msgspec.structs.fields(value):
        rule = getattr(value, "RULES", {}).get(field.name)
        given = getattr(value, field.name)
        if rule is not None and given is not None and given is not msgspec.UNSET:
            problems += [((field.encode_name, *where), message) for where, message in rule(given)]
    return problems


def is_sensitive(header: str) -> bool:
    """Must the value of this header never be shown?"""
    lower = header.lower()
    return lower in SENSITIVE_HEADERS or lower.startswith(SENSITIVE_HEADER_PREFIXES)


def _shaped(value: str, pattern: re.Pattern[str], longest: int, allowed: str) -> Sequence[Problem]:
    if not value or len(value) > longest:
        return [((), f"the text has {len(value)} characters; 1 to {longest} are allowed")]
    if pattern.fullmatch(value) is None:
        return [((), f"{value!r} is not allowed; use {allowed}")]
    return ()


def _each(values: Sequence[str], rule: Rule) -> Sequence[Problem]:
    if not values:
        return [((), "the list is empty; give at least one, or null for no condition")]
    return [*_repeated(values), *_inside(values, rule)]


def _inside(values: Sequence[str], rule: Rule) -> list[Problem]:
    return [((f"[{index}]", *where), message) for index, value in enumerate(values) for where, message in rule(value)]


def _repeated(values: Sequence[str]) -> list[Problem]:
    if len(set(values)) == len(values):
        return []
    first: dict[str, int] = {}
    problems: list[Problem] = []
    for index, value in enumerate(values):
        if first.setdefault(value, index) != index:
            problems.append(((f"[{index}]",), f"{value!r} stands in the list twice; give it once"))
    return problems
