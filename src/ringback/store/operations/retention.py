"""What is too old to keep? Purges in small steps: each call removes `limit` rows at most, fewer large ones; call again until none.

Messages and attempts are appended in the order of time, so the oldest lie at the low end of their tables, where a purge touches few pages.
Tables in another order are walked round and round: such a call takes the place to go on from and returns the next (None = at the end).
"""

from __future__ import annotations

from typing import Final

import msgspec

from ringback import ids
from ringback.store.base import Transaction
from ringback.store.operations import blocks, deferred, deliveries, lanes, messages, polling, trends
from ringback.store.operations.directory import Key
from ringback.store.operations.slices import affordable


def expire_payloads(tx: Transaction, now_us: int, limit: int) -> int:
    """Forget payloads whose own time is over before that of their history."""
    due = affordable(
        tx.rows(
            "SELECT p.expires_at, p.message_id, p.app_id, COALESCE(length(m.payload), 0) + ? * (SELECT COUNT(*) FROM endpoint e "
            "WHERE e.app_id = p.app_id) FROM payload_expiry p LEFT JOIN message m ON m.app_id = p.app_id AND m.id = p.message_id "
            "WHERE p.expires_at <= ? ORDER BY p.expires_at LIMIT ?",
            (messages.SOUGHT_BYTES, now_us, limit),
        )
    )
    for _, message_id, app_id, _ in due:
        messages.expunge(tx, app_id, message_id)
    tx.run_many(
        "DELETE FROM payload_expiry WHERE expires_at = ? AND message_id = ?",
        [(expires_at, message_id) for expires_at, message_id, *_ in due],
    )
    return len(due)


# Deliveries that are looked at in one step: some 5 ms of a reading thread.
SPARED_STEP: Final = 20_000
# Messages that are named one by one: some 150 bytes each.
SPARED_MAX: Final = 20_000


class Spared(msgspec.Struct, frozen=True):
    """Messages that stay, however old they are, because deliveries of them are unfinished: these, and all from the id `beyond` on."""

    message_ids: frozenset[str] = frozenset()
    # Behind every id.
    beyond: str = "~"

    def holds(self, message_id: str) -> bool:
        """Does this message stay?"""
        return message_id in self.message_ids or message_id >= self.beyond


# Where nothing is unfinished.
NOTHING: Final = Spared()


def up_to(before_us: int) -> Spared:
    """What to begin with: messages whose ids are not of before that time are not looked at. Ids never go back, as the clock may."""
    return Spared(beyond=ids.start_id(ids.MESSAGE, before_us))


def is_anything_old(tx: Transaction, before_us: int) -> bool:
    """Was the first message, or the first attempt, before that time?"""
    message = tx.row("SELECT created_at FROM message ORDER BY seq LIMIT 1")
    attempt = tx.row("SELECT started_at FROM attempt ORDER BY seq LIMIT 1")
    return any(row is not None and row[0] < before_us for row in (message, attempt))


def sparing(tx: Transaction, spared: Spared, after: Key, step: int = SPARED_STEP, most: int = SPARED_MAX) -> tuple[Spared, Key | None]:
    """`spared`, and earlier messages of which the `step` deliveries behind `after` are; and where the next step begins.

    No more than the oldest `most` are named one by one.
    """
    key = "endpoint_id, due_at, message_id, trigger"
    some = f"SELECT {key} FROM delivery WHERE ({key}) > (?, ?, ?, ?) ORDER BY {key} LIMIT ?"
    last = tx.row(f"{some} OFFSET ?", (*after, 1, step - 1))
    place = None if last is None else (last[0], last[1], last[2], last[3])
    rows = tx.rows(f"SELECT DISTINCT message_id FROM ({some}) WHERE message_id < ?", (*after, step, spared.beyond))
    found = spared.message_ids.union(row[0] for row in rows)
    if len(found) <= most:
        return Spared(found, spared.beyond), place
    oldest = sorted(found)
    return Spared(frozenset(oldest[:most]), oldest[most]), place


