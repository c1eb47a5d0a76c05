from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.search_query import (
    MAX_CHARS,
    OPERATORS,
    BadQuery,
    Field,
    Phrase,
    SearchQuery,
    fold,
    indexed,
    parse,
    tokens,
)

NOW_US = 1_764_000_000_000_000
DAY_US = 86_400_000_000


def read(text: str) -> SearchQuery:
    return parse(text, NOW_US)


def words(*tokens: str, prefix: bool = False) -> Phrase:
    return Phrase(tokens, prefix)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("", []),
        ("order", [words("order")]),
        ("order  paid", [words("order"), words("paid")]),
        ('"order paid"', [words("order", "paid")]),
        ("ord_123", [words("ord", "123")]),
        ("ord_12*", [words("ord", "12", prefix=True)]),
        ('"late fee*"', [words("late", "fee")]),
        ('"late fee"*', [words("late", "fee", prefix=True)]),
        ("Jane.Doe+x@Example.com", [words("jane", "doe", "x", "example", "com")]),
        ("Zürich", [words("zurich")]),
        ("ÉTÉ", [words("ete")]),
        ("東京", [words("東", "京")]),
        ("https://example.com/a?b=1", [words("https", "example", "com", "a", "b", "1")]),
        ("12:30", [words("12", "30")]),
        ("--- !!", []),
        ('{"total":12.50}', [words("total"), words("12", "50")]),
    ],
)
def test_words_phrases_and_beginnings(text, phrases):
    assert list(read(text).phrases) == phrases


def test_what_is_excluded():
    query = read('paid -refund -"late fee" -type:test.* -tag:a,b')
    assert query.phrases == (words("paid"),)
    assert query.without_phrases == (words("refund"), words("late", "fee"))
    assert query.without_fields == (Field("type", ("test.*",)), Field("tag", ("a", "b")))


def test_operators_and_their_alternatives():
    query = read('TYPE:order.paid,order.made tag:"two words" channel:eu status:failed,retrying app:shop id:evt_1')
    assert query.fields == (Field("type", ("order.paid", "order.made")), Field("tag", ("two words",)), Field("channel", ("eu",)))
    assert (query.statuses, query.apps, query.ids) == (("failed", "retrying"), ("shop",), ("evt_1",))


def test_an_id_of_a_message_is_one_wherever_it_stands():
    name = "msg_3MbxZphwD9CPmhNhLc3ilOeeMbA"
    assert read(f"paid {name}") == SearchQuery(phrases=(words("paid"),), ids=(name,))
    assert read(f'"{name}"').ids == ()


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("2025-11-24", 1_763_942_400_000_000),
        ("2025-11-24T12:00:00Z", 1_763_985_600_000_000),
        ("2025-11-24T12:00:00+02:00", 1_763_978_400_000_000),
        ("2d", NOW_US - 2 * DAY_US),
        ("90m", NOW_US - 5_400_000_000),
        ("1w", NOW_US - 7 * DAY_US),
    ],
)
def test_times(text, at_us):
    assert read(f"before:{text}").before_us == at_us
    assert read(f"after:{text}").after_us == at_us


def test_of_several_times_the_narrowest_holds():
    query = read("before:1d before:3d after:9d after:5d")
    assert (query.before_us, query.after_us) == (NOW_US - 3 * DAY_US, NOW_US - 5 * DAY_US)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('say "never closed', "the quote at character 5 is not closed"),
        ("typ:order.paid", "did you mean type:?"),
        ("colour:red", 'put it in quotes: "colour:red"'),
        ("type:", "type: has no value"),
        ("tag: x", "tag: has no value"),
        ("status:lost", "'lost' is no status; use one of delivered, failed"),
        ("-status:failed", "-status: cannot be excluded"),
        ("before:tomorrow", "before:tomorrow is no time; write a date"),
        ("after:2d,3d", "is no time"),
        ("before:9999999d", "is no time"),
        ("x " * 21, "more than 20 terms"),
        ("x" * (MAX_CHARS + 1), f"at most {MAX_CHARS} are read"),
    ],
)
def test_what_cannot_be_read_is_explained(text, said):
    with pytest.raises(BadQuery, match=said.replace("?", r"\?").replace("(", r"\(")):
        read(text)


@given(st.text(max_size=80) | st.lists(st.sampled_from([*OPERATORS, ":", '"', "-", "*", ",", " ", "a", "2d"]), max_size=20).map("".join))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        query = read(text)
    except BadQuery as error:
        assert len(str(error)) > 10
    else:
        assert all(token == fold(token) for phrase in query.phrases for token in phrase.tokens)


@given(st.text(max_size=60))
def test_tokens_are_where_they_say_they_are_and_the_same_in_what_is_indexed(text):
    found = list(tokens(text))
    assert all(fold(text[start:end]) == token for token, start, end in found)
    # An index that knows letters and digits finds the same words.
    assert "".join(token for token, _, _ in tokens(indexed(text))) == "".join(part for token, _, _ in found for part, _, _ in tokens(token))
