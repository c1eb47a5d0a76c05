"""Which heads of requests are refused whatever they ask for? Those with too many headers, and those that a proxy may read otherwise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

# Apache's default; no client of an API comes near.
MAX_HEADERS: Final = 100

# What names a host: a name or an address, and a port. Source: https://www.rfc-editor.org/rfc/rfc9110#section-7.2.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.%\-]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?")
# No more of a wrong header is repeated to its sender.
_SHOWN_BYTES: Final = 60

# Status, code and detail of an answer.
Refusal = tuple[int, str, str]


def is_host(value: bytes) -> bool:
    """May a Host header have that value?"""
    return _HOST.fullmatch(value) is not None


def refusal(headers: Sequence[tuple[bytes, bytes]], version: str) -> Refusal | None:
    """Why a request of that version of HTTP is refused for its headers (names in lower case); None when it may be read on."""
    if len(headers) > MAX_HEADERS:
        return 431, "headers_too_large", f"a request may have {MAX_HEADERS} headers"
    detail = _host_fault([value for name, value in headers if name == b"host"], version)
    detail = detail or _coding_fault([value for name, value in headers if name == b"transfer-encoding"])
    return (400, "bad_request", detail) if detail else None


def _host_fault(hosts: Sequence[bytes], version: str) -> str:
    """Of two hosts, a proxy before us may have looked at the other one. Source: https://www.rfc-editor.org/rfc/rfc9112#section-3.2."""
    if len(hosts) > 1:
        return "the request has more than one Host header; send one"
    if not hosts:
        return "" if version < "1.1" else "the request has no Host header; send one"
    return "" if is_host(hosts[0]) else f"the Host header {_shown(hosts[0])} names no host"


def _coding_fault(codings: Sequence[bytes]) -> str:
    """Below `chunked` the parser takes any coding for none. Source: https://www.rfc-editor.org/rfc/rfc9112#section-6.1."""
    if not codings or (len(codings) == 1 and codings[0].strip().lower() == b"chunked"):
        return ""
    return f"the transfer coding {_shown(b', '.join(codings))} is not known here; send chunked alone, or a content-length"


def _shown(value: bytes) -> str:
    text = value[:_SHOWN_BYTES].decode("latin-1")
    return repr(text if len(value) <= _SHOWN_BYTES else text + "...")