def purge_messages(tx: Transaction, before_us: int, limit: int, after: int = 0, spared: Spared = NOTHING) -> tuple[int, int | None]:
    """Remove messages accepted (or, where their sender chose the time, due) before that time, and free their event ids.

    Looks at the `limit` that follow the place `after`.
    """
    rows = tx.rows(
        "SELECT seq, app_id, event_id, id, COALESCE(deliver_at, created_at), created_at, length(payload) FROM message "
        "WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    # One that waits for its time is not old before that.
    old = [row for row in rows if row[4] < before_us and not spared.holds(row[3])]
    gone = affordable(old)
    tx.run_many("DELETE FROM message_event_id WHERE app_id = ? AND event_id = ?", [(row[1], row[2]) for row in gone if row[2] is not None])
    tx.run_many("DELETE FROM message WHERE seq = ?", [(row[0],) for row in gone])
    if len(gone) < len(old):
        return len(gone), gone[-1][0]
    return len(gone), rows[-1][0] if len(rows) == limit and rows[-1][5] < before_us else None


def purge_attempts(tx: Transaction, before_us: int, limit: int, after: int = 0, spared: Spared = NOTHING) -> tuple[int, int | None]:
    """Remove attempts begun before that time among the `limit` that follow the place `after`."""
    rows = tx.rows("SELECT seq, started_at, message_id FROM attempt WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
    old = [(row[0],) for row in rows if row[1] < before_us and not spared.holds(row[2])]
    tx.run_many("DELETE FROM attempt WHERE seq = ?", old)
    return len(old), rows[-1][0] if len(rows) == limit and rows[-1][1] < before_us else None


def purge_dead_letters(tx: Transaction, before_us: int, limit: int, freed: set[tuple[str, str]] | None = None) -> int:
    """Remove dead letters that died before that time, discarded ones too. `freed` gets the endpoints that go on with a lane by that."""
    old = tx.rows("SELECT id FROM dead_letter WHERE id < ? ORDER BY id LIMIT ?", (ids.start_id(ids.DEAD_LETTER, before_us), limit))
    if old:
        if freed is not None:
            freed |= lanes.blocked_by(tx, [row[0] for row in old])
        tx.run_many("DELETE FROM dead_letter WHERE id = ?", old)
    return len(old)


def purge_given_up(tx: Transaction, before_us: int, limit: int, after: str) -> tuple[int, str | None]:
    """Remove what was given up of messages accepted before that time, of the endpoint that follows `after` ("" = the first)."""
    row = tx.row("SELECT endpoint_id FROM given_up WHERE endpoint_id > ? ORDER BY endpoint_id LIMIT 1", (after,))
    if row is None:
        return 0, None
    endpoint_id = str(row[0])
    old = tx.rows(
        "SELECT endpoint_id, message_id FROM given_up WHERE endpoint_id = ? AND message_id < ? ORDER BY message_id LIMIT ?",
        (endpoint_id, ids.start_id(ids.MESSAGE, before_us), limit),
    )
    tx.run_many("DELETE FROM given_up WHERE endpoint_id = ? AND message_id = ?", old)
    return len(old), after if len(old) == limit else endpoint_id


def purge_idempotency(tx: Transaction, now_us: int, limit: int, after: bytes) -> tuple[int, bytes | None]:
    """Remove expired keys among the `limit` that follow `after` (b"" = the first): they lie in the order of a hash, not of time."""
    rows = tx.rows("SELECT key, expires_at FROM idempotency WHERE key > ? ORDER BY key LIMIT ?", (after, limit))
    old = [(key,) for key, expires_at in rows if expires_at <= now_us]
    tx.run_many("DELETE FROM idempotency WHERE key = ?", old)
    return len(old), rows[-1][0] if len(rows) == limit else None


def purge_tokens(tx: Transaction, before_us: int, limit: int, after: str) -> tuple[int, str | None]:
    """Remove tokens of applications that ended before that time, among the `limit` that follow `after` ("" = the first).

    A portal makes one for each visit. Those of organisations stay: the operator wants to see which were revoked.
    """
    rows = tx.rows("SELECT id, kind, expires_at, revoked_at FROM token WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    old = [(row[0],) for row in rows if row[1] == "app" and min(at for at in (*row[2:], before_us) if at is not None) < before_us]
    tx.run_many("DELETE FROM token WHERE id = ?", old)
    return len(old), rows[-1][0] if len(rows) == limit else None


def next_abandoned(tx: Transaction, after: str) -> tuple[str, bool] | None:
    """The next endpoint behind `after` with unfinished deliveries, and whether nobody will make them: it or its application is off."""
    row = tx.row("SELECT endpoint_id, app_id FROM delivery WHERE endpoint_id > ? ORDER BY endpoint_id LIMIT 1", (after,))
    if row is None:
        return None
    live = tx.row(
        "SELECT 1 FROM endpoint e JOIN application a ON a.id = e.app_id "
        "WHERE e.id = ? AND e.disabled = 0 AND e.deleted_at IS NULL AND a.deleted_at IS NULL",
        (row[0],),
    )
    return str(row[0]), live is None


def purge_application(tx: Transaction, limit: int) -> int:
    """Remove rows of one deleted application, in the end itself. 0 = no deleted application is left."""
    row = tx.row("SELECT id FROM application WHERE deleted_at IS NOT NULL LIMIT 1")
    if row is None:
        return 0
    app_id = str(row[0])
    if waiting := deferred.drop(tx, app_id, limit):
        return waiting
    messages = affordable(
        tx.rows("SELECT seq, event_id, length(payload) FROM message WHERE app_id = ? ORDER BY id LIMIT ?", (app_id, limit))
    )
    if messages:
        tx.run_many(
            "DELETE FROM message_event_id WHERE app_id = ? AND event_id = ?",
            [(app_id, event_id) for _, event_id, _ in messages if event_id],
        )
        tx.run_many("DELETE FROM message WHERE seq = ?", [(seq,) for seq, *_ in messages])
        return len(messages)
    if polled := polling.purge_of(tx, app_id, limit):
        return polled
    endpoint = tx.row("SELECT id FROM endpoint WHERE app_id = ? LIMIT 1", (app_id,))
    if endpoint is not None:
        return purge_endpoint(tx, str(endpoint[0]), limit)
    if beside := trends.purge_scope(tx, app_id, limit) or blocks.purge_scope(tx, app_id, limit):
        return beside
    for table in ("token", "integration", "auto_config"):
        tx.run(f"DELETE FROM {table} WHERE app_id = ?", (app_id,))
    return tx.run("DELETE FROM application WHERE id = ?", (app_id,))


def purge_endpoint(tx: Transaction, endpoint_id: str, limit: int) -> int:
    """Remove what a deleted endpoint left, and in the end itself; never 0 while there is something."""
    removed = deliveries.drop(tx, endpoint_id, limit)
    for table, key in (("attempt", "seq"), ("dead_letter", "id")):
        if removed >= limit:
            return removed
        # Found first, then removed one by one: in one statement SQLite would look at all rows of the endpoint.
        found = tx.rows(f"SELECT {key} FROM {table} WHERE endpoint_id = ? LIMIT ?", (endpoint_id, limit - removed))
        tx.run_many(f"DELETE FROM {table} WHERE {key} = ?", found)
        removed += len(found)
    if removed < limit:
        removed += trends.purge_scope(tx, endpoint_id, limit - removed)
    if removed < limit:
        removed += blocks.purge_scope(tx, endpoint_id, limit - removed)
    if removed < limit:
        found = tx.rows("SELECT message_id FROM given_up WHERE endpoint_id = ? LIMIT ?", (endpoint_id, limit - removed))
        tx.run_many("DELETE FROM given_up WHERE message_id = ? AND endpoint_id = ?", [(*row, endpoint_id) for row in found])
        removed += len(found)
    if removed < limit:
        for table in (
            "lane_block",
            "lane_change",
            "endpoint_sequence",
            "endpoint_disabling",
            "endpoint_failure",
            "endpoint_transformation",
        ):
            tx.run(f"DELETE FROM {table} WHERE endpoint_id = ?", (endpoint_id,))
        removed += tx.run("DELETE FROM endpoint WHERE id = ?", (endpoint_id,))
    return removed


def purge_deleted_endpoints(tx: Transaction, before_us: int, limit: int) -> int:
    """Remove endpoints deleted before that time, when their history is over, with what is left of them."""
    row = tx.row("SELECT id FROM endpoint WHERE deleted_at < ? LIMIT 1", (before_us,))
    return 0 if row is None else purge_endpoint(tx, str(row[0]), limit)
