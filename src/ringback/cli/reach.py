"""How does a command reach what the server keeps? Through the server while one runs, else in the database itself; or as an owner does."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from ringback.cli.options import settings_of

if TYPE_CHECKING:
    from ringback.cli.api import Api
    from ringback.clock import Clock
    from ringback.config import Settings
    from ringback.config.running import RunningServer
    from ringback.store.base import Store

T = TypeVar("T")


def listening_server(settings: Settings) -> RunningServer | None:
    """The server that holds the database. Nobody listening where it should be means that it was killed: then the database is free."""
    from ringback.cli.api import Api
    from ringback.config.running import find
    from ringback.store.opening import database_path

    server = find(database_path(settings.database_url))
    if server is None:
        return None
    try:
        Api(server.url, server.token).call("GET", "/api/v1/health/ping")
    except OSError:
        return None
    return server


def must_exist(settings: Settings) -> None:
    """A name that was mistyped must not leave an empty database behind. Raises OperatorError."""
    from ringback.errors import OperatorError
    from ringback.store.opening import database_path

    path = database_path(settings.database_url)
    if not Path(path).exists():
        raise OperatorError(f"there is no database {path}; name the one of your server with --database")


def with_store(settings: Settings, verb: Callable[[Store, Clock], Awaitable[T]]) -> T:
    """Open the database, do it, and let go. Raises OperatorError when it cannot be opened."""
    from ringback.clock import SystemClock
    from ringback.store.opening import open_store

    async def opened() -> T:
        clock = SystemClock()
        store = await open_store(settings.database_url, clock)
        try:
            return await verb(store, clock)
        finally:
            await store.close()

    return asyncio.run(opened())


def add_source(parser: argparse.ArgumentParser) -> None:
    """Declare what names a source, and how its owner reaches the server."""
    parser.add_argument("source", metavar="SOURCE", help="the source's id or uid")
    parser.add_argument("--app", metavar="APP", help="the id or uid of its application (default: whichever has the source)")
    add_server(parser)


def add_server(parser: argparse.ArgumentParser, when: str = "") -> None:
    """Declare how an owner reaches the server; `when` begins the help of options that count only beside another one."""
    parser.add_argument("--token", metavar="TOKEN", help=f"{when}an org token (default: what RINGBACK_TOKEN holds)")
    parser.add_argument("--url", metavar="URL", help=f"{when}the server (default: the one that holds the database)")


def add_messages(parser: argparse.ArgumentParser, came: str) -> None:
    """Declare to which program messages are handed, and which; `came` is what a source does, or did."""
    parser.add_argument("target", metavar="TARGET_URL", help="where the program listens, such as http://localhost:3000/webhooks")
    parser.add_argument("--app", metavar="APP", help="the id or uid of the application")
    parser.add_argument(
        "--source", action="append", default=[], metavar="SOURCE", help=f"only what this source {came} (id or uid); several may be given"
    )
    parser.add_argument(
        "--types",
        action="append",
        default=[],
        metavar="TYPE",
        help="only this event type; * stands for any characters; several may be given",
    )


def need_whose(args: argparse.Namespace) -> None:
    """Raises OperatorError where nothing says whose messages are meant, or where one name of a type is several."""
    from ringback.errors import OperatorError

    for several in (name for name in args.types if "," in name):
        one_by_one = " ".join(f"--types {name.strip()}" for name in several.split(","))
        raise OperatorError(f"{several!r} is no event type, as none has a comma; write {one_by_one}")
    if args.app is None and not args.source:
        raise OperatorError("say whose messages: --app APP, --source SOURCE, or both")


def source_path(api: Api, args: argparse.Namespace, what: str) -> str:
    """Where the API has something of the source that the arguments name. Raises OperatorError when there is none, OSError."""
    from ringback.cli.feed import find_source, need_source

    if args.app is not None:
        return f"/api/v1/app/{quote(args.app, safe='')}/source/{need_source(api, args.app, args.source)['id']}/{what}"
    app_id, source = find_source(api, args.source)
    # Ingest sources alone say which application their events are messages of.
    return f"{'/ingest/api/v1' if 'appId' in source else f'/api/v1/app/{app_id}'}/source/{source['id']}/{what}"


def owners_api(args: argparse.Namespace, answer_s: float) -> Api:
    """The API of the server that the arguments name, asked as an owner.

    Raises OperatorError when there is no server or token, or the token would be read on its way.
    """
    from ringback.cli.api import Api
    from ringback.config.running import find
    from ringback.errors import OperatorError

    settings, token = settings_of(args), token_of(args)
    url = args.url
    if url is None:
        # A server elsewhere needs no store here: what speaks to one runs in a plain install.
        from ringback.store.opening import database_path

        server = find(database_path(settings.database_url))
        if server is None:
            raise OperatorError(f"no server runs on {database_path(settings.database_url)}; start it, or name one with --url")
        return Api(server.url, token, answer_s)
    _needs_privacy(url)
    return Api(url, token, answer_s)


def token_of(args: argparse.Namespace) -> str:
    """The token that the owner gives, or has set. Raises OperatorError when there is none."""
    from ringback.errors import OperatorError

    settings = settings_of(args)
    token: str = args.token or (settings.token.reveal() if settings.token else "")
    if not token:
        raise OperatorError("an org token is needed; give --token, or set RINGBACK_TOKEN")
    return token


def _needs_privacy(url: str) -> None:
    """A token goes over TLS, or does not leave this machine. Raises OperatorError for the URL of any other server."""
    from ringback.errors import OperatorError
    from ringback.policy.addresses import is_this_machine

    try:
        parts = urlsplit(url)
        open_to_all = parts.scheme == "http" and not is_this_machine(parts.hostname or "")
    except ValueError:
        # What is no URL at all is told where a connection is made.
        return
    if open_to_all:
        raise OperatorError(f"the token would go to {url} for everybody on the way to read; use https://, or a server on this machine")


@contextmanager
def answering(api: Api) -> Iterator[None]:
    """For what asks a server. Raises RingbackError when it does not answer."""
    from ringback.cli.outgoing import reason
    from ringback.errors import RingbackError

    try:
        yield
    except OSError as error:
        raise RingbackError(f"the server did not answer ({api.url}): {reason(error)}") from error
