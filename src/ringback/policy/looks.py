"""What do customers see of whose portal it is, and in which colours can it be read? Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.policy import validation
from ringback.policy.urls import split_url
from ringback.policy.validation import Problem, Rule

# Characters of a name: what fits on a line beside the logo.
NAME_CHARS: Final = 80
# Characters of a link, as browsers agree on (RFC 9110, 4.1, asks for 8,000 at least).
LINK_CHARS: Final = 2_000
# Bytes of a logo: it comes with each opening of the portal.
LOGO_BYTES: Final = 32 * 1024
# Pixels of a side of a logo: a few bytes can ask for gigabytes of them.
LOGO_PIXELS: Final = 1_024
# The contrast that text needs (https://www.w3.org/TR/WCAG22/#contrast-minimum), and some more, as colours are rounded.
_CONTRAST: Final = 4.55
# What texts in the colour stand on, by day and at night: those of the portal's page that differ least from such texts.
_LIGHT: Final = (0xF6, 0xF7, 0xF9)
_DARK: Final = (0x15, 0x18, 0x1E)
_BLACK: Final = (0, 0, 0)
# Each part of white.
_WHITE: Final = (255, 255, 255)
_COLOUR: Final = re.compile(r"#[0-9A-Fa-f]{6}")
_PNG: Final = "data:image/png;base64,"
# The beginning of every PNG: its signature, and the chunk with its width and height (https://www.w3.org/TR/png-3/#11IHDR).
_PNG_HEAD: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
# Steps in which a colour is moved towards black or white.
_STEPS: Final = 100

Rgb = tuple[int, int, int]


class Look(msgspec.Struct, frozen=True):
    """What an operator chose: a name, the URL of his own application, a colour (`#rrggbb`) and a logo (a PNG as `data:` URL). "" = none."""

    name: str = ""
    link: str = ""
    colour: str = ""
    logo: str = ""


class Colours(msgspec.Struct, frozen=True):
    """A colour as the portal uses it: filled, with text on it, and as text by day and at night."""

    fill: str
    on_fill: str
    light: str
    dark: str


def name(value: str) -> Sequence[Problem]:
    """The rule for names."""
    return validation.text(value)


def link(value: str) -> Sequence[Problem]:
    """The rule for links: http or https, without a password."""
    try:
        parts = split_url(value)
    except ValueError as error:
        return [((), str(error))]
    return [((), "the URL holds a name or a password, which every customer would see; leave it out")] if parts.userinfo else ()


def colour(value: str) -> Sequence[Problem]:
    """The rule for colours."""
    return () if _COLOUR.fullmatch(value) else [((), f"{value[:40]!r} is no colour; write it as #rrggbb, like #4b48c8")]


def logo(value: str) -> Sequence[Problem]:
    """The rule for logos: a small PNG, within the text, so that the page of a customer asks nobody for it."""
    try:
        image = base64.b64decode(value.removeprefix(_PNG).encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        image = b""
    head = len(_PNG_HEAD)
    if not value.startswith(_PNG) or not image.startswith(_PNG_HEAD) or len(image) < head + 8:
        return [((), f"this is no PNG as a URL; it begins with {_PNG}")]
    if len(image) > LOGO_BYTES:
        return [((), f"the logo has {len(image)} bytes; at most {LOGO_BYTES} are allowed")]
    width, height = (int.from_bytes(image[at : at + 4]) for at in (head, head + 4))
    if not (0 < width <= LOGO_PIXELS and 0 < height <= LOGO_PIXELS):
        return [((), f"the logo has {width} × {height} pixels; at most {LOGO_PIXELS} × {LOGO_PIXELS} are allowed")]
    return ()


# Where each part stands in the settings of an environment, under the names that exports of the hosted service have where it has them.
_KEYS: Final[Mapping[str, tuple[str, int, Rule]]] = {
    "name": ("displayName", NAME_CHARS, name),
    "link": ("homeUrl", LINK_CHARS, link),
    "colour": ("customColor", len("#rrggbb"), colour),
    "logo": ("customLogoUrl", len(_PNG) + LOGO_BYTES * 4 // 3 + 4, logo),
}


def look_in(settings: Mapping[str, Any] | None) -> Look:
    """The look in the settings of an environment; what is not as it must be is left out: settings are imported as they are."""

    def part(key: str, most: int, rule: Rule) -> str:
        value = (settings or {}).get(key)
        return value if isinstance(value, str) and len(value) <= most and not rule(value) else ""

    return Look(**{field: part(*where) for field, where in _KEYS.items()})


def settings_with(settings: Mapping[str, Any] | None, parts: Mapping[str, str]) -> dict[str, Any]:
    """The settings with other parts of a look ("" = none), by the names of its fields; all else in them stays."""
    changed = {_KEYS[field][0]: value for field, value in parts.items()}
    return {key: value for key, value in (dict(settings or {}) | changed).items() if value or key not in changed}


def contrast(one: Rgb, other: Rgb) -> float:
    """How much two colours differ in brightness, 1 to 21 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colours_of(value: str) -> Colours:
    """The colours in which a colour can be read everywhere: black or white on it, and itself moved until it differs enough."""
    chosen = rgb(value)
    on_fill = max((_BLACK, _WHITE), key=lambda text: contrast(text, chosen))
    return Colours(value.lower(), _hex(on_fill), _hex(_readable(chosen, _BLACK, _LIGHT)), _hex(_readable(chosen, _WHITE, _DARK)))


def rgb(value: str) -> Rgb:
    """The parts of a colour."""
    return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)


def _readable(chosen: Rgb, towards: Rgb, behind: Rgb) -> Rgb:
    return next(moved for moved in _moved(chosen, towards) if contrast(moved, behind) >= _CONTRAST)


def _moved(chosen: Rgb, towards: Rgb) -> Iterator[Rgb]:
    for step in range(_STEPS + 1):
        red, green, blue = (round(a + (b - a) * step / _STEPS) for a, b in zip(chosen, towards, strict=True))
        yield red, green, blue


def _luminance(colour: Rgb) -> float:
    red, green, blue = (part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _hex(colour: Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
