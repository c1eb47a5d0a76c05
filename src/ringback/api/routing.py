"""What does every operation share? An operation is declared once, as a value; this carries a request through it.

Authenticate, authorise, read the body, repeat or run, answer: the same for all. What a noun adds is a list of `Operation`s, each with a
small handler that parses, calls one verb of a service and renders. The published specification is made from the same declarations.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from ringback.api.auth import Access, authorise
from ringback.api.bodies import Body
from ringback.api.idempotency import Repeats
from ringback.api.intake import BodyReader
from ringback.api.problems import JSON_TYPE, Header, MethodNotAllowed, NotImplementedYet
from ringback.api.queries import Query
from ringback.api.trail import Trail
from ringback.errors import RingbackError
from ringback.model.applications import Capability, TokenKind
from ringback.services.idempotency import Effect, StoredAnswer, digest
from ringback.services.tokens import Principal, Tokens

T = TypeVar("T", bound=msgspec.Struct)
R = TypeVar("R")


class Answer(msgspec.Struct, frozen=True):
    """What goes back: a status, and a body of the given type (JSON unless it says otherwise); no body with 204.

    With `parts` the body is what comes from there, and nobody keeps it: the operation must be `streamed`.
    """

    status: int
    body: bytes = b""
    content_type: Header = JSON_TYPE
    headers: tuple[Header, ...] = ()
    parts: AsyncIterator[bytes] | None = None


def answer(status: int, value: Any) -> Answer:
    """A JSON answer."""
    return Answer(status, msgspec.json.encode(value))


# A time as answers show it: RFC 3339, UTC, microseconds.
Timestamp = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]

# Bodies above this are read on a thread: it shares the interpreter, but lets others have it every few milliseconds. Below, a body takes the
# loop for 1 to 3 ms at the worst, and a thread costs a tenth of one.
OFF_LOOP_BYTES: Final = 65_536

# The key of a scope whose path was routed as it was sent, with its percent signs.
ENCODED_PATH: Final = "ringback.encoded_path"

# Success without anything to say.
NO_CONTENT = Answer(204)


class _Read(msgspec.Struct, frozen=True):
    """What a body of that kind says, or why it is refused."""

    body: Body[Any]
    said: Any


async def _read_aside(body: Body[Any], raw: bytes) -> _Read:
    """Read a large body on a thread."""
    try:
        return _Read(body, await asyncio.to_thread(body.parse, raw))
    except RingbackError as error:
        # Not yet: a request that is repeated has its answer whatever its body is.
        return _Read(body, error)


class Call:
    """One authenticated request, as its handler sees it.

    `key` is the digest of its idempotency key, None without one. A handler that keeps the answer by other means than `keeping` sets `kept`.
    `read` is what the body of the operation says, or why it is refused, where that was found out before.
    """

    __slots__ = ("_keep", "_read", "kept", "key", "params", "query", "raw", "scope", "who")

    def __init__(
        self,
        who: Principal,
        params: Mapping[str, str],
        query: Query,
        raw: bytes,
        scope: Scope,
        key: bytes | None = None,
        keep: Callable[[Effect, int, bytes], None] | None = None,
        read: _Read | None = None,
    ) -> None:
        self.who = who
        self.params = params
        self.query = query
        self.raw = raw
        self.scope = scope
        self.key = key
        self.kept = False
        self._keep = keep
        self._read = read

    def parsed(self, body: Body[T]) -> T:
        """The request body. Raises InvalidField."""
        read = self._read
        if read is None or read.body is not body:
            return body.parse(self.raw)
        if isinstance(read.said, RingbackError):
            raise read.said
        said: T = read.said
        return said

    def keeping(self, render: Callable[[R], Answer]) -> Callable[[Effect, R], None] | None:
        """What a service must call in the transaction of the effect, so that a repeated request gets this answer; None without a key."""
        keep = self._keep
        if keep is None:
            return None
        # The transaction is shared: it runs in the context of whoever began it.
        context = copy_context()

        def also(tx: Effect, result: R) -> None:
            rendered = context.run(render, result)
            keep(tx, rendered.status, rendered.body)
            self.kept = True

        return also


# Who calls an operation that needs no token; such a caller owns nothing.
_NOBODY = Principal(TokenKind.APP, "", "", "")

Handler = Callable[[Call], Awaitable[Answer]]
Rebuilder = Callable[[Call, StoredAnswer], Awaitable[Answer]]


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter, for the specification: its name, its JSON Schema, what it means."""

    name: str
    schema: dict[str, Any]
    meaning: str = ""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path (`/api/v1/app/{app_id}`). `answers` maps a success status to the type of its body, None = no body.

    `needs` is the capability that an application's token must have. `rebuild` makes the answer to a repeated request out of what was
    kept, where that is less than the answer itself. `refusals` are statuses of errors that do not follow from the rest (409, 501).
    `streamed`: the answer comes in parts, and a key to repeat it by is ignored.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    access: Access
    answers: Mapping[int, Any]
    body: Body[Any] | None = None
    query: tuple[Parameter, ...] = ()
    rebuild: Rebuilder | None = None
    needs: Capability | None = None
    refusals: tuple[int, ...] = ()
    media_type: str = "application/json"
    streamed: bool = False


