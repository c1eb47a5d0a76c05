"""`ringback reconcile SOURCE`: find the calls of a provider that never came, now. Asks the running server."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ringback.cli.options import add_options, settings_of

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
    parser.add_argument("source", metavar="SOURCE", help="the source's id or uid")
    parser.add_argument("--app", metavar="APP", help="the id or uid of its application; without it, an ingest source is meant")
    parser.add_argument("--dry-run", action="store_true", help="only say what is missing")
    parser.add_argument("--token", metavar="TOKEN", help="an org token (default: what RINGBACK_TOKEN holds)")
    parser.add_argument("--url", metavar="URL", help="the server (default: the one that holds the database)")
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError with what the server or the provider said, OperatorError when there is no server or token."""
    api, path = _api_of(args), _path(args)
    try:
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
    except OSError as error:
        from ringback.errors import RingbackError

        raise RingbackError(f"the server did not answer: {error}") from error
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


def _path(args: argparse.Namespace) -> str:
    source = quote(args.source, safe="")
    if args.app is None:
        return f"/ingest/api/v1/source/{source}/reconciliation"
    return f"/api/v1/app/{quote(args.app, safe='')}/source/{source}/reconciliation"


def _api_of(args: argparse.Namespace) -> Api:
    from ringback.cli.api import Api
    from ringback.config.running import find
    from ringback.errors import OperatorError
    from ringback.store.opening import database_path

    settings = settings_of(args)
    token = args.token or (settings.token.reveal() if settings.token else "")
    if not token:
        raise OperatorError("an org token is needed; give --token, or set RINGBACK_TOKEN")
    url = args.url
    if url is None:
        server = find(database_path(settings.database_url))
        if server is None:
            raise OperatorError(f"no server runs on {database_path(settings.database_url)}; start it, or name one with --url")
        url = server.url
    return Api(url, token, _ANSWER_S)
