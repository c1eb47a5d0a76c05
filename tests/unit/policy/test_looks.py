"""Whatever colour an operator chooses can be read; whatever else stands in the settings is not shown."""

from __future__ import annotations

import base64
import struct
import zlib

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringback.policy.looks import LOGO_BYTES, Look, colours_of, contrast, link, logo, look_in, rgb, settings_with


def png(width: int = 4, height: int = 3, padding: int = 0) -> str:
    """A grey PNG as a URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"".join(b"\0" + b"\x80" * width for _ in range(height))) if width * height < 10_000 else b""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    raw = b"\x89PNG\r\n\x1a\n" + head + chunk(b"tEXt", b"a\0" + b"x" * padding) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(raw).decode()


@given(st.integers(0, 0xFFFFFF).map(lambda number: f"#{number:06x}"))
@example("#000000")
@example("#ffffff")
@example("#ffff00")
@example("#777777")
def test_every_colour_can_be_read_by_day_and_at_night(colour: str) -> None:
    found = colours_of(colour)
    assert found.fill == colour
    assert contrast(rgb(found.on_fill), rgb(colour)) >= 4.5
    for text, page in ((found.light, ("#ffffff", "#f6f7f9")), (found.dark, ("#0e1014", "#15181e"))):
        assert min(contrast(rgb(text), rgb(behind)) for behind in page) >= 4.5


def test_contrast_is_that_of_the_specification() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((255, 255, 255), (0x76, 0x76, 0x76)) == pytest.approx(4.54, abs=0.01)


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert colours_of("#4541C0").light == "#4541c0" and colours_of("#aaa8ff").dark == "#aaa8ff"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("https://cdn.example/logo.png", "no PNG"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "no PNG"),
        ("data:image/png;base64,!!!", "no PNG"),
        ("data:image/png;base64,\u20ac", "no PNG"),
        ("data:image/png;base64," + base64.b64encode(b"<svg onload=x>" * 4).decode(), "no PNG"),
        (png()[:60], "no PNG"),
        (png(padding=LOGO_BYTES), "at most 32768"),
        (png(60_000, 60_000), "60000 × 60000 pixels"),
        (png(0, 4), "0 × 4 pixels"),
    ],
)
def test_a_logo_is_a_small_png(value: str, problem: str) -> None:
    assert problem in logo(value)[0][1]
    assert not logo(png())


@pytest.mark.parametrize(
    "value", ["javascript:alert(1)", "//evil.example", "data:text/html,x", "https://a:b@example.com/", "", "https://a b/"]
)
def test_a_link_leads_to_a_page(value: str) -> None:
    assert link(value)
    assert not link("https://app.example/settings?x=1#webhooks")


def test_what_is_not_as_it_must_be_is_left_out_and_the_rest_shown() -> None:
    hostile = {
        "displayName": "A\x00",
        "homeUrl": "javascript:alert(1)",
        "customColor": "red;}",
        "customLogoUrl": "https://cdn.example/x.png",
        "darkMode": True,
    }
    assert look_in(hostile) == Look()
    assert look_in({"displayName": ["no"], "customColor": 7, "homeUrl": None, "customLogoUrl": "x" * 10**6}) == look_in(None) == Look()
    assert look_in(hostile | {"displayName": "Acme"}) == Look("Acme")


def test_a_look_is_kept_beside_whatever_else_stands_in_the_settings() -> None:
    look = Look("Acme", "https://app.example", "#aabbcc", png())
    kept = settings_with({"darkMode": True, "displayName": "Old"}, msgspec.structs.asdict(look))
    assert kept["darkMode"] is True and look_in(kept) == look
    assert settings_with(kept, dict.fromkeys(("name", "link", "colour", "logo"), "")) == {"darkMode": True}
    assert settings_with({"customLogoUrl": "https://cdn.example/x.png"}, {"name": "Acme"}) == {
        "customLogoUrl": "https://cdn.example/x.png",
        "displayName": "Acme",
    }
