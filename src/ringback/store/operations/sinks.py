"""Who gets the events of streams, and how far is each? Where a sink is called, and with which secrets, is sealed at rest.

What its owner chose and how far it is are written apart: whoever feeds a sink never undoes what its owner changes meanwhile.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.model.endpoints import EndpointSecret
from ringback.model.streams import Batch, Progress, Sink, SinkStatus, SinkType, Target
from ringback.policy.paging import Walk
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = (
    "id, stream_id, uid, type, url, headers, secrets, status, event_types, channels, metadata, batch_size, max_wait_s, created_at, "
    "updated_at, position, batch_id, batch_end, batch_count, batch_types, batch_channels, attempts, next_at, failing_since, failure, missed"
)

_names: Final = msgspec.json.Decoder(tuple[str, ...])
_pairs: Final = msgspec.json.Decoder(dict[str, str])
_secrets: Final = msgspec.json.Decoder(tuple[EndpointSecret, ...])


def insert(tx: Transaction, vault: Sealer, sink: Sink) -> None:
    """Add a sink; its uid must be free."""
    row = (sink.id, sink.stream_id, *_changeable(vault, sink), sink.created_at, sink.updated_at, *_progress(sink.progress))
    tx.run(f"INSERT INTO stream_sink ({_COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)


def replace(tx: Transaction, vault: Sealer, sink: Sink) -> None:
    """Store what a sink is now, but for how far it is."""
    tx.run(
        "UPDATE stream_sink SET uid = ?, type = ?, url = ?, headers = ?, secrets = ?, status = ?, event_types = ?, channels = ?, "
        "metadata = ?, batch_size = ?, max_wait_s = ?, updated_at = ? WHERE id = ?",
        (*_changeable(vault, sink), sink.updated_at, sink.id),
    )


def go_on(tx: Transaction, sink_id: str, progress: Progress) -> None:
    """Store how far a sink is."""
    tx.run(
        "UPDATE stream_sink SET position = ?, batch_id = ?, batch_end = ?, batch_count = ?, batch_types = ?, batch_channels = ?, "
        "attempts = ?, next_at = ?, failing_since = ?, failure = ?, missed = ? WHERE id = ?",
        (*_progress(progress), sink_id),
    )


def disable(tx: Transaction, sink_id: str, now_us: int) -> bool:
    """Feed a sink no more until somebody enables it; False = nobody does so now."""
    return bool(tx.run("UPDATE stream_sink SET status = 'disabled', updated_at = ? WHERE id = ? AND status = 'enabled'", (now_us, sink_id)))


def by_ref(tx: Transaction, vault: Sealer, stream_id: str, ref: str) -> Sink | None:
    """The live sink of a stream with this id or uid."""
    row = tx.row(f"SELECT {_COLUMNS} FROM stream_sink WHERE id = ? AND stream_id = ? AND deleted_at IS NULL", (ref, stream_id))
    if row is None:
        row = tx.row(f"SELECT {_COLUMNS} FROM stream_sink WHERE stream_id = ? AND uid = ? AND deleted_at IS NULL", (stream_id, ref))
    return None if row is None else _sink(vault, row)


def fed(tx: Transaction, vault: Sealer, sink_id: str) -> Sink | None:
    """The sink of that id, if it is to be called: None when it asks by itself, is held, or it or its stream is gone."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM stream_sink WHERE id = ? AND type <> 'poller' AND status = 'enabled' AND deleted_at IS NULL "
        "AND EXISTS (SELECT 1 FROM stream WHERE stream.id = stream_id AND stream.deleted_at IS NULL)",
        (sink_id,),
    )
    return None if row is None else _sink(vault, row)


def by_id(tx: Transaction, vault: Sealer, sink_id: str) -> Sink | None:
    """The live sink of that id."""
    row = tx.row(f"SELECT {_COLUMNS} FROM stream_sink WHERE id = ? AND deleted_at IS NULL", (sink_id,))
    return None if row is None else _sink(vault, row)


def all_fed(tx: Transaction) -> list[tuple[str, str, int | None]]:
    """Every sink that is to be called: its id, its stream, and when what failed is sent again (microseconds since 1970)."""
    rows = tx.rows("SELECT id, stream_id, next_at FROM stream_sink WHERE type <> 'poller' AND status = 'enabled' AND deleted_at IS NULL")
    return [(sink_id, stream_id, next_at) for sink_id, stream_id, next_at in rows]


