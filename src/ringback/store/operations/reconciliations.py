"""How far is each source compared with its provider? Settings are sealed, for they hold a credential."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ringback.model.reconciliation import Progress, Reconciliation, Standing
from ringback.store.base import Row, Transaction
from ringback.store.operations.endpoints import Sealer

_COLUMNS: Final = "source_id, settings, progress, next_at, version, updated_at"
_settings: Final = msgspec.json.Decoder(Reconciliation)
_progress: Final = msgspec.json.Decoder(Progress)


class Overall(msgspec.Struct, frozen=True):
    """Of all that are not paused: the earliest time that one of them is compared up to (0 = there is none), and how many fail."""

    covered_until: int
    failing: int


def get(tx: Transaction, vault: Sealer, source_id: str) -> Standing | None:
    """The reconciliation of a source."""
    row = tx.row(f"SELECT {_COLUMNS} FROM reconciliation WHERE source_id = ?", (source_id,))
    return None if row is None else _standing(vault, row)


def put(
    tx: Transaction,
    vault: Sealer,
    source_id: str,
    settings: Reconciliation,
    progress: Progress,
    next_at: int | None,
    now_us: int,
    *,
    when_called: bool,
) -> None:
    """Make or replace the reconciliation of a source; a step that is under way leaves nothing from now on.

    `when_called`: a call has it run.
    """
    tx.run(
        "INSERT INTO reconciliation (source_id, settings, progress, next_at, covered_until, failures, version, updated_at, called_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id) DO UPDATE SET settings = excluded.settings, "
        "progress = excluded.progress, next_at = excluded.next_at, covered_until = excluded.covered_until, failures = excluded.failures, "
        "version = version + 1, updated_at = excluded.updated_at, called_at = excluded.called_at",
        (
            source_id,
            vault.seal(msgspec.json.encode(settings)),
            msgspec.json.encode(progress).decode(),
            next_at,
            progress.covered_until,
            progress.failures,
            # Of its own for each one that is made: a step of one that was deleted meanwhile must not move this one.
            now_us,
            now_us,
            0 if when_called else None,
        ),
    )


def called_ones(tx: Transaction) -> set[str]:
    """The sources whose calls have their reconciliation run."""
    return {row[0] for row in tx.rows("SELECT source_id FROM reconciliation WHERE called_at IS NOT NULL")}


def call(tx: Transaction, source_ids: Collection[str], now_us: int, soon_us: int) -> None:
    """These sources were called: let them run soon, but none that rests after a failure."""
    for source_id in source_ids:
        tx.run(
            "UPDATE reconciliation SET called_at = ?, next_at = CASE WHEN failures = 0 THEN MIN(next_at, ?) ELSE next_at END "
            "WHERE source_id = ? AND called_at IS NOT NULL AND next_at IS NOT NULL",
            (now_us, soon_us, source_id),
        )


def take_call(tx: Transaction, source_id: str, since_us: int) -> bool:
    """Was the source called since, so that its list is to be read once more? Each call is told once, whatever the clock does."""
    return bool(tx.run("UPDATE reconciliation SET called_at = 0 WHERE source_id = ? AND called_at >= ?", (source_id, since_us)))


def give_credential(tx: Transaction, vault: Sealer, source_id: str, former: Reconciliation, credential: str) -> None:
    """Put a credential in the place of the one that was used to get it, unless the owner has given another one since.

    What the owner changed besides stays, and so does the version: a step that is under way goes on.
    """
    row = tx.row("SELECT settings FROM reconciliation WHERE source_id = ?", (source_id,))
    settings = None if row is None else _settings.decode(vault.open(row[0]))
    if settings is not None and settings.credential == former.credential and _givers(settings) == _givers(former):
        given = vault.seal(msgspec.json.encode(replace(settings, credential=credential)))
        tx.run("UPDATE reconciliation SET settings = ? WHERE source_id = ?", (given, source_id))


def move(tx: Transaction, former: Standing, progress: Progress, next_at: int) -> bool:
    """Keep how far it has got, unless the settings were changed meanwhile: then False."""
    changed = tx.run(
        "UPDATE reconciliation SET progress = ?, next_at = ?, covered_until = ?, failures = ? WHERE source_id = ? AND version = ?",
        (
            msgspec.json.encode(progress).decode(),
            next_at,
            progress.covered_until,
            progress.failures,
            former.source_id,
            former.version,
        ),
    )
    return bool(changed)


def overall(tx: Transaction) -> Overall:
    """How all of them stand."""
    row = tx.row("SELECT COALESCE(MIN(covered_until), 0), COALESCE(SUM(failures > 0), 0) FROM reconciliation WHERE next_at IS NOT NULL")
    return Overall(0, 0) if row is None else Overall(*row)


def delete(tx: Transaction, source_id: str) -> bool:
    """Forget the reconciliation of a source; was there one?"""
    return bool(tx.run("DELETE FROM reconciliation WHERE source_id = ?", (source_id,)))


def _standing(vault: Sealer, row: Row) -> Standing:
    source_id, settings, progress, due_at, version, updated_at = row
    return Standing(source_id, _settings.decode(vault.open(settings)), _progress.decode(progress), due_at, version, updated_at)


def _givers(settings: Reconciliation) -> tuple[Any, ...]:
    """Who gives out tokens."""
    return settings.listing, settings.token_url
