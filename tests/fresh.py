"""Where does a test get a database that holds nothing yet? A copy of one that is made once: it costs a tenth of migrating anew."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from ringback.store.opening import migrate
from ringback.store.sqlite.connection import open_writer


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ringback.db"
        connection = open_writer(str(path))
        migrate(connection, str(path))
        connection.close()
        assert [entry.name for entry in Path(directory).iterdir()] == [path.name], "the log is not in the file yet"
        return path.read_bytes()


def laid(path: Path) -> Path:
    """The path, where now is an empty database of this version. One that is there already stays."""
    if not path.exists():
        path.write_bytes(_empty())
        path.chmod(0o600)
    return path
