"""`ringback serve`: run the server in the foreground until it is told to stop."""

from __future__ import annotations

import argparse
import gc

from ringback.cli.options import add_options, settings_of


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser(
        "serve",
        help="run the server",
        description="Run the server in the foreground. SIGTERM and Ctrl-C drain what is in flight, then end it. "
        "All settings: docs/reference/settings.md.",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="where to listen; IPv6 as [::1]:8071 (default: 127.0.0.1:8071)")
    add_options(parser)
    parser.add_argument(
        "--demo",
        action="store_true",
        help="also send events to a receiver that fails now and then, into ringback-demo.db, and show how they fare",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve; returns when the server has stopped. Raises OperatorError when it cannot start as it is set up."""
    if args.demo:
        return _demonstrate(args)
    settings = settings_of(args)
    # What is imported stays: looking through it for garbage again and again is a fifth of the start. The server enables it again.
    gc.disable()
    from ringback import app

    return app.run(settings)


def _demonstrate(args: argparse.Namespace) -> int:
    from ringback.cli.demo import companion

    settings = companion.prepared(settings_of(args, companion.DEFAULTS))
    from ringback import app

    with companion.running(settings):
        return app.run(settings)
