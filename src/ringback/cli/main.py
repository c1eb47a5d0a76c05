"""Which command was asked for? Parses the command line and runs one command; the only place where an error becomes an exit code.

Each command is a module here with `add_parser(subparsers)` and `run(args) -> int`. Only the module of the command asked for is imported,
so that `ringback version` costs nothing of what `ringback serve` needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

import ringback
from ringback.errors import OperatorError, RingbackError

COMMANDS = (
    "serve",
    "token",
    "organisation",
    "migrate",
    "verify",
    "providers",
    "reconcile",
    "renew",
    "erase",
    "listen",
    "replay",
    "trigger",
    "version",
)

# Options whose values are somebody else's text.
_ANY_VALUE = ("--secret", "--header")
# Exit codes, as shells and service managers know them (sysexits are not used: nobody remembers them).
FAILED = 1
# argparse's own code for a wrong command line; wrong settings are the same kind of mistake.
MISUSED = 2
# 128 + SIGINT, what a shell reports for a program that Ctrl-C ended.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. Operator mistakes become one clear message on stderr, never a traceback."""
    words = _joined(list(sys.argv[1:] if argv is None else argv))
    parser = build_parser(words)
    if not words:
        # Somebody looks what there is: all of it, and no complaint. The exit code is that of a command line that says nothing.
        parser.print_help(sys.stderr)
        return MISUSED
    try:
        try:
            return _run(parser, words)
        finally:
            # Here, where its failure is told, and not at interpreter exit; also what argparse printed, which ends by an exception.
            _flush()
    except RingbackError as error:
        print(f"ringback: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, OperatorError) else FAILED
    except BrokenPipeError:
        # The reader of a pipe left (`ringback token list | head`). Nothing can be told to it.
        _mute()
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _flush() -> None:
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _mute()
        raise RingbackError(f"what this printed could not be written: {error.strerror}") from error


def _mute() -> None:
    """Or what could not be written is tried again, and complained about, at interpreter exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    args, unknown = parser.parse_known_args(words)
    if unknown:
        # argparse would blame the whole program, whose usage does not name what this command takes.
        parser.error(f"{words[0]} does not know {' '.join(unknown)}; `ringback {words[0]} --help` lists what it takes")
    try:
        code: int = args.run(args)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ringback"):
            raise
        elsewhere = ", or name a server elsewhere with --url" if "url" in args else ""
        raise OperatorError(
            f"`ringback {words[0]}` needs the server's packages, and {error.name} is not installed: install ringback[server] "
            f"(in a clone: pip install '.[server]'){elsewhere}"
        ) from error
    return code


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser for these words: with the one command that they name, or with all of them."""
    parser = argparse.ArgumentParser(prog="ringback", description="Sends, receives and debugs webhooks.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"ringback {ringback.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = [words[0]] if words and words[0] in COMMANDS else COMMANDS
    for name in asked:
        if name == "version":
            _add_version(subparsers)
        else:
            importlib.import_module(f"ringback.cli.{name}").add_parser(subparsers)
    return parser


def _joined(words: list[str]) -> list[str]:
    """The words, `--secret -x` as `--secret=-x`: argparse takes a value that begins with a dash for an option, and secrets may."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in _ANY_VALUE and word.startswith("-") and not word.startswith("--"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _add_version(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("version", help="print the version", description="Print the version.")
    parser.set_defaults(run=_version)


def _version(_args: argparse.Namespace) -> int:
    print(f"ringback {ringback.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
