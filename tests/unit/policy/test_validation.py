from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy import json_schemas, validation
from ringback.policy.validation import is_sensitive

NAME = st.text(alphabet="abcXYZ019-_.", min_size=1, max_size=256)


@given(NAME)
def test_names_of_the_alphabet_are_allowed(text):
    assert not validation.name(text)


@given(st.text().filter(lambda text: not text.isascii() or " " in text or "\n" in text or text == ""))
def test_any_other_name_is_refused_with_a_reason(text):
    [(where, message)] = validation.name(text)
    assert where == ()
    assert message


@pytest.mark.parametrize("text", ["a\n", "a b", "ü", "a/b", "", "x" * 257])
def test_a_name_is_checked_whole(text):
    assert validation.name(text)


def test_a_uid_may_not_look_like_an_id_of_its_own_kind():
    rule = validation.uid("app_")
    assert rule("app_1")
    assert not rule("ep_1")
    assert not rule("my_app_1")


def test_problems_of_lists_say_where():
    assert validation.channels(["ok", "no way", "ok"]) == [
        (("[2]",), "'ok' stands in the list twice; give it once"),
        (("[1]",), "'no way' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'"),
    ]


@pytest.mark.parametrize("values", [[], ["c"] * 11, ["a\n"], ["x" * 129]])
def test_channels_are_one_to_ten_different_labels(values):
    assert validation.channels(values)


def test_tags_are_at_most_five_and_may_be_none():
    assert not validation.tags([])
    assert not validation.tags(["a/b", "c\\d", "#e", ".", "_"])
    assert validation.tags(["1", "2", "3", "4", "5", "6"])
    assert validation.tags(["a:b"])


def test_metadata_is_measured_as_compact_json_in_bytes():
    assert not validation.metadata({"k": "ü" * 2044})
    assert validation.metadata({"k": "ü" * 2045}) == [((), "the metadata has 4098 bytes as compact JSON; at most 4096 are allowed")]


@pytest.mark.parametrize("code", range(9))
def test_texts_hold_no_control_characters_below_tab(code):
    assert validation.text(f"a{chr(code)}b")


def test_texts_may_have_lines():
    assert not validation.text("a\tb\r\nc")


@pytest.mark.parametrize("name", ["Content-Type", "HOST", "webhook-signature", "X-Svix-Anything", "svix-id", "x-goog-meta", "Connection"])
def test_headers_of_the_delivery_itself_are_refused(name):
    [(where, _)] = validation.headers({name: "x"})
    assert where == (name,)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "ä", "a\n", "(a)"])
def test_header_names_are_tokens(name):
    assert validation.headers({name: "x"})


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\x00b", "x" * 4097, "ü" * 2049])
def test_header_values_are_one_line_of_bounded_length(value):
    [(where, message)] = validation.headers({"X-Key": value})
    assert where == ("X-Key",)
    assert value not in message


def test_the_same_header_twice_is_refused():
    assert validation.headers({"X-A": "1", "x-a": "2"}) == [(("x-a",), "'x-a' and 'X-A' are the same header; give it once")]


def test_credentials_are_known_by_their_headers():
    assert all(map(is_sensitive, ("Authorization", "X-Auth-Token", "x-api-key", "WWW-Authenticate", "Proxy-Authentication-Info")))
    assert all(map(is_sensitive, ("Cookie", "Set-Cookie", "Proxy-Token")))
    assert not any(map(is_sensitive, ("X-Team", "Accept", "X-Authorization")))


def test_a_wrong_secret_is_not_repeated():
    [(_, message)] = validation.secret("whsec_c2hvcnQ=")
    assert "c2hvcnQ" not in message


class TestJsonSchemas:
    """Source: https://json-schema.org/draft-07/schema"""

    @pytest.mark.parametrize(
        "schema",
        [
            True,
            {},
            {"type": ["string", "null"], "minLength": 1, "pattern": "^a$", "x-ours": object},
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/definitions/b"}},
                "definitions": {"b": {"enum": [1, None]}},
                "required": ["a"],
            },
            {"items": [{"type": "number"}, False], "additionalItems": False, "minItems": 0, "uniqueItems": True},
            {"if": {"const": 1}, "then": True, "else": {"not": {}}, "dependencies": {"a": ["b"], "c": {}}, "multipleOf": 0.5},
            {"maxLength": 3.0},
        ],
    )
    def test_what_draft_7_allows_is_allowed(self, schema):
        assert not json_schemas.schema(schema)

    @pytest.mark.parametrize(
        ("schema", "where"),
        [
            (5, ()),
            (None, ()),
            ({"type": "text"}, ("type",)),
            ({"type": []}, ("type",)),
            ({"properties": {"a": {"minLength": -1}}}, ("properties", "a", "minLength")),
            ({"anyOf": [{}, 3]}, ("anyOf", "[1]")),
            ({"anyOf": []}, ("anyOf",)),
            ({"required": "a"}, ("required",)),
            ({"maximum": "3"}, ("maximum",)),
            ({"maximum": True}, ("maximum",)),
            ({"multipleOf": 0}, ("multipleOf",)),
            ({"maxItems": 1.5}, ("maxItems",)),
            ({"dependencies": {"a": [1]}}, ("dependencies", "a", "[0]")),
        ],
    )
    def test_what_it_does_not_allow_is_found(self, schema, where):
        [(found, message)] = json_schemas.schema(schema)
        assert found == where
        assert message

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)))
    def test_any_value_is_judged_without_an_error(self, value):
        found = json_schemas.schemas({"1": value, "2": {"type": value, "items": value, "maxItems": value, "properties": value}})
        assert all(isinstance(message, str) for _, message in found)