def page(tx: Transaction, vault: Sealer, stream_id: str, walk: Walk) -> list[Sink]:
    """The live sinks of a stream that a walk reads, and one more."""
    rows = tx.rows(
        f"SELECT {_COLUMNS} FROM stream_sink WHERE stream_id = ? AND deleted_at IS NULL AND id > ? AND id < ? "
        f"ORDER BY id {walk.direction} LIMIT ?",
        (stream_id, walk.above, walk.below, walk.fetch),
    )
    return [_sink(vault, row) for row in rows]


def delete(tx: Transaction, sink_id: str, now_us: int) -> None:
    """Nobody sees a sink any more, and its keys are dead; what belongs to it is removed by `purge`."""
    tx.run("UPDATE stream_sink SET deleted_at = ? WHERE id = ?", (now_us, sink_id))
    tx.run("UPDATE token SET revoked_at = ? WHERE poller_id = ? AND revoked_at IS NULL", (now_us, sink_id))


def purge(tx: Transaction, limit: int) -> int:
    """Remove some deleted sinks with what belongs to them. 0 = none is left."""
    return _purge(tx, [row[0] for row in tx.rows("SELECT id FROM stream_sink WHERE deleted_at IS NOT NULL LIMIT ?", (limit,))])


def purge_of(tx: Transaction, stream_id: str, limit: int) -> int:
    """Remove some of the sinks of a stream that was deleted. 0 = none is left."""
    rows = tx.rows("SELECT id FROM stream_sink WHERE stream_id = ? AND deleted_at IS NULL LIMIT ?", (stream_id, limit))
    return _purge(tx, [row[0] for row in rows])


def _purge(tx: Transaction, sink_ids: list[str]) -> int:
    for table, key in (("poller_key", "endpoint_id"), ("endpoint_transformation", "endpoint_id"), ("stream_sink", "id")):
        tx.run_many(f"DELETE FROM {table} WHERE {key} = ?", [(sink_id,) for sink_id in sink_ids])
    return len(sink_ids)


def _changeable(vault: Sealer, s: Sink) -> tuple[Any, ...]:
    target: tuple[bytes | None, bytes | None, bytes | None] = (None, None, None)
    if s.target is not None:
        sealed = (s.target.url.encode(), msgspec.json.encode(s.target.headers), msgspec.json.encode(s.target.secrets))
        target = (vault.seal(sealed[0]), vault.seal(sealed[1]), vault.seal(sealed[2]))
    names = (_text(s.event_types), _text(s.channels), _text(s.metadata))
    return (s.uid, s.type.value, *target, s.status.value, *names, s.batch_size, s.max_wait_s)


def _progress(p: Progress) -> tuple[Any, ...]:
    batch: tuple[Any, ...] = (None, None, None, None, None)
    if p.batch is not None:
        batch = (p.batch.id, p.batch.end, p.batch.count, _text(p.batch.event_types), _text(p.batch.channels))
    return (p.position, *batch, p.attempts, p.next_at, p.failing_since, p.failure, p.missed)


def _text(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else _names.decode(text)


def _sink(vault: Sealer, row: Row) -> Sink:
    identifier, stream_id, uid, kind, url, headers, secrets, status, types, channels, metadata, size, wait_s, made_at, changed_at = row[:15]
    position, batch_id, batch_end, batch_count, batch_types, batch_channels, *failing = row[15:]
    target = None
    if url is not None:
        target = Target(vault.open(url).decode(), _pairs.decode(vault.open(headers)), _secrets.decode(vault.open(secrets)))
    batch = None
    if batch_id is not None:
        batch = Batch(batch_id, batch_end, batch_count, _listed(batch_types), _listed(batch_channels))
    return Sink(
        id=identifier,
        stream_id=stream_id,
        uid=uid,
        type=SinkType(kind),
        target=target,
        status=SinkStatus(status),
        event_types=_listed(types),
        channels=_listed(channels),
        metadata=_pairs.decode(metadata),
        batch_size=size,
        max_wait_s=wait_s,
        progress=Progress(position, batch, *failing),
        created_at=made_at,
        updated_at=changed_at,
    )
