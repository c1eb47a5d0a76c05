from __future__ import annotations

import contextlib
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.yaml_documents import MAX_DEPTH, MAX_NODES, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: -2.5e3\nc: 0x1f\nd: 0o17", {"a": 1, "b": -2500.0, "c": 31, "d": 15}),
        ("[null, ~, true, FALSE]", [None, None, True, False]),
        ("[yes, no, on, 2024-01-02, 12:30:45, 1_000, .inf, 0755]", ["yes", "no", "on", "2024-01-02", "12:30:45", "1_000", ".inf", 755]),
        ("['1', \"true\", !!str 1, ! 2, !!int 3]", ["1", "true", "1", "2", 3]),
        ("200: ok\ntrue: yes\nnull: x\n1.5: y", {"200": "ok", "true": "yes", "null": "x", "1.5": "y"}),
        ("a: |\n  one\n  two\nb: >-\n  one\n  two", {"a": "one\ntwo\n", "b": "one two"}),
        ("a: &x {b: [1]}\nc: *x\nd: [*x, *x]", {"a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, {"b": [1]}]}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3, e: 4}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3, "e": 4}}),
        ("a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}", {"a": {"b": 1}, "c": {"b": 2, "d": 3}, "e": {"b": 1, "d": 3}}),
    ],
)
def test_yaml_says_what_json_can_say(text: str, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: !!python/object/apply:os.system [id]", "line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed"),
        ("a: !!binary aGk=", "line 1: the tag 'tag:yaml.org,2002:binary' is not allowed"),
        ("a: 1\na: 2", "line 2: the key 'a' stands there twice"),
        ("? [a]\n: b", "line 1: a key must be text"),
        ("a: *nobody", "line 1: *nobody names nothing that has ended before it"),
        ("a: &x [*x]", "line 1: *x names nothing that has ended before it"),
        ("a: {<<: 1}", "line 1: << merges maps alone"),
        ("a\n---\nb", "line 2: a second document begins; give one alone"),
        ("a: " + "9" * 500, "line 1: a number of 500 digits; at most 400 are read"),
        ("a: 1e999", "line 1: the number 1e999 is too large"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"line 1: nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^") as refused:
        read_yaml(text)
    assert str(refused.value) == problem


@pytest.mark.parametrize("text", ["a: [", "\t- a", "a: 'b", "[" * 100_000, "a: \x00"])
def test_what_is_no_yaml_is_refused_in_one_family(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not YAML: |^line 1: nested"):
        read_yaml(text)


@pytest.mark.parametrize("shape", ["list", "merge"])
def test_a_bomb_of_aliases_goes_off_before_it_costs_anything(shape: str) -> None:
    inner = "a: &a [x, x, x, x, x, x, x, x, x]\n" if shape == "list" else "a: &a {1: x, 2: x, 3: x, 4: x, 5: x, 6: x, 7: x, 8: x}\n"
    lines = [inner]
    for before, after in zip("abcdefgh", "bcdefghi", strict=True):
        aliases = ", ".join([f"*{before}"] * 9)
        lines.append(f"{after}: &{after} [{aliases}]\n" if shape == "list" else f"{after}: &{after} {{<<: [{aliases}]}}\n")
    with pytest.raises(ValueError, match=f"more than {MAX_NODES} values, aliases counted as often as they stand there"):
        read_yaml("".join(lines))


def test_an_alias_to_something_deep_counts_its_depth() -> None:
    deep = "[" * 40 + "]" * 40
    assert read_yaml(f"a: &a {deep}\nb: {'[' * 20}*a{']' * 20}") is not None
    with pytest.raises(ValueError, match="nested deeper"):
        read_yaml(f"a: &a {deep}\nb: {'[' * 30}*a{']' * 30}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_a_yaml_library_writes_is_read_back(value: object) -> None:
    if isinstance(value, dict) and "<<" in value:
        return
    # Quoted, as the library's own plain texts are those of YAML 1.1: there `1e5` is text.
    assert read_yaml(yaml.safe_dump(value, allow_unicode=True, default_style='"')) == value


@given(st.text(max_size=200) | st.text(alphabet="[]{}:,&*!-|>'\"#?%@`\n ab1", max_size=200))
def test_any_text_is_read_or_refused_in_one_family(text: str) -> None:
    with contextlib.suppress(ValueError):
        json.dumps(read_yaml(text))
