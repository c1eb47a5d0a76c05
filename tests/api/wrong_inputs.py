"""What is wrong input to each operation of the API, and what exactly does it say of it? A table; `test_wrong_input.py` asks."""

from __future__ import annotations

import typing


class Wrong(typing.NamedTuple):
    """A wrong body, the operations that take such bodies, and how each of its problems is told."""

    operations: list[str]
    body: typing.Any
    problems: list[dict[str, typing.Any]]


def malformed(msg: str, *loc: str) -> dict[str, typing.Any]:
    """A missing field, or a value of the wrong type."""
    return {"loc": ["body", *loc], "msg": msg, "type": "value_error.jsondecode"}


def broken(msg: str, *loc: str) -> dict[str, typing.Any]:
    """A value that breaks a rule."""
    return {"loc": ["body", *loc], "msg": msg, "type": "value_error"}


def in_query(name: str, msg: str) -> typing.Any:
    """The whole answer about a parameter that breaks a rule."""
    return {"detail": [{"loc": ["query", name], "msg": msg, "type": "value_error"}]}


def unreadable(detail: str) -> typing.Any:
    """The whole answer about a parameter that cannot be read."""
    return {"code": "generic_error", "detail": detail}


# Lists: `limit=0` is refused.
PAGES: typing.Final = (
    "GET /api/v1/app",
    "GET /api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}",
    "GET /api/v1/app/{app_id}/attempt/msg/{msg_id}",
    "GET /api/v1/app/{app_id}/msg/{msg_id}/attempt",
    "GET /api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/msg",
    "GET /api/v1/app/{app_id}/msg/{msg_id}/endpoint",
    "GET /api/v1/connector",
    "GET /api/v1/app/{app_id}/dead-letter",
    "GET /api/v1/dead-letter",
    "GET /api/v1/app/{app_id}/destination",
    "GET /api/v1/app/{app_id}/endpoint",
    "GET /api/v1/event-type",
    "GET /ingest/api/v1/source",
    "GET /ingest/api/v1/source/{source_id}/endpoint",
    "GET /api/v1/app/{app_id}/integration",
    "GET /api/v1/app/{app_id}/msg",
    "GET /api/v1/operational-webhook/endpoint",
    "GET /api/v1/app/{app_id}/source/{source_id}/quarantine",
    "GET /ingest/api/v1/source/{source_id}/quarantine",
    "GET /api/v1/app/{app_id}/source/{source_id}/expectation",
    "GET /ingest/api/v1/source/{source_id}/expectation",
    "GET /api/v1/app/{app_id}/source/{source_id}/event",
    "GET /ingest/api/v1/source/{source_id}/event",
    "GET /api/v1/app/{app_id}/source/{source_id}/arrival",
    "GET /ingest/api/v1/source/{source_id}/arrival",
    "GET /api/v1/app/{app_id}/source",
    "GET /api/v1/background-task",
    "GET /api/v1/stream",
    "GET /api/v1/stream/event-type",
    "GET /api/v1/stream/{stream_id}/sink",
)
# What is named last in the path does not exist.
UNKNOWN: typing.Final = (
    "DELETE /api/v1/operator/token/{token_id}",
    "GET /api/v1/app/{app_id}",
    "DELETE /api/v1/app/{app_id}",
    "DELETE /api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content",
    "POST /api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend",
    "POST /api/v1/auth/dashboard-access/{app_id}",
    "GET /api/v1/app/{app_id}/autoconfig/{autoconfig_id}",
    "DELETE /api/v1/app/{app_id}/autoconfig/{autoconfig_id}",
    "GET /api/v1/connector/{connector_id}",
    "DELETE /api/v1/connector/{connector_id}",
    "GET /api/v1/app/{app_id}/dead-letter/{dead_letter_id}",
    "GET /api/v1/dead-letter/{dead_letter_id}",
    "GET /api/v1/app/{app_id}/destination/{destination_id}",
    "DELETE /api/v1/app/{app_id}/destination/{destination_id}",
    "POST /api/v1/app/{app_id}/destination/{destination_id}/secret/rotate",
    "GET /api/v1/app/{app_id}/destination/{destination_id}/transformation",
    "GET /api/v1/auth/app/{app_id}/poller/{sink_id}/token",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}",
    "DELETE /api/v1/app/{app_id}/endpoint/{endpoint_id}",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/secret",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/headers",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/ordering",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/filter",
    "DELETE /api/v1/app/{app_id}/endpoint/{endpoint_id}/filter",
    "GET /api/v1/app/{app_id}/destination/{destination_id}/filter",
    "DELETE /api/v1/app/{app_id}/destination/{destination_id}/filter",
    "GET /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter",
    "DELETE /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter",
    "GET /api/v1/app/{app_id}/msg/{msg_id}/not-sent",
    "GET /api/v1/event-type/{event_type_name}",
    "GET /ingest/api/v1/source/{source_id}",
    "DELETE /ingest/api/v1/source/{source_id}",
    "POST /ingest/api/v1/source/{source_id}/token/rotate",
    "GET /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}",
    "DELETE /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}",
    "GET /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret",
    "GET /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/headers",
    "GET /api/v1/app/{app_id}/integration/{integ_id}",
    "DELETE /api/v1/app/{app_id}/integration/{integ_id}",
    "POST /api/v1/app/{app_id}/integration/{integ_id}/key/rotate",
    "DELETE /api/v1/app/{app_id}/msg/{msg_id}/content",
    "GET /api/v1/operational-webhook/endpoint/{endpoint_id}",
    "DELETE /api/v1/operational-webhook/endpoint/{endpoint_id}",
    "GET /api/v1/operational-webhook/endpoint/{endpoint_id}/secret",
    "GET /api/v1/operational-webhook/endpoint/{endpoint_id}/headers",
    "GET /api/v1/app/{app_id}/source/{source_id}/quarantine/{quarantine_id}",
    "DELETE /api/v1/app/{app_id}/source/{source_id}/quarantine/{quarantine_id}",
    "GET /ingest/api/v1/source/{source_id}/quarantine/{quarantine_id}",
    "DELETE /ingest/api/v1/source/{source_id}/quarantine/{quarantine_id}",
    "GET /api/v1/app/{app_id}/source/{source_id}/expectation/{expectation_id}",
    "DELETE /api/v1/app/{app_id}/source/{source_id}/expectation/{expectation_id}",
    "GET /ingest/api/v1/source/{source_id}/expectation/{expectation_id}",
    "DELETE /ingest/api/v1/source/{source_id}/expectation/{expectation_id}",
    "GET /api/v1/app/{app_id}/source/{source_id}/reconciliation",
    "DELETE /api/v1/app/{app_id}/source/{source_id}/reconciliation",
    "GET /ingest/api/v1/source/{source_id}/reconciliation",
    "DELETE /ingest/api/v1/source/{source_id}/reconciliation",
    "GET /api/v1/app/{app_id}/source/{source_id}/subscription",
    "DELETE /api/v1/app/{app_id}/source/{source_id}/subscription",
    "POST /api/v1/app/{app_id}/source/{source_id}/subscription/renew",
    "GET /ingest/api/v1/source/{source_id}/subscription",
    "DELETE /ingest/api/v1/source/{source_id}/subscription",
    "POST /ingest/api/v1/source/{source_id}/subscription/renew",
    "GET /api/v1/app/{app_id}/source/{source_id}/event/{msg_id}",
    "GET /ingest/api/v1/source/{source_id}/event/{msg_id}",
    "GET /api/v1/app/{app_id}/source/{source_id}",
    "DELETE /api/v1/app/{app_id}/source/{source_id}",
    "POST /api/v1/app/{app_id}/source/{source_id}/token/rotate",
    "GET /api/v1/background-task/{task_id}",
    "POST /api/v1/background-task/{task_id}/cancel",
    "POST /api/v1/app/{app_id}/msg/expunge-all-contents",
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation",
    "GET /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation",
    "GET /api/v1/stream/{stream_id}",
    "DELETE /api/v1/stream/{stream_id}",
    "GET /api/v1/stream/event-type/{name}",
    "GET /api/v1/stream/{stream_id}/sink/{sink_id}",
    "DELETE /api/v1/stream/{stream_id}/sink/{sink_id}",
    "GET /api/v1/stream/{stream_id}/sink/{sink_id}/headers",
    "GET /api/v1/stream/{stream_id}/sink/{sink_id}/secret",
    "GET /api/v1/stream/{stream_id}/sink/{sink_id}/transformation",
    "GET /api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token",
)
# Nothing can be wrong with them but who asks.
STRANGERS: typing.Final = (
    "POST /api/v1/auth/logout",
    "POST /api/v1/auth/stream-logout",
    "GET /api/v1/auth/whoami",
    "POST /api/v1/environment/export",
    "GET /api/v1/operator/organisation",
    "GET /api/v1/silent-source",
    "PUT /api/v1/stats/usage/event-types",
)
# Open to everybody, with nothing in them: nothing can be wrong with them but the method.
METHODS: typing.Final = (
    "GET /api/v1/health",
    "GET /api/v1/health/ping",
    "GET /api/v1/ready",
    "GET /metrics",
    "GET /portal",
    "GET /api/v1/portal/look",
    "GET /api/v1/openapi.json",
)
# Other queries: what is asked, and how that is refused.
QUERIES: typing.Final[dict[str, tuple[str, int, typing.Any]]] = {
    "GET /api/v1/app/{app_id}/poller/{sink_id}": (
        "iterator=nonsense",
        400,
        {
            "code": "invalid_iterator",
            "detail": "'nonsense' is no iterator of this polling endpoint; use the `iterator` of its last answer, or none to begin anew",
        },
    ),
    "GET /api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}": (
        "limit=251",
        422,
        in_query("limit", "251 must not exceed 250"),
    ),
    "GET /api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}": (
        "lease_duration_ms=soon",
        400,
        unreadable("query parameter lease_duration_ms: 'soon' is not a whole number"),
    ),
    "GET /api/v1/stream/{stream_id}/sink/{sink_id}/events": (
        "iterator=nonsense",
        400,
        {
            "code": "invalid_iterator",
            "detail": "'nonsense' is no iterator of this sink; use the `iterator` of its last answer, or none to begin anew",
        },
    ),
    "DELETE /api/v1/stream/event-type/{name}": (
        "expunge=maybe",
        400,
        unreadable("query parameter expunge: 'maybe' is not a boolean; use true or false"),
    ),
    "DELETE /api/v1/event-type/{event_type_name}": (
        "expunge=maybe",
        400,
        unreadable("query parameter expunge: 'maybe' is not a boolean; use true or false"),
    ),
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/attempt-stats": (
        "since=maybe",
        400,
        unreadable("query parameter since: 'maybe' is not an RFC 3339 time; write 2024-01-02T03:04:05Z"),
    ),
    "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/stats": (
        "since=maybe",
        400,
        unreadable("query parameter since: 'maybe' is not an RFC 3339 time; write 2024-01-02T03:04:05Z"),
    ),
    "GET /api/v1/app/{app_id}/msg/{msg_id}": (
        "with_content=maybe",
        400,
        unreadable("query parameter with_content: 'maybe' is not a boolean; use true or false"),
    ),
    "GET /api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}": (
        "expanded_statuses=maybe",
        400,
        unreadable("query parameter expanded_statuses: 'maybe' is not a boolean; use true or false"),
    ),
    "GET /api/v1/app/{app_id}/search": ("limit=0", 422, in_query("limit", "0 is not between 1 and 100")),
    "GET /api/v1/operator/token": ("org=maybe", 404, {"code": "not_found", "detail": "no organisation is named 'maybe'"}),
    "GET /api/v1/search": ("limit=0", 422, in_query("limit", "0 is not between 1 and 100")),
}

