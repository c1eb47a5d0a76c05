"""Where is it? Finds things by an id, or by a part of a name, within what the caller may reach."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ringback import ids
from ringback.errors import NotFound
from ringback.services.directory import Directory
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications, dead_letters, finding, messages

Kind = Literal["application", "endpoint", "message", "attempt", "dead_letter"]
# Endpoints of one application that are looked at by name; an application has a few.
_ENDPOINTS_MAX: Final = 1_000


class Found(msgspec.Struct, frozen=True):
    """What was found: what it is, in which application, its name if it has one. `message_id`: of an attempt or dead letter."""

    kind: Kind
    id: str
    app_id: str
    name: str = ""
    message_id: str | None = None


class Finder:
    """Finds things of every organisation."""

    def __init__(self, store: Store, directory: Directory) -> None:
        self._store = store
        self._directory = directory

    async def by_id(self, who: Principal, text: str, app_id: str | None, now_us: int) -> Found | None:
        """The thing with that id, or the message with that event id: of the application `app_id`, or else the only one there is."""
        return await self._store.read(lambda tx: _by_id(tx, who.org_id, text, app_id, now_us))

    async def by_name(self, who: Principal, text: str, app_id: str | None, limit: int) -> list[Found]:
        """Applications and endpoints that have the text in their name or description; those of `app_id` also anywhere in their URL."""

        def query(tx: Transaction) -> list[Found]:
            apps = [Found("application", row[0], row[0], row[1]) for row in finding.applications_named(tx, who.org_id, text, limit)]
            named = finding.endpoints_named(tx, who.org_id, text, limit)
            return apps + [Found("endpoint", row[0], row[1], row[3] or row[2]) for row in named]

        found = await self._store.read(query)
        known = {one.id for one in found}
        return [*(one for one in await self._in_memory(who, text, app_id) if one.id not in known), *found][: 2 * limit]

    async def _in_memory(self, who: Principal, text: str, app_id: str | None) -> list[Found]:
        """Endpoints of one application that have the text anywhere in their URL."""
        try:
            entry = None if app_id is None else await self._directory.find(who.org_id, app_id)
        except NotFound:
            return []
        if entry is None:
            return []
        wanted, endpoints = text.lower(), list(entry.endpoints.values())[:_ENDPOINTS_MAX]
        return [Found("endpoint", e.id, e.app_id, e.description or e.url) for e in endpoints if wanted in e.url.lower()]


def _by_id(tx: Transaction, org_id: str, text: str, app_id: str | None, now_us: int) -> Found | None:
    if ids.is_id(ids.APPLICATION, text):
        application = applications.by_ref(tx, org_id, text)
        return None if application is None else Found("application", application.id, application.id, application.name)
    if ids.is_id(ids.ENDPOINT, text):
        owner = dead_letters.owner(tx, text)
        return None if owner is None or owner[0] != org_id else Found("endpoint", text, owner[1])
    if ids.is_id(ids.MESSAGE, text):
        row = finding.message(tx, org_id, text)
        return None if row is None else Found("message", text, row[0])
    if ids.is_id(ids.ATTEMPT, text):
        row = finding.attempt(tx, org_id, text)
        return None if row is None else Found("attempt", text, row[0], message_id=row[1])
    if ids.is_id(ids.DEAD_LETTER, text):
        row = finding.dead_letter(tx, org_id, text)
        return None if row is None else Found("dead_letter", text, row[0], message_id=row[1])
    if app_id is not None and applications.by_ref(tx, org_id, app_id) is not None:
        message = messages.find(tx, app_id, text, now_us, content=False)
        if message is not None:
            return Found("message", message.id, app_id, text)
    rows = finding.messages_of_event(tx, org_id, text, 2)
    # Several customers may have been told of one event: whose message is meant, a search lets its reader choose.
    return Found("message", rows[0][1], rows[0][0], text) if len(rows) == 1 else None
