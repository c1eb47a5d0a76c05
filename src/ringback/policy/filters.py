r"""Does an event hold what an endpoint asked for? Filters are JSON documents of conditions on payloads and on received headers.

    {"data.amount": {"$gte": 100}, "data.currency": ["EUR", "CHF"], "$not": {"data.test": true}}

All members of a document must hold. A name is a path of field names with dots between them (`\.` is a dot within a name); its value is
what is asked of what stands there: a value that it must equal, a list of which it must equal one, an object of operators (`$gt`), or a
document about the object that it must be. Lists are looked into: it is enough that one of their elements fits. What is not there, or of
another kind than what it is compared with, does not fit: it is never an error. `docs/reference/filters.md` is the whole language.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import msgspec

from ringback.policy.validation import Problem

# A filter as compact JSON: some fifty conditions, and nothing that slows a message down.
MAX_BYTES: Final = 8_192
# Conditions of a filter.
MAX_CONDITIONS: Final = 64
# Documents within documents: more than anybody reads, and far from the interpreter's bound.
MAX_DEPTH: Final = 8
# Names of a path.
MAX_NAMES: Final = 16
# Elements of lists that one event is looked into for one filter; those behind are not seen. At 0.5 us each that is a millisecond,
# however long the lists of a payload are.
MAX_ELEMENTS: Final = 2_000

_SEPARATOR: Final = re.compile(r"(?<!\\)\.")
# Digits of a place in a list: no payload has a longer list.
_INDEX_DIGITS: Final = 9
_FORM: Final = "application/x-www-form-urlencoded"
# Fields of a form that are looked at.
_FORM_FIELDS: Final = 1_000


class Subject(msgspec.Struct, frozen=True):
    """What is looked at of an event: its payload as JSON values, None when it is neither JSON nor a form, and its headers.

    `headers` are those that a source took in with it: lists of values by lower-case name.
    """

    body: object
    headers: Mapping[str, list[str]]

    @classmethod
    def of(cls, payload: bytes, content_type: str, headers: bytes | None) -> Subject:
        """Any bytes. `headers` are lines of lower-case names, each ended by CR LF (`Message.headers`)."""
        return cls(_body(payload, content_type), _heads(headers))


def _body(payload: bytes, content_type: str) -> object:
    if content_type.partition(";")[0].strip().lower() == _FORM:
        fields: dict[str, Any] = {}
        try:
            pairs = parse_qsl(payload.decode(), keep_blank_values=True, max_num_fields=_FORM_FIELDS)
        except ValueError:
            return None
        for name, value in pairs:
            fields.setdefault(name, []).append(value)
        return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _heads(lines: bytes | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (lines or b"").decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


class _Look:
    """One look of one filter at one event. `left` is how many elements of lists it may still look into."""

    __slots__ = ("headers", "left")

    def __init__(self, headers: Mapping[str, list[str]]) -> None:
        self.headers = headers
        self.left = MAX_ELEMENTS

    def elements(self, value: list[object]) -> Iterator[object]:
        """The elements of a list, as many as may be seen."""
        for element in value:
            self.left -= 1
            if self.left < 0:
                return
            yield element


# What is asked of an object, or of the whole body.
_Clause: TypeAlias = Callable[[object, _Look], bool]
# One value to whether it is as asked for.
_Test: TypeAlias = Callable[[object, _Look], bool]
# All that stands at a path, in the order of the payload, to whether that is as asked for.
_Condition: TypeAlias = Callable[[Iterator[object], _Look], bool]


class Filter(msgspec.Struct, frozen=True):
    """A filter that can be tried: its members as they were written, as JSON, and what each asks for."""

    members: tuple[str, ...]
    clauses: tuple[_Clause, ...]

    def fits(self, subject: Subject) -> bool:
        """Does the event have all that is asked for?"""
        return self.failing(subject) is None

    def failing(self, subject: Subject) -> str | None:
        """The first member that the event does not fit, as a JSON object; None when it fits all."""
        look = _Look(subject.headers)
        for text, clause in zip(self.members, self.clauses, strict=True):
            if not clause(subject.body, look):
                return text
        return None


def compiled(document: Mapping[str, Any]) -> Filter:
    """A filter of a document without problems (`filter_rule`)."""
    return Filter(tuple(msgspec.json.encode({name: asked}).decode() for name, asked in document.items()), _clauses(document))


# -- trying


def _clauses(document: Mapping[str, Any]) -> tuple[_Clause, ...]:
    return tuple(_clause(name, asked) for name, asked in document.items())


def _all(document: Mapping[str, Any]) -> _Clause:
    clauses = _clauses(document)
    return lambda body, look: all(clause(body, look) for clause in clauses)


def _clause(name: str, asked: Any) -> _Clause:
    if name == "$headers":
        wanted = [(header.lower(), _condition(condition)) for header, condition in asked.items()]
        return lambda body, look: all(fits(iter(look.headers.get(header, ())), look) for header, fits in wanted)
    if name in _LISTS:
        several = [_all(document) for document in asked]
        each = all if name == "$and" else any
        return lambda body, look: each(clause(body, look) for clause in several)
    if name == "$not":
        unwanted = _all(asked)
        return lambda body, look: not unwanted(body, look)
    path, fits = split_path(name), _condition(asked)
    return lambda body, look: fits(_found(body, path, look), look)


def _condition(asked: Any) -> _Condition:
    if isinstance(asked, list):
        return _some(_in(asked))
    if not isinstance(asked, dict):
        return _some(_in([asked]))
    if _is_document(asked):
        return _some(_object(asked))
    positive = [_OPERATORS[name](operand) for name, operand in asked.items() if name in _OPERATORS]
    conditions = [_some(lambda value, look: all(fits(value, look) for fits in positive))] if positive else []
    conditions += (_OF_ALL[name](operand) for name, operand in asked.items() if name in _OF_ALL)

    def all_of(values: Iterator[object], look: _Look) -> bool:
        known = list(values)
        return all(fits(iter(known), look) for fits in conditions)

    return conditions[0] if len(conditions) == 1 else all_of


def _is_document(asked: Mapping[str, Any]) -> bool:
    """Is it about the fields of an object, and not operators on a value?"""
    return not any(name.startswith("$") and name not in _STRUCTURE for name in asked)


def _object(asked: Mapping[str, Any]) -> _Test:
    clauses = _clauses(asked)

    def test(value: object, look: _Look) -> bool:
        # As many looks as it has conditions: each element of a list is asked all of them.
        look.left -= len(clauses)
        return isinstance(value, dict) and look.left >= 0 and all(clause(value, look) for clause in clauses)

    return test


def _some(test: _Test) -> _Condition:
    """Does one of the values fit, or one of the elements of a list among them?"""
    return lambda values, look: any(test(value, look) for value in _elements(values, look))


def _none(test: _Test) -> _Condition:
    """Is something there, of which nothing fits?"""

    def none(values: Iterator[object], look: _Look) -> bool:
        known = list(values)
        return bool(known) and not any(test(value, look) for value in _elements(iter(known), look))

    return none


def _elements(values: Iterator[object], look: _Look) -> Iterator[object]:
    for value in values:
        if isinstance(value, list):
            yield from look.elements(value)
        else:
            yield value


def _found(value: object, path: Sequence[str], look: _Look) -> Iterator[object]:
    """What stands at a path. Lists on the way are looked into, unless the path says which element."""
    if not path:
        yield value
    elif isinstance(value, dict):
        if path[0] in value:
            yield from _found(value[path[0]], path[1:], look)
    elif isinstance(value, list):
        if path[0].isdecimal():
            # Longer than that is no place in a payload, and more than `int` takes.
            index = int(path[0][:_INDEX_DIGITS])
            yield from _found(value[index], path[1:], look) if index < len(value) else ()
            return
        for element in look.elements(value):
            if isinstance(element, dict):
                yield from _found(element, path, look)


def _in(asked: Sequence[Any]) -> _Test:
    """Is it one of these? As JSON has it: true is not 1, and 1 is 1.0."""
    wanted = frozenset((isinstance(one, bool), one) for one in asked)
    return lambda value, look: not isinstance(value, dict | list) and (isinstance(value, bool), value) in wanted


def _compare(compare: Callable[[Any, Any], bool]) -> Callable[[Any], _Test]:
    def made(operand: Any) -> _Test:
        kinds: tuple[type, ...] = (str,) if isinstance(operand, str) else (int, float)
        return lambda value, look: isinstance(value, kinds) and not isinstance(value, bool) and compare(value, operand)

    return made


def _of_text(test: Callable[[str, str], bool]) -> Callable[[str], _Test]:
    return lambda operand: lambda value, look: isinstance(value, str) and test(value, operand)


def _exist(operand: bool) -> _Condition:
    return lambda values, look: any(True for _ in values) == operand


# Members that join documents.
_LISTS: Final = ("$and", "$or")
_STRUCTURE: Final = (*_LISTS, "$not", "$headers")
# Operators of which one value, or one element of a list, must fit all.
_OPERATORS: Final[Mapping[str, Callable[[Any], _Test]]] = {
    "$eq": lambda operand: _in([operand]),
    "$in": _in,
    "$gt": _compare(operator.gt),
    "$gte": _compare(operator.ge),
    "$lt": _compare(operator.lt),
    "$lte": _compare(operator.le),
    "$startsWith": _of_text(str.startswith),
    "$endsWith": _of_text(str.endswith),
    "$contains": _of_text(operator.contains),
}
# Operators about all that stands at a path.
_OF_ALL: Final[Mapping[str, Callable[[Any], _Condition]]] = {
    "$neq": lambda operand: _none(_in([operand])),
    "$nin": lambda operand: _none(_in(operand)),
    "$exist": _exist,
}


def split_path(name: str) -> tuple[str, ...]:
    r"""The names of a path; `\.` is a dot within a name."""
    return tuple(part.replace("\\.", ".") for part in _SEPARATOR.split(name))


# -- what may be written

_VALUES: Final = "a text, a number, true, false or null"
_COMPARED: Final = ("$gt", "$gte", "$lt", "$lte")
_TEXTS: Final = ("$startsWith", "$endsWith", "$contains")


def filter_rule(document: Mapping[str, Any]) -> Sequence[Problem]:
    """The rule for filters, which are any JSON object: where something is wrong in it, and what is allowed there."""
    try:
        size = len(msgspec.json.encode(document))
    except RecursionError:
        return [((), f"at most {MAX_DEPTH} documents may stand within one another")]
    if size > MAX_BYTES:
        return [((), f"the filter has {size} bytes as compact JSON; at most {MAX_BYTES} are allowed")]
    problems: list[Problem] = []
    _check(document, (), 1, problems, of_event=True)
    if not problems:
        count = _size(document)
        if count > MAX_CONDITIONS:
            problems.append(((), f"the filter has {count} conditions; at most {MAX_CONDITIONS} are allowed"))
    return problems


def written(text: str) -> dict[str, Any]:
    """The document that somebody wrote as text, not checked yet. Raises ValueError with a sentence when it is no JSON object."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.ValidationError:
        raise ValueError('write a JSON object, such as {"data.amount": {"$gte": 100}}') from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError(f"this is not JSON: {error}") from None


