"""The door for owners: every operation of the HTTP API as one ASGI application.

`build` is given the services and returns what a server can run. What every response shares (request id, CORS, errors in one shape) is added
here, around all operations.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence

import msgspec
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ringback.api import applications, endpoints, event_types, health, openapi
from ringback.api.contract import contract_operations
from ringback.api.idempotency import Repeats
from ringback.api.intake import BodyReader, ClientGone
from ringback.api.problems import JSON_TYPE, Header, Problem, internal, render
from ringback.api.routing import ENCODED_PATH, Operation, Pipeline, Resource
from ringback.api.trail import Trail
from ringback.errors import NotFound, RingbackError
from ringback.services.applications import Applications
from ringback.services.endpoints import Endpoints
from ringback.services.event_types import EventTypes
from ringback.services.health import Health
from ringback.services.idempotency import Idempotency
from ringback.services.tokens import Tokens
from ringback.telemetry.events import REQUEST_FAILED
from ringback.telemetry.log import log

# How long a browser may remember the answer to a preflight, seconds (contract, 1.10).
_PREFLIGHT_MAX_AGE = b"600"
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# A request id of a client longer than this is not taken over: it would stand in every log line.
_MAX_REQUEST_ID = 128


class Services(msgspec.Struct, frozen=True):
    """What the operations call."""

    tokens: Tokens
    idempotency: Idempotency
    health: Health
    applications: Applications
    endpoints: Endpoints
    event_types: EventTypes


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator may choose; sizes in bytes."""

    max_body_bytes: int = 2 * 1024 * 1024
    idempotency_wait_s: float = 5.0
    metrics_access: str = "local"


def build(
    services: Services,
    reader: BodyReader,
    settings: Settings,
    *,
    metrics: Callable[[], bytes] = lambda: b"",
    more: Sequence[Operation] = (),
    trail: Trail | None = None,
) -> ASGIApp:
    """The API as an ASGI application. `more` are operations of other modules; `trail` writes the audit log."""
    operations = [
        *health.routes(services.health, services.tokens, metrics, settings.metrics_access),
        *applications.routes(services.applications),
        *endpoints.routes(services.endpoints),
        *event_types.routes(services.event_types),
        *more,
    ]
    operations.append(openapi.operation_for(tuple(operations)))
    pipeline = Pipeline(services.tokens, Repeats(services.idempotency, settings.idempotency_wait_s), reader, trail)
    return Frame(Router(_routes(pipeline, operations), redirect_slashes=False, default=_unknown))


def _routes(pipeline: Pipeline, operations: Sequence[Operation]) -> list[Route]:
    built: dict[str, list[Operation]] = defaultdict(list)
    unbuilt: dict[str, list[str]] = defaultdict(list)
    for operation in operations:
        built[operation.path].append(operation)
    done = {(operation.method, operation.path) for operation in operations}
    for method, path in contract_operations():
        if (method, path) not in done:
            unbuilt[path].append(method)
    paths = {*built, *unbuilt}
    # Literal segments before parameters ("/stream/event-type" before "/stream/{stream_id}"): "~" sorts after every letter.
    ordered = sorted(paths, key=lambda path: path.replace("{", "~"))
    return [Route(path, Resource(pipeline, built[path], unbuilt[path])) for path in ordered]


async def _unknown(scope: Scope, receive: Receive, send: Send) -> None:
    path = scope["path"]
    hint = ""
    if path.startswith("/api/v1/api/"):
        hint = "; clients add /api/v1 themselves, so give them the server's URL without it"
    elif not path.startswith(("/api/v1/", "/ingest/")):
        hint = "; the API is below /api/v1/, the dashboard at /dashboard/"
    raise NotFound(f"no such route: {path}{hint}")


def _tell(request_id: str, scope: Scope, error: Exception) -> None:
    log(REQUEST_FAILED, failure=error, request_id=request_id, method=scope["method"], path=scope["path"], error=type(error).__name__)


class Frame:
    """What every request passes through: one path spelling, a request id, CORS, and errors as JSON."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is refused."""
        if scope["type"] != "http":
            await _refuse(scope, receive, send)
            return
        headers = dict(scope["headers"])
        request_id = _request_id(headers)
        shared: list[Header] = [(b"x-request-id", request_id.encode())]
        if b"origin" in headers:
            shared += [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*")]
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _send(send, 204, b"", (*shared, *_preflight(headers)))
            return
        started = False

        async def framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *shared]
            await send(message)

        problem: Problem
        try:
            await self._inner(_one_spelling(scope), receive, framed)
            return
        except ClientGone:
            return
        except RingbackError as error:
            problem = render(error, request_id)
            if problem.status == 500:
                _tell(request_id, scope, error)
        except Exception as error:
            problem = internal(request_id)
            _tell(request_id, scope, error)
        if started:
            raise ConnectionAbortedError(f"request {request_id} failed halfway through its answer")
        body = b"" if scope["method"] == "HEAD" else problem.body
        await _send(send, problem.status, body, (*problem.headers, JSON_TYPE, (b"content-length", b"%d" % len(problem.body)), *shared))


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"svix-req-id", b"")
    if 0 < len(given) <= _MAX_REQUEST_ID and given.isascii() and given.decode("ascii").isprintable():
        return given.decode("ascii")
    return secrets.token_hex(8)


def _one_spelling(scope: Scope) -> Scope:
    path, raw = scope["path"], scope.get("raw_path", scope["path"].encode())
    encoded = b"%2f" in raw.lower()
    if encoded:
        # Decoded it would look like the end of a segment: the path is routed as it was sent, and its parameters are decoded after that.
        path = raw.decode("latin-1")
    elif not (len(path) > 1 and path.endswith("/")):
        return scope
    return {**scope, "path": path.removesuffix("/"), "raw_path": raw.removesuffix(b"/"), ENCODED_PATH: encoded}


def _preflight(headers: dict[bytes, bytes]) -> tuple[Header, ...]:
    wanted = headers.get(b"access-control-request-headers", b"*")
    return (
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted),
        (b"access-control-max-age", _PREFLIGHT_MAX_AGE),
        (b"vary", b"access-control-request-headers"),
    )


async def _send(send: Send, status: int, body: bytes, headers: Sequence[Header]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    # Lifespan: the composition root starts and stops everything, there is nothing to do here.
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
