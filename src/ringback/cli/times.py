"""Which time does an option name?"""

from __future__ import annotations

from datetime import UTC, datetime


def moment(option: str, given: str) -> str:
    """A time, or how long ago something was, in the words of the API. Raises OperatorError, which names the option."""
    # Here, not above: a usage message needs none of it.
    from ringback.clock import SystemClock, rfc3339
    from ringback.config.values import parse_duration
    from ringback.errors import OperatorError

    try:
        ago_us = int(parse_duration(given).total_seconds() * 1_000_000)
    except ValueError:
        try:
            at = datetime.fromisoformat(given)
        except ValueError as error:
            raise OperatorError(
                f"{option}: {given!r} is no time; write 2026-01-02T03:04:05Z, or how long ago it was, such as 10m or 2h"
            ) from error
        return (at if at.tzinfo else at.astimezone()).astimezone(UTC).isoformat()
    return rfc3339(SystemClock().now_us() - ago_us)
