"""Which providers can be asked what they sent, and how? Rows of the engine in `policy.reconciliation`, by name.

Facts were taken from the sources that each row names. `confidence`: high (the provider's own documentation was read), medium (one good
secondary source), low (a lead only).
"""

from __future__ import annotations

from typing import Final

from ringback.model.reconciliation import Listing, Start
from ringback.policy.access_tokens import MICROSOFT, MICROSOFT_URL, REFRESH

_BEARER: Final = {"authorization": "Bearer {credential}"}
_TOKEN: Final = {"authorization": "Bearer {access_token}"}
_GITHUB: Final = {"accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
_GITHUB_EVENT: Final = {"x-github-delivery": "json:guid", "x-github-event": "json:event"}
_GITHUB_SOURCE: Final = (
    "docs.github.com/en/rest: repos/webhooks, orgs/webhooks; github/rest-api-description (hook-delivery-item, hook-delivery)"
)
_GITHUB_NOTE: Final = (
    "deliveries of the last days are listed, redeliveries under the same guid; the credential needs read access to webhooks, "
    "and write access to ask for redelivery"
)


def _github(name: str, owner: str, parameters: dict[str, str]) -> Listing:
    """The deliveries of a webhook of such an owner."""
    deliveries = owner + "/hooks/{hook}/deliveries"
    return Listing(
        name=name,
        base="https://api.github.com",
        path=deliveries,
        query={"per_page": "100"},
        auth=_BEARER,
        headers=_GITHUB,
        items="[]",
        item_id="id",
        time="delivered_at",
        newest_first=True,
        next="link",
        event_headers=_GITHUB_EVENT,
        detail=deliveries + "/{id}",
        detail_payload="request.payload",
        redeliver=deliveries + "/{id}/attempts",
        parameters=parameters | {"hook": "the number of the webhook"},
        confidence="high",
        note=_GITHUB_NOTE,
        source=_GITHUB_SOURCE,
    )


def _graph(name: str, path: str, start: Start | None, query: dict[str, str], parameters: dict[str, str], note: str) -> Listing:
    """A delta query of Microsoft Graph, with an application's own permissions."""
    return Listing(
        name=name,
        base="https://graph.microsoft.com/v1.0",
        path=path,
        query=query,
        auth=_TOKEN,
        token_url=MICROSOFT_URL,
        token_form=MICROSOFT,
        items="value[]",
        next="url:@odata.nextLink",
        position="@odata.deltaLink",
        start=start,
        lost=(410,),
        thin=True,
        event_type="ms-graph.change",
        parameters={"tenant": "the id of the directory", "client_id": "the id of the application"} | parameters,
        confidence="high",
        note=f"{note}; each as it is now, with @removed or deleted where it is gone. The credential is a client secret of the application",
        source=(
            "learn.microsoft.com/graph/delta-query-overview (state tokens, latest, synchronization reset), "
            "learn.microsoft.com/graph/api/message-delta, learn.microsoft.com/graph/api/driveitem-delta"
        ),
    )


# Pages are of some hundred entries: without a limit they may have more than are read at once.
_DROPBOX_ALL: Final = {"path": "", "recursive": True, "include_deleted": True, "limit": 500}

# Numbers are the providers' own bounds on pages and filters, from the source that each row names.
_ROWS: Final = (
    Listing(
        name="stripe",
        base="https://api.stripe.com",
        path="/v1/events",
        query={"limit": "100", "created[gte]": "{since}", "created[lte]": "{until}"},
        auth=_BEARER,
        items="data[]",
        time="created",
        newest_first=True,
        next="last:starting_after:id",
        more="has_more",
        types="types[]",
        types_max=20,
        confidence="high",
        note=(
            "a restricted key that may read events is enough; 30 days are listed. Without eventTypes of the source, all that happens in "
            "the account is compared, also what the webhook is not subscribed to: name the types that it is"
        ),
        source="docs.stripe.com/api/events/list",
    ),
    _github("github", "/repos/{owner}/{repo}", {"owner": "who owns the repository", "repo": "the repository"}),
    _github("github-organization", "/orgs/{org}", {"org": "the organisation"}),
    Listing(
        name="shopify",
        base="https://{shop}.myshopify.com",
        path="/admin/api/{version}/{resource}.json",
        query={"limit": "250", "updated_at_min": "{since_at}", "updated_at_max": "{until_at}", "status": "any"},
        auth={"x-shopify-access-token": "{credential}"},
        items="{resource}[]",
        time="updated_at",
        next="link",
        event_headers={"x-shopify-topic": "{topic}"},
        parameters={
            "shop": "the name before .myshopify.com",
            "version": "of the Admin API, such as 2024-10",
            "resource": "what is listed: orders, products, customers",
            "topic": "the topic that a missing one is taken for, such as orders/updated",
        },
        confidence="medium",
        note=(
            "things are listed, not events: each as it is now, compared by id and time of change. Set deduplication.by of the source to "
            "json:id and json:updated_at. The REST Admin API is legacy by Shopify's word"
        ),
        source="shopify.dev/docs/api/usage/pagination-rest; the order resource by its secondary descriptions",
    ),
    Listing(
        name="paddle",
        base="https://api.paddle.com",
        path="/events",
        query={"per_page": "200", "order_by": "id[DESC]"},
        auth=_BEARER,
        items="data[]",
        time="occurred_at",
        newest_first=True,
        next="url:meta.pagination.next",
        more="meta.pagination.has_more",
        confidence="high",
        note="90 days are listed; the key needs notification.read. The list has what happened, also what no destination is subscribed to",
        source="developer.paddle.com/api-reference/events/list-events",
    ),
    Listing(
        name="gocardless",
        base="https://api.gocardless.com",
        path="/events",
        query={"limit": "500", "created_at[gte]": "{since_at}", "created_at[lte]": "{until_at}"},
        auth=_BEARER,
        headers={"gocardless-version": "2015-07-06"},
        items="events[]",
        time="created_at",
        newest_first=True,
        next="cursor:after:meta.cursors.after",
        confidence="medium",
        note="filters by time were not confirmed; without them the list is cut where it becomes too old",
        source="hexdocs.pm/gocardless Gocardless.Behaviour.Event (a client's recorded answers)",
    ),
    Listing(
        name="gitlab",
        base="https://gitlab.com/api/v4",
        path="/projects/{project}/hooks/{hook}/events",
        query={"per_page": "20"},
        auth={"private-token": "{credential}"},
        items="[]",
        item_id="id",
        time="created_at",
        next="link",
        payload="request_data",
        headers_at="request_headers",
        redeliver="/projects/{project}/hooks/{hook}/events/{id}/resend",
        parameters={"project": "the number of the project", "hook": "the number of the webhook"},
        confidence="medium",
        note="needs GitLab 17.3; order and paging were not confirmed, and events without a time are compared each time",
        source="gitlab-org/gitlab doc/api/project_webhooks.md (titles), lib/api/project_hooks.rb (743ff486), a derived OpenAPI schema",
    ),
    Listing(
        name="chargebee",
        base="https://{site}.chargebee.com/api/v2",
        path="/events",
        query={"limit": "100", "occurred_at[after]": "{since}", "sort_by[desc]": "occurred_at"},
        auth={"authorization": "Basic {basic}"},
        items="list[].event",
        time="occurred_at",
        newest_first=True,
        next="cursor:offset:next_offset",
        parameters={"site": "the name of the site"},
        confidence="low",
        note="from general knowledge; filters were named by a help page alone",
        source="chargebee.com/docs (which filters the list of events has)",
    ),
    _graph(
        "ms-graph",
        "/{resource}/delta",
        Start(path="/{resource}/delta", query={"$deltatoken": "latest"}),
        {},
        {"resource": "a collection of the directory, such as users or groups"},
        "what changes in the directory from now on",
    ),
    _graph(
        "ms-graph-drive",
        "/{drive}/root/delta",
        Start(path="/{drive}/root/delta", query={"token": "latest"}),
        {},
        {"drive": "a drive, such as drives/ID or users/ID/drive"},
        "what changes in a drive of OneDrive or SharePoint from now on",
    ),
    _graph(
        "ms-graph-messages",
        "/users/{user}/mailFolders/{folder}/messages/delta",
        None,
        {"$filter": "receivedDateTime ge {since_at}"},
        {"user": "the id of the mailbox's user", "folder": "the id of the folder, or inbox"},
        "messages received within lookbackS, and what changes from then on",
    ),
    Listing(
        name="airtable",
        base="https://api.airtable.com/v0",
        path="/bases/{base}/webhooks/{webhook}/payloads",
        auth=_BEARER,
        items="payloads[]",
        item_id="baseTransactionNumber",
        time="timestamp",
        next="cursor:cursor:cursor",
        more="mightHaveMore",
        position="cursor",
        thin=True,
        event_type="airtable.change",
        parameters={"base": "the id of the base", "webhook": "the id of the webhook"},
        confidence="high",
        note=(
            "the credential is a personal access token that may read what the webhook watches. Payloads of a week are listed, and each "
            "reading has the webhook live for a week more"
        ),
        source="airtable.com/developers/web/api/list-webhook-payloads",
    ),
    Listing(
        name="dropbox",
        base="https://api.dropboxapi.com/2",
        path="/files/list_folder/continue",
        method="POST",
        auth=_TOKEN,
        token_url="https://api.dropboxapi.com/oauth2/token",
        token_form=REFRESH,
        items="entries[]",
        next="cursor:cursor:cursor",
        more="has_more",
        position="cursor",
        start=Start(path="/files/list_folder/get_latest_cursor", body=_DROPBOX_ALL),
        lost=(409,),
        thin=True,
        event_type="dropbox.change",
        parameters={"client_id": "the key of the app"},
        confidence="medium",
        note=(
            "what changes in all that the app sees of one account, from now on. The credential is a refresh token of that account, the "
            "client secret that of the app"
        ),
        source=(
            "documentation of clients generated from dropbox/dropbox-api-spec files.stone (list_folder, get_latest_cursor, continue, "
            "ListFolderContinueError); dropbox.com/developers/reference/webhooks"
        ),
    ),
    Listing(
        name="asana",
        base="https://app.asana.com/api/1.0",
        path="/events",
        query={"resource": "{resource}"},
        auth=_BEARER,
        items="data[]",
        time="created_at",
        next="cursor:sync:sync",
        more="has_more",
        position="sync",
        lost=(412,),
        parameters={"resource": "the id of the project or task that the webhook watches"},
        confidence="high",
        note=(
            "what happens from now on; positions are known for a day, so intervalS must be less. Events have no ids: set deduplication.by "
            "of the source to json:created_at, json:action, json:resource.gid, json:parent.gid, json:user.gid and json:change.field"
        ),
        source="developers.asana.com/reference/getevents, developers.asana.com/docs/events",
    ),
)

LISTINGS: Final[dict[str, Listing]] = {row.name: row for row in _ROWS}


def listing_of(given: str | Listing) -> Listing | None:
    """The listing of that name, or the one given; None when there is none of that name."""
    return LISTINGS.get(given) if isinstance(given, str) else given