# What is wrong with endpoints of every sort.
ENDPOINT: typing.Final = {
    "url": "ftp://a.example",
    "description": 1,
    "uid": "ep_no",
    "disabled": "no",
    "metadata": {"a": 1},
    "throttleRate": 0,
}
# Sentences that are long, or said more than once.
SECRET: typing.Final = (
    "the secret is not base64; give whsec_ (optional) and base64 of 24 to 75 bytes, or whsk_ and base64 of the 64-byte ed25519 secret key"
)
NO_EVENT: typing.Final = (
    "'order.paid' is no operational event; use one of endpoint.created, endpoint.updated, endpoint.deleted, endpoint.enabled,"
    " endpoint.disabled, message.attempt.failing, message.attempt.exhausted, message.attempt.recovered, message.attempt.log, "
    "background_task.finished, endpoint.lane.blocked, source.expectation.missed, source.subscription.failing, source.subscription.ended, "
    "source.signal, ingest.endpoint.disabled, ingest.message.attempt.failing, ingest.message.attempt.exhausted, "
    "ingest.message.attempt.recovered"
)
NO_KIND: typing.Final = (
    "'None' is not one of AgenticCommerceProtocol, CloseCRM, Custom, CustomerIO, DatadogTracing, Discord, "
    "GrafanaCloudTracing, Hubspot, Inngest, Loops, NewRelicTracing, Otel, Resend, Salesforce, Segment, Sendgrid, Slack, "
    "Teams, TriggerDev, Windmill, Zapier"
)
NO_DESTINATION: typing.Final = (
    "'carrierPigeon' is not one of amazonS3, azureBlobStorage, bigQuery, clickhouse, elasticSearch, eventBridge, "
    "fifoEndpoint, googleCloudPubSub, googleCloudStorage, otelTracing, pollingEndpoint, postgres, rabbitMq, redshift, "
    "snowflake, sns, sqs"
)
UNBUILT_SINK: typing.Final = (
    "sinks of type 'sqs' are not built: this version has no driver for them; those of type 'http', 'otelTracing' and 'poller' are"
)
NO_SINK: typing.Final = (
    "'carrierPigeon' is not one of amazonS3, azureBlobStorage, bigQuery, clickhouse, elasticSearch, eventBridge, googleCloudPubSub, "
    "googleCloudStorage, http, otelTracing, poller, postgres, rabbitMq, redshift, snowflake, sns, sqs"
)
NO_SOURCE: typing.Final = (
    "sources of type 'carrier-pigeon' are not built; use one of adobe-sign, airwallex, beehiiv, brex, clerk, cron, docusign, "
    "easypost, generic-webhook, github, guesty, hubspot, incident-io, lithic, meta, nash, open-ai, pleo, psi-fi, render, "
    "replicate, resend, safebase, sardine, segment, shopify, slack, stripe, stych, svix, tailscale, telnyx, vapi, veriff, "
    "zoom"
)
NO_CAPABILITY: typing.Final = (
    "'Everything' is not one of ViewBase, ViewEndpointSecret, ManageEndpointSecret, ManageTransformations, CreateAttempts, ManageEndpoint"
)