def _size(asked: object) -> int:
    """How many conditions: a list of values is one."""
    if isinstance(asked, dict):
        return sum(map(_size, asked.values()))
    return sum(map(_size, asked)) if isinstance(asked, list) and isinstance(asked[0], dict) else 1


def _check(document: object, where: tuple[str, ...], depth: int, problems: list[Problem], *, of_event: bool) -> None:
    """Check a document; `of_event`: it is about the event, and not about something within it."""
    if not isinstance(document, dict):
        problems.append((where, f"must be an object of conditions, not {_kind(document)}"))
        return
    if not document:
        problems.append((where, "an empty object asks for nothing; leave it out"))
    if depth > MAX_DEPTH:
        problems.append((where, f"at most {MAX_DEPTH} documents may stand within one another"))
        return
    for name, asked in document.items():
        _check_member(name, asked, (*where, name), depth, problems, of_event=of_event)


def _check_member(name: str, asked: object, where: tuple[str, ...], depth: int, problems: list[Problem], *, of_event: bool) -> None:
    if name in _LISTS:
        if not isinstance(asked, list) or not asked:
            problems.append((where, f"must be a list of at least one object of conditions, not {_kind(asked)}"))
            return
        for index, each in enumerate(asked):
            _check(each, (*where, f"[{index}]"), depth + 1, problems, of_event=of_event)
    elif name == "$not":
        _check(asked, where, depth + 1, problems, of_event=of_event)
    elif name == "$headers":
        if of_event:
            _check_headers(asked, where, problems)
        else:
            problems.append((where, "headers belong to the event; they stand outside of conditions on fields"))
    elif name.startswith("$"):
        problems.append((where, f"there is no {name} here; allowed are $and, $or, $not, $headers and paths of fields"))
    else:
        path = split_path(name)
        if not all(path):
            problems.append((where, "a path is names with dots between them, and none of them is empty"))
        elif len(path) > MAX_NAMES:
            problems.append((where, f"a path has at most {MAX_NAMES} names, not {len(path)}"))
        else:
            _check_condition(asked, where, depth, problems)


