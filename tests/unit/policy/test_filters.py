"""Filters on payloads: what fits what, what may be written, and that nothing which anybody writes or sends takes long or fails."""

from __future__ import annotations

import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.policy.filters import MAX_BYTES, MAX_CONDITIONS, MAX_DEPTH, MAX_ELEMENTS, Filter, Subject, compiled, filter_rule, written

JSON = "application/json"
ORDER: typing.Final = {
    "type": "order.paid",
    "data": {
        "amount": 150,
        "ratio": 0.5,
        "currency": "EUR",
        "test": False,
        "note": None,
        "a.b": 1,
        "tags": ["new", "vip"],
        "items": [{"sku": "A", "n": 1}, {"sku": "B", "n": 5}],
        "empty": [],
    },
}
HEADERS: typing.Final = b"x-github-event: push\r\nx-tag: a\r\nx-tag: b\r\n"


def asked(document: dict[str, typing.Any]) -> Filter:
    assert filter_rule(document) == []
    return compiled(document)


def fits(document: dict[str, typing.Any], payload: object = ORDER, headers: bytes | None = HEADERS) -> bool:
    return asked(document).fits(Subject.of(json.dumps(payload).encode(), JSON, headers))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"type": "order.paid"}, True),
        ({"type": "order"}, False),
        ({"data.amount": 150}, True),
        ({"data.amount": 150.0}, True),
        ({"data.amount": "150"}, False),
        ({"data.test": False}, True),
        ({"data.test": 0}, False),
        ({"data.note": None}, True),
        ({"data.nothing": None}, False),
        ({"data.currency": ["CHF", "EUR"]}, True),
        ({"data.currency": {"$in": ["CHF"]}}, False),
        ({"data.currency": {"$nin": ["CHF"]}}, True),
        ({"data.nothing": {"$nin": ["CHF"]}}, False),
        ({"data.currency": {"$neq": "EUR"}}, False),
        ({"data.nothing": {"$neq": "EUR"}}, False),
        ({"data.amount": {"$gt": 149, "$lt": 151}}, True),
        ({"data.amount": {"$gte": 151}}, False),
        ({"data.amount": {"$gt": "100"}}, False),
        ({"data.currency": {"$lte": "EUR"}}, True),
        ({"data.test": {"$lt": 1}}, False),
        ({"data.ratio": {"$lt": 1}}, True),
        ({"type": {"$startsWith": "order.", "$endsWith": ".paid", "$contains": "r.p"}}, True),
        ({"data.amount": {"$contains": "5"}}, False),
        ({"data.amount": {"$exist": True}}, True),
        ({"data.note": {"$exist": True}}, True),
        ({"data.nothing": {"$exist": False}}, True),
        ({"data.nothing": {"$exist": True}}, False),
        ({"data.empty": {"$exist": True}}, True),
        # All members must hold; one that is missing is no match.
        ({"type": "order.paid", "data.nothing": 1}, False),
        # Lists: one of their elements is enough, and may be named by its place.
        ({"data.tags": "vip"}, True),
        ({"data.tags": {"$neq": "vip"}}, False),
        ({"data.items.sku": "B"}, True),
        ({"data.items.1.sku": "A"}, False),
        ({"data.items.1.sku": "B"}, True),
        ({"data.items.7.sku": {"$exist": False}}, True),
        # Two conditions on one element, or on any two.
        ({"data.items": {"sku": "A", "n": {"$gte": 5}}}, False),
        ({"data.items.sku": "A", "data.items.n": {"$gte": 5}}, True),
        ({"data": {"amount": {"$gte": 1}, "currency": "EUR"}}, True),
        ({r"data.a\.b": 1}, True),
        ({"data.a.b": 1}, False),
        ({"$and": [{"type": "order.paid"}, {"data.amount": 1}]}, False),
        ({"$or": [{"type": "nothing"}, {"data.amount": 150}]}, True),
        ({"$not": {"data.test": True}}, True),
        ({"$not": {"$or": [{"type": "order.paid"}, {"x": 1}]}}, False),
        ({"$headers": {"X-GitHub-Event": ["push", "pull_request"]}}, True),
        ({"$headers": {"x-tag": "b"}}, True),
        ({"$headers": {"x-nothing": {"$exist": False}}}, True),
        ({"$not": {"$headers": {"x-github-event": "push"}}}, False),
    ],
)
def test_what_fits_what(document: dict[str, typing.Any], expected: bool) -> None:
    assert fits(document) is expected


