"""What does a handler get, and what may it answer? One event that was believed, and a reply."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec

from ringback.signing.documents import without_mark
from ringback.signing.headers import Headers

T = TypeVar("T")
# In the class below `type` is the name of a field.
Shape: TypeAlias = type[T]

_FORM = "application/x-www-form-urlencoded"
# RFC 9110, 5.1 and 5.5.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One thing that happened, from a request that was believed.

    `id` is the provider's id of the event, None where it gives none; `type` is the provider's own name for it, `PROVIDER.webhook` where it
    gives none. `raw` is the bytes as they came, without their content coding; of a batch, those of this item. `secret_index` is the place
    of the secret that matched in the list that the receiver was given; `signed_at` is None where no time was signed. `verified` is False
    only for receivers that believe everybody. `conflict`: another body came under the same id before. `attempt` counts the runs of the
    handler by a worker. `context` is what the inbox handed over with its claim: an open transaction, say. `stable` is what of the bytes
    stays when the provider sends the event again, None where that is all.
    """

    id: str | None
    type: str
    raw: bytes
    headers: Headers
    provider: str
    received_at: datetime
    signed_at: datetime | None = None
    secret_index: int | None = None
    verified: bool = True
    conflict: bool = False
    attempt: int = 1
    context: Any = None
    stable: bytes | None = None

    def __repr__(self) -> str:
        # Neither the body nor headers: they hold what no log should.
        return f"Event({self.provider} {self.type} {self.id}, {len(self.raw)} bytes)"

    @cached_property
    def data(self) -> Any:
        """The body as Python values: of JSON, or of a form as text by name. Parsed when it is first asked for. Raises ValueError."""
        if self.header("content-type").partition(";")[0].strip().lower() == _FORM:
            return dict(parse_qsl(self.raw.decode("utf-8", "replace"), keep_blank_values=True))
        return msgspec.json.decode(without_mark(self.raw))

    def decode(self, shape: Shape[T]) -> T:
        """The JSON body as a type of yours (a msgspec.Struct, dataclass or TypedDict). Raises ValueError, saying what does not fit."""
        value: T = msgspec.json.decode(without_mark(self.raw), type=shape)
        return value

    def header(self, name: str, default: str = "") -> str:
        """The first value of a header, whatever its case."""
        found = self.headers.all(name.lower().encode("latin-1", "replace"))
        return found[0].decode("latin-1") if found else default

    @property
    def sequence(self) -> int | None:
        """The number of this message among those of its endpoint, where a Ringback server sent it."""
        text = self.header("ringback-sequence")
        return int(text) if text.isascii() and text.isdigit() else None


class Reply(msgspec.Struct, frozen=True):
    """What goes back to the sender."""

    status: int = 200
    body: bytes = b""
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def json(cls, value: Any, status: int = 200) -> Reply:
        """A value as JSON."""
        return cls(status, msgspec.json.encode(value), "application/json")

    @classmethod
    def text(cls, value: str, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Reply:
        """A text."""
        return cls(status, value.encode(), content_type)

    @classmethod
    def xml(cls, value: object, status: int = 200) -> Reply:
        """An XML document, as text or as an object that prints itself as one (TwiML)."""
        return cls.text(str(value), status, "text/xml; charset=utf-8")

    def fields(self) -> list[tuple[str, str]]:
        """Its headers, content type and length with them."""
        typed = [("content-type", self.content_type)] if self.content_type else []
        # Answers that have no body (RFC 9110, 15.3.5) have no length either.
        sized = [] if self.status in (204, 304) else [("content-length", str(len(self.body)))]
        return [*typed, *self.headers, *sized]


class RefusedByHandlerError(Exception):
    """A handler answered that it did not take the event."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"it answered {reply.status}, which is not 2xx: the event counts as failed")
        self.reply = reply


def reply_of(value: object, text_type: str) -> Reply | None:
    """What a handler's return value means; None: the provider's usual answer. `text_type` is what texts are.

    Raises TypeError and ValueError for what no server could send.
    """
    if value is None:
        return None
    if isinstance(value, Reply):
        _check(value)
        return value
    if isinstance(value, str):
        return Reply.text(value, content_type=text_type)
    if isinstance(value, Mapping | list | tuple | msgspec.Struct):
        return Reply.json(value)
    raise TypeError(f"a handler returned a {type(value).__name__}; return None, text, a dict or list (JSON), or a Reply")


def _check(reply: Reply) -> None:
    try:
        # Structs do not look at what they are made of. Bytes are bytes here, no text in Base64.
        msgspec.convert(msgspec.structs.asdict(reply), Reply, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise TypeError(f"a handler returned a Reply that cannot be sent: {error}; text goes in as Reply.text(...)") from None
    if not 200 <= reply.status <= 599:
        raise ValueError(f"a handler returned a Reply with status {reply.status}; a status lies between 200 and 599")
    if reply.body and reply.status in (204, 304):
        raise ValueError(f"a handler returned a Reply with status {reply.status} and a body; such answers have none")
    for name, value in (("content-type", reply.content_type), *reply.headers):
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"a handler returned a Reply with the header {name!r}: {value!r}; it must be printable Latin-1, on one line")
