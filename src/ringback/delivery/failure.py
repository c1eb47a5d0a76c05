"""Why could an attempt not be made? The one exception inside the delivery client; it ends as a value, an Exchange with status 0."""

from __future__ import annotations

from ringback.errors import RingbackError
from ringback.model.attempts import ErrorClass, Phases


class CannotConnect(RingbackError):
    """No connection came about.

    `error` is the class, `detail` a sentence, `address` what was tried last ("" for nothing), `phases` how long what happened took.
    """

    def __init__(self, error: ErrorClass, detail: str, address: str = "") -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail
        self.address = address
        self.phases = Phases()


def because(error: BaseException | None) -> str:
    """What the system says of an error, in brackets, to stand behind a sentence; "" when it says nothing."""
    reason = error and (getattr(error, "strerror", None) or str(error))
    return f" ({reason})" if reason else ""