@pytest.mark.parametrize(
    ("payload", "content_type", "document", "expected"),
    [
        (b"<xml/>", "application/xml", {"a": {"$exist": False}}, True),
        (b"<xml/>", "application/xml", {"a": 1}, False),
        (b"a=1&a=2&b=%20x", "application/x-www-form-urlencoded; charset=utf-8", {"a": "2", "b": " x"}, True),
        (b"\xff=\xff", "application/x-www-form-urlencoded", {"a": 1}, False),
        (b"[" * 100_000, JSON, {"a": 1}, False),
        (b"[1, 2]", JSON, {"1": 2}, True),
        (b"3", JSON, {"a": 3}, False),
        (b"", JSON, {"a": 1}, False),
        (b'{"a": 1e999}', JSON, {"a": 1}, False),
        (b'{"a": 100000000000000000000000000000}', JSON, {"a": {"$gt": 1.5}}, True),
    ],
)
def test_payloads_of_every_kind_are_looked_at(payload: bytes, content_type: str, document: dict[str, typing.Any], expected: bool) -> None:
    assert asked(document).fits(Subject.of(payload, content_type, None)) is expected


def test_the_first_member_that_does_not_fit_is_named() -> None:
    subject = Subject.of(json.dumps(ORDER).encode(), JSON, None)
    assert asked({"type": "order.paid", "data.amount": {"$lt": 5}, "x": 1}).failing(subject) == '{"data.amount":{"$lt":5}}'
    assert asked({"type": "order.paid"}).failing(subject) is None


def test_what_is_behind_many_elements_is_not_seen() -> None:
    assert fits({"a": MAX_ELEMENTS - 1}, {"a": list(range(MAX_ELEMENTS))})
    assert not fits({"a": MAX_ELEMENTS}, {"a": list(range(MAX_ELEMENTS + 1))})
    # All members of a filter look at so many together.
    assert not fits({"a": MAX_ELEMENTS - 1, "b": 0}, {"a": list(range(MAX_ELEMENTS)), "b": [0]})


def nested(depth: int) -> dict[str, typing.Any]:
    document: dict[str, typing.Any] = {"a": 1}
    for _ in range(depth - 1):
        document = {"$not": document}
    return document


@pytest.mark.parametrize(
    ("document", "where", "said"),
    [
        ({}, (), "an empty object asks for nothing; leave it out"),
        ({"a": {}}, ("a",), "an empty object asks for nothing; leave it out"),
        ({"a": []}, ("a",), "must be a list of at least one value, not an empty list"),
        ({"a": [[1]]}, ("a",), "each element must be a text, a number, true, false or null"),
        ({"": 1}, ("",), "a path is names with dots between them, and none of them is empty"),
        ({".".join("a" * 17): 1}, (".".join("a" * 17),), "a path has at most 16 names, not 17"),
        ({"$xor": []}, ("$xor",), "there is no $xor here; allowed are $and, $or, $not, $headers and paths of fields"),
        ({"$and": {"a": 1}}, ("$and",), "must be a list of at least one object of conditions, not an object"),
        ({"$or": [1]}, ("$or", "[0]"), "must be an object of conditions, not a number"),
        ({"$not": None}, ("$not",), "must be an object of conditions, not null"),
        ({"a": {"$exist": 1}}, ("a", "$exist"), "must be true or false, not a number"),
        ({"a": {"$gt": True}}, ("a", "$gt"), "must be a number or a text, not true"),
        ({"a": {"$in": 1}}, ("a", "$in"), "must be a list of at least one value, not a number"),
        ({"a": {"$eq": {}}}, ("a", "$eq"), "must be a text, a number, true, false or null, not an empty object"),
        ({"a": {"$contains": 1}}, ("a", "$contains"), "must be a text, not a number"),
        (
            {"a": {"$gt": 1, "b": 1}},
            ("a",),
            "has operators on a value beside conditions on fields; put these into objects of their own under $and",
        ),
        (
            {"a": {"$headers": {"x": "y"}}},
            ("a", "$headers"),
            "headers belong to the event; they stand outside of conditions on fields",
        ),
        (
            {"$headers": {"x": {"y": 1}}},
            ("$headers", "x"),
            "a header is a text: ask for one, a list of them, or with operators such as $startsWith",
        ),
        (nested(MAX_DEPTH + 1), ("$not",) * MAX_DEPTH, f"at most {MAX_DEPTH} documents may stand within one another"),
        ({f"a{n}": 1 for n in range(65)}, (), f"the filter has 65 conditions; at most {MAX_CONDITIONS} are allowed"),
        ({"a": "x" * MAX_BYTES}, (), f"the filter has {MAX_BYTES + 8} bytes as compact JSON; at most {MAX_BYTES} are allowed"),
    ],
)
def test_what_may_not_be_written_is_told_where_it_stands(document: dict[str, typing.Any], where: tuple[str, ...], said: str) -> None:
    assert list(filter_rule(document)) == [(where, said)]


