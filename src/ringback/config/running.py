"""Is a server running on this database, and how does its operator reach it? A small file beside the database says so.

It holds the server's URL and a token that lasts as long as the process and does only what `ringback token` does. Whoever can read it can
read the database too: both are for their owner alone (mode 0600).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ringback.errors import OperatorError

# For its owner alone: read and write.
_PRIVATE = 0o600


class RunningServer(msgspec.Struct, frozen=True):
    """Where a server listens, as seen from its own machine, and the token that its operator's commands use."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"RunningServer({self.url!r}, token=****)"


def _file(database: str) -> Path:
    return Path(f"{database}.server")


def announce(database: str, server: RunningServer) -> None:
    """Tell the commands on this machine where the server is. Blocks for a file write; raises OperatorError when it cannot be made."""
    target = _file(database)
    temporary = target.with_name(f"{target.name}.new")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
            file.write(msgspec.json.encode(server))
        temporary.replace(target)
    except OSError as error:
        raise OperatorError(f"{target} cannot be written: {error.strerror}; the database's directory must be writable") from error


def withdraw(database: str) -> None:
    """The server has ended. Not an error when nothing was announced."""
    _file(database).unlink(missing_ok=True)


def find(database: str) -> RunningServer | None:
    """The server on this database, if one was announced. It may have been killed since: then nobody listens there."""
    try:
        return msgspec.json.decode(_file(database).read_bytes(), type=RunningServer)
    except (OSError, msgspec.DecodeError):
        return None
