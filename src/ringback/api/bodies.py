"""What does a request body say, and what exactly is wrong with it? Strangers' bytes in, a struct or a full list of problems out.

A `Body` is made once for each kind of request. Parsing has a fast path (decode the whole, check the rules) and, when anything is odd, a
thorough one that decodes field by field, so that every failing field is named and not only the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec.structs import astuple

from ringback.errors import FieldProblem, InvalidField
from ringback.policy.validation import Rule

T = TypeVar("T", bound=msgspec.Struct)
# Where in a request something stands, from `body` down.
Location: TypeAlias = tuple[str, ...]

# Deeper than any event anybody sends, and shallow enough that every JSON reader on the way can follow: many stop at 100, Python's at 1000.
MAX_DEPTH: Final = 64

# The `type` of a problem: broken JSON, a wrong JSON type or a missing field; and a rule that is broken.
MALFORMED: Final = "value_error.jsondecode"
BROKEN_RULE: Final = "value_error"

# How the decoder says that a field is missing inside another one, and how we do; and how it says that a value is no choice.
_MISSING: Final = re.compile("Object missing required field `(.*)`")
_IS_MISSING: Final = "the field is missing; it is required"
_NO_CHOICE: Final = "Invalid enum value "
# How it says that a text is no time, or one without its zone, and how we do.
_NO_TIME: Final = ("Invalid RFC3339 encoded datetime", "Expected `datetime` with a timezone component")
_IS_NO_TIME: Final = "this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z"

# Characters that are repeated of a name which is no field's.
_TOLD: Final = 80

# The byte that every object begins with.
_OPENING: Final = ord("{")
# Of all 256 bytes, those that say nothing about nesting: deleted, so that what is left can be counted.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
# Taking leaves away pays while one byte of so many goes: then a look at each run costs more than another pass over all.
_PAYS: Final = 12
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b'[]{}"'))
_AT: Final = re.compile(r" - at `(key in )?\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|(\[\d+\])|(\[\.\.\.\])")


class Alias(msgspec.Struct, frozen=True):
    """Another name for a field, used when the field itself is absent, and checked all the same. `single`: it is one item of a list."""

    field: str
    single: bool = False


class Body(Generic[T]):
    """Parses one kind of request.

    The struct may have a class variable `RULES`: Python field name to `policy.validation` rule, applied to values that are neither None nor
    unset; and a class variable `OBJECTS`: names of fields kept as raw JSON that must hold an object. `aliases` are other names on the wire.
    `inner` are bodies within this one, by the field (name on the wire) that holds one, or in `inner_lists` a list of them: their aliases
    count there too. A struct that forbids unknown fields takes those of `shown` all the same, and ignores them: what is read may be changed
    and sent back.
    """

    def __init__(
        self,
        shape: type[T],
        aliases: Mapping[str, Alias] | None = None,
        inner: Mapping[str, Body[Any]] | None = None,
        inner_lists: Mapping[str, Body[Any]] | None = None,
        shown: type[msgspec.Struct] | None = None,
    ) -> None:
        self.shape = shape
        self.inner: Mapping[str, Body[Any]] = inner or {}
        self.inner_lists: Mapping[str, Body[Any]] = inner_lists or {}
        self.rules: Mapping[str, Rule] = getattr(shape, "RULES", {})
        self.objects: frozenset[str] = getattr(shape, "OBJECTS", frozenset())
        self.aliases: Mapping[str, Alias] = aliases or {}
        self._decoder = msgspec.json.Decoder(shape)
        self._fields = msgspec.structs.fields(shape)
        self.optional = not any(field.required for field in self._fields)
        self._wire = {field.name: field.encode_name for field in self._fields}
        self._shown = () if shown is None else tuple(field.encode_name for field in msgspec.structs.fields(shown))
        # What a field may be called, the name that wins first.
        self._names = {wire: (wire, *(name for name, alias in self.aliases.items() if alias.field == wire)) for wire in self._wire.values()}
        checks = [(name, self._wire[name], rule) for name, rule in self.rules.items()]
        required = {field.name: field.encode_name for field in self._fields if field.required}
        self._checks = tuple(check for check in checks if check[0] in required)
        # Looked at together: mostly none of them is given.
        self._optional = tuple(check for check in checks if check[0] not in required)
        # Required fields stand before all others; where they do not, no value is equal to what has no default.
        self._required = next((place for place, field in enumerate(self._fields) if not field.required), len(self._fields))
        self._absent = tuple(field.default for field in self._fields[self._required :])
        # What is given twice, the last time with its default, looks as if it were not given.
        self._shows = all(default is None or default is msgspec.UNSET for default in self._absent)
        self._quoted = _quoted(self._wire.values())
        self._quoted_required = _quoted(required.values())
        # An alias of a required field only matters when that field is missing, and then decoding fails anyway.
        own = (name for name, alias in self.aliases.items() if alias.field not in required.values())
        self._own_aliases = _quoted(own)
        within = (body._quoted_aliases for body in (*self.inner.values(), *self.inner_lists.values()))
        self._quoted_aliases: tuple[bytes, ...] = (*self._own_aliases, *(quoted for aliases in within for quoted in aliases))

    def parse(self, raw: bytes) -> T:
        """The request in these bytes; no bytes at all are `{}`. Raises InvalidField with every problem there is."""
        raw = raw or b"{}"
        check_text(raw)
        try:
            value = self._decoder.decode(raw)
        except (ValueError, RecursionError):
            return self._parse_fields(raw)
        spare = astuple(value)[self._required :] == self._absent
        if self._is_ambiguous(raw, spare):
            return self._parse_fields(raw)
        problems = [_no_object(self._wire[name]) for name in self.objects if memoryview(getattr(value, name))[0] != _OPENING]
        for name, wire, rule in self._checks:
            wrong = rule(getattr(value, name))
            if wrong:
                problems += [FieldProblem(("body", wire, *where), message) for where, message in wrong]
        if not spare:
            for name, wire, rule in self._optional:
                given = getattr(value, name)
                if given is not None and given is not msgspec.UNSET:
                    problems += [FieldProblem(("body", wire, *where), message) for where, message in rule(given)]
        if problems:
            raise InvalidField(*problems)
        return value

    def _is_ambiguous(self, raw: bytes, spare: bool) -> bool:
        """Might a field stand in these bytes twice, or by another name? `spare`: only the required ones were found by their own names."""
        if not (spare and self._shows and raw.find(b"null") < 0):
            return max(map(raw.count, self._quoted), default=0) > 1 or any(map(raw.count, self._quoted_aliases))
        for quoted in self._quoted_required:
            if raw.count(quoted) > 1:
                return True
        return bool(self._own_aliases) and any(map(raw.count, self._own_aliases))

    def _parse_fields(self, raw: bytes) -> T:
        values, problems = self._read(raw, ("body",), by_rules=True)
        if problems:
            raise InvalidField(*problems)
        return self.shape(**values)

    def _read(self, raw: bytes, at: Location, *, by_rules: bool) -> tuple[dict[str, Any], list[FieldProblem]]:
        members = _members(raw)
        problems = _repeated(raw, members, (*self._wire.values(), *self.aliases), at)
        if self.shape.__struct_config__.forbid_unknown_fields:
            problems += [self._no_field(name, at) for name in members if name not in (*self._wire.values(), *self.aliases, *self._shown)]
        values: dict[str, Any] = {}
        for field in self._fields:
            named = [name for name in self._names[field.encode_name] if name in members]
            if not named and field.required:
                problems.append(FieldProblem((*at, field.encode_name), _IS_MISSING, MALFORMED))
            # From the last to the first: the first wins, and the others must be right all the same.
            for name in reversed(named):
                try:
                    value = self._value(field, name, bytes(members[name]), at)
                    if by_rules:
                        self._check(field.name, (*at, name), value)
                except InvalidField as error:
                    problems += self._as_sent(name, error.problems, at)
                else:
                    values[field.name] = value
        return values, problems

    def _no_field(self, name: str, at: Location) -> FieldProblem:
        known = tuple(self._wire.values())
        near = get_close_matches(name[:_TOLD], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed are {', '.join(known)}"
        return FieldProblem((*at, name[:_TOLD]), f"there is no such field here; {hint}", MALFORMED)

    def _value(self, field: msgspec.structs.FieldInfo, name: str, content: bytes, at: Location) -> Any:
        if name != field.encode_name and self.aliases[name].single and content != b"null":
            content = b"[" + content + b"]"
        if field.name in self.objects and content[:1] != b"{":
            raise InvalidField(_no_object(name, at))
        try:
            if content[:1] == b"{" and field.encode_name in self.inner:
                return self.inner[field.encode_name]._one_within(content, (*at, name))
            if content[:1] == b"[" and field.encode_name in self.inner_lists:
                items = msgspec.json.decode(content, type=list[msgspec.Raw])
                if all(bytes(item)[:1] == b"{" for item in items):
                    # All but the number of them is looked at by then.
                    return msgspec.convert(self.inner_lists[field.encode_name]._many_within(items, (*at, name)), field.type)
            return msgspec.json.decode(content, type=field.type)
        except ValueError as error:
            raise InvalidField(_explained(name, content, str(error), at, field.type)) from None

    def _one_within(self, content: bytes, at: Location) -> T:
        """What stands inside another body, which is the one to look at its rules. Raises InvalidField."""
        values, problems = self._read(content, at, by_rules=False)
        if problems:
            raise InvalidField(*problems)
        return self.shape(**values)

    def _many_within(self, items: Sequence[msgspec.Raw], at: Location) -> list[T]:
        found: list[T] = []
        problems: list[FieldProblem] = []
        for index, item in enumerate(items):
            try:
                found.append(self._one_within(bytes(item), (*at, f"[{index}]")))
            except InvalidField as error:
                problems += error.problems
        if problems:
            raise InvalidField(*problems)
        return found

    def _check(self, name: str, at: Location, value: Any) -> None:
        rule = self.rules.get(name)
        if rule is None or value is None or value is msgspec.UNSET:
            return
        problems = [FieldProblem((*at, *where), message) for where, message in rule(value)]
        if problems:
            raise InvalidField(*problems)

    def _as_sent(self, name: str, problems: Sequence[FieldProblem], at: Location) -> Sequence[FieldProblem]:
        # The list around a single item was put there by us.
        if name not in self.aliases or not self.aliases[name].single:
            return problems
        depth = len(at) + 1
        return [FieldProblem(p.loc[:depth] + p.loc[depth + 1 :], p.msg, p.type) for p in problems]


def _quoted(names: Iterable[str]) -> tuple[bytes, ...]:
    return tuple(f'"{name}"'.encode() for name in names)


def _no_object(wire: str, at: Location = ("body",)) -> FieldProblem:
    return FieldProblem((*at, wire), f"the {wire} must be a JSON object", MALFORMED)


def check_text(raw: bytes) -> None:
    """Is this UTF-8, and nested no deeper than `MAX_DEPTH`? Raises InvalidField. Linear in time, and free of recursion."""
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            message = f"the body is not UTF-8: byte {raw[error.start]:#04x} at offset {error.start}; encode it as UTF-8"
            raise InvalidField(FieldProblem(("body",), message, MALFORMED)) from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _is_deeper(raw, MAX_DEPTH):
        message = f"the body is nested deeper than {MAX_DEPTH} levels; flatten it"
        raise InvalidField(FieldProblem(("body",), message, MALFORMED))


def _is_deeper(raw: bytes, levels: int) -> bool:
    # Whole-buffer operations, as far as they go: walking two million bytes one by one would hold everybody up. Escaped quotes go first,
    # then all but quotes and brackets. Two quotes side by side may go: what is inside a string stays inside.
    bare = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(_BRACKETS, _NOT_BRACKETS).replace(b'""', b"")
    # Every other piece between quotes is inside a string.
    brackets = b"".join(bare.split(b'"')[::2])
    # Most containers of real bodies are leaves, and lists of leaves: without them little is left, and one level less.
    depth, left = 0, 2 * len(brackets)
    while brackets and len(brackets) < left - left // _PAYS:
        left = len(brackets)
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    # What is left climbs and descends in long runs; between two pieces lie one step down and one up.
    for piece in brackets.split(b"]["):
        up = piece.count(b"[")
        depth += up
        if depth > levels:
            return True
        depth -= len(piece) - up
    return False


def _members(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        text = str(error).split(" - at ")[0]
        raise InvalidField(FieldProblem(("body",), f"the body must be a JSON object: {text}", MALFORMED)) from None
    except (ValueError, RecursionError) as error:
        raise InvalidField(FieldProblem(("body",), f"the body is not JSON: {error}", MALFORMED)) from None


def _repeated(raw: bytes, members: Mapping[str, msgspec.Raw], names: tuple[str, ...], at: Location) -> list[FieldProblem]:
    # A key that stands outside of all values more than once stands twice at the top level: the decoder keeps the last alone.
    problems = []
    for name in names:
        quoted = f'"{name}"'.encode()
        count = raw.count(quoted)
        if count > 1 and count - sum(bytes(value).count(quoted) for value in members.values()) > 1:
            problems.append(FieldProblem((*at, name), "the field stands in the body more than once; give it once", MALFORMED))
    return problems


def _explained(wire: str, content: bytes, text: str, at: Location, kind_of_field: Any) -> FieldProblem:
    match = _AT.search(text)
    where: list[str] = []
    if match is not None:
        text = text[: match.start()]
        for name, index, any_key in _STEP.findall(match[2]):
            if any_key:
                where += _wrong_key(content, text)
                break
            where.append(name or index)
    missing = _MISSING.fullmatch(text)
    if missing is not None:
        return FieldProblem((*at, wire, *where, missing[1]), _IS_MISSING, MALFORMED)
    if text.startswith(_NO_CHOICE):
        choices = _choices(msgspec.inspect.type_info(kind_of_field))
        if choices:
            text = f"{text.removeprefix(_NO_CHOICE)} is not one of {', '.join(map(str, choices))}"
    if text in _NO_TIME:
        text = _IS_NO_TIME
    kind = MALFORMED if ", got " in text or "malformed" in text else BROKEN_RULE
    return FieldProblem((*at, wire, *where), text, kind)


def _choices(kind: msgspec.inspect.Type) -> Sequence[object]:
    """The values of which one must be chosen, in a field that is a choice, or a list of choices, or null."""
    if isinstance(kind, msgspec.inspect.LiteralType):
        return kind.values
    if isinstance(kind, msgspec.inspect.EnumType):
        return [choice.value for choice in kind.cls]
    if isinstance(kind, msgspec.inspect.UnionType):
        return next(filter(None, map(_choices, kind.types)), ())
    if isinstance(kind, msgspec.inspect.CollectionType):
        return _choices(kind.item_type)
    return ()


def _wrong_key(content: bytes, text: str) -> list[str]:
    # The decoder does not say which member of a map is wrong: in maps of strings it is the first that is none.
    if "`str" not in text:
        return []
    for key, value in msgspec.json.decode(content, type=dict[str, msgspec.Raw]).items():
        if not bytes(value).startswith(b'"'):
            return [key]
    return []
