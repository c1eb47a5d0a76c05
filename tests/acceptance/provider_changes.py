"""What do lists of changes look like from here? The APIs of four providers, as their documentation has them."""

from __future__ import annotations

import json
import typing
import urllib.parse

from tests.acceptance.provider_api import CREDENTIAL, Asked, Said, StripeList, refused

ACCESS_TOKEN = "sl.an-access-token-of-an-hour"


def bearer(asked: Asked, token: str) -> bool:
    """Is that the credential of a request?"""
    return asked.headers.get("authorization") == f"Bearer {token}"


class Tokens:
    """Access tokens, given for the form that it is told."""

    def __init__(self, **form: str) -> None:
        self.form = form
        self.given = 0

    def __call__(self, asked: Asked) -> Said:
        """The token, or a refusal."""
        form = dict(urllib.parse.parse_qsl(asked.body.decode()))
        if asked.method != "POST" or form != self.form:
            return refused(400)
        self.given += 1
        return Said({"access_token": ACCESS_TOKEN, "token_type": "bearer", "expires_in": 14_400})


class AirtablePayloads:
    """Payloads of a webhook, numbered from 1; `page` of them at a time."""

    PARAMETERS: typing.ClassVar[dict[str, str]] = {"base": "app1", "webhook": "ach1"}

    def __init__(self, count: int = 0, *, page: int = 2) -> None:
        self.page = page
        self.payloads: list[dict[str, typing.Any]] = []
        self.change(count)

    def change(self, count: int = 1) -> None:
        """So many more."""
        for _ in range(count):
            number = len(self.payloads) + 1
            changed = {"tbl1": {"changedRecordsById": {f"rec{number}": {}}}}
            self.payloads.append({"timestamp": StripeList.text(-60), "baseTransactionNumber": number, "changedTablesById": changed})

    def __call__(self, asked: Asked) -> Said:
        """The payloads from a cursor on."""
        if not bearer(asked, CREDENTIAL) or asked.path != "/bases/app1/webhooks/ach1/payloads":
            return refused(401)
        at = int(asked.one("cursor") or 1) - 1
        page = self.payloads[at : at + self.page]
        following = at + len(page)
        return Said({"payloads": page, "cursor": following + 1, "mightHaveMore": following < len(self.payloads), "payloadFormat": "v0"})


class DropboxEntries:
    """Entries behind cursors that look like `cursor-N`. `reset` has it know none of the former ones."""

    PARAMETERS: typing.ClassVar[dict[str, str]] = {"client_id": "key-of-the-app"}

    def __init__(self, *, page: int = 2) -> None:
        self.page = page
        self.entries: list[dict[str, typing.Any]] = []
        self.known_from = 0
        self.tokens = Tokens(
            grant_type="refresh_token", client_id="key-of-the-app", client_secret="secret-of-the-app", refresh_token=CREDENTIAL
        )

    def change(self, path: str, tag: str = "file") -> None:
        """Something happened to that path."""
        self.entries.append({".tag": tag, "name": path.rpartition("/")[2], "path_lower": path})

    def reset(self) -> None:
        """Forget all cursors until now."""
        self.known_from = len(self.entries) + 1
        self.entries.append({".tag": "file", "name": "unseen", "path_lower": "/unseen"})

    def __call__(self, asked: Asked) -> Said:
        """A token, the latest cursor, or the entries behind one."""
        if asked.path == "/token":
            return self.tokens(asked)
        if not bearer(asked, ACCESS_TOKEN) or asked.headers["content-type"] != "application/json":
            return refused(401)
        given = json.loads(asked.body)
        if asked.path == "/files/list_folder/get_latest_cursor":
            assert given == {"path": "", "recursive": True, "include_deleted": True, "limit": 500}
            return Said({"cursor": f"cursor-{len(self.entries)}"})
        assert asked.path == "/files/list_folder/continue" and asked.query == {}
        at = int(given["cursor"].removeprefix("cursor-"))
        if at < self.known_from:
            return Said({"error_summary": "reset/..", "error": {".tag": "reset"}}, 409)
        page = self.entries[at : at + self.page]
        following = at + len(page)
        return Said({"entries": page, "cursor": f"cursor-{following}", "has_more": following < len(self.entries)})


class GraphDelta:
    """A delta query over users; pages and positions are named by whole URLs. `expire` has it know none of the former ones."""

    PARAMETERS: typing.ClassVar[dict[str, str]] = {"tenant": "t-1", "client_id": "app-1", "resource": "users"}

    def __init__(self, *, page: int = 2) -> None:
        self.page = page
        self.changes: list[dict[str, typing.Any]] = []
        self.known_from = 0
        scope = "https://graph.microsoft.com/.default"
        self.tokens = Tokens(grant_type="client_credentials", client_id="app-1", client_secret=CREDENTIAL, scope=scope)

    def change(self, user: str, **more: typing.Any) -> None:
        """That user is as these say now."""
        self.changes.append({"id": user, **more})

    def expire(self) -> None:
        """Forget all positions until now."""
        self.known_from = len(self.changes) + 1
        self.change("unseen")

    def __call__(self, asked: Asked) -> Said:
        """A token, the position now, or what changed behind one."""
        if asked.path == "/token":
            return self.tokens(asked)
        if not bearer(asked, ACCESS_TOKEN) or asked.path != "/v1.0/users/delta":
            return refused(401)
        here = f"http://{asked.headers['host']}{asked.path}"
        if asked.one("$deltatoken") == "latest":
            return Said({"value": [], "@odata.deltaLink": f"{here}?$deltatoken=d{len(self.changes)}"})
        at = int((asked.one("$deltatoken") or asked.one("$skiptoken") or "")[1:])
        if at < self.known_from:
            return Said({"error": {"code": "syncStateNotFound"}}, 410)
        page = self.changes[at : at + self.page]
        following = at + len(page)
        is_end = following == len(self.changes)
        name = "@odata.deltaLink" if is_end else "@odata.nextLink"
        return Said({"value": page, name: f"{here}?{'$deltatoken=d' if is_end else '$skiptoken=s'}{following}"})


class AsanaEvents:
    """Events of a project behind tokens that look like `sync-N`; without one, or with one that it does not know, it gives one and 412."""

    PARAMETERS: typing.ClassVar[dict[str, str]] = {"resource": "1331"}
    BY: typing.ClassVar[list[str]] = [f"json:{path}" for path in ("created_at", "action", "resource.gid", "change.field")]

    def __init__(self, *, page: int = 2) -> None:
        self.page = page
        self.events: list[dict[str, typing.Any]] = []
        self.known_from = 0

    @staticmethod
    def event(task: str, age_s: int = 3_600) -> dict[str, typing.Any]:
        """One event, as calls and lists have it."""
        resource = {"gid": task, "resource_type": "task"}
        return {"action": "changed", "created_at": StripeList.text(-age_s), "resource": resource, "change": {"field": "name"}}

    def __call__(self, asked: Asked) -> Said:
        """What happened behind a token."""
        if not bearer(asked, CREDENTIAL) or asked.one("resource") != "1331":
            return refused(401)
        at = int((asked.one("sync") or "sync--1").removeprefix("sync-"))
        if at < self.known_from:
            return Said({"message": "Sync token invalid or too old", "sync": f"sync-{len(self.events)}"}, 412)
        page = self.events[at : at + self.page]
        following = at + len(page)
        return Said({"data": page, "sync": f"sync-{following}", "has_more": following < len(self.events)})