# Bodies with everything wrong in them that can be, and each of the problems. Operations of one list answer alike.
BODIES: typing.Final = [
    Wrong(
        ["POST /api/v1/app", "PUT /api/v1/app/{app_id}"],
        {"uid": "app_no", "throttleRate": 0, "metadata": {"a": 1}},
        [
            malformed("the field is missing; it is required", "name"),
            broken("'app_no' begins with 'app_', as the ids made by the server do; choose another uid", "uid"),
            broken("Expected `int` >= 1", "throttleRate"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/app/{app_id}"],
        {"name": None, "uid": "a b", "throttleRate": -1, "metadata": None},
        [
            malformed("Expected `str`, got `null`", "name"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "uid"),
            broken("Expected `int` >= 0", "throttleRate"),
            malformed("Expected `object`, got `null`", "metadata"),
        ],
    ),
    Wrong(
        ["POST /api/v1/auth/app-portal-access/{app_id}"],
        {"capabilities": ["Everything"], "featureFlags": [], "expiry": 1, "sessionId": "a b", "readOnly": "no"},
        [
            broken(NO_CAPABILITY, "capabilities", "[0]"),
            broken("Expected `int` >= 3600", "expiry"),
            broken("'a b' is no session id; use 1 to 64 letters, digits, '@', '_' and '-'", "sessionId"),
            malformed("Expected `bool | null`, got `str`", "readOnly"),
        ],
    ),
    Wrong(
        ["POST /api/v1/auth/app/{app_id}/expire-all", "POST /api/v1/auth/stream/{stream_id}/expire-all"],
        {"expiry": -1, "sessionIds": ["a b"]},
        [
            broken("Expected `int` >= 0", "expiry"),
            broken("'a b' is no session id; use 1 to 64 letters, digits, '@', '_' and '-'", "sessionIds", "[0]"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stream", "PUT /api/v1/stream/{stream_id}"],
        {"uid": "strm_no", "metadata": {"a": 1}},
        [
            malformed("the field is missing; it is required", "name"),
            broken("'strm_no' begins with 'strm_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/stream/{stream_id}"],
        {"name": None, "description": None, "uid": "event-type", "metadata": None},
        [
            malformed("Expected `str`, got `null`", "name"),
            malformed("Expected `str`, got `null`", "description"),
            broken("'event-type' is the path of something else; choose another uid", "uid"),
            malformed("Expected `object`, got `null`", "metadata"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stream/{stream_id}/events"],
        {"events": [{"eventType": "a b", "payload": "x"}, {"eventType": "a", "payload": "x", "channels": ["a/b"]}], "stream": {"name": ""}},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "events", "[0]", "eventType"),
            broken("'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "events", "[1]", "channels", "[0]"),
            broken("Expected `str` of length >= 1", "stream", "name"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stream/event-type", "PUT /api/v1/stream/event-type/{name}"],
        {"name": "a b", "description": "a\x00b", "featureFlags": ["a b"], "deprecated": "no"},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "name"),
            broken("the text holds the control character '\\x00' at position 1; remove it", "description"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "featureFlags", "[0]"),
            malformed("Expected `bool`, got `str`", "deprecated"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/stream/event-type/{name}"],
        {"description": 1, "featureFlags": "a", "archived": None},
        [
            malformed("Expected `str | null`, got `int`", "description"),
            malformed("Expected `array | null`, got `str`", "featureFlags"),
            malformed("Expected `bool`, got `null`", "archived"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stream/{stream_id}/sink", "PUT /api/v1/stream/{stream_id}/sink/{sink_id}"],
        {
            "type": "sqs",
            "config": {"url": "ftp://a.example", "headers": {"host": "a"}, "key": "whsec_short"},
            "uid": "sink_no",
            "status": "retrying",
            "batchSize": 0,
            "maxWaitSecs": 301,
            "eventTypes": ["a b"],
            "channels": ["a/b"],
            "metadata": {"a": 1},
        },
        [
            broken(UNBUILT_SINK, "type"),
            broken("the URL must start with http:// or https://", "config", "url"),
            broken("the header 'host' belongs to the delivery itself and cannot be set", "config", "headers", "host"),
            broken(SECRET, "config", "key"),
            broken("'sink_no' begins with 'sink_', as the ids made by the server do; choose another uid", "uid"),
            broken("'retrying' is not one of disabled, enabled, paused", "status"),
            broken("Expected `int` >= 1", "batchSize"),
            broken("Expected `int` <= 300", "maxWaitSecs"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventTypes", "[0]"),
            broken("'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "channels", "[0]"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/stream/{stream_id}/sink/{sink_id}"],
        {"type": "carrierPigeon", "config": {"url": "ftp://a.example"}, "status": "retrying", "batchSize": 1001, "metadata": None},
        [
            broken(NO_SINK, "type"),
            broken("the URL must start with http:// or https://", "config", "url"),
            broken("'retrying' is not one of disabled, enabled, paused", "status"),
            broken("Expected `int` <= 1000", "batchSize"),
            malformed("Expected `object`, got `null`", "metadata"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/stream/{stream_id}/sink/{sink_id}/headers"],
        {"headers": {"host": "a", "x-a": "a\nb"}},
        [
            broken("the header 'host' belongs to the delivery itself and cannot be set", "headers", "host"),
            broken("the value holds a line break or another control character; headers are a single line of text", "headers", "x-a"),
        ],
    ),
    Wrong(
        ["POST /api/v1/auth/stream-portal-access/{stream_id}"],
        {"featureFlags": ["a b"], "expiry": 1, "sessionId": "a b"},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "featureFlags", "[0]"),
            broken("Expected `int` >= 3600", "expiry"),
            broken("'a b' is no session id; use 1 to 64 letters, digits, '@', '_' and '-'", "sessionId"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/autoconfig"],
        {"featureFlags": ["a b"]},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "featureFlags", "[0]"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/autoconfig/{autoconfig_id}/rotate"],
        {"signingSecret": {"key": "whsec_short", "gracePeriodSeconds": -1}},
        [
            broken("Expected `int` >= 0", "signingSecret", "gracePeriodSeconds"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/app/{app_id}/autoconfig/{autoconfig_id}/endpoint", "POST /api/v1/app/{app_id}/endpoint"],
        {**ENDPOINT, "eventTypes": [], "channels": ["a b"], "version": 0, "secret": "whsec_short", "headers": {"host": "a"}},
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool`, got `str`", "disabled"),
            broken("the list is empty; give at least one, or null for no condition", "eventTypes"),
            broken("'a b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "channels", "[0]"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
            broken("Expected `int` >= 1", "version"),
            broken(SECRET, "secret"),
            broken("the header 'host' belongs to the delivery itself and cannot be set", "headers", "host"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config"],
        {"endpoint": {"url": "ftp://a.example"}},
        [
            broken("the URL must start with http:// or https://", "endpoint", "url"),
        ],
    ),
    Wrong(
        ["POST /api/v1/connector"],
        {"name": 1, "transformation": "short", "logo": 1, "kind": "None", "featureFlags": [], "uid": "trtmpl_no", "productType": "Other"},
        [
            broken("Expected `str` of length >= 10", "transformation"),
            malformed("Expected `str`, got `int`", "name"),
            malformed("Expected `str | null`, got `int`", "logo"),
            broken(NO_KIND, "kind"),
            broken("'trtmpl_no' begins with 'trtmpl_', as the ids made by the server do; choose another uid", "uid"),
            broken("'Other' is not one of Dispatch, Stream", "productType"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/connector/{connector_id}"],
        {"transformation": "short", "kind": "None", "allowedEventTypes": ["a b"]},
        [
            broken("Expected `str` of length >= 10", "transformation"),
            broken(NO_KIND, "kind"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "allowedEventTypes", "[0]"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/connector/{connector_id}"],
        {"name": None, "transformation": None, "description": None},
        [
            malformed("Expected `str`, got `null`", "name"),
            malformed("Expected `str`, got `null`", "description"),
            malformed("Expected `str`, got `null`", "transformation"),
        ],
    ),
    Wrong(
        [
            "PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/filter",
            "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/filter/try",
            "PUT /api/v1/app/{app_id}/destination/{destination_id}/filter",
            "POST /api/v1/app/{app_id}/destination/{destination_id}/filter/try",
            "PUT /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter",
            "POST /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/filter/try",
        ],
        {"filter": {"data.amount": {"$gte": [1]}, "a..b": 1, "$or": [{"$headers": {}}], "c": {"d": {"$like": "x"}}}},
        [
            broken("must be a number or a text, not a list", "filter", "data.amount", "$gte"),
            broken("a path is names with dots between them, and none of them is empty", "filter", "a..b"),
            broken("must be an object of conditions by name of header, not an empty object", "filter", "$or", "[0]", "$headers"),
            broken(
                "there is no operator $like; allowed are $eq, $in, $gt, $gte, $lt, $lte, $startsWith, $endsWith, $contains, $neq, $nin, "
                "$exist",
                "filter",
                "c",
                "d",
                "$like",
            ),
        ],
    ),
    Wrong(
        [
            "PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/ordering",
            "PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}/ordering",
        ],
        {"mode": "fifo", "keyPath": "a..b", "whenHeadDies": "wait", "skipAfter": 0},
        [
            broken("'fifo' is not one of none, endpoint, key", "mode"),
            broken("'a..b' must be names of fields with dots between, such as customer.id", "keyPath"),
            broken("'wait' is not one of block, skip", "whenHeadDies"),
            broken("Expected `int` >= 1", "skipAfter"),
        ],
    ),
    Wrong(
        [
            "POST /api/v1/app/{app_id}/dead-letter/replay",
            "POST /api/v1/app/{app_id}/dead-letter/discard",
            "POST /api/v1/dead-letter/replay",
            "POST /api/v1/dead-letter/discard",
        ],
        {"ids": [], "since": "soon", "until": "2024-01-01", "dryRun": "no"},
        [
            broken("Expected `array` of length >= 1", "ids"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "until"),
            malformed("Expected `bool`, got `str`", "dryRun"),
        ],
    ),
    Wrong(
        [
            "POST /api/v1/app/{app_id}/destination",
            "PUT /api/v1/app/{app_id}/destination/{destination_id}",
            "PUT /api/v1/app/{app_id}/autoconfig/{autoconfig_id}/destination",
        ],
        {
            "type": "carrierPigeon",
            "config": [],
            "uid": "poll_no",
            "status": "retrying",
            "batchSize": 0,
            "maxWaitSecs": 301,
            "eventTypes": ["a b"],
            "channels": ["a/b"],
            "metadata": {"a": 1},
        },
        [
            broken("'poll_no' begins with 'poll_', as the ids made by the server do; choose another uid", "uid"),
            broken("'retrying' is not one of disabled, enabled, paused", "status"),
            broken("Expected `int` >= 1", "batchSize"),
            broken("Expected `int` <= 300", "maxWaitSecs"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventTypes", "[0]"),
            broken("'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "channels", "[0]"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken(NO_DESTINATION, "type"),
            malformed("Expected `object | null`, got `array`", "config"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/app/{app_id}/destination/{destination_id}"],
        {"type": "carrierPigeon", "status": None, "batchSize": 1001, "maxWaitSecs": None, "metadata": None},
        [
            malformed("Expected `str`, got `null`", "status"),
            broken("Expected `int` <= 1000", "batchSize"),
            malformed("Expected `int`, got `null`", "maxWaitSecs"),
            malformed("Expected `object`, got `null`", "metadata"),
            broken(NO_DESTINATION, "type"),
        ],
    ),
    Wrong(
        [
            "PATCH /api/v1/app/{app_id}/destination/{destination_id}/transformation",
            "PATCH /api/v1/stream/{stream_id}/sink/{sink_id}/transformation",
        ],
        {"code": 1},
        [malformed("Expected `str | null`, got `int`", "code")],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek"],
        {"after": "yesterday"},
        [broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "after")],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit"],
        {"offset": -1},
        [broken("Expected `int` >= 0", "offset")],
    ),
    Wrong(
        [
            "POST /api/v1/auth/app/{app_id}/poller/{sink_id}/token/rotate",
            "POST /api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token/rotate",
        ],
        {"expiry": 31_536_001, "oldTokenExpiry": -1},
        [broken("Expected `int` <= 31536000", "expiry"), broken("Expected `int` >= 0", "oldTokenExpiry")],
    ),
    Wrong(
        ["PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}"],
        {**ENDPOINT, "eventTypes": ["a b"], "channels": [], "version": 0},
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool`, got `str`", "disabled"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventTypes", "[0]"),
            broken("the list is empty; give at least one, or null for no condition", "channels"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
            broken("Expected `int` >= 1", "version"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}"],
        {"url": None, "description": None, "uid": "ep_no", "disabled": None, "metadata": None, "throttleRate": -1},
        [
            malformed("Expected `str`, got `null`", "url"),
            malformed("Expected `str`, got `null`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool`, got `null`", "disabled"),
            malformed("Expected `object`, got `null`", "metadata"),
            broken("Expected `int` >= 0", "throttleRate"),
        ],
    ),
    Wrong(
        [
            "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate",
            "POST /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret/rotate",
            "POST /api/v1/operational-webhook/endpoint/{endpoint_id}/secret/rotate",
            "POST /api/v1/stream/{stream_id}/sink/{sink_id}/secret/rotate",
        ],
        {"key": "whsec_short", "gracePeriodSeconds": 604801},
        [
            broken(SECRET, "key"),
            broken("Expected `int` <= 604800", "gracePeriodSeconds"),
        ],
    ),
    Wrong(
        [
            "PUT /api/v1/app/{app_id}/endpoint/{endpoint_id}/headers",
            "PUT /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/headers",
            "PUT /api/v1/operational-webhook/endpoint/{endpoint_id}/headers",
        ],
        {"headers": {"svix-a": "1", "x-a": "a\nb", "a b": "1"}},
        [
            broken("the header 'svix-a' belongs to the delivery itself and cannot be set", "headers", "svix-a"),
            broken("the value holds a line break or another control character; headers are a single line of text", "headers", "x-a"),
            broken("'a b' is not a header name: letters, digits and any of !#$%&'*+-.^_`|~", "headers", "a b"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}/headers"],
        {"headers": {"host": "a", "x-a": None}, "deleteHeaders": "x"},
        [
            broken("the header 'host' belongs to the delivery itself and cannot be set", "headers", "host"),
            malformed("Expected `array`, got `str`", "deleteHeaders"),
        ],
    ),
    Wrong(
        ["POST /api/v1/environment/import"],
        {"eventTypes": [{"name": "a b"}], "connectors": [{"name": "a"}]},
        [
            malformed("the field is missing; it is required", "eventTypes", "[0]", "description"),
            malformed("the field is missing; it is required", "connectors", "[0]", "transformation"),
        ],
    ),
    Wrong(
        ["POST /api/v1/event-type/import/openapi"],
        {"dryRun": "no", "spec": [], "specRaw": {}},
        [
            malformed("Expected `bool`, got `str`", "dryRun"),
            malformed("Expected `object | null`, got `array`", "spec"),
            malformed("Expected `str | null`, got `object`", "specRaw"),
        ],
    ),
    Wrong(
        ["POST /api/v1/event-type"],
        {"name": "a b", "schemas": {"1": {"type": "any"}}, "groupName": "a b", "featureFlags": [], "payloadValidation": "maybe"},
        [
            malformed("the field is missing; it is required", "description"),
            broken("must be one of array, boolean, integer, null, number, object, string, not a string", "schemas", "1", "type"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "groupName"),
            broken("the list is empty; give at least one, or null for no condition", "featureFlags"),
            broken("'maybe' is not one of off, reject, warn", "payloadValidation"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "name"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/event-type/{event_type_name}"],
        {"description": "a\x00b", "archived": "no"},
        [
            broken("the text holds the control character '\\x00' at position 1; remove it", "description"),
            malformed("Expected `bool`, got `str`", "archived"),
        ],
    ),
    Wrong(
        ["PATCH /api/v1/event-type/{event_type_name}"],
        {"description": None, "deprecated": None, "schemas": {"one": {}}},
        [
            malformed("Expected `str`, got `null`", "description"),
            malformed("Expected `bool`, got `null`", "deprecated"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example"],
        {"eventType": "a b", "exampleIndex": -1},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventType"),
            broken("Expected `int` >= 0", "exampleIndex"),
        ],
    ),
    Wrong(
        ["POST /ingest/api/v1/source", "PUT /ingest/api/v1/source/{source_id}"],
        {"name": "a", "type": "carrier-pigeon", "uid": "src_no"},
        [
            broken("Expected `str` of length >= 2", "name"),
            broken(NO_SOURCE, "type"),
            broken("'src_no' is no uid of a source; use 1 to 60 letters, digits, '-' and '_', not beginning with src_", "uid"),
        ],
    ),
    Wrong(
        ["POST /ingest/api/v1/source/{source_id}/dashboard"],
        {"expiry": 1, "readOnly": "no"},
        [
            broken("Expected `int` >= 3600", "expiry"),
            malformed("Expected `bool | null`, got `str`", "readOnly"),
        ],
    ),
    Wrong(
        ["POST /ingest/api/v1/source/{source_id}/endpoint"],
        {**ENDPOINT, "secret": "whsec_short", "headers": {"host": "a"}},
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool | null`, got `str`", "disabled"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
            broken(SECRET, "secret"),
            broken("the header 'host' belongs to the delivery itself and cannot be set", "headers", "host"),
        ],
    ),
    Wrong(
        ["PUT /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}"],
        ENDPOINT,
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool | null`, got `str`", "disabled"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/integration", "PUT /api/v1/app/{app_id}/integration/{integ_id}"],
        {"name": "", "featureFlags": []},
        [
            broken("Expected `str` of length >= 1", "name"),
            broken("the list is empty; give at least one, or null for no condition", "featureFlags"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/msg/bulk-expunge"],
        {"ids": "all"},
        [
            malformed("Expected `array`, got `str`", "ids"),
        ],
    ),
    Wrong(
        ["POST /api/v1/operational-webhook/endpoint"],
        {**ENDPOINT, "eventTypes": ["order.paid"], "secret": "whsec_short"},
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool`, got `str`", "disabled"),
            broken(NO_EVENT, "eventTypes", "[0]"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
            broken(SECRET, "secret"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/operational-webhook/endpoint/{endpoint_id}"],
        {**ENDPOINT, "eventTypes": ["order.paid"]},
        [
            broken("the URL must start with http:// or https://", "url"),
            malformed("Expected `str`, got `int`", "description"),
            broken("'ep_no' begins with 'ep_', as the ids made by the server do; choose another uid", "uid"),
            malformed("Expected `bool`, got `str`", "disabled"),
            broken(NO_EVENT, "eventTypes", "[0]"),
            malformed("Expected `str`, got `int`", "metadata", "a"),
            broken("Expected `int` >= 1", "throttleRate"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/operator/organisation/limit"],
        {"org": 1, "receiveRate": -1},
        [
            malformed("Expected `str`, got `int`", "org"),
            broken("Expected `int` >= 0", "receiveRate"),
        ],
    ),
    Wrong(
        ["POST /api/v1/operator/token"],
        {"org": 1},
        [
            malformed("Expected `str`, got `int`", "org"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/msg"],
        {
            "eventType": "a b",
            "payload": [],
            "eventId": "msg_no",
            "channels": [],
            "tags": ["a b"],
            "deliverAt": "soon",
            "payloadRetentionPeriod": 91,
            "payloadRetentionHours": 0,
        },
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventType"),
            malformed("the payload must be a JSON object", "payload"),
            broken("'msg_no' begins with 'msg_', as the ids made by the server do; choose another uid", "eventId"),
            broken("Expected `array` of length >= 1", "channels"),
            broken("'a b' is not allowed; use letters, digits and any of - _ . / \\ #", "tags", "[0]"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "deliverAt"),
            broken("Expected `int` <= 90", "payloadRetentionPeriod"),
            broken("Expected `int` >= 1", "payloadRetentionHours"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/msg/precheck/active"],
        {"eventType": "a b", "channels": []},
        [
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventType"),
            broken("Expected `array` of length >= 1", "channels"),
        ],
    ),
    Wrong(
        [
            "POST /api/v1/app/{app_id}/source/{source_id}/quarantine/{quarantine_id}/release",
            "POST /ingest/api/v1/source/{source_id}/quarantine/{quarantine_id}/release",
        ],
        {"verify": "no"},
        [
            malformed("Expected `bool`, got `str`", "verify"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/source/{source_id}/quarantine/release", "POST /ingest/api/v1/source/{source_id}/quarantine/release"],
        {"verify": "no", "since": "soon", "until": 1},
        [
            malformed("Expected `bool`, got `str`", "verify"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
            malformed("Expected `datetime | null`, got `int`", "until"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/source/{source_id}/reconciliation/run", "POST /ingest/api/v1/source/{source_id}/reconciliation/run"],
        {"dryRun": "no"},
        [
            malformed("Expected `bool`, got `str`", "dryRun"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/app/{app_id}/source/{source_id}/reconciliation", "PUT /ingest/api/v1/source/{source_id}/reconciliation"],
        {"listing": 1, "credential": "a\nb", "intervalS": 59, "lookbackS": 0, "settleS": -1, "missing": "wait", "paused": 1},
        [
            malformed("Expected `str | object | null`, got `int`", "listing"),
            broken("the credential holds a line break or another character that no header can carry; paste it alone", "credential"),
            broken("Expected `int` >= 60", "intervalS"),
            broken("Expected `int` >= 3600", "lookbackS"),
            broken("Expected `int` >= 0", "settleS"),
            broken("'wait' is not one of redeliver, take", "missing"),
            malformed("Expected `bool`, got `int`", "paused"),
        ],
    ),
    Wrong(
        ["PUT /api/v1/app/{app_id}/source/{source_id}/subscription", "PUT /ingest/api/v1/source/{source_id}/subscription"],
        {"renewal": 1, "credential": "a\nb", "clientSecret": "", "periodS": 299, "expiresAt": "soon", "paused": 1},
        [
            malformed("Expected `str | object | null`, got `int`", "renewal"),
            broken("it holds a line break or another character that no header can carry; paste it alone", "credential"),
            broken("Expected `str` of length >= 1", "clientSecret"),
            broken("Expected `int` >= 300", "periodS"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "expiresAt"),
            malformed("Expected `bool`, got `int`", "paused"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/source/{source_id}/expectation", "POST /ingest/api/v1/source/{source_id}/expectation"],
        {"uid": "exp_no", "match": {"at": "body"}, "deadline": "soon", "since": "2024-01-01T00:00:00"},
        [
            broken("'body' is no place; use json:PATH, header:NAME or form:NAME", "match", "at"),
            broken("at and equals go together: a place, and the text that must stand there", "match", "equals"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "deadline"),
            broken("'exp_no' begins with 'exp_', as the ids made by the server do; choose another uid", "uid"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/source", "PUT /api/v1/app/{app_id}/source/{source_id}"],
        {"name": "", "type": "GitHup", "verify": "maybe", "deadlineS": 26},
        [
            broken("Expected `str` of length >= 1", "name"),
            broken(
                "'GitHup' is no type of source that is known here; did you mean github? "
                "`ringback providers` lists them, `custom` takes any scheme",
                "type",
            ),
            broken("'maybe' is not one of none, observe, signature", "verify"),
            broken("Expected `float` <= 25.0", "deadlineS"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/source/{source_id}/secret/rotate"],
        {"secret": "", "gracePeriodSeconds": -1},
        [
            broken("Expected `str` of length >= 1", "secret"),
            broken("Expected `int` >= 0", "gracePeriodSeconds"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing"],
        {"since": "soon", "until": "2024-01-01T00:00:00"},
        [
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "until"),
        ],
    ),
    Wrong(
        ["POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay"],
        {"since": "soon", "eventTypes": ["a b"], "channel": "a b", "tag": "a b", "status": 5, "statusCodeClass": 250},
        [
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventTypes", "[0]"),
            broken("'a b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "channel"),
            broken("'a b' is not allowed; use letters, digits and any of - _ . / \\ #", "tag"),
            broken("5 is not one of 0, 1, 2, 3, 4", "status"),
            broken("250 is not one of 0, 100, 200, 300, 400, 500", "statusCodeClass"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stats/usage/app"],
        {"since": "soon", "until": 1, "appIds": "a"},
        [
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
            malformed("Expected `datetime`, got `int`", "until"),
            malformed("Expected `array | null`, got `str`", "appIds"),
        ],
    ),
    Wrong(
        [
            "PATCH /api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation",
            "PATCH /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation",
        ],
        {"code": "short", "enabled": None, "variables": {"a": 1}},
        [
            broken("Expected `str` of length >= 10", "code"),
            malformed("Expected `bool`, got `null`", "enabled"),
            malformed("Expected `str`, got `int`", "variables", "a"),
        ],
    ),
    Wrong(
        [
            "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation/try",
            "POST /ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation/try",
        ],
        {"code": "short", "variables": {"a": 1}, "msgId": 1, "eventType": "a b", "payload": []},
        [
            broken("Expected `str` of length >= 10", "code"),
            malformed("Expected `str`, got `int`", "variables", "a"),
            malformed("Expected `str | null`, got `int`", "msgId"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "eventType"),
            malformed("Expected `object | null`, got `array`", "payload"),
        ],
    ),
    Wrong(
        ["POST /api/v1/stream/{stream_id}/sink/{sink_id}/transformation/try"],
        {"code": "short", "events": [{"eventType": "a b", "payload": "x"}, {"eventType": "a", "payload": "x", "channels": ["a/b"]}]},
        [
            broken("Expected `str` of length >= 10", "code"),
            broken("'a b' is not allowed; use letters, digits, '-', '_' and '.'", "events", "[0]", "eventType"),
            broken("'a/b' is not allowed; use letters, digits, '-', '_', '.', ':' and '+'", "events", "[1]", "channels", "[0]"),
        ],
    ),
    Wrong(
        ["POST /api/v1/privacy/erase", "POST /api/v1/privacy/export"],
        {"subject": " a ", "at": "a..b", "app": 1, "since": "yesterday"},
        [
            broken("1 characters stand in too much; give at least 3", "subject"),
            broken("'a..b' must be names of fields with dots between, such as customer.id", "at"),
            malformed("Expected `str | null`, got `int`", "app"),
            broken("this is no RFC 3339 time with its zone; write it as 2024-01-02T03:04:05Z", "since"),
        ],
    ),
]
