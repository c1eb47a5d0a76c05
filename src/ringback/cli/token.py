"""`ringback token create | list | revoke`: who may call the server."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from ringback.cli.options import add_options, settings_of

if TYPE_CHECKING:
    from ringback.services.tokens import Tokens


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("token", help="make, list and revoke tokens", description="Make, list and revoke tokens.")
    verbs = parser.add_subparsers(title="what to do", metavar="VERB", required=True)
    create = verbs.add_parser("create", help="make an org token and print it", description="Make an org token and print it: this once.")
    create.add_argument("--org", metavar="NAME", default="default", help="the organisation; made when there is none of this name")
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
    """Do it; raises NotFound for an unknown organisation or id."""
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    from ringback import app

    async with app.open_tokens(settings) as tokens:
        await args.act(tokens, args)
    return 0


async def _create(tokens: Tokens, args: argparse.Namespace) -> None:
    # The text alone on stdout, so that a script can keep it: TOKEN=$(ringback token create)
    _, text = await tokens.create(args.org)
    print(text)


async def _list(tokens: Tokens, args: argparse.Namespace) -> None:
    from ringback.clock import rfc3339

    print(f"{'ID':<32} {'ORGANISATION':<32} {'KIND':<5} {'STATE':<8} {'CREATED':<28} NAME")
    for token in await tokens.list(args.org):
        state = "usable" if token.revoked_at is None else "revoked"
        kind = token.kind.name.lower()
        print(f"{token.id:<32} {token.org_id:<32} {kind:<5} {state:<8} {rfc3339(token.created_at):<28} {token.name}".rstrip())


async def _revoke(tokens: Tokens, args: argparse.Namespace) -> None:
    token = await tokens.revoke(args.id)
    print(f"revoked {token.id}")
