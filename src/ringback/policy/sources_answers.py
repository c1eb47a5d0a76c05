"""What is a provider answered that wants to hear of its own request again, or a signature? Answers made from a template. Pure.

Fields: `{{json:PATH}}` `{{header:NAME}}` `{{form:NAME}}` `{{query:NAME}}` `{{timestamp}}` (seconds since 1970), and in what is signed also
`{{body}}` (of the answer) and `{{secret}}`. What is not there is left out.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ringback.errors import VerificationError
from ringback.model.sources import AnswerSignature, CannedAnswer
from ringback.policy.validation import Problem
from ringback.signing.answer_signature import signer
from ringback.signing.documents import query_value, read_json
from ringback.signing.places import first_text
from ringback.signing.request import InboundRequest

_FIELD: Final = re.compile(r"\{\{([^{}]*)\}\}")
_PLACE: Final = re.compile(r"(?:json|header|form|query):.+")
_TIMESTAMP: Final = "timestamp"
_SIGNED_ONLY: Final = ("body", "secret")
# What a browser must not take for a page, whoever asked.
_NOT_GUESSED: Final = ("x-content-type-options", "nosniff")
# What cannot stand in a header, or would be a second line of a text.
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# Stands for a body that is no JSON: nothing is found in it.
_NO_DOCUMENT: Final = object()


class Made(msgspec.Struct, frozen=True):
    """An answer, ready to be sent."""

    status: int
    content_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Answerer:
    """Makes the answers of one source; made once for it. Raises ValueError for a signature that cannot be made."""

    __slots__ = ("_answer", "_secret", "_sign")

    def __init__(self, answer: CannedAnswer, secret: str) -> None:
        """`secret` is the source's own, for signatures that have none of theirs."""
        self._answer = answer
        signature = answer.signature
        self._secret = secret if signature is None else signature.secret or secret
        self._sign = None if signature is None else signer(signature.algorithm, signature.encoding, self._secret)

    def make(self, request: InboundRequest, now_s: float) -> Made:
        """The answer to a request that was believed. Never raises for what strangers send."""
        answer = self._answer
        known = {_TIMESTAMP: str(int(now_s))}
        document = _document(request.body)

        def found(field: str) -> str:
            return known.get(field) or _found(field, request, document)

        escape = _escape(answer.content_type)
        text, headers = answer.body, dict(answer.headers)
        if answer.template:
            text = _filled(text, lambda field: escape(found(field)))
            headers = {name: _filled(value, lambda field: _UNPRINTABLE.sub("", found(field))) for name, value in headers.items()}
        body = text.encode("utf-8", "replace")
        signature = answer.signature
        if signature is not None and self._sign is not None:
            known |= {"body": body.decode("utf-8", "replace"), "secret": self._secret}
            content = _filled(signature.content, found).encode("utf-8", "surrogatepass")
            headers[signature.header] = signature.prefix + self._sign(content)
        return Made(answer.status, answer.content_type, (*headers.items(), _NOT_GUESSED), body)


def needs_answerer(answer: CannedAnswer | None) -> bool:
    """Is there anything in this answer that depends on the request?"""
    return answer is not None and (answer.template or answer.signature is not None)


def problems(answer: CannedAnswer, secret: str) -> list[Problem]:
    """What is wrong with an answer that is made from a template or signed, with where in it."""
    found: list[Problem] = []
    if answer.template:
        texts: list[tuple[tuple[str, ...], str]] = [(("body",), answer.body)]
        texts += [(("headers", name), value) for name, value in answer.headers.items()]
        found += [problem for where, text in texts for problem in _fields(where, text, ())]
    if answer.signature is not None:
        found += _signature_problems(answer, answer.signature, secret)
    return found


def _signature_problems(answer: CannedAnswer, signature: AnswerSignature, secret: str) -> list[Problem]:
    found = _fields(("signature", "content"), signature.content, _SIGNED_ONLY)
    try:
        Answerer(answer, secret)
    except ValueError as error:
        found.append((("signature",), str(error)))
    return found


def _fields(where: tuple[str, ...], text: str, also: Sequence[str]) -> list[Problem]:
    names = [match[1].strip() for match in _FIELD.finditer(text)]
    known = (_TIMESTAMP, *also)
    allowed = f"json:PATH, header:NAME, form:NAME, query:NAME, {', '.join(known)}"
    return [(where, f"{name!r} is no field; use {allowed}") for name in names if name not in known and not _PLACE.fullmatch(name)]


def _filled(text: str, find: Callable[[str], str]) -> str:
    return _FIELD.sub(lambda match: find(match[1].strip()), text)


def _found(field: str, request: InboundRequest, document: object) -> str:
    kind, _, name = field.partition(":")
    if kind == "query":
        try:
            return (query_value(request.url, name.encode()) or b"").decode("utf-8", "replace")
        except VerificationError:
            return ""
    place = f"header:{name.lower()}" if kind == "header" else field
    return first_text((place,), request, document) or ""


def _document(body: bytes) -> object:
    try:
        return read_json(body)
    except VerificationError:
        return _NO_DOCUMENT


def _escape(content_type: str) -> Callable[[str], str]:
    kind = content_type.lower()
    if "json" in kind:
        return lambda text: msgspec.json.encode(text.encode("utf-8", "replace").decode())[1:-1].decode()
    if "xml" in kind or "html" in kind:
        return lambda text: html.escape(_CONTROL.sub("", text))
    return lambda text: _CONTROL.sub("", text)


def headers_of(made: Made) -> Mapping[str, str]:
    """The headers of an answer by their names in lower case."""
    return {name.lower(): value for name, value in made.headers}
