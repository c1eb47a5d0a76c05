"""Who changed what? The audit log, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from ringback import ids
from ringback.dashboard.components import BASE, Empty, Head, Pager, pager, walk_of
from ringback.dashboard.desk import Services
from ringback.dashboard.visits import Reply, Route, Shown, Visit
from ringback.dashboard.words import Moment, moment
from ringback.model.dashboard import AuditEntry, Door
from ringback.services.sources import PREFIX as SOURCE

# What actions are called; operations of the API that are not here have their summary, which is no sentence.
WORDS: Final[Mapping[str, str]] = {
    "session.opened": "logged in",
    "session.closed": "logged out",
    "application.created": "created an application",
    "application.updated": "changed an application",
    "application.deleted": "deleted an application",
    "endpoint.created": "created an endpoint",
    "endpoint.updated": "changed an endpoint",
    "endpoint.deleted": "deleted an endpoint",
    "endpoint.disabled": "disabled an endpoint",
    "endpoint.enabled": "enabled an endpoint",
    "destination.created": "created a polling endpoint",
    "destination.updated": "changed a polling endpoint",
    "destination.deleted": "deleted a polling endpoint",
    "stream.created": "created a stream",
    "stream.updated": "changed a stream",
    "stream.deleted": "deleted a stream",
    "sink.created": "created a sink",
    "sink.updated": "changed a sink",
    "sink.deleted": "deleted a sink",
    "event_type.created": "created an event type",
    "event_type.updated": "changed an event type",
    "event_type.archived": "archived an event type",
    "event_type.restored": "restored an event type",
    "event_type.imported": "imported event types",
    "token.created": "created a token",
    "token.revoked": "revoked a token",
    "portal_tokens.expired": "ended the portal tokens of an application",
    "secret.revealed": "looked at a secret",
    "secret.rotated": "rotated a secret",
    "message.sent": "sent a message",
    "delivery.resent": "resent a message",
    "messages.replayed": "replayed messages to an endpoint",
    "dead_letters.replayed": "replayed dead letters",
    "dead_letters.discarded": "discarded dead letters",
    "source.created": "created a source",
    "source.updated": "changed a source",
    "source.deleted": "deleted a source",
    "source.disabled": "disabled a source",
    "source.enabled": "enabled a source",
    "source.url_rotated": "rotated the URL of a source",
    "source.secret_rotated": "added a secret to a source",
    "source.reconciliation_set": "had a source compared with its provider",
    "source.reconciliation_run": "compared a source with its provider",
    "source.reconciliation_deleted": "ended the comparison of a source with its provider",
    "source.subscription_set": "had the subscription of a source renewed",
    "source.subscription_renewed": "renewed the subscription of a source",
    "source.subscription_deleted": "ended the renewal of a source's subscription",
    "privacy.searched": "looked for a person's data",
    "privacy.exported": "exported a person's data",
    "privacy.erasure_begun": "began to erase a person's data",
    "privacy.erased": "erased a person's data",
    "quarantine.released": "released requests from quarantine",
    "quarantine.dropped": "dropped requests from quarantine",
    "task.cancelled": "cancelled a background task",
    "portal.look_changed": "changed what the portal looks like",
    "view.created": "saved a view",
    "view.deleted": "deleted a saved view",
}


class AuditRow(msgspec.Struct, frozen=True):
    """One entry."""

    id: str
    at: Moment
    who: str
    what: str
    object: str
    href: str | None
    detail: str
    door: str
    address: str


class AuditView(msgspec.Struct, frozen=True):
    """A page of the log; `object` is set when it is about one thing alone."""

    rows: Sequence[AuditRow]
    pager: Pager
    empty: Empty
    object: str


def row_of(entry: AuditEntry, now_us: int) -> AuditRow:
    """An entry as a line."""
    who = "the server's link" if entry.token_id is None else entry.token_name or entry.token_id
    return AuditRow(
        entry.id,
        moment(ids.created_us(entry.id), now_us),
        who,
        WORDS.get(entry.action) or f"used “{entry.action}”",
        "" if entry.action.startswith("session.") else entry.object,
        href_of(entry),
        entry.detail,
        "API" if entry.door is Door.API else "dashboard",
        entry.address,
    )


def href_of(entry: AuditEntry) -> str | None:
    """Where the thing is, if it has a page."""
    if entry.action.endswith(".deleted"):
        return None
    for prefix, noun in ((SOURCE, "sources"), (ids.TASK, "tasks")):
        if entry.object.startswith(prefix):
            return f"{BASE}/{noun}/{entry.object}"
    if entry.action.startswith("event_type.") and not entry.action.endswith(".imported"):
        return f"{BASE}/event-types/{quote(entry.object, safe='')}"
    if entry.app_id is None:
        return None
    app = f"{BASE}/apps/{entry.app_id}"
    for prefix, noun in ((ids.ENDPOINT, "endpoints"), (ids.MESSAGE, "messages")):
        if ids.is_id(prefix, entry.object):
            return f"{app}/{noun}/{entry.object}"
    return app if entry.object == entry.app_id else None


def routes(services: Services) -> list[Route]:
    """The pages of this module."""

    async def index(visit: Visit) -> Reply:
        at, about = visit.text("at"), visit.text("object")
        walk, _ = walk_of(at, lambda key: ids.is_id(ids.AUDIT_ENTRY, key))
        page = await services.audit.page(visit.who, walk, about or None)
        rows = [row_of(entry, visit.now_us) for entry in page.items]
        first, last = (rows[0].id, rows[-1].id) if rows else (None, None)
        empty = Empty("Nothing yet", "Each change that somebody makes is written down here.")
        view = AuditView(rows, pager(page, first, last, at, "/audit", object=about), empty, about)
        return Shown("audit/list.html", view, Head("Audit log", "Who changed what, when, and from where. Kept for 400 days."))

    return [Route("GET", "/audit", index, "audit")]
