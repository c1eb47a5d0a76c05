"""How do code hosts, build services and team tools sign? Rows of the catalogue."""

from __future__ import annotations

from typing import Final

from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.scheme import Signed
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token

# Tolerances are the provider's own, in seconds, from the source that each row names.
ROWS: Final = (
    Provider(
        id="github",
        name="GitHub",
        confidence="high",
        schemes=(Signed(name="github-sha256", headers=("x-hub-signature-256",), prefix="sha256="),),
        by_name_only=(Signed(name="github-sha1", headers=("x-hub-signature",), algorithm="hmac-sha1", prefix="sha1="),),
        header="X-Hub-Signature-256: sha256=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex lower)",
        secret="free string, UTF-8",
        several="legacy X-Hub-Signature: sha1=<hex> is sent beside it; never fall back to it",
        also_sent="X-GitHub-Hook-ID, X-GitHub-Hook-Installation-Target-ID, X-GitHub-Hook-Installation-Target-Type",
        user_agent="GitHub-Hookshot/",
        addresses="https://api.github.com/meta (hooks)",
        event_id=("header:x-github-delivery",),
        event_type=("header:x-github-event",),
        answer="2xx within 10 s (GHES 30 s)",
        retries=(
            "NONE automatic; manual/API redelivery for 3 days (POST .../deliveries/{id}/attempts) -> receiver should poll "
            "deliveries list and ask for redelivery"
        ),
        note=(
            "no timestamp: replay protection = delivery id store. Content type may be application/json or x-www-form-urlencoded "
            "with payload= (signature is over the raw body in both). Payload cap 25 MB, larger are not sent."
        ),
        source=(
            "github/docs content/webhooks/using-webhooks/validating-webhook-deliveries.md; github/docs "
            ".../best-practices-for-using-webhooks.md; docs.github.com webhook-events-and-payloads#delivery-headers"
        ),
    ),
    Provider(
        id="gitlab",
        name="GitLab",
        confidence="medium",
        schemes=(
            StandardScheme(name="gitlab-signing-token"),
            Token(name="gitlab-token", places=("header:x-gitlab-token",)),
        ),
        header="X-Gitlab-Token (plain secret) OR new signing token: webhook-signature",
        signed=(
            "token: none; signing token: {webhook-id}.{webhook-timestamp}.{raw_body} (constant-time compare | HMAC-SHA256, plain | base64)"
        ),
        secret="free string | whsec_<b64 of exactly 32 bytes>",
        several="space list",
        event_id=("header:webhook-id", "header:x-gitlab-event-uuid"),
        event_type=("header:x-gitlab-event", "json:object_kind"),
        answer="fast 2xx; auto-disable after repeated failures in newer versions",
        unconfirmed=("X-Gitlab-Event-UUID and Idempotency-Key", "10 s timeout", "auto-disable rules"),
        source=(
            "NangoHQ/nango packages/server/lib/webhook/gitlab-webhook-routing.ts @2f4c0af (2026-08); gitlabhq "
            "doc/user/project/integrations/webhooks.md (old copy)"
        ),
    ),
    Provider(
        id="bitbucket",
        name="Bitbucket Cloud",
        confidence="medium",
        schemes=(Signed(name="bitbucket", headers=("x-hub-signature",), prefix="sha256="),),
        header="X-Hub-Signature: sha256=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        also_sent="X-Hook-UUID, X-Attempt-Number",
        addresses="https://ip-ranges.atlassian.com/",
        event_id=("header:x-request-uuid",),
        event_type=("header:x-event-key",),
        note="same header name as GitHub legacy sha1 but SHA-256",
        unconfirmed=("X-Hook-UUID", "X-Attempt-Number"),
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); chmouel/gosmee gosmee/server.go"
        ),
    ),
    Provider(
        id="jira",
        name="Jira Cloud",
        confidence="medium",
        schemes=(Signed(name="jira", headers=("x-hub-signature",), prefix="sha256="),),
        header="X-Hub-Signature: sha256=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        event_id=("header:x-atlassian-webhook-identifier",),
        event_type=("json:webhookEvent",),
        unconfirmed=("X-Atlassian-Webhook-Identifier (retries keep it)",),
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); NangoHQ/nango "
            "jira-webhook-routing.ts"
        ),
    ),
    Provider(
        id="linear",
        name="Linear",
        confidence="high",
        schemes=(Signed(name="linear", headers=("linear-signature",), timestamp="json:webhookTimestamp", unit="ms", tolerance_s=60),),
        header="linear-signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        user_agent="Linear-Webhook",
        event_id=("header:linear-delivery",),
        event_type=("header:linear-event", "json:type"),
        answer="200; SDK handler 405 for non-POST, 400 bad",
        source=(
            "linear/linear packages/sdk/src/webhooks/client.ts; hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes"
            " provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="notion",
        name="Notion",
        confidence="high",
        schemes=(Signed(name="notion", headers=("x-notion-signature",), prefix="sha256="),),
        header="X-Notion-Signature: sha256=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="verification_token from the first POST",
        event_id=("json:id",),
        event_type=("json:type",),
        handshakes=("notion",),
        source=(
            "makenotion/notion-sdk-js src/webhooks.ts; NangoHQ/nango notion route; hookdeck/webhook-skills providers.yaml @00ad8d05"
            " (secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="airtable",
        name="Airtable",
        confidence="medium",
        schemes=(Signed(name="airtable", headers=("x-airtable-content-mac",), prefix="hmac-sha256=", secret_encoding="base64"),),
        header="X-Airtable-Content-MAC: hmac-sha256=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="macSecretBase64, base64-DECODE",
        event_id=("json:webhook.id",),
        event_id_with=("json:timestamp",),
        answer="200/204 EMPTY body within 25 s",
        retries="13, ~1 day, then notifications disabled; webhook expires after 7 days",
        note="ping + poll-with-cursor: model as reconcile source",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="circleci",
        name="CircleCI",
        confidence="high",
        schemes=(Signed(name="circleci-v1", headers=("circleci-signature",), layout="pairs"),),
        header="circleci-signature: v1=<hex>,v2=...",
        signed="{raw_body} (HMAC-SHA256, hex)",
        user_agent="CircleCI-Webhook/1.0",
        event_id=("json:id",),
        event_type=("header:circleci-event-type", "json:type"),
        answer="2xx in 10 s",
        retries="later, unspecified; duplicates possible",
        note="check only the newest version you know (downgrade)",
        source="circleci/circleci-docs jekyll/_cci2/webhooks.adoc",
    ),
    Provider(
        id="pagerduty",
        name="PagerDuty v3",
        confidence="high",
        schemes=(Signed(name="pagerduty", headers=("x-pagerduty-signature",), layout="pairs"),),
        header="X-PagerDuty-Signature: v1=<hex>,v1=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        several="comma list, any match",
        event_id=("header:x-webhook-id", "json:event.id"),
        event_type=("json:event.event_type",),
        unconfirmed=("X-Webhook-Id", "pagey.ping"),
        source="NangoHQ/nango pagerduty route; ngrok/webhooks.fyi ops-experience/key-rotation",
    ),
    Provider(
        id="sentry",
        name="Sentry",
        confidence="medium",
        schemes=(Signed(name="sentry", headers=("sentry-hook-signature",)),),
        header="Sentry-Hook-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="integration client secret",
        also_sent="Sentry-Hook-Timestamp",
        event_id=("header:request-id",),
        event_type=("header:sentry-hook-resource",),
        answer="1 s",
        unconfirmed=("Request-ID", "1 s timeout"),
        source="docs.sentry.io integration-platform/webhooks (via several open-source receivers)",
    ),
    Provider(
        id="heroku",
        name="Heroku",
        confidence="medium",
        schemes=(Signed(name="heroku", headers=("heroku-webhook-hmac-sha256",), encoding="base64"),),
        header="Heroku-Webhook-Hmac-SHA256",
        signed="{raw_body} (HMAC-SHA256, base64)",
        event_id=("json:id",),
        event_type=("json:action",),
        note="level sync = retried, notify = once",
        source="devcenter app-webhooks (via heroku_rs docs and several receivers)",
    ),
    Provider(
        id="vercel",
        name="Vercel",
        confidence="medium",
        schemes=(Signed(name="vercel", headers=("x-vercel-signature",), algorithm="hmac-sha1"),),
        header="x-vercel-signature",
        signed="{raw_body} (HMAC-SHA1, hex)",
        event_id=("json:id",),
        event_type=("json:type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="netlify",
        name="Netlify",
        confidence="low",
        schemes=(Jwt(name="netlify", place="header:x-webhook-signature", issuers=("netlify",), body_hash_claim="sha256"),),
        header="X-Webhook-Signature",
        signed="JWS (iss=netlify) claim sha256 = hex sha256(raw_body) (HS256, JWS)",
        event_id=("json:id",),
        event_id_with=("json:state",),
        event_type=("header:x-netlify-event",),
        unconfirmed=("all",),
        source="docs.netlify.com deploy notifications (knowledge; header name seen in third-party text)",
    ),
    Provider(
        id="alchemy",
        name="Alchemy Notify",
        confidence="medium",
        schemes=(Signed(name="alchemy", headers=("x-alchemy-signature",)),),
        header="X-Alchemy-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        addresses="54.236.136.17, 34.237.24.169",
        event_id=("json:id",),
        event_type=("json:type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="hookdeck",
        name="Hookdeck Event Gateway (as sender)",
        confidence="medium",
        schemes=(Signed(name="hookdeck", headers=("x-hookdeck-signature", "x-hookdeck-signature-2"), layout="each", encoding="base64"),),
        header="x-hookdeck-signature (and -signature-2 while rotating)",
        signed="{raw_body} (HMAC-SHA256, base64)",
        event_id=("header:x-hookdeck-eventid",),
        unconfirmed=("-signature-2", "x-hookdeck-eventid"),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="huggingface",
        name="Hugging Face",
        confidence="medium",
        schemes=(Token(name="huggingface", places=("header:x-webhook-secret",)),),
        header="X-Webhook-Secret",
        signed="- (constant-time compare, plain)",
        event_type=("json:event.action",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="cloudflare",
        name="Cloudflare Notifications",
        confidence="low",
        schemes=(Token(name="cloudflare", places=("header:cf-webhook-auth",)),),
        header="cf-webhook-auth",
        signed="- (constant-time compare, plain)",
        event_type=("json:alert_type",),
        unconfirmed=("all",),
        source="developers.cloudflare.com/notifications webhooks (knowledge)",
    ),
    Provider(
        id="asana",
        name="Asana",
        confidence="high",
        schemes=(Signed(name="asana", headers=("x-hook-signature",)),),
        header="X-Hook-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="X-Hook-Secret received in handshake",
        event_type=("json:action",),
        batch="events[]",
        handshakes=("asana",),
        answer="200/204 within 10 s; 410 deletes",
        retries='24 h then deleted; at-most-once, no replay; heartbeat {"events":[]} every 8 h',
        note="Asana itself recommends polling as a fallback",
        source=(
            "developers.asana.com/docs/webhooks-guide.md; developers.asana.com/reference/createwebhook.md; hookdeck/webhook-skills "
            "providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="monday",
        name="monday.com",
        confidence="medium",
        schemes=(Jwt(name="monday", place="header:authorization"),),
        header="Authorization",
        signed="JWT with signing secret (HS256, JWT)",
        event_id=("json:event.triggerUuid",),
        event_type=("json:event.type",),
        handshakes=("monday",),
        retries="once a minute for 30 min",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="trello",
        name="Trello",
        confidence="medium",
        schemes=(Signed(name="trello", headers=("x-trello-webhook",), content="{body}{url}", algorithm="hmac-sha1", encoding="base64"),),
        header="x-trello-webhook",
        signed="{raw_body}{callback_url} (HMAC-SHA1, base64)",
        secret="OAuth1 secret",
        event_id=("json:action.id",),
        event_type=("json:action.type",),
        handshakes=("head-ok",),
        retries="30,60,120 s",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="dropbox",
        name="Dropbox",
        confidence="medium",
        schemes=(Signed(name="dropbox", headers=("x-dropbox-signature",)),),
        header="X-Dropbox-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="app secret",
        handshakes=("dropbox",),
        answer="10 s",
        note="thin: poll list_folder/continue",
        unconfirmed=("10 s",),
        source="dropbox webhooks reference (via webhook-co handshake source and receivers)",
    ),
    Provider(
        id="xero",
        name="Xero",
        confidence="medium",
        schemes=(Signed(name="xero", headers=("x-xero-signature",), encoding="base64"),),
        header="x-xero-signature",
        signed="{raw_body} (HMAC-SHA256, base64)",
        event_id=("json:resourceId",),
        event_id_with=("json:eventType", "json:eventDateUtc"),
        event_type=("json:eventType",),
        batch="events[]",
        handshakes=("xero-itr",),
        answer="200 empty body within 5 s",
        note="thin",
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); NangoHQ/nango xero "
            "route; gist constantm"
        ),
    ),
)
