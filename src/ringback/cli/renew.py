"""`ringback renew SOURCE`: renew the subscription of a source at its provider, now. Asks the running server."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any, Final

from ringback.cli.options import add_options
from ringback.cli.reach import add_source, answering, owners_api, source_path

if TYPE_CHECKING:
    from ringback.cli.api import Api

# Seconds for one answer: the provider is asked by the server beside it.
_ANSWER_S: Final = 30.0
# Seconds between two looks whether it is renewed.
_LOOK_EVERY_S: Final = 0.2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "renew",
        help="renew the subscription of a source at its provider",
        description="Renew the subscription of a source at its provider, now, and say until when it lives. The settings of that are made "
        "through the API or the dashboard; a server must be running.",
    )
    add_source(parser)
    parser.add_argument("--show", action="store_true", help="only say how it stands")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError with what the server or the provider said, OperatorError when there is no server or token."""
    api = owners_api(args, _ANSWER_S)
    with answering(api):
        path = source_path(api, args, "subscription")
        state = api.need("GET", path) if args.show else _renewed(api, path)
    print(_words(state))
    return 0


def _renewed(api: Api, path: str) -> dict[str, Any]:
    """How it stands once it is renewed, or a hub was asked. Raises RingbackError when that fails."""
    from ringback.errors import RingbackError

    before = {one.get("topic"): one for one in _each(api.need("POST", f"{path}/renew", {}))}
    while True:
        state: dict[str, Any] = api.need("GET", path)
        # Topics that were added meanwhile are no concern of this call.
        pairs = [(one, before[one.get("topic")]) for one in _each(state) if one.get("topic") in before]
        for now, former in pairs:
            if now["failures"] > former["failures"]:
                about = f"{now['topic']}: " if len(pairs) > 1 else ""
                raise RingbackError(f"{about}{now['detail']}; it is tried again at {now['nextAt']}")
        if all(now["renewals"] > former["renewals"] or now["state"] == "asked" for now, former in pairs):
            return state
        time.sleep(_LOOK_EVERY_S)


def _each(state: dict[str, Any]) -> list[dict[str, Any]]:
    """How each of its topics stands; how it stands, where it has one or none."""
    topics: list[dict[str, Any]] = state["topics"]
    return topics if len(topics) > 1 else [state]


def _words(state: dict[str, Any]) -> str:
    """How it stands: a line, or one for each topic."""
    each = _each(state)
    return "\n".join(f"{one['topic']}: {_line(one)}" for one in each) if len(each) > 1 else _line(state)


def _line(state: dict[str, Any]) -> str:
    parts = [state["state"]]
    parts += [f"lives until {state['expiresAt']}"] if state["expiresAt"] else []
    if state["failures"]:
        parts.append(f"failed {state['failures']} in a row: {state['detail']}")
    if state["nextAt"]:
        what = {"asked": "to be confirmed by", "waiting": "next renewal"}.get(state["state"], "next try")
        parts.append(f"{what} {state['nextAt']}")
    return ", ".join(parts)
