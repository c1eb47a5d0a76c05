"""Where in a request does it say what it is? Reading the id and the type of an event from header, JSON or form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringback.errors import VerificationError
from ringback.signing.documents import find, form_fields, read_json, text_of
from ringback.signing.request import InboundRequest

# Ids and types are short; a longer text there is no id, and would go into an index.
MAX_BYTES: Final = 512


def first_text(places: Sequence[str], request: InboundRequest, item: object = None) -> str | None:
    """The first text at one of the places (`header:NAME`, `json:PATH`, `form:NAME`), None when there is none that is usable.

    JSON paths start at `item` when one is given (a child of a batch), else at the body. It never raises for what strangers send.
    """
    for place in places:
        kind, _, argument = place.partition(":")
        try:
            value = _value(kind, argument, request, item)
        except (VerificationError, RecursionError):
            # A path of a thousand steps is possible, and so is a document that has them.
            continue
        if value and len(value) <= MAX_BYTES:
            return value.decode("utf-8", "replace")
    return None


def _value(kind: str, argument: str, request: InboundRequest, item: object) -> bytes | None:
    if kind == "header":
        return request.headers.one(argument.lower().encode())
    if kind == "form":
        return next((value for name, value in form_fields(request.body) if name == argument.encode()), None)
    if kind == "json":
        document = read_json(request.body) if item is None else item
        return text_of(next(find(document, argument), None))
    raise ValueError(f"{kind}:{argument} is no place; use header:NAME, json:PATH or form:NAME")