def test_a_filter_may_be_as_large_as_it_says() -> None:
    assert filter_rule(nested(MAX_DEPTH)) == []
    assert filter_rule({f"a{n}": ["x"] * 10 for n in range(MAX_CONDITIONS)}) == []
    deep: dict[str, typing.Any] = {}
    for _ in range(5_000):
        deep = {"a": deep}
    assert list(filter_rule(deep)) == [((), f"at most {MAX_DEPTH} documents may stand within one another")]
    while deep:
        deep = deep["a"]


@pytest.mark.parametrize("text", ["", "{", "[1]", "1", "null", '{"a": 1} x', "[" * 100_000, '{"a": \ud800}', '{"a": 1e999}'])
def test_a_text_that_is_no_object_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a JSON object|this is not JSON"):
        written(text)


_SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4))
_NAMES = st.sampled_from(
    ["a", "b", "a.b", "a.0", r"a\.b", "0", "", "$and", "$or", "$not", "$headers", "$gt", "$xx", "$exist", "$nin"]
) | st.text(max_size=3)
_OPERATORS = st.sampled_from(
    ["$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$startsWith", "$endsWith", "$contains", "$neq", "$nin", "$exist", "$and", "c"]
)
_RULES = st.dictionaries(
    _NAMES,
    st.recursive(
        _SCALARS | st.lists(_SCALARS, max_size=3) | st.dictionaries(_OPERATORS, _SCALARS | st.lists(_SCALARS, max_size=3), max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    ),
    max_size=4,
)
_FIELDS = st.sampled_from(["a", "b", "a.b", "c"])
_PAYLOADS = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_FIELDS, inner, max_size=4)) | _VALUES


@given(_RULES, _PAYLOADS, st.binary(max_size=40))
def test_any_rule_is_told_what_is_wrong_or_decides_any_payload(rule: dict[str, typing.Any], payload: object, noise: bytes) -> None:
    problems = filter_rule(rule)
    assert all(isinstance(said, str) and said and all(isinstance(step, str) for step in where) for where, said in problems)
    if problems:
        return
    found = compiled(rule)
    for subject in (Subject.of(json.dumps(payload).encode(), JSON, noise), Subject.of(noise, "application/x-www-form-urlencoded", None)):
        failing = found.failing(subject)
        assert found.fits(subject) is (failing is None)
        assert failing is None or json.loads(failing).keys() <= rule.keys()
        # What does not fit fits the opposite.
        assert compiled({"$not": rule}).fits(subject) is (failing is not None)


class Counted(list[object]):
    """A list that counts how often one of its elements was asked for."""

    def __init__(self, elements: typing.Iterable[object]) -> None:
        super().__init__(elements)
        self.looks = 0

    def __iter__(self) -> typing.Iterator[object]:
        for element in super().__iter__():
            self.looks += 1
            yield element


@pytest.mark.parametrize(
    "document",
    [
        {"$or": [{"l.a": number} for number in range(MAX_CONDITIONS)]},
        {"$or": [{"l": {"a": number}} for number in range(MAX_CONDITIONS)]},
        {"l.a.a.a.a": {"$nin": list(range(500))}},
        {"l": {"a": {"a": {"a": {"a": 1}}}}},
    ],
)
def test_a_look_ends_however_long_lists_are(document: dict[str, typing.Any]) -> None:
    inner: object = 7
    for _ in range(4):
        inner = {"a": [inner] * 30}
    elements = Counted([inner] * 100_000)
    asked(document).fits(Subject({"l": elements}, {}))
    # The element that shows that there are too many is taken, and not looked at; each condition may begin to look.
    assert elements.looks <= MAX_ELEMENTS + MAX_CONDITIONS
