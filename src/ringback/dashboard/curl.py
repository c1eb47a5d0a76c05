"""How is a request repeated by hand? As a curl command that sends the same bytes. Pure."""

from __future__ import annotations

import shlex
from typing import Final

from ringback.policy.heads import header_fields

# What curl makes by itself, from the URL and the body.
_OWN: Final = frozenset(("host", "content-length", "connection", "accept-encoding"))
# What stands in a recorded head in place of a secret value.
_MASKED: Final = "***"
# A command line longer than this is refused by some systems (Linux: 128 KiB an argument).
_INLINE_MAX: Final = 64 * 1024


def curl(url: str, head: bytes, body: bytes | None) -> str:
    """The command that sends this request again: to `url`, with the headers of `head` (as recorded) and these bytes.

    Values that were masked must be filled in; a body that is not plain text is read from a file.
    """
    method = head.partition(b" ")[0].decode("ascii", "replace") if head else "POST"
    words = ["curl", "-X", shlex.quote(method), shlex.quote(url)]
    masked = False
    for name, value in header_fields(head):
        if name.lower() in _OWN:
            continue
        masked = masked or value == _MASKED
        words += ["-H", shlex.quote(f"{name}: {value}")]
    note = ""
    if body is None:
        note = "# the payload is gone: it was expunged, or has expired\n"
    elif _is_plain(body):
        words += ["--data-binary", shlex.quote(body.decode())]
    else:
        note = "# the payload is binary or long: save it as payload.bin first\n"
        words += ["--data-binary", "@payload.bin"]
    if masked:
        note += f"# {_MASKED} stands for a value that is never shown\n"
    lines = [" ".join(words[:4])]
    lines += [" ".join(words[at : at + 2]) for at in range(4, len(words), 2)]
    return note + " \\\n  ".join(lines)


def _is_plain(body: bytes) -> bool:
    if len(body) > _INLINE_MAX or b"\x00" in body:
        return False
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
