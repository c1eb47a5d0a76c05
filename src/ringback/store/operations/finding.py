"""Where is the thing of this id? Looks for it in the whole organisation, along indexes alone."""

from __future__ import annotations

from ringback.store.base import Row, Transaction
from ringback.store.operations.walks import anywhere

# CROSS keeps the order of the join: each application of the organisation, then one look into the index of what is wanted.
_APPLICATIONS = "application p CROSS JOIN"
# Endpoints that a search by name looks at: some 10 ms. Their URLs are sealed, so they are searched in memory, of one application.
_ENDPOINTS_MAX = 20_000


def message(tx: Transaction, org_id: str, message_id: str) -> Row | None:
    """Application and event type of a message."""
    return tx.row(
        f"SELECT m.app_id, m.event_type FROM {_APPLICATIONS} message m ON m.app_id = p.id AND m.id = ? "
        "WHERE p.org_id = ? AND p.deleted_at IS NULL LIMIT 1",
        (message_id, org_id),
    )


def messages_of_event(tx: Transaction, org_id: str, event_id: str, limit: int) -> list[Row]:
    """Application and id of messages with that event id; applications may each have one."""
    return tx.rows(
        f"SELECT v.app_id, v.message_id FROM {_APPLICATIONS} message_event_id v ON v.app_id = p.id AND v.event_id = ? "
        "WHERE p.org_id = ? AND p.deleted_at IS NULL LIMIT ?",
        (event_id, org_id, limit),
    )


def attempt(tx: Transaction, org_id: str, attempt_id: str) -> Row | None:
    """Application and message of an attempt."""
    return tx.row(
        f"SELECT a.app_id, a.message_id FROM {_APPLICATIONS} endpoint e ON e.app_id = p.id "
        "CROSS JOIN attempt a ON a.endpoint_id = e.id AND a.id = ? WHERE p.org_id = ? AND p.deleted_at IS NULL LIMIT 1",
        (attempt_id, org_id),
    )


def dead_letter(tx: Transaction, org_id: str, dead_letter_id: str) -> Row | None:
    """Application and message of a dead letter."""
    return tx.row("SELECT app_id, message_id FROM dead_letter WHERE id = ? AND org_id = ?", (dead_letter_id, org_id))


def applications_named(tx: Transaction, org_id: str, text: str, limit: int) -> list[Row]:
    """Id and name of applications that have the text in their name, or as their uid; the newest first."""
    return tx.rows(
        "SELECT id, name FROM application WHERE org_id = ? AND deleted_at IS NULL AND hidden = 0 "
        "AND (name LIKE ? ESCAPE '\\' OR uid = ?) ORDER BY id DESC LIMIT ?",
        (org_id, anywhere(text), text, limit),
    )


def endpoints_named(tx: Transaction, org_id: str, text: str, limit: int) -> list[Row]:
    """Id, application, host and description of live endpoints with the text in host or description, or as their uid."""
    pattern = anywhere(text)
    return tx.rows(
        "SELECT id, app_id, host, description FROM (SELECT e.id, e.app_id, e.host, e.description, e.uid "
        f"FROM {_APPLICATIONS} endpoint e ON e.app_id = p.id WHERE p.org_id = ? AND p.deleted_at IS NULL AND p.hidden = 0 "
        "AND e.deleted_at IS NULL LIMIT ?) WHERE host LIKE ? ESCAPE '\\' OR description LIKE ? ESCAPE '\\' OR uid = ? LIMIT ?",
        (org_id, _ENDPOINTS_MAX, pattern, pattern, text, limit),
    )
