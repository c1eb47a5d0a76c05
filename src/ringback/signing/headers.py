"""What did the request say about itself? Header fields as they came: raw bytes, in order, duplicates kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from ringback.errors import VerificationError

Field: TypeAlias = tuple[bytes, bytes]


class Headers:
    """The header fields of one request; looked up without regard to case.

    `one` is the only way in which a verifier may read a field: it refuses a field that came twice, because whoever is in
    front of us may have believed the other one.
    """

    __slots__ = ("_index", "fields")

    def __init__(self, fields: Iterable[Field] = (), *, lowered: bool = False) -> None:
        """`lowered` says that all names are lower case already, as HTTP servers hand them on: three times cheaper to look into."""
        self.fields: Sequence[Field] = tuple(fields)
        self._index: dict[bytes, bytes] | None = dict(self.fields) if lowered else None

    @classmethod
    def indexed(cls, fields: Sequence[Field], index: dict[bytes, bytes]) -> Headers:
        """Headers that a server has looked into already: `index` is `dict(fields)`, all names lower case. Both are kept, not copied."""
        made = cls.__new__(cls)
        made.fields = fields
        made._index = index
        return made

    @classmethod
    def of(cls, fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        """Headers from text, as files and frameworks hold them. Characters past Latin-1 become their UTF-8 bytes."""
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        return cls((raw_field(name), raw_field(value)) for name, value in pairs)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __repr__(self) -> str:
        return f"Headers({[name for name, _ in self.fields]!r})"

    def __contains__(self, name: bytes) -> bool:
        index = self._index
        return name in (self._make_index() if index is None else index)

    def _make_index(self) -> dict[bytes, bytes]:
        index = self._index = {name.lower(): value for name, value in self.fields}
        return index

    def all(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of the field called `name` (lower case), in the order they came."""
        return tuple(value for field, value in self.fields if field.lower() == name)

    def one(self, name: bytes) -> bytes | None:
        """The value of the field called `name` (lower case), None when it is absent.

        Raises VerificationError (malformed_header) when it came more than once.
        """
        index = self._index or self._make_index()
        value = index.get(name)
        # Only when some name came twice is it worth looking whether it was this one.
        if len(index) != len(self.fields) and value is not None and len(self.all(name)) > 1:
            raise VerificationError("malformed_header", f"header {_shown(name)} came more than once")
        return value

    def need(self, name: bytes) -> bytes:
        """As `one`, but raises VerificationError (missing_header) when it is absent."""
        value = self.one(name)
        if value is None:
            raise VerificationError("missing_header", f"header {_shown(name)} is missing")
        return value


def raw_field(text: str | bytes) -> bytes:
    """A name or a value as bytes: Latin-1, and characters past that as their UTF-8 bytes."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _shown(name: bytes) -> str:
    return name.decode("latin-1")