class Pipeline:
    """Carries requests through operations. `trail` writes what they change into the audit log."""

    def __init__(self, tokens: Tokens, repeats: Repeats, reader: BodyReader, trail: Trail | None = None) -> None:
        self._tokens = tokens
        self._repeats = repeats
        self._reader = reader
        self._trail = trail

    async def run(self, operation: Operation, scope: Scope, receive: Receive) -> Answer:
        """The answer of one operation to one request. Raises RingbackError."""
        headers = dict(scope["headers"])
        who = await self._caller(operation, headers)
        raw = b""
        if operation.body is not None:
            raw = await self._reader.read(headers, receive)
        try:
            return await self._answered(operation, who, raw, headers, scope)
        finally:
            self._reader.release(raw)

    async def _caller(self, operation: Operation, headers: Mapping[bytes, bytes]) -> Principal:
        if operation.access is Access.OPEN:
            return _NOBODY
        who = await self._tokens.authenticate(headers.get(b"authorization"))
        authorise(operation.access, who, operation.needs)
        return who

    async def _answered(self, operation: Operation, who: Principal, raw: bytes, headers: Mapping[bytes, bytes], scope: Scope) -> Answer:
        query = Query(scope["query_string"])
        params = scope.get("path_params", {})
        if scope.get(ENCODED_PATH, False):
            params = {name: unquote(value) for name, value in params.items()}
        read = None
        if operation.body is not None and len(raw) > OFF_LOOP_BYTES:
            read = await _read_aside(operation.body, raw)
        repeatable = operation.method == "POST" and who is not _NOBODY and not operation.streamed
        key = headers.get(b"idempotency-key", b"").strip() if repeatable else b""
        if not key:
            return await self._handled(operation, Call(who, params, query, raw, scope, read=read))

        target = scope.get("raw_path", scope["path"].encode()) + b"?" + scope["query_string"]
        mark = digest(who.token_id, key, operation.method, target)

        async def run(keep: Callable[[Effect, int, bytes], None]) -> tuple[int, bytes, bool]:
            call = Call(who, params, query, raw, scope, mark, keep, read)
            given = await self._handled(operation, call)
            return given.status, given.body, call.kept

        async def rebuild(kept: StoredAnswer) -> StoredAnswer:
            if operation.rebuild is None:
                return kept
            given = await operation.rebuild(Call(who, params, query, raw, scope), kept)
            return StoredAnswer(given.status, given.body)

        once = await self._repeats.once(mark, run, rebuild)
        return Answer(once.status, once.body)

    async def _handled(self, operation: Operation, call: Call) -> Answer:
        """The handler's answer; what it did is in the audit log, once, however often the request is repeated."""
        given = await operation.handler(call)
        if self._trail is not None:
            scope = call.scope
            peer = scope["client"][0] if scope.get("client") else ""
            forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            await self._trail.leave(operation, call.who, call.params, peer, forwarded, given.status, given.body)
        return given


class Resource:
    """The ASGI application of one path: its operations by method. HEAD is answered wherever GET is."""

    def __init__(self, pipeline: Pipeline, operations: Sequence[Operation], unbuilt: Sequence[str] = ()) -> None:
        self._pipeline = pipeline
        self._operations = {operation.method: operation for operation in operations}
        self._unbuilt = frozenset(unbuilt)
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._allowed = tuple(sorted({*self._operations, *self._unbuilt, "OPTIONS"}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises RingbackError before anything is sent."""
        method = scope["method"]
        operation = self._operations.get(method)
        if operation is None:
            if method in self._unbuilt:
                raise NotImplementedYet(method, scope["path"])
            if method != "OPTIONS":
                raise MethodNotAllowed(method, self._allowed)
            await send_answer(send, Answer(204, headers=((b"allow", ", ".join(self._allowed).encode()),)))
            return
        given = await self._pipeline.run(operation, scope, receive)
        await send_answer(send, given, without_body=method == "HEAD")


async def send_answer(send: Send, given: Answer, *, without_body: bool = False) -> None:
    """Send an answer as ASGI messages."""
    headers: list[Header] = list(given.headers)
    if given.parts is not None:
        await send({"type": "http.response.start", "status": given.status, "headers": [*headers, given.content_type]})
        async for part in given.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    if given.status != 204:
        headers += [given.content_type, (b"content-length", str(len(given.body)).encode())]
    await send({"type": "http.response.start", "status": given.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if without_body else given.body})
