"""How far has each consumer of a polling endpoint read, and what has it been handed for a time?"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.polling import Consumer, Lease, LeasedItem
from ringback.store.base import Row, Transaction

_COLUMNS: Final = "endpoint_id, leased, name, position, handed, next_offset, version, seen_at"

_items: Final = msgspec.json.Decoder(tuple[LeasedItem, ...])


def find(tx: Transaction, endpoint_id: str, name: str, *, leased: bool) -> Consumer | None:
    """The consumer of that name, of the kind that leases or of the other."""
    row = tx.row(
        f"SELECT {_COLUMNS} FROM poll_consumer WHERE endpoint_id = ? AND leased = ? AND name = ?", (endpoint_id, int(leased), name)
    )
    return None if row is None else _consumer(row)


def of(tx: Transaction, endpoint_id: str) -> list[Consumer]:
    """All consumers of a polling endpoint, of either kind, by name; their number is bounded."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM poll_consumer WHERE endpoint_id = ? ORDER BY name, leased", (endpoint_id,))
    return [_consumer(row) for row in rows]


def count(tx: Transaction, endpoint_id: str) -> int:
    """How many consumers a polling endpoint has."""
    row = tx.row("SELECT COUNT(*) FROM poll_consumer WHERE endpoint_id = ?", (endpoint_id,))
    return 0 if row is None else int(row[0])


def put(tx: Transaction, consumer: Consumer) -> None:
    """Store how far a consumer is now."""
    c = consumer
    tx.run(
        f"INSERT INTO poll_consumer ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (endpoint_id, leased, name) DO UPDATE SET "
        "position = excluded.position, handed = excluded.handed, next_offset = excluded.next_offset, version = excluded.version, "
        "seen_at = excluded.seen_at",
        (c.endpoint_id, int(c.leased), c.name, c.position, c.handed, c.next_offset, c.version, c.seen_at),
    )


def forget(tx: Transaction, endpoint_id: str, before_us: int) -> int:
    """Forget consumers that were not seen since that time, and hold nothing; how many."""
    old = tx.rows(
        "SELECT endpoint_id, leased, name FROM poll_consumer WHERE endpoint_id = ? AND seen_at < ? AND (leased = 0 OR NOT EXISTS "
        "(SELECT 1 FROM poll_lease l WHERE l.endpoint_id = poll_consumer.endpoint_id AND l.name = poll_consumer.name))",
        (endpoint_id, before_us),
    )
    tx.run_many("DELETE FROM poll_consumer WHERE endpoint_id = ? AND leased = ? AND name = ?", old)
    return len(old)


# -- leases


def expired(tx: Transaction, endpoint_id: str, name: str, now_us: int, limit: int) -> list[Lease]:
    """The leases of a consumer that ended, those of the lowest numbers first, at most so many."""
    rows = tx.rows(
        "SELECT leased_until, items FROM poll_lease WHERE endpoint_id = ? AND name = ? AND leased_until <= ? ORDER BY first_offset LIMIT ?",
        (endpoint_id, name, now_us, limit),
    )
    return [Lease(_items.decode(items), leased_until) for leased_until, items in rows]


def holding(tx: Transaction, endpoint_id: str, name: str, offset: int) -> Lease | None:
    """The lease that an item of this number is in."""
    rows = tx.rows(
        "SELECT leased_until, items FROM poll_lease WHERE endpoint_id = ? AND name = ? AND first_offset <= ? AND last_offset >= ?",
        (endpoint_id, name, offset, offset),
    )
    for leased_until, items in rows:
        lease = Lease(_items.decode(items), leased_until)
        if any(item.offset == offset for item in lease.items):
            return lease
    return None


def add(tx: Transaction, endpoint_id: str, name: str, lease: Lease) -> None:
    """Something was handed out."""
    tx.run(
        "INSERT INTO poll_lease (endpoint_id, name, first_offset, last_offset, leased_until, items) VALUES (?, ?, ?, ?, ?, ?)",
        (
            endpoint_id,
            name,
            lease.items[0].offset,
            lease.items[-1].offset,
            lease.leased_until,
            msgspec.json.encode(lease.items).decode(),
        ),
    )


def remove(tx: Transaction, endpoint_id: str, name: str, lease: Lease) -> None:
    """A lease is over."""
    tx.run("DELETE FROM poll_lease WHERE endpoint_id = ? AND name = ? AND first_offset = ?", (endpoint_id, name, lease.items[0].offset))


def held(tx: Transaction, endpoint_id: str, name: str) -> int:
    """How many leases of a consumer are not committed."""
    row = tx.row("SELECT COUNT(*) FROM poll_lease WHERE endpoint_id = ? AND name = ?", (endpoint_id, name))
    return 0 if row is None else int(row[0])


def _consumer(row: Row) -> Consumer:
    endpoint_id, leased, name, position, handed, next_offset, version, seen_at = row
    return Consumer(endpoint_id, bool(leased), name, position, handed, next_offset, version, seen_at)
