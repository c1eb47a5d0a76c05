"""`ringback organisation list | limit`: who shares the server, and how much each of them may take in.

A running server holds its database, and keeps limits in memory: then it is asked to do the work. Otherwise the database is opened here.
"""

from __future__ import annotations

import argparse
from http import HTTPStatus
from typing import Any, Final

from ringback.cli.options import add_options, settings_of
from ringback.cli.reach import listening_server, must_exist, with_store

# What may stand for a rate besides a number: what the settings say, or no limit at all.
_WORDS: Final[dict[str, int | None]] = {"default": None, "unlimited": 0}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "organisation", help="list organisations, and limit what they take in", description="List and limit organisations."
    )
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="list the organisations of the server", description="List the organisations of the server.")
    listing.set_defaults(run=run, act=_list)
    limit = verbs.add_parser(
        "limit", help="limit what an organisation takes in", description="Limit what all sources of an organisation take in together."
    )
    limit.add_argument("name", metavar="NAME", help="the organisation's name, as `ringback organisation list` shows it")
    limit.add_argument(
        "--receive-rate",
        metavar="RATE",
        type=_rate,
        required=True,
        help="requests a second; `unlimited`, or `default` for what the setting receive_rate says",
    )
    limit.set_defaults(run=run, act=_limit)
    for verb in (listing, limit):
        add_options(verb)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError for an unknown organisation, OperatorError when the database cannot be opened."""
    settings = settings_of(args)
    from ringback.telemetry.log import configure_logging

    # What the command did is its output; its log tells of trouble only.
    configure_logging("warning", settings.log_format)
    args.act(settings, args)
    return 0


def _rate(text: str) -> int | None:
    if text in _WORDS:
        return _WORDS[text]
    from ringback.services.organisations import MAX_RECEIVE_RATE

    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_RECEIVE_RATE or len(text) > len(str(MAX_RECEIVE_RATE)):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate; use a number from 1 to {MAX_RECEIVE_RATE}, `unlimited` or `default`")
    return int(text)


def _words(rate: int | None) -> str:
    return "default" if rate is None else f"{rate}/s" if rate else "unlimited"


def _list(settings: Any, args: argparse.Namespace) -> None:
    listed: list[dict[str, Any]] = _asked(settings, "GET", "") or []
    print(f"{'ID':<32} {'RECEIVE RATE':<12} {'CREATED':<28} NAME")
    for one in listed:
        print(f"{one['id']:<32} {_words(one['receiveRate']):<12} {one['createdAt']:<28} {one['name']}")


def _limit(settings: Any, args: argparse.Namespace) -> None:
    changed = _asked(settings, "PUT", "/limit", {"org": args.name, "receiveRate": args.receive_rate})
    print(f"{changed['name']}: {_words(changed['receiveRate'])}")


def _asked(settings: Any, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """What the server answers, or the database where none runs. Raises NotFound, RingbackError."""
    server = listening_server(settings)
    if server is None:
        return _here(settings, body)
    from ringback.cli.api import Api
    from ringback.errors import NotFound, RingbackError

    status, answer = Api(server.url, server.token).call(method, f"/api/v1/operator/organisation{path}", body)
    if status == HTTPStatus.NOT_FOUND:
        raise NotFound(answer["detail"])
    if status >= HTTPStatus.BAD_REQUEST:
        raise RingbackError(f"the running server answered {status}: {answer}")
    return answer


def _here(settings: Any, body: dict[str, Any] | None) -> Any:
    import msgspec

    from ringback.api.organisations import shown
    from ringback.clock import Clock
    from ringback.services.organisations import Organisations
    from ringback.store.base import Store

    async def verb(store: Store, clock: Clock) -> Any:
        organisations = Organisations(store)
        if body is None:
            return [shown(organisation) for organisation in await organisations.list()]
        return shown(await organisations.limit(body["org"], body["receiveRate"]))

    must_exist(settings)
    return msgspec.to_builtins(with_store(settings, verb))
