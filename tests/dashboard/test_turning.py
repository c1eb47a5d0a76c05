"""Marks of direction on a page: where they are shown by their number, and where they stay as they were written."""

from __future__ import annotations

import pytest

from ringback.dashboard.turning import kept_in_place

MARK = "\u202e"
SHOWN = f'<bdi class="turning" data-number="U+202E">{MARK}</bdi>'


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>plain</p>", "<p>plain</p>"),
        (f"<p>a{MARK}b</p>", f"<p>a{SHOWN}b</p>"),
        (f"<pre>a{MARK}\n{MARK}</pre>", f"<pre>a{SHOWN}\n{SHOWN}</pre>"),
        (f'<input value="a{MARK}&gt;{MARK}">{MARK}', f'<input value="a{MARK}&gt;{MARK}">{SHOWN}'),
        (f'<textarea name="x">\n&lt;{MARK}</textarea>{MARK}', f'<textarea name="x">\n&lt;{MARK}</textarea>{SHOWN}'),
        (f'<option value="a{MARK}">a{MARK}</option>', f'<option value="a{MARK}">aU+202E</option>'),
        (f"<title>a{MARK} · Ringback</title>", "<title>aU+202E · Ringback</title>"),
        # They order their neighbours alone, and scripts that run from right to left are written with them.
        ("<p>\u200e\u200f\u061c</p>", "<p>\u200e\u200f\u061c</p>"),
    ],
)
def test_a_mark_is_shown_where_people_read_and_kept_where_forms_hold_it(html: str, expected: str) -> None:
    assert kept_in_place(html) == expected
