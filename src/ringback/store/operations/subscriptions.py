"""When does each source's subscription end? Settings are sealed, for they hold credentials."""

from __future__ import annotations

from typing import Final

import msgspec

from ringback.model.subscriptions import Progress, Subscription, SubscriptionStanding
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = "source_id, settings, progress, next_at, version, updated_at"
_settings: Final = msgspec.json.Decoder(Subscription)
_progress: Final = msgspec.json.Decoder(Progress)


def get(tx: Transaction, vault: Sealer, source_id: str) -> SubscriptionStanding | None:
    """The subscription of a source."""
    row = tx.row(f"SELECT {_COLUMNS} FROM subscription WHERE source_id = ?", (source_id,))
    return None if row is None else _standing(vault, row)


def put(
    tx: Transaction, vault: Sealer, source_id: str, settings: Subscription, progress: Progress, next_at: int | None, now_us: int
) -> None:
    """Make or replace the subscription of a source; a renewal that is under way leaves nothing from now on."""
    tx.run(
        "INSERT INTO subscription (source_id, settings, progress, next_at, failures, version, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (source_id) DO UPDATE SET settings = excluded.settings, progress = excluded.progress, next_at = excluded.next_at, "
        "failures = excluded.failures, version = version + 1, updated_at = excluded.updated_at",
        (
            source_id,
            vault.seal(msgspec.json.encode(settings)),
            msgspec.json.encode(progress).decode(),
            next_at,
            progress.failures,
            # Of its own for each one that is made: a renewal of one that was deleted meanwhile must not move this one.
            now_us,
            now_us,
        ),
    )


def move(tx: Transaction, former: SubscriptionStanding, progress: Progress, next_at: int) -> bool:
    """Keep how it stands, unless the settings were changed meanwhile: then False."""
    changed = tx.run(
        "UPDATE subscription SET progress = ?, next_at = ?, failures = ? WHERE source_id = ? AND version = ?",
        (msgspec.json.encode(progress).decode(), next_at, progress.failures, former.source_id, former.version),
    )
    return bool(changed)


def failing(tx: Transaction) -> int:
    """How many fail now, of those that are not paused."""
    row = tx.row("SELECT COUNT(*) FROM subscription WHERE next_at IS NOT NULL AND failures > 0")
    return 0 if row is None else int(row[0])


def delete(tx: Transaction, source_id: str) -> bool:
    """Forget the subscription of a source; was there one?"""
    return bool(tx.run("DELETE FROM subscription WHERE source_id = ?", (source_id,)))


def _standing(vault: Sealer, row: Row) -> SubscriptionStanding:
    source_id, settings, progress, due_at, version, updated_at = row
    return SubscriptionStanding(source_id, _settings.decode(vault.open(settings)), _progress.decode(progress), due_at, version, updated_at)
