"""Which providers' subscriptions can be renewed, and how? Rows of the engine in `policy.subscriptions`, by name.

Facts were taken from the sources that each row names. `confidence`: high (the provider's own documentation was read), medium (one good
secondary source), low (a lead only).
"""

from __future__ import annotations

from typing import Final

from ringback.model.subscriptions import Renewal
from ringback.policy.access_tokens import MICROSOFT, MICROSOFT_URL, REFRESH

_BEARER: Final = {"authorization": "Bearer {credential}"}
_TOKEN: Final = {"authorization": "Bearer {access_token}"}
_CHANNEL: Final = '{"id": "{unique}", "type": "web_hook", "address": "{url}", "token": "{token}", "params": {"ttl": "{period_s}"}}'
_GOOGLE: Final = (
    "a channel cannot be renewed: a new one is opened, and the former one ends by itself; until then both call. The credential is a "
    "refresh token, the client secret that of the OAuth client"
)
_HUB: Final = (
    "the hub is the one that the topic names (Link headers or link elements, rel=hub), unless baseUrl is the URL of one; it is asked for "
    "the URL that the topic gives itself (rel=self). The credential is the hub.secret, which must be a secret of the source. The hub "
    "confirms at the source's URL, and what it says there (hub.lease_seconds) is how long the subscription lives"
)

# Seconds are the providers' own bounds, from the source that each row names.
_ROWS: Final = (
    Renewal(
        name="ms-graph",
        base="https://graph.microsoft.com/v1.0",
        path="/subscriptions/{subscription}",
        method="PATCH",
        auth=_TOKEN,
        body='{"expirationDateTime": "{expires_at}"}',
        token_url=MICROSOFT_URL,
        token_form=MICROSOFT,
        expires_at="expirationDateTime",
        # 4,230 minutes, which nearly all resources allow.
        period_s=253_800,
        parameters={
            "subscription": "the id of the subscription",
            "tenant": "the id of the directory",
            "client_id": "the id of the application",
        },
        confidence="medium",
        note="the credential is a client secret of the application. How long a subscription may live depends on its resource: presence and "
        "chats have an hour, set periodS",
        source="learn.microsoft.com/graph/api/resources/subscription; devblogs.microsoft.com/microsoft365dev (webhooks update, March 2016)",
    ),
    Renewal(
        name="airtable",
        base="https://api.airtable.com/v0",
        path="/bases/{base}/webhooks/{webhook}/refresh",
        auth=_BEARER,
        expires_at="expirationTime",
        period_s=604_800,
        parameters={"base": "the id of the base", "webhook": "the id of the webhook"},
        confidence="medium",
        note="the credential is a personal access token with the scope webhook:manage; a webhook lives for seven days",
        source="support.airtable.com/docs/airtable-webhooks-api; api-evangelist/airtable openapi (refresh a webhook)",
    ),
    Renewal(
        name="clio",
        base="https://app.clio.com/api/v4",
        path="/webhooks/{webhook}.json?fields=id,expires_at",
        method="PATCH",
        auth=_TOKEN,
        body='{"data": {"expires_at": "{expires_at}"}}',
        token_url="https://app.clio.com/oauth/token",
        token_form=REFRESH,
        expires_at="data.expires_at",
        period_s=259_200,
        parameters={"webhook": "the number of the webhook", "client_id": "the key of the application"},
        confidence="low",
        note="the credential is a refresh token; other regions have another baseUrl and tokenUrl. A webhook lives for three days unless "
        "more is asked for",
        source="docs.developers.clio.com (webhooks, OAuth); the request itself from general knowledge",
    ),
    Renewal(
        name="google-calendar",
        base="https://www.googleapis.com/calendar/v3",
        path="/calendars/{calendar}/events/watch",
        auth=_TOKEN,
        body=_CHANNEL,
        token_url="https://oauth2.googleapis.com/token",
        token_form=REFRESH,
        expires_at="expiration",
        period_s=604_800,
        parameters={
            "calendar": "the id of the calendar, or primary",
            "token": "what the source expects in X-Goog-Channel-Token",
            "client_id": "the id of the OAuth client",
        },
        confidence="high",
        note=_GOOGLE,
        source="developers.google.com/calendar/api/v3/reference/events/watch, developers.google.com/calendar/api/guides/push",
    ),
    Renewal(
        name="websub",
        base="",
        path="",
        auth={},
        form={
            "hub.mode": "subscribe",
            "hub.topic": "{topic}",
            "hub.callback": "{url}",
            "hub.lease_seconds": "{period_s}",
            "hub.secret": "{credential}",
        },
        confirmed=True,
        # Ten days, what hubs give by default.
        period_s=864_000,
        parameters={"topic": "the URL that is subscribed to, one of the topics of the source"},
        confidence="high",
        note=_HUB,
        source="www.w3.org/TR/websub/ (4 discovery, 5.1 subscriber sends subscription request, 5.3 hub verifies intent)",
    ),
)

RENEWALS: Final[dict[str, Renewal]] = {row.name: row for row in _ROWS}


def renewal_of(given: str | Renewal) -> Renewal | None:
    """The renewal of that name, or the one given; None when there is none of that name."""
    return RENEWALS.get(given) if isinstance(given, str) else given
