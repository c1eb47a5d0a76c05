"""Which sources are there? All that an owner decides is sealed as one value: it holds secrets, and the tokens of the URL."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from ringback.model.sources import Activity, Cron, Rules, Source, SourceToken, Verification
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations import arrivals, expectations, reconciliations, source_traffic, subscriptions, versions
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.walks import anywhere

_COLUMNS: Final = "id, org_id, app_id, ingest, uid, name, route, definition, created_at, updated_at"
# A source whose application is gone is gone with it.
_LIVE: Final = "deleted_at IS NULL AND EXISTS (SELECT 1 FROM application a WHERE a.id = source.app_id AND a.deleted_at IS NULL)"


class _Definition(msgspec.Struct, frozen=True):
    type: str
    disabled: bool
    metadata: dict[str, str]
    verification: Verification
    rules: Rules
    tokens: tuple[SourceToken, ...]
    declared_in: str = ""
    cron: Cron | None = None


_decoder: Final = msgspec.json.Decoder(_Definition)


def token_hash(text: str) -> bytes:
    """What is stored of a token so that it can be found."""
    return hashlib.sha256(text.encode()).digest()


def insert(tx: Transaction, vault: Sealer, source: Source) -> None:
    """Add a source; its uid and route must be free."""
    tx.run(
        f"INSERT INTO source ({_COLUMNS}, scheduled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            source.id,
            source.org_id,
            source.app_id,
            int(source.ingest),
            source.uid,
            source.name,
            source.route,
            _sealed(vault, source),
            source.created_at,
            source.updated_at,
            int(source.cron is not None),
        ),
    )
    _keep_tokens(tx, source)


def replace(tx: Transaction, vault: Sealer, source: Source) -> None:
    """Store what a source is now."""
    tx.run(
        "UPDATE source SET uid = ?, name = ?, route = ?, definition = ?, updated_at = ?, scheduled = ? WHERE id = ?",
        (source.uid, source.name, source.route, _sealed(vault, source), source.updated_at, int(source.cron is not None), source.id),
    )
    _keep_tokens(tx, source)


def by_id(tx: Transaction, vault: Sealer, source_id: str) -> Source | None:
    """The live source of that id."""
    return _one(vault, tx.row(f"SELECT {_COLUMNS} FROM source WHERE id = ? AND {_LIVE}", (source_id,)))


def is_kept(tx: Transaction, source_id: str) -> bool:
    """Is there anything left of a source, deleted or not?"""
    return tx.row("SELECT 1 FROM source WHERE id = ?", (source_id,)) is not None


def by_token(tx: Transaction, vault: Sealer, source_id: str, token: str, now_us: int) -> tuple[Source, int | None] | None:
    """The live source of that id, if the token is one of its URL, and when the token ends."""
    row = tx.row(
        "SELECT expires_at FROM source_token WHERE hash = ? AND source_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        (token_hash(token), source_id, now_us),
    )
    source = None if row is None else by_id(tx, vault, source_id)
    return None if source is None or row is None else (source, row[0])


def by_route(tx: Transaction, vault: Sealer, route: str) -> Source | None:
    """The live source that has this route."""
    return _one(vault, tx.row(f"SELECT {_COLUMNS} FROM source WHERE route = ? AND {_LIVE}", (route,)))


def by_ref(tx: Transaction, vault: Sealer, org_id: str, ref: str) -> Source | None:
    """The live source of that id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM source WHERE id = ? AND org_id = ? AND {_LIVE}", (ref, org_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM source WHERE org_id = ? AND uid = ? AND {_LIVE}", (org_id, ref))
    return _one(vault, row)


def holder(tx: Transaction, column: str, value: str, org_id: str | None) -> str | None:
    """The id of the source that has this uid or route; one that died with its application gives it up."""
    scope, parameters = ("", [value]) if org_id is None else (" AND org_id = ?", [value, org_id])
    row = tx.row(f"SELECT id FROM source WHERE {column} = ? AND deleted_at IS NULL{scope}", parameters)
    if row is None:
        return None
    if tx.row(f"SELECT 1 FROM source WHERE id = ? AND {_LIVE}", (row[0],)) is None:
        tx.run("UPDATE source SET deleted_at = updated_at WHERE id = ?", (row[0],))
        return None
    return str(row[0])


def page(tx: Transaction, vault: Sealer, column: str, value: str, walk: Walk) -> list[Source]:
    """The live sources of an application (`app_id`), or the ingest sources of an organisation (`org_id`), and one more."""
    kind = " AND ingest = 1" if column == "org_id" else ""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM source WHERE {column} = ? AND id > ? AND id < ?{kind} AND {_LIVE} ORDER BY id {walk.direction} LIMIT ?",
        (value, walk.above, walk.below, walk.fetch),
    )
    return [_source(vault, row) for row in rows]


def of_organisation(tx: Transaction, vault: Sealer, org_id: str, walk: Walk, text: str = "") -> list[Source]:
    """The live sources of an organisation and of its applications, with a text in their names or as their uid; and one more."""
    condition, values = "", list[str]()
    if text:
        condition, values = " AND (name LIKE ? ESCAPE '\\' OR uid = ?)", [anywhere(text), text]
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM source WHERE org_id = ? AND id > ? AND id < ?{condition} AND {_LIVE} ORDER BY id {walk.direction} LIMIT ?",
        (org_id, walk.above, walk.below, *values, walk.fetch),
    )
    return [_source(vault, row) for row in rows]


def live(tx: Transaction, vault: Sealer, after: str, limit: int) -> list[Source]:
    """Live sources of everybody, in order of their ids."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM source WHERE id > ? AND {_LIVE} ORDER BY id LIMIT ?", (after, limit))
    return [_source(vault, row) for row in rows]


def scheduled(tx: Transaction, vault: Sealer, after: str, limit: int) -> list[Source]:
    """Live sources of everybody that send by themselves, in order of their ids."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM source WHERE scheduled = 1 AND id > ? AND {_LIVE} ORDER BY id LIMIT ?", (after, limit))
    return [_source(vault, row) for row in rows]


def delete(tx: Transaction, source_id: str, now_us: int) -> None:
    """Hide a source; what it left is purged later, in slices."""
    tx.run("UPDATE source SET deleted_at = ? WHERE id = ?", (now_us, source_id))
    tx.run("DELETE FROM source_token WHERE source_id = ?", (source_id,))


def purge(tx: Transaction, limit: int) -> int:
    """Remove some of what deleted sources left; never 0 while there is something."""
    row = tx.row("SELECT id FROM source WHERE deleted_at IS NOT NULL LIMIT 1")
    if row is None:
        return 0
    found = tx.rows("SELECT id FROM quarantine WHERE source_id = ? LIMIT ?", (row[0], limit))
    tx.run_many("DELETE FROM quarantine WHERE id = ?", found)
    keys = tx.rows("SELECT source_id, key FROM deduplication WHERE source_id = ? LIMIT ?", (row[0], limit))
    tx.run_many("DELETE FROM deduplication WHERE source_id = ? AND key = ?", keys)
    awaited = expectations.purge_source(tx, row[0], limit)
    noted = arrivals.purge_source(tx, row[0], limit) + versions.purge_source(tx, row[0], limit)
    if not found and not keys and not awaited and not noted:
        tx.run("DELETE FROM source_activity WHERE source_id = ?", (row[0],))
        source_traffic.purge(tx, row[0])
        reconciliations.delete(tx, row[0])
        subscriptions.delete(tx, row[0])
        tx.run("DELETE FROM source WHERE id = ?", (row[0],))
    return len(found) + len(keys) + awaited + noted or 1


def activity(tx: Transaction, source_id: str) -> Activity:
    """What came from a source so far."""
    row = tx.row(
        "SELECT accepted, duplicates, rejected, ignored, last_at, gap_us, old_secret_at, asked, superseded FROM source_activity "
        "WHERE source_id = ?",
        (source_id,),
    )
    return Activity() if row is None else Activity(*row)


def add_activity(tx: Transaction, source_id: str, more: Activity, now_us: int) -> None:
    """Add counts of the last seconds, and take over the times that are given."""
    source_traffic.add(tx, source_id, more, now_us)
    tx.run(
        "INSERT INTO source_activity "
        "(source_id, accepted, duplicates, rejected, ignored, last_at, gap_us, old_secret_at, asked, superseded) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id) DO UPDATE SET accepted = accepted + excluded.accepted, "
        "duplicates = duplicates + excluded.duplicates, rejected = rejected + excluded.rejected, ignored = ignored + excluded.ignored, "
        "asked = asked + excluded.asked, superseded = superseded + excluded.superseded, "
        "last_at = COALESCE(excluded.last_at, last_at), gap_us = COALESCE(excluded.gap_us, gap_us), "
        "old_secret_at = COALESCE(excluded.old_secret_at, old_secret_at)",
        (source_id, *msgspec.structs.astuple(more)),
    )


def _keep_tokens(tx: Transaction, source: Source) -> None:
    tx.run("DELETE FROM source_token WHERE source_id = ?", (source.id,))
    tx.run_many(
        "INSERT INTO source_token (hash, source_id, created_at, expires_at) VALUES (?, ?, ?, ?)",
        [(token_hash(token.text), source.id, token.created_at, token.expires_at) for token in source.tokens],
    )


def _sealed(vault: Sealer, s: Source) -> bytes:
    decided = _Definition(s.type, s.disabled, s.metadata, s.verification, s.rules, s.tokens, s.declared_in, s.cron)
    return vault.seal(msgspec.json.encode(decided))


def _one(vault: Sealer, row: Row | None) -> Source | None:
    return None if row is None else _source(vault, row)


def _source(vault: Sealer, row: Row) -> Source:
    identifier, org_id, app_id, ingest, uid, name, route, definition, created_at, updated_at = row
    decided = _decoder.decode(vault.open(definition))
    return Source(
        id=identifier,
        org_id=org_id,
        app_id=app_id,
        ingest=bool(ingest),
        uid=uid,
        name=name,
        type=decided.type,
        route=route,
        disabled=decided.disabled,
        metadata=decided.metadata,
        verification=decided.verification,
        rules=decided.rules,
        tokens=decided.tokens,
        created_at=created_at,
        updated_at=updated_at,
        declared_in=decided.declared_in,
        cron=decided.cron,
    )
