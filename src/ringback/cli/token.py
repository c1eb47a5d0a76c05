"""`ringback token create | list | revoke`: who may call the server.

A running server holds its database, and remembers tokens that it believed: then it is asked to do the work. Otherwise the database is
opened here.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ringback.cli.options import add_options, settings_of
from ringback.cli.reach import listening_server, must_exist, with_store

if TYPE_CHECKING:
    from ringback.config import Settings
    from ringback.config.running import RunningServer
    from ringback.services.tokens import Tokens

T = TypeVar("T")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("token", help="make, list and revoke tokens", description="Make, list and revoke tokens.")
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)
    create = verbs.add_parser("create", help="make an org token and print it", description="Make an org token and print it: this once.")
    create.add_argument(
        "--org", metavar="NAME", type=_name, default="default", help="the organisation; made when there is none of this name"
    )
    create.set_defaults(run=run, act=_create)
    listing = verbs.add_parser(
        "list", help="list the tokens, without their text", description="List the tokens. Their text cannot be shown."
    )
    listing.add_argument("--org", metavar="NAME", help="only those of this organisation")
    listing.set_defaults(run=run, act=_list)
    revoke = verbs.add_parser("revoke", help="make a token useless", description="Make a token useless, at once and for good.")
    revoke.add_argument("id", metavar="ID", help="the token's id, as `ringback token list` shows it")
    revoke.set_defaults(run=run, act=_revoke)
    for verb in (create, listing, revoke):
        add_options(verb)


def run(args: argparse.Namespace) -> int:
    """Do it; raises RingbackError for an unknown organisation or id, OperatorError when the database cannot be opened."""
    settings = settings_of(args)
    from ringback.telemetry.log import configure_logging

    # What the command did is its output; its log tells of trouble only.
    configure_logging("warning", settings.log_format)
    args.act(_desk_of(settings), args)
    return 0


def _name(text: str) -> str:
    if not text.strip():
        # An empty variable of a script, most likely; the token would open an organisation that nobody meant.
        raise argparse.ArgumentTypeError("an organisation has a name; leave --org out for the default one")
    return text


class _Desk:
    """Where tokens are handled in the absence of a server: in the database itself."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def missing_database(self) -> str | None:
        """The path of the database, where there is none yet."""
        from ringback.store.opening import database_path

        path = database_path(self._settings.database_url)
        return None if Path(path).exists() else path

    def create(self, org: str) -> str:
        async def verb(tokens: Tokens) -> str:
            return (await tokens.create(org))[1]

        return self._with_tokens(verb)

    def list(self, org: str | None) -> list[dict[str, Any]]:
        import msgspec

        from ringback.api.operator import shown

        async def verb(tokens: Tokens) -> list[dict[str, Any]]:
            return [msgspec.to_builtins(shown(token)) for token in await tokens.list(org)]

        must_exist(self._settings)
        return self._with_tokens(verb)

    def revoke(self, token_id: str) -> None:
        must_exist(self._settings)
        self._with_tokens(lambda tokens: tokens.revoke(token_id))

    def _with_tokens(self, verb: Callable[[Tokens], Awaitable[T]]) -> T:
        from ringback.ids import IdMaker
        from ringback.services.tokens import Tokens

        return with_store(self._settings, lambda store, clock: verb(Tokens(store, clock, IdMaker(), secrets.randbits)))


class _RemoteDesk(_Desk):
    """The same, done by the server that holds the database. Nobody listening there means that it was killed: then the database is free."""

    def __init__(self, settings: Settings, server: RunningServer) -> None:
        super().__init__(settings)
        from ringback.cli.api import Api

        self._api = Api(server.url, server.token)

    def create(self, org: str) -> str:
        text: str = self._call("POST", "", {"org": org})["token"]
        return text

    def list(self, org: str | None) -> list[dict[str, Any]]:
        from urllib.parse import urlencode

        listed: list[dict[str, Any]] = self._call("GET", f"?{urlencode({'org': org})}" if org else "")
        return listed

    def revoke(self, token_id: str) -> None:
        from urllib.parse import quote

        self._call("DELETE", f"/{quote(token_id, safe='')}")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        from ringback.errors import NotFound, RingbackError

        status, answer = self._api.call(method, f"/api/v1/operator/token{path}", body)
        if status == HTTPStatus.NOT_FOUND:
            raise NotFound(answer["detail"])
        if status >= HTTPStatus.BAD_REQUEST:
            raise RingbackError(f"the running server answered {status}: {answer}")
        return answer


def _desk_of(settings: Settings) -> _Desk:
    server = listening_server(settings)
    return _Desk(settings) if server is None else _RemoteDesk(settings, server)


def _create(desk: _Desk, args: argparse.Namespace) -> None:
    missing = desk.missing_database()
    text = desk.create(args.org)
    if missing is not None:
        # A server of another database does not believe this token, and could not say why.
        print(f"ringback: made the database {missing}; if your server has another, name that one with --database", file=sys.stderr)
    # The text alone on stdout, so that a script can keep it: TOKEN=$(ringback token create)
    print(text)


def _list(desk: _Desk, args: argparse.Namespace) -> None:
    listed = desk.list(args.org)
    print(f"{'ID':<32} {'ORGANISATION':<32} {'KIND':<5} {'STATE':<8} {'CREATED':<28} {'LAST USED':<28} NAME")
    for token in listed:
        state = "revoked" if token["revoked"] else "usable"
        times = f"{token['createdAt']:<28} {token['lastUsedAt'] or '-':<28}"
        print(f"{token['id']:<32} {token['orgId']:<32} {token['kind']:<5} {state:<8} {times} {token['name']}".rstrip())


def _revoke(desk: _Desk, args: argparse.Namespace) -> None:
    desk.revoke(args.id)
    print(f"revoked {args.id}")
