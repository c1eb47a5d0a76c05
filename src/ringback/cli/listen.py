"""`ringback listen`: hand what an application's messages are to a program on this machine, and miss nothing while it is off."""

from __future__ import annotations

import argparse
import re
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ringback.cli.options import add_options
from ringback.cli.reach import add_messages, add_server, answering, need_whose, owners_api, token_of
from ringback.cli.times import moment

if TYPE_CHECKING:
    from ringback.cli.feed import Feed, Item
    from ringback.cli.handing import Handing
    from ringback.cli.shown import Shown

# Seconds for one answer of the server.
_ANSWER_S: Final = 30.0
# Seconds that the program has for one answer: somebody may look at it with a debugger.
_PROGRAM_S: Final = 60.0
# Seconds between two looks while nothing comes.
_LOOK_EVERY_S: Final = 0.5
# Seconds before something that does not answer is tried again: the first time, and at the most.
_RETRY_FIRST_S: Final = 0.25
_RETRY_MOST_S: Final = 5.0
# Characters of the name of a listener: it is a part of a uid.
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "listen",
        help="hand messages to a program on this machine",
        description="Hand the messages of an application, which are also what its sources receive, to a program on this machine, each as a "
        "signed POST. What came while this was off is handed on when it starts again. A server must be running.",
    )
    add_messages(parser, "receives")
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="begin with what came at this time (2026-01-02T03:04:05Z) or so long ago (10m, 2h), but not before this listener first ran",
    )
    parser.add_argument("--name", metavar="CONSUMER", help="who listens: each name has a place of its own (default: this machine's name)")
    parser.add_argument("--secret", metavar="S", help="sign with this secret, whsec_ and base64 (default: one that stays the same)")
    add_server(parser)
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Listen until Ctrl-C: 0. Raises OperatorError for a wrong command line, RingbackError when the server refuses."""
    from ringback.cli.feed import Feed, places
    from ringback.cli.handing import Handing, derived_secret
    from ringback.cli.outgoing import checked
    from ringback.cli.shown import Shown

    target = checked(args.target)
    need_whose(args)
    name, since = _name(args.name), None if args.since is None else moment("--since", args.since)
    api = owners_api(args, _ANSWER_S)
    shown = Shown()
    with answering(api):
        whose = places(api, args.app, args.source)
        secret = args.secret or derived_secret(token_of(args), f"ringback listen\n{whose[0].app_id}\n{name}")
        handing = Handing(target, secret, _PROGRAM_S)
        feeds = [Feed(api, place, name, args.types) for place in whose]
        for feed in feeds:
            new = feed.open()
            if since is not None and not new:
                feed.rewind(since)
            shown.say(f"listening to {feed.place.app_name} as {name}, for {target}" + (_first_time(since) if new else ""))
    shown.say(f"the program verifies with this secret (Standard Webhooks): {secret}")
    shown.say("Ctrl-C ends it; started again it goes on where it was")
    try:
        _forever(feeds, lambda item: _hand_on(handing, item, shown), shown)
    except KeyboardInterrupt:
        for feed in feeds:
            try:
                feed.confirm()
            except OSError:
                # What is not confirmed comes again, under the same id.
                pass
        shown.say("stopped")
    return 0


class _Outage:
    """Waits longer and longer while somebody does not answer, and says once that it is so, and that it is over."""

    def __init__(self, who: str, meanwhile: str, shown: Shown) -> None:
        self._who = who
        self._meanwhile = meanwhile
        self._shown = shown
        self._wait_s = 0.0

    def wait(self, error: OSError) -> None:
        """There was no answer, once more."""
        from ringback.cli.outgoing import reason

        if not self._wait_s:
            self._shown.warn(f"{self._who} does not answer ({reason(error)}); it is tried again until it does{self._meanwhile}")
        self._wait_s = min(_RETRY_MOST_S, self._wait_s * 2 or _RETRY_FIRST_S)
        time.sleep(self._wait_s)

    def over(self) -> None:
        """There was an answer."""
        if self._wait_s:
            self._shown.say(f"{self._who} answers again")
            self._wait_s = 0.0


def _forever(feeds: list[Feed], each: Callable[[Item], None], shown: Shown) -> None:
    """Go round the feeds; a server that is away is waited for. Ends by KeyboardInterrupt, or raises RingbackError when it refuses."""
    outage = _Outage("the server", "", shown)
    while True:
        try:
            more = [feed.handle(each) for feed in feeds]
        except OSError as error:
            outage.wait(error)
            continue
        outage.over()
        if not any(more):
            time.sleep(_LOOK_EVERY_S)


def _hand_on(handing: Handing, item: Item, shown: Shown) -> None:
    """Have the program answer for one message, however long it takes; any answer is one."""
    if item.body is None:
        shown.warn(f"{item.event_type} {item.id}: its payload is gone (history_retention), so there is nothing to hand on")
        return
    outage = _Outage(handing.target, ", and nothing is lost", shown)
    while True:
        try:
            answer = handing.post(item)
        except OSError as error:
            outage.wait(error)
            continue
        outage.over()
        shown.event(item.event_type, item.id, answer.status, answer.took_s)
        return


def _first_time(since: str | None) -> str:
    if since is None:
        return "; this is its first time, so it begins with what comes now"
    return "; this is its first time, so there is nothing from before: --since goes back to here at the most"


def _name(given: str | None) -> str:
    from ringback.errors import OperatorError

    if given is None:
        return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:100] or "local"
    if _NAME.fullmatch(given) is None:
        raise OperatorError(f"{given[:110]!r} is no name of a listener; use 1 to 100 letters, digits, '-', '_' and '.'")
    return given