def _check_headers(asked: object, where: tuple[str, ...], problems: list[Problem]) -> None:
    if not isinstance(asked, dict) or not asked:
        problems.append((where, f"must be an object of conditions by name of header, not {_kind(asked)}"))
        return
    for header, condition in asked.items():
        if isinstance(condition, dict) and _is_document(condition):
            problems.append(((*where, header), "a header is a text: ask for one, a list of them, or with operators such as $startsWith"))
        else:
            _check_condition(condition, (*where, header), MAX_DEPTH, problems)


def _check_condition(asked: object, where: tuple[str, ...], depth: int, problems: list[Problem]) -> None:
    if isinstance(asked, list):
        _check_values(asked, where, problems)
    elif isinstance(asked, dict):
        operators = [name for name in asked if name.startswith("$")]
        if _is_document(asked):
            _check(asked, where, depth + 1, problems, of_event=False)
        elif len(operators) < len(asked) or any(name in _STRUCTURE for name in operators):
            problems.append((where, "has operators on a value beside conditions on fields; put these into objects of their own under $and"))
        else:
            for name in operators:
                _check_operator(name, asked[name], (*where, name), problems)


def _check_values(values: object, where: tuple[str, ...], problems: list[Problem]) -> None:
    if not isinstance(values, list) or not values:
        problems.append((where, f"must be a list of at least one value, not {_kind(values)}"))
    elif any(isinstance(value, dict | list) for value in values):
        problems.append((where, f"each element must be {_VALUES}"))


def _check_operator(name: str, operand: object, where: tuple[str, ...], problems: list[Problem]) -> None:
    if name in ("$in", "$nin"):
        _check_values(operand, where, problems)
    elif name in ("$eq", "$neq"):
        if isinstance(operand, dict | list):
            problems.append((where, f"must be {_VALUES}, not {_kind(operand)}"))
    elif name == "$exist":
        if not isinstance(operand, bool):
            problems.append((where, f"must be true or false, not {_kind(operand)}"))
    elif name in _COMPARED:
        if isinstance(operand, bool) or not isinstance(operand, int | float | str):
            problems.append((where, f"must be a number or a text, not {_kind(operand)}"))
    elif name in _TEXTS:
        if not isinstance(operand, str):
            problems.append((where, f"must be a text, not {_kind(operand)}"))
    else:
        known = ", ".join([*_OPERATORS, *_OF_ALL])
        problems.append((where, f"there is no operator {name}; allowed are {known}"))


def _kind(value: object) -> str:
    """What somebody wrote, in JSON's words."""
    if value is None or isinstance(value, bool):
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a text" if isinstance(value, str) else "a number"
