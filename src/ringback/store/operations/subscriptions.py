"""When does each source's subscription end? Settings are sealed, for they hold credentials."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ringback.model.subscriptions import Progress, Subscription, SubscriptionStanding
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = "source_id, settings, progress, next_at, version, updated_at"
_settings: Final = msgspec.json.Decoder(Subscription)
_progress: Final = msgspec.json.Decoder(Progress)
# Stands for settings that were not looked at.
_NOTHING: Final = Subscription(renewal="", credential="", period_s=0)


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
    """Keep how it stands, unless the settings were changed meanwhile, or it stands otherwise by now: then False."""
    row = tx.row("SELECT progress FROM subscription WHERE source_id = ? AND version = ?", (former.source_id, former.version))
    if row is None or _progress.decode(row[0]) != former.progress:
        return False
    tx.run(
        "UPDATE subscription SET progress = ?, next_at = ?, failures = ? WHERE source_id = ?",
        (msgspec.json.encode(progress).decode(), next_at, progress.failures, former.source_id),
    )
    return True


def unsealed(tx: Transaction, source_id: str) -> SubscriptionStanding | None:
    """How the subscription of a source stands, without its settings: those are sealed."""
    row = tx.row("SELECT progress, next_at, version, updated_at FROM subscription WHERE source_id = ?", (source_id,))
    return None if row is None else SubscriptionStanding(source_id, _NOTHING, _progress.decode(row[0]), *row[1:])


def asked_for(tx: Transaction, source_id: str) -> tuple[str, ...]:
    """The topics that hubs were asked for, for a source."""
    rows = tx.rows("SELECT progress FROM subscription WHERE source_id = ?", (source_id,))
    return tuple(topic for row in rows if (topic := _progress.decode(row[0]).asked_for))


def give_credential(tx: Transaction, vault: Sealer, source_id: str, former: Subscription, credential: str) -> bool:
    """Put a credential in the place of the one that was used to get it; False when the owner has given another one since.

    What the owner changed besides stays, and so does the version: a renewal that is under way goes on.
    """
    row = tx.row("SELECT settings FROM subscription WHERE source_id = ?", (source_id,))
    settings = None if row is None else _settings.decode(vault.open(row[0]))
    if settings is None or settings.credential != former.credential or _givers(settings) != _givers(former):
        return False
    sealed = vault.seal(msgspec.json.encode(replace(settings, credential=credential)))
    tx.run("UPDATE subscription SET settings = ? WHERE source_id = ?", (sealed, source_id))
    return True


def failing(tx: Transaction) -> int:
    """How many fail now, of those that are not paused."""
    row = tx.row("SELECT COUNT(*) FROM subscription WHERE next_at IS NOT NULL AND failures > 0")
    return 0 if row is None else int(row[0])


def delete(tx: Transaction, source_id: str) -> bool:
    """Forget the subscription of a source; was there one?"""
    return bool(tx.run("DELETE FROM subscription WHERE source_id = ?", (source_id,)))


def _givers(settings: Subscription) -> tuple[Any, ...]:
    """Who gives out tokens."""
    return settings.renewal, settings.token_url


def _standing(vault: Sealer, row: Row) -> SubscriptionStanding:
    source_id, settings, progress, due_at, version, updated_at = row
    return SubscriptionStanding(source_id, _settings.decode(vault.open(settings)), _progress.decode(progress), due_at, version, updated_at)
