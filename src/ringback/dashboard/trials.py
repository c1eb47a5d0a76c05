"""What does a page show of code that was tried? What would be sent, or the line that is wrong, and what the code said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.dashboard.components import Badge, Link
from ringback.dashboard.payloads import PayloadView, payload_view
from ringback.dashboard.visits import Visit
from ringback.dashboard.words import milliseconds
from ringback.policy.transforming import place_of
from ringback.services.trials import Judged

_BADGES: Final[Mapping[str, Badge]] = {
    "sent": Badge("ok", "would be sent"),
    "cancelled": Badge("off", "would be cancelled"),
    "failed": Badge("dead", "fails"),
}
# Lines of the code that are shown around the one that an error is about.
_AROUND: Final = 2


class CodeLine(msgspec.Struct, frozen=True):
    """A line of the code; `wrong`: the error is about this one."""

    number: int
    text: str
    wrong: bool


class ResultView(msgspec.Struct, frozen=True):
    """What came of a trial, on a `message` or on what `tried` says.

    `error` is "" unless it failed; then `lines` are those of the code around its place, if that is known.
    """

    badge: Badge
    words: str
    tried: str
    message: Link | None
    first: str
    headers: Sequence[tuple[str, str]]
    body: PayloadView | None
    error: str
    lines: Sequence[CodeLine]
    said: Sequence[str]


def lines_of(code: str, line: int) -> list[CodeLine]:
    """The lines of code around one of them (from 1 on; 0 or beyond the end: none)."""
    written = code.splitlines()
    if not 1 <= line <= len(written):
        return []
    first = max(line - _AROUND, 1)
    return [CodeLine(number, written[number - 1], number == line) for number in range(first, min(line + _AROUND, len(written)) + 1)]


def result_view(trial: Judged, code: str, tried: str, message: Link | None = None) -> ResultView:
    """What came of a trial, for its page."""
    request = trial.request
    return ResultView(
        _BADGES[trial.outcome],
        f"It took {milliseconds(trial.cpu_us)} of CPU time.",
        tried,
        message,
        "" if request is None else f"{request.method} {request.url}",
        () if request is None else tuple((*request.headers.items(), ("content-type", request.content_type))),
        None if request is None else payload_view(request.body, request.content_type),
        f"{trial.error}{place_of(trial.line, trial.column)}" if trial.outcome == "failed" else "",
        lines_of(code, trial.line),
        trial.said,
    )


def written_code(visit: Visit) -> str:
    """The code in a form. Browsers send the ends of lines as two characters."""
    return visit.field("code").replace("\r\n", "\n")
