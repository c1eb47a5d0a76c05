"""What does a person see of a bin? Strangers' bytes as text, whole pages without scripts, and nothing of other bins."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ringback.gateway.viewer import _AT_ONCE, _WAITING
from ringback.policy.bodies_shown import as_text, set_out
from tests.gateway.relaying import TOKEN, serving, tell

PLAIN = "plainbin42"


def test_the_page_lists_what_came_the_newest_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(f"/in/{PLAIN}/first?a=1", b'{"amount": 12.50, "id": 9007199254740993}', content_type="application/json")
            await server.send(f"/in/{PLAIN}/second", b"a=1&b=two+words", method="PUT", content_type="application/x-www-form-urlencoded")
            await server.send(body=b"of another bin")
            page = await server.http.get(f"/view/{PLAIN}/")
            assert page.status_code == 200
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            text = page.text
            assert text.index("/second") < text.index("/first?a=1")
            # Set out by lines, numbers untouched, and as it came.
            assert "&#34;amount&#34;: 12.50,\n  &#34;id&#34;: 9007199254740993\n" in text
            assert "{&#34;amount&#34;: 12.50, &#34;id&#34;: 9007199254740993}" in text
            assert "a = 1\nb = two words" in text and "a=1&amp;b=two+words" in text
            assert '<th scope="row">content-type</th><td>application/json</td>' in text
            assert "of another bin" not in text

    tell(story())


def test_strangers_bytes_are_text_wherever_they_stand(tmp_path: Path) -> None:
    async def story() -> None:
        evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
        async with serving(tmp_path) as server:
            line = f"POST /in/{PLAIN}/<script>?q='\"><b> HTTP/1.1"
            head = f"{line}\r\nHost: h\r\nX-Evil: {evil}\r\nConnection: close\r\nContent-Length: {len(evil)}\r\n\r\n"
            assert (await server.raw((head + evil).encode())).startswith(b"HTTP/1.1 200")
            listing = (await server.http.get(f"/view/{PLAIN}/")).text
            item = re.search(r"breq_\w{27}", listing)
            assert item is not None
            alone = (await server.http.get(f"/view/{PLAIN}/{item[0]}/")).text
            for text in (listing, alone):
                assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
                assert not re.search(r"<(script|img|b)[\s>]", text), text
                assert all(re.fullmatch(r"[^'\"<>]*", value) for value in re.findall(r'="([^"]*)"', text)), text

    tell(story())


def test_pages_are_fenced_and_load_nothing_but_their_own_sheet(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(f"/in/{PLAIN}/", b"x")
            page = await server.http.get(f"/view/{PLAIN}/")
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
            assert "frame-ancestors 'none'" in policy
            assert page.headers["x-content-type-options"] == "nosniff"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert page.headers["cache-control"] == "no-store"
            assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=|https?://|src=", page.text)
            (sheet,) = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page.text)
            css = await server.http.get(str(page.url.join(sheet)))
            assert (css.status_code, css.headers["content-type"]) == (200, "text/css; charset=utf-8")
            assert "url(" not in css.text and "@import" not in css.text

    tell(story())


def test_every_link_of_the_pages_leads_somewhere(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(f"/in/{PLAIN}/", b"\x00\xff" * 5_000)
            todo, seen = [f"/view/{PLAIN}/"], set()
            while todo:
                path = todo.pop()
                if path in seen:
                    continue
                seen.add(path)
                page = await server.http.get(path)
                assert page.status_code == 200, path
                if page.headers["content-type"].startswith("text/html"):
                    todo += [page.url.join(link).raw_path.decode() for link in re.findall(r'href="([^"]*)"', page.text)]
            assert len(seen) == 5, seen

    tell(story())


def test_the_exact_bytes_can_be_saved_and_are_never_shown_as_a_page(tmp_path: Path) -> None:
    async def story() -> None:
        body = b"<html><script>alert(1)</script>" + bytes(range(256)) * 8_000
        async with serving(tmp_path) as server:
            item = (await server.send(f"/in/{PLAIN}/", body, content_type="text/html")).json()["id"]
            saved = await server.http.get(f"/view/{PLAIN}/{item}/body")
            assert saved.content == body
            assert saved.headers["content-type"] == "application/octet-stream"
            assert saved.headers["content-disposition"].startswith("attachment")
            assert saved.headers["content-security-policy"] == "sandbox"
            assert saved.headers["x-content-type-options"] == "nosniff"
            # Whoever knows another token sees nothing of it.
            assert (await server.http.get(f"/view/{TOKEN}/{item}/body")).status_code == 404
            assert (await server.http.get(f"/view/{TOKEN}/{item}/")).status_code == 404

    tell(story())


def test_a_large_body_is_shown_by_its_beginning_in_the_list_and_whole_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            item = (await server.send(f"/in/{PLAIN}/", b"a" * 500_000 + b"THE END")).json()["id"]
            listing = (await server.http.get(f"/view/{PLAIN}/")).text
            assert "THE END" not in listing and len(listing) < 20_000
            assert "THE END" in (await server.http.get(f"/view/{PLAIN}/{item}/")).text

    tell(story())


def test_all_of_a_bin_can_be_forgotten_by_a_form(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            await server.send(f"/in/{PLAIN}/", b"one")
            await server.send(body=b"two")
            assert (await server.http.get(f"/view/{PLAIN}/clear")).status_code == 405
            cleared = await server.http.post(f"/view/{PLAIN}/clear")
            assert (cleared.status_code, cleared.url.join(cleared.headers["location"]).path) == (303, f"/view/{PLAIN}/")
            assert "Nothing has come yet" in (await server.http.get(f"/view/{PLAIN}/")).text
            assert "two" in (await server.http.get(f"/view/{TOKEN}/")).text

    tell(story())


def test_a_page_looks_again_by_itself_when_it_is_asked_to(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            assert "http-equiv" not in (await server.http.get(f"/view/{PLAIN}/")).text
            assert '<meta http-equiv="refresh" content="5">' in (await server.http.get(f"/view/{PLAIN}/?refresh")).text

    tell(story())


def test_wrong_paths_and_methods_are_refused_in_json(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for path in (
                "/view/",
                "/view/short/",
                "/view/viewer.css/",
                f"/view/{PLAIN}/breq_1/",
                f"/view/{PLAIN}/../x",
                "/view/d_ABCDEFGHIJ/",
            ):
                answer = await server.http.get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            unknown = await server.http.get(f"/view/{PLAIN}/breq_{'1' * 27}/")
            assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
            posted = await server.http.post(f"/view/{PLAIN}/")
            assert (posted.status_code, posted.json()["code"]) == (405, "method_not_allowed")
            moved = await server.http.get(f"/view/{PLAIN}")
            assert (moved.status_code, moved.url.join(moved.headers["location"]).path) == (308, f"/view/{PLAIN}/")
            head = await server.http.head(f"/view/{PLAIN}/")
            assert (head.status_code, head.content) == (200, b"")

    tell(story())


def test_pages_that_are_asked_for_all_at_once_are_made_in_turn_or_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            for _ in range(20):
                await server.send(f"/in/{PLAIN}/", b"x" * 4_000)
            many = _WAITING + _AT_ONCE + 40
            answers = await asyncio.gather(*(server.http.get(f"/view/{PLAIN}/") for _ in range(many)))
            assert {answer.status_code for answer in answers} <= {200, 429}
            assert (await server.http.get(f"/view/{PLAIN}/")).status_code == 200

    tell(story())


def test_a_body_is_set_out_only_where_that_does_not_blow_it_up() -> None:
    assert set_out(b'{"b":1,"a":[1,2]}', "") == '{\n  "b": 1,\n  "a": [\n    1,\n    2\n  ]\n}'
    assert set_out(b'{"b":1', "application/json") is None
    assert set_out(b"plain", "text/plain") is None
    assert set_out(b"[" * 5_000 + b"]" * 5_000, "application/json") is None
    nested = b"[" * 30 + b"1," * 20_000 + b"1" + b"]" * 30
    shown = set_out(nested, "application/json")
    assert shown is not None and len(shown) < 65_536 * 64
    assert set_out(b"[" + b"1," * 40_000 + b"1]", "application/json") is None


def test_a_character_that_the_cut_splits_does_not_make_a_text_binary() -> None:
    assert as_text("a\u00fcb".encode(), 2) == ("a", False)
    assert as_text("\u20ac".encode(), 100) == ("\u20ac", True)
    assert as_text(b"\xff\x00", 100) == ("ff 00", True)
    assert as_text(b"ok\xff", 12) == ("6f 6b ff", True)
    assert as_text(b"ok\xff" * 10, 12) == ("6f 6b ff", False)


@given(st.binary(max_size=300), st.sampled_from(["", "application/json", "application/x-www-form-urlencoded"]), st.integers(1, 300))
def test_any_body_can_be_shown(body: bytes, content_type: str, most: int) -> None:
    text, whole = as_text(body, most)
    assert len(text) <= 3 * most
    assert whole == (len(body) <= most) or not whole
    pretty = set_out(body, content_type)
    assert pretty is None or len(pretty) <= 64 * len(body) + 64
