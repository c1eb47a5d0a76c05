"""What does a person see when something cannot be done? What happened, and what to do next; never a bare code."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.dashboard.components import BASE, Action, Head
from ringback.dashboard.visits import Shown
from ringback.errors import CallerError, NotFound, RingbackError, Unavailable


class NotYours(RingbackError):
    """A POST that did not come from a page of this browser's session."""

    status = 403

    def __init__(self) -> None:
        super().__init__(
            "the form did not come from a page of this session, so nothing was changed; open the page again, and send it once more"
        )


class TooMuch(RingbackError):
    """A form larger than any page sends."""

    status = 413


class ProblemView(msgspec.Struct, frozen=True):
    """What a page about a problem says."""

    text: str
    advice: str


# By status (RFC 9110, 15).
_TITLES: Final = {
    401: "Log in again",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Taken",
    413: "Too large",
    422: "Something in it is wrong",
    429: "Too many tries",
    503: "Not now",
}
_NOTHING_HERE: Final = (
    "Nothing of this organisation is at this address: it was deleted, or the address is another organisation's or incomplete."
)
# By status, where there is something to advise.
_ADVICE: Final = {
    403: "If it happens again: a proxy before this server must pass the Host header on, or public_url must say how it is reached.",
    404: "Search for it with Ctrl-K, or go back to the overview.",
    503: "Nothing was changed. Try again in a moment; if it stays like this, the server's log says why.",
    500: "The server's log has the cause, under the request id that is named here.",
}


def shown_problem(error: Exception, request_id: str) -> Shown:
    """The page about an error. What is our own fault is not described: the log has it, under the request id."""
    if isinstance(error, CallerError | Unavailable | NotYours | TooMuch):
        # What the API says of it has the API's words.
        unnamed = isinstance(error, NotFound) and str(error) == str(NotFound())
        status, text = error.status, _NOTHING_HERE if unnamed else _sentence(str(error))
    else:
        status, text = 500, f"The server ran into a defect of its own (request {request_id})."
    view = ProblemView(text, _ADVICE.get(status, ""))
    home = Action("Overview", f"{BASE}/", panel=False)
    return Shown(
        "problem.html", view, Head(_TITLES.get(status, "Not done" if status < 500 else "Something broke"), actions=(home,)), status
    )


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")
