"""Which providers do we know, and by which names? Rows of the template engine; `docs/reference/providers.md` is made from them.

Facts were gathered from the sources that each row names; what stands under `unconfirmed` was not confirmed.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from ringback.signing.provider import Provider
from ringback.signing.providers import commerce, development, messaging, payments, platforms, standard_webhooks
from ringback.signing.request import Scheme

# Characters of a name that are compared with others: more than the longest id has.
_COMPARED: Final = 60

PROVIDERS: Final[dict[str, Provider]] = {
    row.id: row
    for row in (
        *standard_webhooks.ROWS,
        *payments.ROWS,
        *commerce.ROWS,
        *messaging.ROWS,
        *development.ROWS,
        *platforms.ROWS,
    )
}

SCHEMES: Final[dict[str, Scheme]] = {scheme.name: scheme for row in PROVIDERS.values() for scheme in (*row.schemes, *row.by_name_only)}


def provider(name: str) -> Provider:
    """The row of that id. Raises ValueError with the nearest names when there is none."""
    if name not in PROVIDERS:
        raise ValueError(_unknown("provider", name, PROVIDERS))
    return PROVIDERS[name]


def scheme(name: str) -> Scheme:
    """The scheme of that name. Raises ValueError with the nearest names when there is none."""
    if name not in SCHEMES:
        raise ValueError(_unknown("scheme", name, SCHEMES))
    return SCHEMES[name]


def unknown_type(name: str, known: Sequence[str]) -> str:
    """What is said of a type of source that is none of these."""
    near = get_close_matches(name[:_COMPARED].lower(), known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{name!r} is no type of source that is known here; {meant}`ringback providers` lists them, `custom` takes any scheme"


def _unknown(kind: str, name: str, known: dict[str, Provider] | dict[str, Scheme]) -> str:
    near = get_close_matches(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else "`ringback providers` lists them"
    return f"{name!r} is no {kind} that is known here; {hint}"
