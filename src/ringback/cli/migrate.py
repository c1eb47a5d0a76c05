"""`ringback migrate`: bring the database to this version without serving."""

from __future__ import annotations

import argparse
import asyncio

from ringback.cli.options import add_options, settings_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "migrate",
        help="bring the database to this version",
        description="Bring the database to this version; an existing one is copied first. `ringback serve` does the same at its start.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Migrate; raises OperatorError while a server holds the database, or when its schema is newer."""
    settings = settings_of(args)
    from ringback.telemetry.log import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    from ringback.clock import SystemClock
    from ringback.store.opening import database_path, open_store

    async def migrate() -> None:
        store = await open_store(settings.database_url, SystemClock())
        await store.close()

    asyncio.run(migrate())
    print(f"{database_path(settings.database_url)} is at this version")
    return 0
