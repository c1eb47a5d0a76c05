"""`ringback trigger PROVIDER`: send one event as that provider sends it, signed, to a source or to a program."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ringback.cli.options import add_options
from ringback.cli.reach import add_server, answering, owners_api

if TYPE_CHECKING:
    from ringback.cli.samples import Sample
    from ringback.receiver.testing import SignedRequest
    from ringback.signing.provider import Provider

# Seconds for an answer of the server, or of the program.
_ANSWER_S: Final = 30.0
# Bytes of chance in the id of an event: Twilio's and others have 16.
_UNIQUE_BYTES: Final = 16
# What a source answers to what it keeps in quarantine.
_REFUSED: Final = (401, 403)


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "trigger",
        help="send one event as a provider would",
        description="Send one event, signed as that provider signs it, to a URL or to a source of a running server. Prints the status and "
        "the answer; the exit code is 0 for a 2xx, 1 for anything else, 2 for a command line that cannot be used.",
    )
    parser.add_argument("provider", metavar="PROVIDER", help="whose event; `ringback providers` lists the names")
    parser.add_argument(
        "--event", metavar="NAME", help="which one, such as invoice.paid or push (default: one that the provider often sends)"
    )
    parser.add_argument("--secret", default="", metavar="S", help="the secret that the receiver verifies with")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="URL", help="where to: a program, or the URL of a source")
    parser.add_argument(
        "--signed-url",
        metavar="URL",
        help="with --to: the URL by which the program is known to a provider that signs it (default: that of --to)",
    )
    where.add_argument("--source", metavar="SOURCE", help="to this source of a running server (id or uid)")
    parser.add_argument("--app", metavar="APP", help="with --source: the id or uid of its application")
    parser.add_argument("--data", metavar="FILE", help="the body to send instead, byte for byte (- for standard input)")
    add_server(parser, "with --source: ")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send it: 0 for a 2xx, 1 otherwise. Raises OperatorError for a wrong command line, RingbackError where nobody answers."""
    from ringback.cli.outgoing import reason, send
    from ringback.errors import RingbackError

    row = _provider(args.provider)
    made = _sample(args, row)
    # Before a server is asked: who cannot sign needs none.
    _signed(row, made, args.secret, "https://example.com/")
    target, signed_url = _where(args)
    request = _signed(row, made, args.secret, signed_url)
    try:
        answer = send(request.method, _called(target, signed_url, request.url), request.headers, request.body, _ANSWER_S)
    except OSError as error:
        raise RingbackError(f"{target} does not answer: {reason(error)}; nothing says that it took the event") from error
    print(f"{row.id} {made.event}: {answer.status} in {answer.took_s * 1_000:.0f} ms")
    text = answer.body.decode("utf-8", "replace").strip()
    if text:
        print("".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text))
    if args.source is not None and answer.status in _REFUSED:
        print("the quarantine of the source says why: on its page in the dashboard, or GET .../quarantine", file=sys.stderr)
    return 0 if answer.accepted else 1


def _provider(name: str) -> Provider:
    from ringback.errors import OperatorError
    from ringback.receiver.judging import ALIASES
    from ringback.signing.providers import catalogue

    try:
        return catalogue.provider(ALIASES.get(name, name))
    except ValueError as unknown:
        raise OperatorError(str(unknown)) from unknown


def _sample(args: argparse.Namespace, row: Provider) -> Sample:
    from ringback.cli.samples import Sample, sample
    from ringback.clock import SystemClock
    from ringback.errors import OperatorError

    made = sample(row, args.event, secrets.token_hex(_UNIQUE_BYTES), SystemClock().now_us(), args.secret)
    if args.data is None:
        return made
    try:
        body = sys.stdin.buffer.read() if args.data == "-" else Path(args.data).read_bytes()
    except OSError as wrong:
        raise OperatorError(f"{args.data} cannot be read: {wrong.strerror}; name the file with the body") from wrong
    is_json = body.lstrip()[:1] in (b"{", b"[")
    return Sample(
        made.event, body, "application/json" if is_json else "application/x-www-form-urlencoded" if b"=" in body else "text/plain"
    )


def _signed(row: Provider, made: Sample, secret: str, url: str) -> SignedRequest:
    """The request. Raises OperatorError with why there can be none."""
    from ringback.cli.samples import signed
    from ringback.errors import OperatorError
    from ringback.receiver.testing import Unsignable
    from ringback.signing.tokens import Unsigned

    if not secret and not isinstance(row.schemes[0], Unsigned):
        # Whether anybody could sign at all is told first.
        secret, given = "c2VjcmV0IG9mIG5vYm9keQ==", False
    else:
        given = True
    try:
        request = signed(row, made, secret, url)
    except Unsignable as error:
        raise OperatorError(
            f"nobody else can send an event of {row.name}: {error}; have the provider itself send a test event, or trigger another one "
            "(`ringback providers` lists them)"
        ) from error
    except ValueError as error:
        if given:
            raise OperatorError(f"this event of {row.name} cannot be signed: {error}") from error
    if not given:
        raise OperatorError(f"{row.name} signs with a secret that the receiver knows; give it with --secret")
    return request


def _where(args: argparse.Namespace) -> tuple[str, str]:
    """Where to send it, and the URL that the receiver says it has, which some providers sign."""
    from ringback.cli.feed import find_source, need_source
    from ringback.cli.outgoing import checked
    from ringback.errors import OperatorError

    if args.to is not None:
        if args.app is not None:
            raise OperatorError("--app names the application of a --source; leave it out with --to")
        return checked(args.to), args.signed_url or args.to
    if args.signed_url is not None:
        raise OperatorError("--signed-url belongs to --to; a source has its publicUrl")
    api = owners_api(args, _ANSWER_S)
    with answering(api):
        found = find_source(api, args.source)[1] if args.app is None else need_source(api, args.app, args.source)
    if found["ingestUrl"] is None:
        raise OperatorError(f"nobody calls the source {args.source!r}: it sends by its own schedule; name a source of a provider")
    return checked(found["ingestUrl"]), found.get("publicUrl") or found["ingestUrl"]


def _called(target: str, before: str, after: str) -> str:
    """The target with what signing added to the query of the URL."""
    added = urlsplit(after).query.removeprefix(urlsplit(before).query).lstrip("&")
    return f"{target}{'&' if '?' in target else '?'}{added}" if added else target
