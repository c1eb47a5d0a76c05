"""When does each source's subscription end? Settings are sealed, for they hold credentials."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ringback.model.subscriptions import Progress, Subscription, SubscriptionStanding
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = "source_id, topic, settings, progress, next_at, version, updated_at"
_settings: Final = msgspec.json.Decoder(Subscription)
_progress: Final = msgspec.json.Decoder(Progress)
# Stands for settings that were not looked at.
_NOTHING: Final = Subscription(renewal="", credential="", period_s=0)


def of_source(tx: Transaction, vault: Sealer, source_id: str) -> list[SubscriptionStanding]:
    """The subscriptions of a source: one, or one for each topic, in the order of those."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM subscription WHERE source_id = ? ORDER BY topic", (source_id,))
    return [_standing(vault, row) for row in rows]


def put(
    tx: Transaction, vault: Sealer, key: tuple[str, str], settings: Subscription, progress: Progress, next_at: int | None, now_us: int
) -> None:
    """Make or replace the subscription of a source to a topic; a renewal that is under way leaves nothing from now on."""
    tx.run(
        "INSERT INTO subscription (source_id, topic, settings, progress, next_at, failures, version, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (source_id, topic) DO UPDATE SET settings = excluded.settings, progress = excluded.progress, "
        "next_at = excluded.next_at, failures = excluded.failures, version = version + 1, updated_at = excluded.updated_at",
        (
            *key,
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
    key = (former.source_id, former.topic)
    row = tx.row("SELECT progress FROM subscription WHERE source_id = ? AND topic = ? AND version = ?", (*key, former.version))
    if row is None or _progress.decode(row[0]) != former.progress:
        return False
    tx.run(
        "UPDATE subscription SET progress = ?, next_at = ?, failures = ? WHERE source_id = ? AND topic = ?",
        (msgspec.json.encode(progress).decode(), next_at, progress.failures, *key),
    )
    return True


def unsealed(tx: Transaction, source_id: str) -> list[SubscriptionStanding]:
    """How the subscriptions of a source stand, without their settings: those are sealed."""
    rows = tx.rows("SELECT topic, progress, next_at, version, updated_at FROM subscription WHERE source_id = ?", (source_id,))
    return [SubscriptionStanding(source_id, row[0], _NOTHING, _progress.decode(row[1]), *row[2:]) for row in rows]


def asked_for(tx: Transaction, source_id: str) -> tuple[str, ...]:
    """The topics that hubs were asked for, for a source."""
    rows = tx.rows("SELECT progress FROM subscription WHERE source_id = ?", (source_id,))
    return tuple(topic for row in rows if (topic := _progress.decode(row[0]).asked_for))


def give_credential(tx: Transaction, vault: Sealer, source_id: str, former: Subscription, credential: str) -> None:
    """Put a credential in the place of the one that was used to get it, unless the owner has given another one since.

    What the owner changed besides stays, and so does the version: a renewal that is under way goes on.
    """
    for topic, sealed in tx.rows("SELECT topic, settings FROM subscription WHERE source_id = ?", (source_id,)):
        settings = _settings.decode(vault.open(sealed))
        if settings.credential == former.credential and _givers(settings) == _givers(former):
            given = vault.seal(msgspec.json.encode(replace(settings, credential=credential)))
            tx.run("UPDATE subscription SET settings = ? WHERE source_id = ? AND topic = ?", (given, source_id, topic))


def failing(tx: Transaction) -> int:
    """How many sources have one that fails now and is not paused."""
    row = tx.row("SELECT COUNT(DISTINCT source_id) FROM subscription WHERE next_at IS NOT NULL AND failures > 0")
    return 0 if row is None else int(row[0])


def delete(tx: Transaction, source_id: str) -> bool:
    """Forget the subscriptions of a source; was there one?"""
    return bool(tx.run("DELETE FROM subscription WHERE source_id = ?", (source_id,)))


def delete_topic(tx: Transaction, source_id: str, topic: str) -> None:
    """Forget the subscription of a source to one topic."""
    tx.run("DELETE FROM subscription WHERE source_id = ? AND topic = ?", (source_id, topic))


def _givers(settings: Subscription) -> tuple[Any, ...]:
    """Who gives out tokens."""
    return settings.renewal, settings.token_url


def _standing(vault: Sealer, row: Row) -> SubscriptionStanding:
    source_id, topic, settings, progress, *rest = row
    return SubscriptionStanding(source_id, topic, _settings.decode(vault.open(settings)), _progress.decode(progress), *rest)
