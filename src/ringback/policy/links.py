"""Where does an answer say that related things are? The `Link` headers of a head (RFC 8288), by their relations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ringback.policy.heads import header_fields

_LINK: Final = re.compile(r'<([^<>]{1,4096})>((?:\s*;\s*[a-zA-Z*]+\s*=\s*(?:"[^"]*"|[^\s",;]+))*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]+))', re.IGNORECASE)


def links_in(head: bytes) -> Iterator[tuple[str, frozenset[str]]]:
    """The URL of each link, as it is written, and its relations in lower case. Links without a relation are left out."""
    for name, value in header_fields(head):
        if name.lower() == "link":
            for url, parameters in _LINK.findall(value):
                match = _REL.search(parameters)
                if match is not None:
                    yield str(url), frozenset((match[1] or match[2] or "").lower().split())
