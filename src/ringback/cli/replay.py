"""`ringback replay`: hand what came in some time to a program on this machine, once more and in order."""

from __future__ import annotations

import argparse
import heapq
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ringback.cli.options import add_options
from ringback.cli.reach import add_messages, add_server, answering, need_whose, owners_api, token_of
from ringback.cli.times import moment

if TYPE_CHECKING:
    from ringback.cli.api import Api
    from ringback.cli.feed import Item, Place
    from ringback.cli.handing import Handing
    from ringback.cli.past import Found
    from ringback.cli.shown import Shown

# Seconds for one answer of the server.
_ANSWER_S: Final = 30.0
# Seconds that the program has for one answer: somebody may look at it with a debugger.
_PROGRAM_S: Final = 60.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "replay",
        help="hand past messages to a program on this machine",
        description="Hand past messages of an application, which are also what its sources received, to a program on this machine: the "
        "oldest first, each as a POST that is signed now and keeps its id. Nothing changes on the server, which must be running. Exits 0 "
        "when the program answered 2xx to all of them.",
    )
    add_messages(parser, "received")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--since", metavar="TIME", help="what came at this time (2026-01-02T03:04:05Z) or so long ago (10m, 2h), or later")
    which.add_argument(
        "--message", action="append", default=[], metavar="MESSAGE", help="this message (id or eventId); several may be given"
    )
    parser.add_argument("--until", metavar="TIME", help="nothing that came after this time (default: now)")
    parser.add_argument("--tag", default="", metavar="TAG", help="only what has this tag")
    parser.add_argument("--channel", default="", metavar="CHANNEL", help="only what was sent on this channel")
    parser.add_argument("--limit", type=_count, metavar="N", help="no more than so many messages")
    parser.add_argument(
        "--speed",
        type=_speed,
        metavar="X",
        help="with the pauses that were between them, X times as fast (1 = as it was; default: one right after the other)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only list them")
    parser.add_argument("--secret", metavar="S", help="sign with this secret, whsec_ and base64 (default: one that stays the same)")
    add_server(parser)
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it: 0 when all were answered with a 2xx, else 1. Raises OperatorError for a wrong command line, RingbackError for no answer."""
    from ringback.cli.feed import places
    from ringback.cli.handing import Handing, derived_secret
    from ringback.cli.outgoing import checked
    from ringback.cli.shown import Shown
    from ringback.errors import OperatorError

    target = checked(args.target)
    need_whose(args)
    if args.message and (args.until or args.types or args.tag or args.channel):
        raise OperatorError("--message names the messages themselves; --until, --types, --tag and --channel go with --since")
    api = owners_api(args, _ANSWER_S)
    shown = Shown()
    with answering(api):
        whose = places(api, args.app, args.source)
        secret = args.secret or derived_secret(token_of(args), f"ringback replay\n{whose[0].app_id}")
        handing = Handing(target, secret, _PROGRAM_S)
        if not args.dry_run:
            shown.say(f"the program verifies with this secret (Standard Webhooks): {secret}")
        replay = _Replay(api, handing, shown, args.speed, dry=args.dry_run)
        try:
            replay.go_through(_wanted(args, api, whose), args.limit)
        except KeyboardInterrupt:
            shown.say("stopped")
    shown.say(replay.summary())
    return 0 if replay.accepted == replay.handed else 1


def _wanted(args: argparse.Namespace, api: Api, whose: list[Place]) -> Iterable[Found]:
    from ringback.cli.past import Window, found, named

    if args.message:
        return (named(api, whose, name) for name in args.message)
    window = Window(
        since=moment("--since", args.since),
        until=moment("--until", args.until or "0s"),
        types=args.types,
        tag=args.tag,
        channel=args.channel,
    )
    return heapq.merge(*(found(api, place, window) for place in whose), key=attrgetter("at"))


class _Replay:
    """Hands on one message after the other, and counts."""

    def __init__(self, api: Api, handing: Handing, shown: Shown, speed: float | None, *, dry: bool) -> None:
        self.handed = 0
        self.accepted = 0
        self._api = api
        self._handing = handing
        self._shown = shown
        self._speed = speed
        self._dry = dry
        self._gone = 0
        # When the first one came, and when it was handed on (monotonic seconds).
        self._began: tuple[datetime, float] | None = None

    def go_through(self, messages: Iterable[Found], limit: int | None) -> None:
        """Raises OSError while the server is away, RingbackError when it refuses or the program does not answer."""
        from ringback.cli.past import fetched

        for one in messages:
            if limit is not None and self.handed + self._gone >= limit:
                self._shown.say(f"{limit} are enough; the next one came at {_when(one)}")
                return
            item = fetched(self._api, one)
            if item is None:
                continue
            if item.body is None:
                self._gone += 1
                self._shown.warn(f"{_when(one)}  {one.event_type}  {one.id}: its payload is gone (history_retention)")
            elif self._dry:
                self.handed += 1
                self.accepted += 1
                self._shown.say(f"{_when(one)}  {one.event_type}  {one.id}  {len(item.body)} bytes")
            else:
                self._wait(one)
                self._hand_on(one, item)

    def summary(self) -> str:
        """What came of it, in one line."""
        gone = f"; the payloads of {self._gone} are gone" if self._gone else ""
        if self._dry:
            return f"{self.handed} would be handed on{gone}"
        return f"{self.handed} handed on, {self.accepted} of them accepted{gone}"

    def _wait(self, one: Found) -> None:
        """Keep the pauses that were, if that is wanted."""
        if self._speed is None:
            return
        if self._began is None:
            self._began = one.at, time.monotonic()
        first_at, began_s = self._began
        ahead_s = (one.at - first_at).total_seconds() / self._speed - (time.monotonic() - began_s)
        if ahead_s > 0:
            time.sleep(ahead_s)

    def _hand_on(self, one: Found, item: Item) -> None:
        from ringback.cli.outgoing import reason
        from ringback.errors import RingbackError

        try:
            answer = self._handing.post(item)
        except OSError as error:
            raise RingbackError(
                f"{self._handing.target} does not answer ({reason(error)}) to {item.id}, after {self.handed} that were handed on; "
                f"--since {_when(one)} goes on from there"
            ) from error
        self.handed += 1
        self.accepted += answer.accepted
        self._shown.event(item.event_type, item.id, answer.status, answer.took_s)


def _when(one: Found) -> str:
    return one.at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages; use 1 or more")
    return int(text)


def _speed(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no speed; 1 is as it was, 10 ten times as fast")
    return factor
