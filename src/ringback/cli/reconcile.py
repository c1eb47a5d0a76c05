"""`ringback reconcile SOURCE`: find the calls of a provider that never came, now. Asks the running server."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from ringback.cli.options import add_options
from ringback.cli.reach import add_source, answering, owners_api, source_path

if TYPE_CHECKING:
    from ringback.cli.api import Api

# Seconds for one answer: a look without consequences asks the provider for several pages, each for up to a minute.
_ANSWER_S = 120.0
# Seconds between two looks whether the run is over.
_LOOK_EVERY_S = 0.5


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "reconcile",
        help="find the calls of a provider that never came",
        description="Compare a source with what its provider says it sent, now, and take in what never came. The settings of that are made "
        "through the API or the dashboard; a server must be running.",
    )
    add_source(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError with what the server or the provider said, OperatorError when there is no server or token."""
    api = owners_api(args, _ANSWER_S)
    with answering(api):
        path = source_path(api, args, "reconciliation")
        if args.dry_run:
            found = api.need("POST", f"{path}/run", {"dryRun": True})
            so_far = "" if found["complete"] else "; the list goes on behind what was looked at"
            print(f"{found['lookedAt']} looked at, {found['missing']} missing{so_far}")
            for name in found["missingIds"]:
                print(name)
            return 0
        before = api.need("GET", path)["last"]
        api.need("POST", f"{path}/run", {})
        last = _wait(api, path, "" if before is None else before["beganAt"])
    print(f"{last['lookedAt']} looked at, {last['missing']} missing, {last['added']} added, {last['asked']} asked for again")
    return 0


def _wait(api: Api, path: str, after: str) -> dict[str, Any]:
    """The run that began after that time, once it is over. Raises RingbackError when it fails."""
    from ringback.errors import RingbackError

    while True:
        state: dict[str, Any] = api.need("GET", path)
        last: dict[str, Any] | None = state["last"]
        if last is not None and last["beganAt"] > after:
            return last
        if state["state"] == "failing":
            raise RingbackError(f"{state['detail']}; it is tried again at {state['nextAt']}")
        time.sleep(_LOOK_EVERY_S)
