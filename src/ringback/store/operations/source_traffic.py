"""What came from a source in the last days? Requests by outcome, summed up by quarters of an hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.model.sources import Activity, Traffic
from ringback.store.base import Transaction
from ringback.store.operations.walks import one_of

# Microseconds in a quarter of an hour.
QUARTER_US: Final = 900 * 1_000_000
# Quarters in a day.
DAY: Final = 96
# Quarters that are kept: eight days, so that a week can be compared with itself.
_KEPT: Final = 8 * DAY
_COLUMNS: Final = "accepted, duplicates, rejected, ignored, asked, superseded"


def add(tx: Transaction, source_id: str, more: Activity, now_us: int) -> None:
    """Add what came in the last seconds, and let go of what is too old."""
    at = now_us // QUARTER_US
    tx.run(
        f"INSERT INTO source_traffic (source_id, at, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (source_id, at) DO UPDATE SET "
        "accepted = accepted + excluded.accepted, duplicates = duplicates + excluded.duplicates, "
        "rejected = rejected + excluded.rejected, ignored = ignored + excluded.ignored, asked = asked + excluded.asked, "
        "superseded = superseded + excluded.superseded",
        (source_id, at, more.accepted, more.duplicates, more.rejected, more.ignored, more.asked, more.superseded),
    )
    tx.run("DELETE FROM source_traffic WHERE source_id = ? AND at < ?", (source_id, at - _KEPT))


def cells(tx: Transaction, source_id: str, first: int, number: int) -> list[Traffic]:
    """The traffic of so many quarters from the quarter `first` on (since 1970), one after the other."""
    rows = tx.rows(
        f"SELECT at, {_COLUMNS} FROM source_traffic WHERE source_id = ? AND at >= ? AND at < ?", (source_id, first, first + number)
    )
    known = {row[0]: Traffic(*row[1:]) for row in rows}
    return [known.get(at, Traffic()) for at in range(first, first + number)]


def sums(tx: Transaction, source_ids: Sequence[str], first: int) -> dict[str, Traffic]:
    """The traffic of these sources (at most a few hundred) since a quarter; those without any are left out."""
    if not source_ids:
        return {}
    added = ", ".join(f"SUM({column})" for column in _COLUMNS.split(", "))
    rows = tx.rows(
        f"SELECT source_id, {added} FROM source_traffic WHERE source_id IN {one_of(source_ids)} AND at >= ? GROUP BY source_id",
        (*source_ids, first),
    )
    return {row[0]: Traffic(*row[1:]) for row in rows}


def add_refusals(tx: Transaction, source_id: str, reasons: Mapping[str, int], now_us: int) -> None:
    """Add the reasons for which requests were refused in the last seconds, and let go of what is too old."""
    at = now_us // QUARTER_US
    tx.run_many(
        "INSERT INTO source_refusal (source_id, at, reason, requests) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (source_id, at, reason) DO UPDATE SET requests = requests + excluded.requests",
        [(source_id, at, reason, requests) for reason, requests in reasons.items()],
    )
    tx.run("DELETE FROM source_refusal WHERE source_id = ? AND at < ?", (source_id, at - _KEPT))


def refusals(tx: Transaction, source_id: str, first: int) -> dict[str, int]:
    """How many requests were refused since a quarter, by reason, the most frequent first."""
    rows = tx.rows(
        "SELECT reason, SUM(requests) FROM source_refusal WHERE source_id = ? AND at >= ? GROUP BY reason ORDER BY 2 DESC, 1",
        (source_id, first),
    )
    return dict(rows)


def purge(tx: Transaction, source_id: str) -> None:
    """Forget the traffic of a source: some hundred rows."""
    tx.run("DELETE FROM source_traffic WHERE source_id = ?", (source_id,))
    tx.run("DELETE FROM source_refusal WHERE source_id = ?", (source_id,))


def whole(parts: Sequence[Traffic]) -> Traffic:
    """All of it together."""
    return (
        Traffic(*(sum(values) for values in zip(*(msgspec.structs.astuple(part) for part in parts), strict=True))) if parts else Traffic()
    )
