"""What can go wrong, by whose fault it is.

Every error of Ringback descends from `RingbackError`. The family says whose fault it is, and carries the HTTP status that
a door should answer with, so that nothing below the doors knows HTTP. A message says what happened (with the value), what
is allowed, and what to do next. A failed delivery is not an exception: it is a value (`ringback.model.attempts.Outcome`).
"""

from __future__ import annotations


class RingbackError(Exception):
    """The root of all errors raised by Ringback."""

    status = 500
    code = "server_error"


class CallerError(RingbackError):
    """The caller asked for something that is not allowed or does not exist. Asking again will not help."""

    status = 400
    code = "generic_error"


class InvalidField(CallerError):
    """One or more fields of a request are wrong; `problems` lists them all."""

    status = 422
    code = "validation_error"

    def __init__(self, *problems: FieldProblem) -> None:
        super().__init__("; ".join(f"{'.'.join(p.loc)}: {p.msg}" for p in problems))
        self.problems = problems


class FieldProblem:
    """Where (`loc`, from `body`, `query` or `path` down), what (`msg`, a sentence) and which kind (`type`)."""

    __slots__ = ("loc", "msg", "type")

    def __init__(self, loc: tuple[str, ...], msg: str, type: str = "value_error") -> None:
        self.loc = loc
        self.msg = msg
        self.type = type

    def __repr__(self) -> str:
        return f"FieldProblem({'.'.join(self.loc)}: {self.msg} [{self.type}])"


class Refused(CallerError):
    """A request that is well formed but may not be carried out now; `code` says why."""

    def __init__(self, code: str, detail: str, status: int = 400) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status


class Unauthenticated(CallerError):
    """No token, or one that is unknown, expired or revoked."""

    status = 401
    code = "authentication_failed"

    def __init__(self, detail: str = "Invalid token") -> None:
        super().__init__(detail)


class Forbidden(CallerError):
    """A valid token that may not do this."""

    status = 403
    code = "insufficient access"

    def __init__(self, detail: str = "This token may not do that; use an org token, or one with the capability") -> None:
        super().__init__(detail)


class NotFound(CallerError):
    """No such entity, or one of another tenant: the two are not told apart."""

    status = 404
    code = "not_found"

    def __init__(self, detail: str = "Entity not found") -> None:
        super().__init__(detail)


class Conflict(CallerError):
    """A unique name is taken."""

    status = 409
    code = "conflict"


class PayloadTooLarge(CallerError):
    """A body over the limit; it was not read to its end."""

    status = 413
    code = "payload_too_large"


class NotBuilt(RingbackError):
    """A part of the API that this version does not have; the message says which, and what works in its place."""

    status = 501
    code = "not_implemented"


class OperatorError(RingbackError):
    """The server was set up wrongly; the message names the setting and what it may be."""

    status = 500
    code = "server_error"


class Unavailable(RingbackError):
    """Our side cannot do it now, nothing was done, and the caller may try again after `retry_after_s` seconds."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str, *, code: str = "unavailable", retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.code = code
        self.retry_after_s = retry_after_s


class StoreFailure(Unavailable):
    """The store could not read or commit (disk full, read-only, locked, damaged): nothing of the request was kept."""


class VerificationError(RingbackError):
    """A signed request that cannot be believed; `reason` is one of the documented reason codes. Raised for any bytes."""

    status = 401
    code = "verification_failed"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason
