"""Which polling endpoints are there, and by which keys can they be read? Texts of keys are sealed, as they can be read again."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback import ids
from ringback.model.polling import PollerKey, PollingEndpoint, PollingStatus
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = (
    "id, app_id, uid, status, event_types, channels, metadata, batch_size, max_wait_s, start_position, created_at, updated_at, "
    "payload_filter"
)

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_pairs: Final = msgspec.json.Decoder(dict[str, str])


def insert(tx: Transaction, endpoint: PollingEndpoint) -> None:
    """Add a polling endpoint; its uid must be free."""
    e = endpoint
    tx.run(
        f"INSERT INTO polling_endpoint ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (e.id, e.app_id, *_changeable(e), e.start, e.created_at, e.updated_at, _text(e.payload_filter)),
    )


def replace(tx: Transaction, endpoint: PollingEndpoint) -> None:
    """Store what a polling endpoint is now."""
    tx.run(
        "UPDATE polling_endpoint SET uid = ?, status = ?, event_types = ?, channels = ?, metadata = ?, batch_size = ?, max_wait_s = ?, "
        "updated_at = ?, payload_filter = ? WHERE id = ?",
        (*_changeable(endpoint), endpoint.updated_at, _text(endpoint.payload_filter), endpoint.id),
    )


def by_ref(tx: Transaction, app_id: str, ref: str) -> PollingEndpoint | None:
    """The live polling endpoint of an application with this id or uid."""
    row = None
    # One that completes an auto-config subscription has the id that its text names.
    if ref.startswith(ids.POLLING_ENDPOINT) or ids.is_id(ids.ENDPOINT, ref):
        row = tx.row(f"SELECT {_COLUMNS} FROM polling_endpoint WHERE id = ? AND app_id = ? AND deleted_at IS NULL", (ref, app_id))
    if row is None and not ref.startswith(ids.POLLING_ENDPOINT):
        row = tx.row(f"SELECT {_COLUMNS} FROM polling_endpoint WHERE app_id = ? AND uid = ? AND deleted_at IS NULL", (app_id, ref))
    return None if row is None else _endpoint(row)


def is_taken(tx: Transaction, endpoint_id: str) -> bool:
    """Has a polling endpoint this id, a deleted one too?"""
    return tx.row("SELECT 1 FROM polling_endpoint WHERE id = ?", (endpoint_id,)) is not None


def page(tx: Transaction, app_id: str, walk: Walk) -> list[PollingEndpoint]:
    """The live polling endpoints of an application that a walk reads, and one more."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM polling_endpoint WHERE app_id = ? AND deleted_at IS NULL AND id > ? AND id < ? "
        f"ORDER BY id {walk.direction} LIMIT ?",
        (app_id, walk.above, walk.below, walk.fetch),
    )
    return [_endpoint(row) for row in rows]


def some(tx: Transaction, app_id: str, limit: int) -> list[PollingEndpoint]:
    """The live polling endpoints of an application, the oldest first, at most so many."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM polling_endpoint WHERE app_id = ? AND deleted_at IS NULL ORDER BY id LIMIT ?", (app_id, limit))
    return [_endpoint(row) for row in rows]


def count(tx: Transaction, app_id: str) -> int:
    """How many live polling endpoints an application has."""
    row = tx.row("SELECT COUNT(*) FROM polling_endpoint WHERE app_id = ? AND deleted_at IS NULL", (app_id,))
    return 0 if row is None else int(row[0])


def delete(tx: Transaction, endpoint_id: str, now_us: int) -> None:
    """Nobody sees a polling endpoint any more, and its keys are dead; what belongs to it is removed by `purge`."""
    tx.run("UPDATE polling_endpoint SET deleted_at = ? WHERE id = ?", (now_us, endpoint_id))
    tx.run("UPDATE token SET revoked_at = ? WHERE poller_id = ? AND revoked_at IS NULL", (now_us, endpoint_id))


def purge(tx: Transaction, limit: int) -> int:
    """Remove rows of one deleted polling endpoint, in the end itself. 0 = none is left."""
    row = tx.row("SELECT id FROM polling_endpoint WHERE deleted_at IS NOT NULL LIMIT 1")
    return 0 if row is None else _purge(tx, str(row[0]), limit)


def purge_of(tx: Transaction, app_id: str, limit: int) -> int:
    """Remove rows of the polling endpoints of an application that was deleted, and of what became due there. 0 = none is left."""
    released = tx.rows("SELECT app_id, position FROM released_message WHERE app_id = ? LIMIT ?", (app_id, limit))
    if released:
        tx.run_many("DELETE FROM released_message WHERE app_id = ? AND position = ?", released)
        return len(released)
    row = tx.row("SELECT id FROM polling_endpoint WHERE app_id = ? AND deleted_at IS NULL LIMIT 1", (app_id,))
    return 0 if row is None else _purge(tx, str(row[0]), limit)


def _purge(tx: Transaction, endpoint_id: str, limit: int) -> int:
    leases = tx.rows("SELECT endpoint_id, name, first_offset FROM poll_lease WHERE endpoint_id = ? LIMIT ?", (endpoint_id, limit))
    if leases:
        tx.run_many("DELETE FROM poll_lease WHERE endpoint_id = ? AND name = ? AND first_offset = ?", leases)
        return len(leases)
    # As many as a polling endpoint may have, which is below a slice.
    removed = tx.run("DELETE FROM poll_consumer WHERE endpoint_id = ?", (endpoint_id,))
    tx.run("DELETE FROM poller_key WHERE endpoint_id = ?", (endpoint_id,))
    return removed + tx.run("DELETE FROM polling_endpoint WHERE id = ?", (endpoint_id,))


# -- keys


def key_of(tx: Transaction, vault: Sealer, endpoint_id: str, now_us: int) -> PollerKey | None:
    """The key of a polling endpoint, if it has one that works."""
    row = tx.row(
        "SELECT t.id, t.name, k.key, t.created_at, t.expires_at FROM poller_key k JOIN token t ON t.id = k.token_id "
        "WHERE k.endpoint_id = ? AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > ?)",
        (endpoint_id, now_us),
    )
    if row is None:
        return None
    token_id, name, sealed, created_at, expires_at = row
    return PollerKey(token_id, name, vault.open(sealed).decode(), created_at, expires_at)


def set_key(tx: Transaction, vault: Sealer, endpoint_id: str, key: PollerKey) -> None:
    """This is the key of a polling endpoint from now on; it is a token as well, which is another row."""
    tx.run(
        "INSERT INTO poller_key (endpoint_id, token_id, key) VALUES (?, ?, ?) "
        "ON CONFLICT (endpoint_id) DO UPDATE SET token_id = excluded.token_id, key = excluded.key",
        (endpoint_id, key.id, vault.seal(key.text.encode())),
    )


def end_keys(tx: Transaction, endpoint_id: str, at_us: int) -> None:
    """Let the keys of a polling endpoint end at that time at the latest."""
    tx.run(
        "UPDATE token SET expires_at = ? WHERE poller_id = ? AND (expires_at IS NULL OR expires_at > ?)",
        (at_us, endpoint_id, at_us),
    )


def _changeable(e: PollingEndpoint) -> tuple[Any, ...]:
    return (e.uid, e.status.value, _text(e.event_types), _text(e.channels), _text(e.metadata), e.batch_size, e.max_wait_s)


def _text(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _endpoint(row: Row) -> PollingEndpoint:
    identifier, app_id, uid, status, event_types, channels, metadata, batch_size, max_wait_s, start, created_at, updated_at, asked = row
    return PollingEndpoint(
        identifier,
        app_id,
        uid,
        PollingStatus(status),
        None if event_types is None else _names.decode(event_types),
        None if channels is None else _names.decode(channels),
        _pairs.decode(metadata),
        batch_size,
        max_wait_s,
        start,
        created_at,
        updated_at,
        None if asked is None else msgspec.json.decode(asked),
    )
