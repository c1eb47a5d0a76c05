"""What exactly goes over the wire? A plan is prepared once per endpoint configuration; sealing fills in what changes per attempt."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, Protocol

import msgspec

from ringback import __version__
from ringback.delivery.transport import Origin, SealedRequest
from ringback.policy.heads import header_fields
from ringback.policy.urls import split_url
from ringback.policy.validation import is_sensitive

HeaderStyle = Literal["standard", "svix", "both"]

MASK = "***"
# The signature must be what was signed, and the framing what was written: an endpoint's own headers cannot change these.
PROTECTED = frozenset(
    {f"{family}-{part}" for family in ("webhook", "svix") for part in ("id", "timestamp", "signature")}
    | {"host", "content-length", "ringback-sequence"}
    | {"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FAMILIES: Mapping[HeaderStyle, tuple[str, ...]] = {"standard": ("webhook",), "svix": ("svix",), "both": ("webhook", "svix")}


class Signs(Protocol):
    """Signs with all keys that are valid now."""

    def sign(self, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        """The value of the signature header."""
        ...


class _Unsigned:
    """Signs nothing."""

    def sign(self, message_id: bytes, timestamp: bytes, body: bytes) -> bytes:
        return b""


class Plan(msgspec.Struct, frozen=True):
    """Everything about an endpoint's requests that does not change from one attempt to the next.

    `template` takes content type, length, sequence and (once per header family: none where nothing is signed) id, timestamp and signature.
    `sensitive` names the headers in it whose values are secrets, lower case; empty when nothing needs masking in the record. `names` are
    all headers that it decides itself, lower case.
    """

    origin: Origin
    template: bytes
    signer: Signs
    families: int
    sensitive: frozenset[str]
    names: frozenset[bytes]


def make_plan(
    *,
    url: str,
    signer: Signs | None,
    headers: Mapping[str, str] | None = None,
    style: HeaderStyle = "standard",
    sensitive: Collection[str] = (),
    method: str = "POST",
) -> Plan:
    """Prepare an endpoint's requests. `sensitive` names secret headers besides the well-known ones, lower case; no signer: none is signed.

    Raises ValueError for a URL or a header that cannot be sent.
    """
    parts = split_url(url)
    fields = {"user-agent": f"ringback/{__version__}", "accept": "*/*"}
    if parts.basic:
        fields["authorization"] = parts.basic
    own_type = ""
    names = {name: name for name in fields}
    for name, value in (headers or {}).items():
        _check(name, value)
        key = name.lower()
        if key == "content-type":
            own_type = value
        elif key not in PROTECTED:
            fields[key] = value
            names[key] = name
    head = [f"{method} {parts.target} HTTP/1.1", f"host: {parts.authority}"]
    head += [f"{names[key]}: {value}" for key, value in fields.items()]
    fixed = "\r\n".join(head).encode().replace(b"%", b"%%")
    # %.0s takes the content type of the message and writes nothing of it.
    kind = b"%.0b" + own_type.encode().replace(b"%", b"%%") if own_type else b"%b"
    families = () if signer is None else _FAMILIES[style]
    trio = "".join(f"{f}-id: %b\r\n{f}-timestamp: %b\r\n{f}-signature: %b\r\n" for f in families).encode()
    template = fixed + b"\r\ncontent-type: " + kind + b"\r\ncontent-length: %d\r\nringback-sequence: %d\r\n" + trio + b"\r\n"
    secret = frozenset(key for key in fields if _is_sensitive(key, sensitive))
    decided = frozenset(name.encode() for name in (*fields, *PROTECTED, "content-type"))
    return Plan(Origin(parts.tls, parts.host, parts.port), template, signer or _Unsigned(), len(families), secret, decided)


def seal(
    plan: Plan, *, message_id: bytes, now_s: int, body: bytes, content_type: bytes, sequence: int, headers: bytes | None = None
) -> SealedRequest:
    """One signed request. `now_s` is the time of this attempt, seconds since 1970.

    `headers` are lines to pass on, each ended by CR LF, names in lower case; those that the plan decides are left out.
    """
    timestamp = b"%d" % now_s
    signature = plan.signer.sign(message_id, timestamp, body)
    if plan.families == 1:
        head = plan.template % (content_type, len(body), sequence, message_id, timestamp, signature)
    else:
        head = plan.template % (content_type, len(body), sequence, *((message_id, timestamp, signature) * plan.families))
    if headers is not None:
        passed = [line for line in headers.splitlines(keepends=True) if line.partition(b":")[0] not in plan.names]
        head = b"".join((head[:-2], *passed, b"\r\n"))
    return SealedRequest(plan.origin, head, body)


def masked_headers(head: bytes, sensitive: Collection[str] = ()) -> list[tuple[str, str]]:
    """The headers of a request as sent, secrets replaced by `***`. `sensitive` names further headers, lower case."""
    return [(name, MASK if _is_sensitive(name.lower(), sensitive) else value) for name, value in header_fields(head)]


def _is_sensitive(name: str, further: Collection[str]) -> bool:
    return is_sensitive(name) or name in further


def _check(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not a header name: letters, digits and !#$%&'*+.^_`|~- are allowed")
    if _BAD_VALUE.search(value):
        raise ValueError(f"the value of header {name!r} holds a control character; only visible ones, blanks and tabs are allowed")
