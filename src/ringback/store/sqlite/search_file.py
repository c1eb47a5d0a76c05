"""What does the file hold in which messages are searched? FTS5 tables beside the database, behind it, and made anew from it at any time.

Messages are indexed in the order of their commits, each under its number (`message.seq`). 65,536 neighbours share a table: so what is old
goes with its table, the newest are found without a look at the others, and what was forgotten is scrubbed out by writing one table anew.
The text itself is not kept, only which words are where. All methods block, and belong to one thread.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import apsw
import msgspec

from ringback import wal_index
from ringback.model.messages import Origin
from ringback.policy.masking import masked
from ringback.policy.search_query import Phrase, indexed, tokens
from ringback.policy.search_text import MAX_BYTES, searchable
from ringback.store.base import SearchProgress, SearchWanted
from ringback.store.sqlite.connection import open_reader

# Messages in a table: some 20 MB of index, written anew in half a second.
SHARD: Final = 65_536
# The shape of the file and of what is in it. A file of another is made anew.
_FORMAT: Final = 1
# Messages read at once, and bytes of them: 5 to 10 ms of this thread.
_SLICE: Final = 200
_SLICE_BYTES: Final = 4 * 1024 * 1024
# Entries removed at once.
_REMOVED: Final = 1_000
# KiB of pages in memory while indexing: the tail of one table. A million messages take as long with twice as much.
_CACHE_KIB: Final = 2_048

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_origins: Final = msgspec.json.Decoder(Origin)
# Two questions: asked as one, SQLite would walk the whole tree instead of going to both of its ends.
_ENDS: Final = "SELECT COALESCE((SELECT MIN(seq) FROM message), 0), COALESCE((SELECT MAX(seq) FROM message), 0)"
_ROWS: Final = (
    "SELECT m.seq, m.id, m.app_id, a.org_id, m.event_type, m.event_id, m.channels, m.tags, m.origin, "
    f"substr(m.payload, 1, {MAX_BYTES + 1}) FROM message m JOIN application a ON a.id = m.app_id WHERE a.deleted_at IS NULL AND "
)


@lru_cache(maxsize=4_096)
def label(kind: str, value: str) -> str:
    """One word that stands for a property, whatever its value is made of."""
    return "z" + hashlib.blake2b(f"{kind}\0{value}".encode(), digest_size=8).hexdigest()


# The word that every message has.
_ANY: Final = label("any", "")


class Mismatch(Exception):
    """The file is not the index of this database, or is broken: it must be made anew."""


class SearchFile:
    """The index of one database, for writing. Raises Mismatch, OSError and apsw errors."""

    def __init__(self, path: str, database: str, key: str) -> None:
        wal_index.may_open(path)
        self._connection = apsw.Connection(path)
        os.chmod(path, 0o600)
        self._main = open_reader(database)
        # Pages that are freed are overwritten: little of what was forgotten stays in the file. All answers are read: what stands behind a
        # statement that answers is executed by that alone.
        self._connection.execute(
            f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -{_CACHE_KIB}; "
            "PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 1000"
        ).fetchall()
        wal_index.reserve(path, self._connection.execute)
        self._open(key)
        self._shards = {row[0] for row in self._connection.execute("SELECT shard FROM shard")}

    def close(self) -> None:
        """Let the files go."""
        self._connection.close()
        self._main.close()

    def _open(self, key: str) -> None:
        connection = self._connection
        if connection.pragma("user_version") == 0 and not list(connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1")):
            with connection:
                # One row: up to which message all are indexed. removed: entries that were forgotten and are still in the pages of a table.
                connection.execute(
                    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), key TEXT NOT NULL, seq INTEGER NOT NULL, "
                    "id TEXT NOT NULL); "
                    "CREATE TABLE shard (shard INTEGER PRIMARY KEY, removed INTEGER NOT NULL, whole INTEGER NOT NULL)"
                )
                connection.execute("INSERT INTO state VALUES (1, ?, 0, '')", (key,))
                connection.pragma("user_version", _FORMAT)
        if connection.pragma("user_version") != _FORMAT:
            raise Mismatch("it was made by another version")
        ((found,),) = connection.execute("SELECT key FROM state")
        if found != key:
            raise Mismatch("it belongs to another database")

    # -- following the database

    def step(self) -> SearchProgress:
        """Forget what was forgotten, and index the next messages."""
        main = self._main
        main.execute("BEGIN")
        try:
            gone = list(main.execute("SELECT n, seq FROM search_gone ORDER BY n LIMIT ?", (_REMOVED,)))
            ((oldest, newest),) = main.execute(_ENDS)
            seq, last_id = self._position(newest)
            rows = list(self._slice(seq))
            # They are still there, but without what they said: what is known of them otherwise can be searched still.
            forgotten = {row[1] for row in gone}
            kept = [tuple(row) for known in forgotten if known <= seq for row in main.execute(f"{_ROWS} m.seq = ?", (known,))]
            behind = main.execute("SELECT created_at FROM message WHERE seq > ? ORDER BY seq LIMIT 1", (rows[-1][0] if rows else seq,))
            behind_since = next((row[0] for row in behind), None)
            if rows:
                seq, last_id = rows[-1][:2]
            elif seq < newest:
                # The rest belongs to applications that were deleted.
                ((seq, last_id),) = main.execute("SELECT seq, id FROM message WHERE seq = ?", (newest,))
        finally:
            main.execute("ROLLBACK")
        with self._connection:
            self._forget(forgotten)
            removed = self._let_go(oldest)
            self._add([*kept, *rows])
            self._connection.execute("UPDATE state SET seq = ?, id = ?", (seq, last_id))
        return SearchProgress(
            indexed=len(rows),
            removed=len(gone) + removed,
            lag=max(newest - seq, 0),
            behind_since_us=behind_since if seq < newest else None,
            cleared=gone[-1][0] if gone else None,
            size_bytes=self._size(),
        )

    def _position(self, newest: int) -> tuple[int, str]:
        """Up to which message all are indexed. When the newest were deleted their numbers are given again, to messages of higher ids."""
        ((seq, last_id),) = self._connection.execute("SELECT seq, id FROM state")
        if seq == 0 or any(row[0] == last_id for row in self._main.execute("SELECT id FROM message WHERE seq = ?", (seq,))):
            return seq, last_id
        for before, known in self._main.execute("SELECT seq, id FROM message WHERE seq <= ? ORDER BY seq DESC", (min(seq, newest),)):
            if known <= last_id:
                self._rewind(before, known)
                return before, known
        self._rewind(0, "")
        return 0, ""

    def _rewind(self, seq: int, last_id: str) -> None:
        """Forget all behind a message, to index it again."""
        with self._connection:
            for shard in sorted(shard for shard in self._shards if shard >= seq // SHARD):
                self._forget([row[0] for row in self._connection.execute(f"SELECT id FROM s{shard}_docsize WHERE id > ?", (seq,))])
            self._connection.execute("UPDATE state SET seq = ?, id = ?", (seq, last_id))

    def _slice(self, seq: int) -> Iterator[tuple[Any, ...]]:
        size = 0
        for row in self._main.execute(f"{_ROWS} m.seq > ? ORDER BY m.seq LIMIT ?", (seq, _SLICE)):
            yield tuple(row)
            size += len(row[-1] or b"")
            if size > _SLICE_BYTES:
                return

    def _add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        by_shard: dict[int, list[tuple[int, str, str, str]]] = {}
        for row in rows:
            by_shard.setdefault(row[0] // SHARD, []).append(_entry(*row))
        for shard, entries in by_shard.items():
            if shard not in self._shards:
                self._make(shard)
            self._connection.executemany(f"INSERT INTO s{shard} (rowid, text, type, labels) VALUES (?, ?, ?, ?)", entries)

    def _make(self, shard: int) -> None:
        self._connection.execute(
            f"CREATE VIRTUAL TABLE s{shard} USING fts5(text, type, labels, content = '', contentless_delete = 1, "
            'tokenize = "unicode61 remove_diacritics 2")'
        )
        self._connection.execute("INSERT INTO shard VALUES (?, 0, 0)", (shard,))
        self._shards.add(shard)

    # -- forgetting

    def _forget(self, seqs: Iterable[int]) -> None:
        by_shard: dict[int, list[int]] = {}
        for seq in seqs:
            by_shard.setdefault(seq // SHARD, []).append(seq)
        for shard, some in by_shard.items():
            if shard in self._shards:
                self._connection.executemany(f"DELETE FROM s{shard} WHERE rowid = ?", [(seq,) for seq in some])
                self._connection.execute("UPDATE shard SET removed = removed + ? WHERE shard = ?", (len(some), shard))

    def _let_go(self, oldest: int) -> int:
        """Forget what lies before the oldest message: whole tables, and entries of the one that it is in."""
        for shard in sorted(self._shards):
            if (shard + 1) * SHARD <= oldest:
                self._drop(shard)
        edge = oldest // SHARD
        if edge not in self._shards:
            return 0
        old = [row[0] for row in self._connection.execute(f"SELECT id FROM s{edge}_docsize WHERE id < ? LIMIT ?", (oldest, _REMOVED))]
        self._forget(old)
        return len(old)

    def _drop(self, shard: int) -> None:
        self._connection.execute(f"DROP TABLE s{shard}")
        self._connection.execute("DELETE FROM shard WHERE shard = ?", (shard,))
        self._shards.discard(shard)

    def scrub(self) -> bool:
        """Write one table anew from which entries were removed, or that is full now: none of the former stays. False: there is none."""
        ((seq,),) = self._connection.execute("SELECT seq FROM state")
        for (shard,) in list(
            self._connection.execute(
                "SELECT shard FROM shard WHERE removed > 0 OR (whole = 0 AND shard < ?) ORDER BY shard LIMIT 1", (seq // SHARD,)
            )
        ):
            with self._connection:
                self._connection.execute(f"INSERT INTO s{shard} (s{shard}) VALUES ('optimize')")
                self._connection.execute("UPDATE shard SET removed = 0, whole = shard < ? WHERE shard = ?", (seq // SHARD, shard))
            # And out of the log of this file.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return True
        return False

    def shrink(self, most_bytes: int) -> bool:
        """Let go of the oldest table when the file is larger than that; False: it is not, or there is one table only."""
        if self._size() <= most_bytes or len(self._shards) < 2:
            return False
        with self._connection:
            self._drop(min(self._shards))
        return True

    def _size(self) -> int:
        """Bytes of pages in use: the file keeps those that are free for what comes."""
        connection = self._connection
        return int((connection.pragma("page_count") - connection.pragma("freelist_count")) * connection.pragma("page_size"))


def _entry(
    seq: int, message_id: str, app_id: str, org_id: str, event_type: str, event_id: str | None, channels: str | None, tags: str | None,
    origin: str | None, payload: bytes | None,
) -> tuple[int, str, str, str]:  # fmt: skip
    """What of a message is indexed: its text, the words of its type, and a word for each property."""
    labels = [_ANY, label("org", org_id), label("app", app_id), label("type", event_type)]
    labels += [label("channel", name) for name in (_names.decode(channels) if channels else ())]
    labels += [label("tag", name) for name in (_names.decode(tags) if tags else ())]
    known = None if origin is None else _origins.decode(origin)
    names = [message_id, event_id or "", *((known.event_id or "", known.event_type or "") if known is not None else ())]
    if payload and known is not None and known.sensitive:
        # Nobody finds by a word what he may not see.
        payload = masked(payload, known.sensitive)
    return seq, indexed(f"{' '.join(names)} {searchable(payload)}"), indexed(event_type), " ".join(labels)


# -- reading


def shards(connection: apsw.Connection, below: int, above: int) -> list[int]:
    """The tables that hold messages between two numbers (both exclusive), the newest first."""
    rows = connection.execute(
        "SELECT shard FROM shard WHERE shard <= ? AND shard >= ? ORDER BY shard DESC", (below // SHARD, above // SHARD)
    )
    return [row[0] for row in rows]


def find(connection: apsw.Connection, shard: int, wanted: SearchWanted, below: int, above: int, limit: int) -> list[int]:
    """The newest messages of one table, between two numbers (both exclusive), in which all is that is wanted."""
    rows = connection.execute(
        f"SELECT rowid FROM s{shard} WHERE s{shard} MATCH ? AND rowid < ? AND rowid > ? ORDER BY rowid DESC LIMIT ?",
        (_expression(wanted), below, above, limit),
    )
    return [row[0] for row in rows]


def _expression(wanted: SearchWanted) -> str:
    """A query of FTS5. Tokens are letters and digits, and stand in quotes: nothing of theirs is syntax."""
    parts = [f"({' OR '.join(_property(*one) for one in alternatives)})" for alternatives in wanted.properties]
    parts += [f"text : {_phrase(phrase)}" for phrase in wanted.phrases]
    without = [_property(*one) for alternatives in wanted.without_properties for one in alternatives]
    without += [f"text : {_phrase(phrase)}" for phrase in wanted.without_phrases]
    text = " AND ".join(parts)
    return f"({text}) NOT ({' OR '.join(without)})" if without else text


def _property(kind: str, value: str) -> str:
    """A property by its label; of an event type with a * at its end, the words that it begins with."""
    if kind == "type" and value.endswith("*"):
        words = tuple(token for token, _, _ in tokens(value))
        return f"type : ^ {_phrase(Phrase(words, True))}" if words else f"labels : {_ANY}"
    return f"labels : {label(kind, value)}"


def _phrase(phrase: Phrase) -> str:
    return f'"{" ".join(phrase.tokens)}"{" *" if phrase.prefix else ""}'
