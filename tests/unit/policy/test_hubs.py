"""Which hub does a topic name? Link headers first, then HTML, Atom and RSS; whatever a stranger's document holds.

www.w3.org/TR/websub, 4: https://www.w3.org/TR/websub/#discovery
"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.asking import Unreadable
from ringback.policy.hubs import LOOKED_INTO, Hub, hubs_of

AT = "https://example.com/blog/"
HUB = Hub("https://hub.example.com/", "https://example.com/feed")


def head(*fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *fields, "", ""]).encode()


@pytest.mark.parametrize(
    "fields",
    [
        ('Link: <https://hub.example.com/>; rel="hub"', 'Link: <https://example.com/feed>; rel="self"'),
        ("link: <https://hub.example.com/>; rel=hub, </feed>; rel=self",),
        ('LINK: </feed>; type="a/b"; rel="alternate SELF" , <https://hub.example.com/>;rel="preconnect hub"',),
        ("link: <other>; rel=next, <https://hub.example.com/>; rel=hub, <https://example.com/feed#top>; rel=self",),
    ],
)
def test_link_headers_name_the_hub_and_the_topic(fields: tuple[str, ...]) -> None:
    assert hubs_of(head(*fields), b'<link rel="hub" href="https://in-the-document.example.com/">', AT) == [HUB]


ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title type="html">A &lt;b&gt;</title>
  <link rel="alternate" href="https://example.com/"/>
  <link rel='hub' href='https://hub.example.com/'/>
  <link rel="self" type="application/atom+xml" href="https://example.com/feed" />
  <entry><link rel="hub" href="https://evil.example.com/"/></entry></feed>"""
RSS = """<?xml version="1.0"?><rss xmlns:atom="http://www.w3.org/2005/Atom" version="2.0"><channel><title/><link>https://example.com</link>
  <item><title>1</title><atom:link rel="hub" href="https://evil.example.com/"/></item>
  <atom:link rel="hub" href="https://hub.example.com/"/><atom:link rel="self" href="/feed"/></channel></rss>"""
HTML = """<!doctype html><HTML lang=en><head><title>About <link rel=hub href=https://evil.example.com/></title>
  <!-- <link rel="hub" href="https://evil.example.com/"> --><script>"<link rel='hub' href='https://evil.example.com/'>"</script>
  <link data-x="a > b" REL="Hub" HREF="https://hub.example.com/"><link href=/feed rel=self></head>
  <body><p>A comment of somebody: <link rel="hub" href="https://evil.example.com/"></body>"""


@pytest.mark.parametrize("document", [ATOM, RSS, HTML])
def test_a_document_names_them_where_no_header_does_and_the_words_of_others_name_nothing(document: str) -> None:
    for body in (document.encode(), document.encode("utf-16"), b"\xef\xbb\xbf" + document.encode()):
        assert hubs_of(head("content-type: text/plain", "link: </style>; rel=preload"), body, AT) == [HUB]


def test_a_topic_that_gives_itself_no_url_is_subscribed_to_where_it_was_read_and_all_hubs_count() -> None:
    fields = ("link: </a?x=1&y=2>; rel=hub", "link: <https://b.example.com>; rel=hub", "link: </a?x=1&y=2>; rel=hub")
    assert hubs_of(head(*fields), b"", AT) == [Hub("https://example.com/a?x=1&y=2", AT), Hub("https://b.example.com", AT)]
    assert hubs_of(head(), b'<link rel="hub" href="https://b.example.com/?x=1&amp;y=2">', AT) == [Hub("https://b.example.com/?x=1&y=2", AT)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<link rel=stylesheet href=/hub>",
        b"<link rel=hub>",
        b"<a rel=hub href=https://hub.example.com/>",
        b"<head></head><link rel=hub href=https://hub.example.com/>",
        b"<!-- <link rel=hub href=https://hub.example.com/>",
        b"<![CDATA[ <link rel=hub href=https://hub.example.com/> ]]>",
        b" " * LOOKED_INTO + b"<link rel=hub href=https://hub.example.com/>",
    ],
)
def test_what_names_no_hub_names_none(body: bytes) -> None:
    assert hubs_of(head("link: <x>; title=hub", "link: rel=hub", "x-link: <https://hub.example.com/>; rel=hub"), body, AT) == []


@pytest.mark.parametrize(
    "url", ["mailto:a@example.com", "ftp://a.b/", "https://[", "/a b", "https://h\u00fcb.example.com/", "/" + "a" * 2_000]
)
def test_a_hub_at_no_url_is_said_to_be_none(url: str) -> None:
    with pytest.raises(Unreadable, match="no http:// or https:// URL"):
        hubs_of(head(), f'<link rel="hub" href="{url}">'.encode(), AT)


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a",
        "a",
        "<link a",
        "<link ",
        "a='",
        'a="',
        "<!--",
        "<!-",
        "</",
        "<title>",
        "<entry>",
        "a= ",
        "&",
        "<link a=b>",
        "<link rel='",
        "\x00",
    ],
)
def test_a_document_that_is_made_to_be_slow_is_read_to_its_end(piece: str) -> None:
    """What would be read again from each of its places takes minutes."""
    for before, after in (("", ""), ("<link ", ""), ("<link ", ">"), ("<link", "'>"), ("<", ">")):
        document = before + piece * (LOOKED_INTO // len(piece) - 8) + after
        assert hubs_of(head(), document.encode(), AT) == []


PIECES = st.sampled_from(
    ["<", ">", "link", " rel=", "hub", "self", "href=", '"', "'", "<!--", "-->", "</", "entry", "/>", "https://a.b/", "&#x110000;"]
)


@given(st.lists(PIECES, max_size=40).map("".join).map(str.encode) | st.binary(max_size=60), st.binary(max_size=60))
def test_a_document_of_a_stranger_is_read_or_refused_and_nothing_else(document: bytes, link: bytes) -> None:
    with contextlib.suppress(Unreadable):
        for found in hubs_of(b"HTTP/1.1 200 OK\r\nlink: " + link + b"\r\n\r\n", document, AT):
            assert found.url.startswith(("http://", "https://")) and found.topic.isascii()
