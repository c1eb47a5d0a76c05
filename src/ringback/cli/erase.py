"""`ringback erase`: find what is kept of a person, and erase it. Asks the running server."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ringback.cli.options import add_options
from ringback.cli.reach import add_server, answering, owners_api

if TYPE_CHECKING:
    from ringback.cli.api import Api

# Seconds for one answer.
_ANSWER_S = 30.0
# Seconds between two looks whether the task is over.
_LOOK_EVERY_S = 0.2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "erase",
        help="find what is kept of a person, and erase it",
        description="Look for a text that stands for a person (an address, a customer's number) in all that is kept, and erase what has "
        "it, for good. Says what there is and asks first; a server must be running.",
    )
    parser.add_argument("--subject", metavar="TEXT", help="the text; without it, it is read from the first line of standard input")
    parser.add_argument("--at", metavar="PATH", help="only JSON whose value at this path is the text, such as customer.email")
    parser.add_argument("--app", metavar="APP", help="only of this application (id or uid)")
    parser.add_argument("--source", metavar="SOURCE", help="only of this source (id or uid)")
    parser.add_argument("--dry-run", action="store_true", help="only say what there is")
    parser.add_argument("--yes", action="store_true", help="erase without asking")
    add_server(parser)
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError with what the server said, OperatorError when there is no server or token, or nobody to ask."""
    from ringback.errors import OperatorError

    api = owners_api(args, _ANSWER_S)
    subject = args.subject if args.subject is not None else sys.stdin.readline().rstrip("\r\n")
    given = {"subject": subject, "at": args.at, "app": args.app, "source": args.source}
    wanted = {name: value for name, value in given.items() if value is not None}
    with answering(api):
        found = _ended(api, {**wanted, "dryRun": True})
        _tell(found, "found")
        if args.dry_run or not any(found.values()):
            return 0
        if not args.yes:
            if args.subject is None or not sys.stdin.isatty():
                raise OperatorError("nobody is there to confirm it; nothing was erased; give --yes")
            print("This cannot be taken back. Type the text again to erase it: ", end="", flush=True)
            if sys.stdin.readline().strip() != subject.strip():
                raise OperatorError("that is another text; nothing was erased")
        _tell(_ended(api, wanted), "erased")
    return 0


def _ended(api: Api, wanted: dict[str, Any]) -> dict[str, int]:
    """What a task counted, once it is over. Raises RingbackError when it fails."""
    from ringback.errors import RingbackError

    task_id = api.need("POST", "/api/v1/privacy/erase", wanted)["id"]
    while True:
        task = api.need("GET", f"/api/v1/background-task/{task_id}")
        if task["status"] == "failed":
            raise RingbackError(f"task {task_id} has failed: {task['data'].get('error')}")
        if task["status"] == "finished":
            return {name: value for name, value in task["data"].items() if isinstance(value, int)}
        time.sleep(_LOOK_EVERY_S)


def _tell(counts: dict[str, int], done: str) -> None:
    lines = [f"{name}: {number} {done}" for name, number in counts.items() if number]
    print("\n".join(lines) or f"nothing {done}")
