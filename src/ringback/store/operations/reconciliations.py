"""How far is each source compared with its provider? Settings are sealed, for they hold a credential."""

from __future__ import annotations

from typing import Final

import msgspec

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
    tx: Transaction, vault: Sealer, source_id: str, settings: Reconciliation, progress: Progress, next_at: int | None, now_us: int
) -> None:
    """Make or replace the reconciliation of a source; a step that is under way leaves nothing from now on."""
    tx.run(
        "INSERT INTO reconciliation (source_id, settings, progress, next_at, covered_until, failures, version, updated_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id) DO UPDATE SET settings = excluded.settings, progress = excluded.progress, "
        "next_at = excluded.next_at, covered_until = excluded.covered_until, failures = excluded.failures, version = version + 1, "
        "updated_at = excluded.updated_at",
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
        ),
    )


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
