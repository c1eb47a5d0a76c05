"""How does an error look on the wire? The one place that turns errors into status, headers and JSON."""

from __future__ import annotations

import msgspec

from ringback.errors import InvalidField, NotBuilt, RingbackError, Unavailable

Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")


class Problem(msgspec.Struct, frozen=True):
    """An error as the client sees it: ready to be sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = ()


class MethodNotAllowed(RingbackError):
    """The path exists, the method does not; `allowed` are those that do."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here; use one of {', '.join(allowed)}")
        self.allowed = allowed


class NotImplementedYet(NotBuilt):
    """An operation of the contract that this version does not have."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"{method} {path} is part of the API, and this version does not have it yet")


def render(error: RingbackError, request_id: str) -> Problem:
    """The answer for an error. What is our own fault is not described: the log has it, under the request id."""
    if isinstance(error, InvalidField):
        listed = [{"loc": problem.loc, "msg": problem.msg, "type": problem.type} for problem in error.problems]
        return Problem(error.status, msgspec.json.encode({"detail": listed}))
    if error.status == 500:
        return internal(request_id)
    headers: tuple[Header, ...] = ()
    if isinstance(error, Unavailable):
        headers = ((b"retry-after", str(error.retry_after_s).encode()),)
    elif isinstance(error, MethodNotAllowed):
        headers = ((b"allow", ", ".join(error.allowed).encode()),)
    elif error.status in (408, 413):
        # The rest of the body is not read: the connection cannot be used again.
        headers = ((b"connection", b"close"),)
    return Problem(error.status, msgspec.json.encode({"code": error.code, "detail": str(error)}), headers)


def internal(request_id: str) -> Problem:
    """The answer for a fault of our own."""
    detail = f"The server failed to answer; its log says why, under request id {request_id}"
    return Problem(500, msgspec.json.encode({"code": "server_error", "detail": detail}))
