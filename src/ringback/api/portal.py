"""The page behind a portal token: one file with its script, that talks to the same API as everybody; and whose it looks like."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from ringback.api import pages
from ringback.api.auth import Access
from ringback.api.problems import Header
from ringback.api.routing import Answer, Call, Operation, answer
from ringback.policy.looks import colours_of
from ringback.services.portal import Portal

_HTML: Final[Header] = (b"content-type", b"text/html; charset=utf-8")


class PortalColorsOut(msgspec.Struct, frozen=True, rename="camel"):
    """A colour as it can be read: filled, with text on it, and as text by day and at night."""

    fill: str
    on_fill: str
    light: str
    dark: str


class PortalLookOut(msgspec.Struct, frozen=True, rename="camel"):
    """What customers see of whose portal it is. `logo_url` is a PNG as a `data:` URL."""

    display_name: str | None
    home_url: str | None
    logo_url: str | None
    colors: PortalColorsOut | None


def _hashes(page: str, element: str) -> str:
    """What a content security policy must name so that this page's own elements of a kind may run, and no other."""
    contents = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" for content in contents)


def routes(portal: Portal, ancestors: Sequence[str] = ()) -> list[Operation]:
    """The operations of this module. `ancestors` are the origins whose pages may frame it."""
    page = importlib.resources.files(pages).joinpath("portal.html").read_text("utf-8")
    policy = (
        f"default-src 'none'; script-src {_hashes(page, 'script')}; style-src {_hashes(page, 'style')}; connect-src 'self'; img-src data:; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {' '.join(ancestors) or chr(39) + 'none' + chr(39)}"
    )
    headers = (
        (b"content-security-policy", policy.encode()),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-cache"),
    )
    found = Answer(200, page.encode(), _HTML, headers)

    async def serve(call: Call) -> Answer:
        return found

    async def look(call: Call) -> Answer:
        one = await portal.look(call.who)
        colours = None if not one.colour else PortalColorsOut(*msgspec.structs.astuple(colours_of(one.colour)))
        return answer(200, PortalLookOut(one.name or None, one.link or None, one.logo or None, colours))

    return [
        Operation(
            method="GET",
            path="/portal",
            summary="The portal's page",
            handler=serve,
            access=Access.OPEN,
            answers={200: str},
            media_type="text/html",
        ),
        Operation(
            method="GET",
            path="/api/v1/portal/look",
            summary="What the portal shows of whose it is",
            handler=look,
            access=Access.ANY,
            answers={200: PortalLookOut},
        ),
    ]
