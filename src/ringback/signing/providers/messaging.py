"""How do mail, chat, telephone and social services sign? Rows of the catalogue."""

from __future__ import annotations

from typing import Final

from ringback.signing.provider import Provider
from ringback.signing.providers.mailgun import Mailgun
from ringback.signing.providers.twilio import TwilioForm, TwilioJson
from ringback.signing.scheme import Signed
from ringback.signing.tokens import Token

# Tolerances are the provider's own, in seconds, from the source that each row names.
ROWS: Final = (
    Provider(
        id="slack",
        name="Slack (Events API, interactivity, slash commands)",
        confidence="high",
        schemes=(
            Signed(
                name="slack-v0",
                headers=("x-slack-signature",),
                content="v0:{timestamp}:{body}",
                prefix="v0=",
                timestamp="header:x-slack-request-timestamp",
                tolerance_s=300,
            ),
        ),
        header="X-Slack-Signature: v0=<hex>",
        signed="v0:{X-Slack-Request-Timestamp}:{raw_body} (HMAC-SHA256, hex lower)",
        secret="hex-looking string used as UTF-8",
        several="none (one signing secret per app)",
        also_sent="X-Slack-Retry-Num, X-Slack-Retry-Reason",
        redelivery=("header:x-slack-retry-num",),
        user_agent="Slackbot 1.0 (+https://api.slack.com/robots)",
        event_id=("json:event_id",),
        event_type=("json:event.type", "json:type"),
        handshakes=("slack-url-verification", "slack-ssl-check"),
        answer="200 within 3 s (interactivity: empty body matters; view_submission needs an empty body)",
        reply=(200, "", ""),
        retries=(
            "3 retries: at once, 1 min, 5 min; reasons http_timeout, too_many_redirects, connection_failed, ssl_error, http_error, "
            "unknown_error; response header X-Slack-No-Retry: 1 turns retries off"
        ),
        note=(
            "subscription is disabled when fewer than 5% of deliveries in 60 min succeed; 30,000 events/h/workspace -> "
            "app_rate_limited. Timeout retry overlaps with the still-running first attempt: dedup before work. SDK raises "
            "ValueError on a non-numeric timestamp."
        ),
        source=(
            "slackapi/python-slack-sdk slack_sdk/signature; docs.slack.dev/authentication/verifying-requests-from-slack; "
            "docs.slack.dev/reference/events/app_rate_limited; dev.classmethod.jp article on Slack retries"
        ),
    ),
    Provider(
        id="twilio",
        name="Twilio",
        confidence="high",
        schemes=(
            TwilioForm(name="twilio-form"),
            TwilioJson(name="twilio-json"),
        ),
        header="X-Twilio-Signature: <base64>",
        signed=(
            "form: {full_url}{for name in sorted(names): for value in sorted(set(values)): name+value}; JSON: {full_url} only, and "
            "URL carries bodySHA256=<hex sha256 of raw body> which must match too; GET: URL only (HMAC-SHA1 (+SHA-256 body hash for"
            " JSON), base64)"
        ),
        secret="32-hex Auth Token as UTF-8",
        several="none; PRIMARY auth token only (secondary must be promoted first)",
        event_id=("header:i-twilio-idempotency-token", "form:MessageSid", "form:CallSid"),
        event_id_with=("form:MessageStatus", "form:SmsStatus", "form:CallStatus"),
        event_type=("form:MessageStatus", "form:CallStatus", "form:EventType"),
        answer="product: TwiML/2xx; Messaging/Voice read the body, so SYNC RESPONSES matter",
        reply=(200, '<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml"),
        retries="per URL via fragment #rc=,rp=,ct=,rt=,tt=,e= or Webhooks configuration API; fallback URL",
        note=(
            "URL is the one Twilio requested: scheme/host/port/userinfo/query byte-exact; try URL as is, without port, with "
            ":443/:80; ' may be %27. Behind a proxy you must know the public URL: store it on the source. Whitespace must not be "
            "trimmed from form values; include empty ones. Duplicate values are collapsed. twilio-python compare() is home-made, "
            "remove_port breaks on IPv6/userinfo+port."
        ),
        unconfirmed=("default timeout 15 s", "UA TwilioProxy/1.1", "no published IP list"),
        source=(
            "twilio/twilio-python twilio/request_validator.py + tests; twilio/twilio-node spec/validation.spec.js; "
            "twilio.com/docs/api/errors/57012.md; twilio.com/docs/usage/webhooks/webhooks-connection-overrides"
        ),
    ),
    Provider(
        id="nylas",
        name="Nylas",
        confidence="medium",
        schemes=(Signed(name="nylas", headers=("x-nylas-signature",)),),
        header="x-nylas-signature",
        signed="{raw_body} (COMPRESSED bytes when Content-Encoding: gzip) (HMAC-SHA256, hex)",
        event_id=("json:id",),
        event_type=("json:type",),
        handshakes=("nylas",),
        retries="3 attempts, 10-20 min; 95% failing 15 min -> failing; 72 h -> failed",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="mailgun",
        name="Mailgun",
        confidence="high",
        schemes=(Mailgun(name="mailgun"),),
        header="body signature{timestamp,token,signature} (or form fields)",
        signed="{timestamp}{token} (HMAC-SHA256, hex)",
        event_id=("json:event-data.id", "form:token"),
        changing=("signature",),
        event_type=("json:event-data.event", "form:event"),
        answer="200; 406 stops retries",
        note="BODY NOT AUTHENTICATED by the signature",
        unconfirmed=("406 stops retries", "8 h retry schedule"),
        source=(
            "anymail/django-anymail anymail/webhooks/mailgun.py; hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; "
            "quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="sendgrid",
        name="SendGrid Event Webhook",
        confidence="high",
        schemes=(
            Signed(
                name="sendgrid-ecdsa",
                headers=("x-twilio-email-event-webhook-signature",),
                content="{timestamp}{body}",
                algorithm="ecdsa-sha256",
                timestamp="header:x-twilio-email-event-webhook-timestamp",
                secret_encoding="spki_base64",
                encoding="base64",
            ),
        ),
        header="X-Twilio-Email-Event-Webhook-Signature",
        signed="{X-Twilio-Email-Event-Webhook-Timestamp}{raw_body} (ECDSA P-256 SHA-256, base64 DER)",
        secret="public key base64 SPKI",
        event_id=("json:sg_event_id",),
        event_type=("json:event",),
        batch="[]",
        note="JSON array batch; body ends with CRLF that is signed",
        source="sendgrid/sendgrid-python helpers/eventwebhook + tests",
    ),
    Provider(
        id="postmark",
        name="Postmark",
        confidence="medium",
        schemes=(Token(name="postmark", places=("basic",)),),
        header="Authorization",
        signed="unsigned",
        event_id=("json:MessageID",),
        event_id_with=("json:RecordType",),
        event_type=("json:RecordType",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="mandrill",
        name="Mandrill (Mailchimp Transactional)",
        confidence="high",
        schemes=(
            Signed(name="mandrill", headers=("x-mandrill-signature",), content="{url}{form}", algorithm="hmac-sha1", encoding="base64"),
        ),
        header="X-Mandrill-Signature",
        signed="{url}{sorted form key+value} (HMAC-SHA1, base64)",
        event_id=("json:_id",),
        event_id_with=("json:event", "json:ts"),
        event_type=("json:event",),
        batch="form:mandrill_events",
        handshakes=("head-ok",),
        note="mandrill_events form field holds a JSON array; basic-auth user:pass is part of the URL signed",
        source="anymail/django-anymail anymail/webhooks/mandrill.py",
    ),
    Provider(
        id="mailchimp",
        name="Mailchimp Marketing",
        confidence="medium",
        schemes=(Token(name="mailchimp", places=("query:secret",)),),
        signed="unsigned form",
        event_type=("form:type",),
        handshakes=("get-ok",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="telegram",
        name="Telegram Bot API",
        confidence="medium",
        schemes=(Token(name="telegram", places=("header:x-telegram-bot-api-secret-token",)),),
        header="X-Telegram-Bot-Api-Secret-Token",
        signed="- (constant-time compare, plain)",
        secret="1-256 chars A-Za-z0-9_-",
        event_id=("json:update_id",),
        note="response body may carry a Bot API method (sync)",
        unconfirmed=("secret charset", "149.154.160.0/20, 91.108.4.0/22"),
        source="core.telegram.org/bots/api#setwebhook; many implementations",
    ),
    Provider(
        id="line",
        name="LINE",
        confidence="high",
        schemes=(Signed(name="line", headers=("x-line-signature",), encoding="base64"),),
        header="x-line-signature",
        signed="{raw_body} (HMAC-SHA256, base64)",
        secret="channel secret",
        event_id=("json:webhookEventId",),
        event_type=("json:type",),
        batch="events[]",
        answer="200",
        unconfirmed=("webhookEventId", "deliveryContext.isRedelivery"),
        source="line/line-bot-sdk-python linebot/v3/webhook.py + tests",
    ),
    Provider(
        id="discord",
        name="Discord interactions & webhook events",
        confidence="high",
        schemes=(
            Signed(
                name="discord-ed25519",
                headers=("x-signature-ed25519",),
                content="{timestamp}{body}",
                algorithm="ed25519",
                timestamp="header:x-signature-timestamp",
                secret_encoding="hex_ed25519_public_key",
            ),
        ),
        header="X-Signature-Ed25519",
        signed="{X-Signature-Timestamp}{raw_body} (Ed25519, hex)",
        secret="application public key hex",
        event_id=("json:id",),
        event_type=("json:event.type", "json:type"),
        handshakes=("discord-interaction-ping", "discord-webhook-event-ping"),
        answer="within 3 s; interactions are SYNC; events 204",
        reply=(204, "", ""),
        retries="events: exponential up to 10 min",
        note="MUST return 401 on bad signature: Discord sends bad ones on purpose and removes endpoints that accept them",
        source=(
            "discord/discord-api-docs developers/interactions/overview.mdx, developers/events/webhook-events.mdx; "
            "discord/discord-interactions-python"
        ),
    ),
    Provider(
        id="meta",
        name="Meta / Facebook / Instagram / WhatsApp",
        confidence="medium",
        schemes=(Signed(name="meta", headers=("x-hub-signature-256",), prefix="sha256="),),
        header="X-Hub-Signature-256 (legacy X-Hub-Signature sha1): sha256=<hex>",
        signed="{raw_body} (unicode-escaped form as sent) (HMAC-SHA256, hex)",
        secret="app secret",
        event_type=("json:object",),
        handshakes=("meta-hub",),
        answer="200 fast; mTLS client cert optional",
        retries="36 h (WhatsApp up to 7 days), decreasing",
        note="batches up to 1000 updates, 3 MB",
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); "
            "developers.facebook.com/documentation/.../webhooks.md"
        ),
    ),
    Provider(
        id="x-twitter",
        name="X / Twitter",
        confidence="medium",
        schemes=(Signed(name="x-twitter", headers=("x-twitter-webhooks-signature",), prefix="sha256=", encoding="base64"),),
        header="x-twitter-webhooks-signature: sha256=<BASE64>",
        signed="{raw_body} (HMAC-SHA256, base64)",
        secret="consumer secret",
        handshakes=("x-crc",),
        answer="10 s",
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); frain-dev/convoy "
            "internal/pkg/crc"
        ),
    ),
    Provider(
        id="twitch",
        name="Twitch EventSub",
        confidence="high",
        schemes=(
            Signed(
                name="twitch-eventsub",
                headers=("twitch-eventsub-message-signature",),
                content="{header:twitch-eventsub-message-id}{timestamp}{body}",
                prefix="sha256=",
                timestamp="header:twitch-eventsub-message-timestamp",
                unit="iso",
                tolerance_s=600,
                id_header="twitch-eventsub-message-id",
            ),
        ),
        header="Twitch-Eventsub-Message-Signature: sha256=<hex>",
        signed="{Message-Id}{Message-Timestamp}{raw_body} (HMAC-SHA256, hex)",
        secret="10-100 ASCII, yours",
        also_sent="Twitch-Eventsub-Message-Retry",
        event_id=("header:twitch-eventsub-message-id",),
        event_type=("header:twitch-eventsub-subscription-type",),
        redelivery=("header:twitch-eventsub-message-retry",),
        handshakes=("twitch",),
        unconfirmed=("Twitch-Eventsub-Message-Retry",),
        note="revocation must be surfaced as an alert",
        source=(
            "twitchAPI eventsub/webhook.py; hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="tiktok",
        name="TikTok",
        confidence="medium",
        schemes=(
            Signed(
                name="tiktok",
                headers=("tiktok-signature",),
                content="{timestamp}.{body}",
                layout="pairs",
                signature_key="s",
                timestamp="item:t",
            ),
        ),
        header="TikTok-Signature: t=,s=",
        signed="{t}.{raw_body} (HMAC-SHA256, hex)",
        event_type=("json:event",),
        retries="72 h",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="customerio",
        name="Customer.io",
        confidence="medium",
        schemes=(
            Signed(name="customerio", headers=("x-cio-signature",), content="v0:{timestamp}:{body}", timestamp="header:x-cio-timestamp"),
        ),
        header="X-CIO-Signature",
        signed="v0:{X-CIO-Timestamp}:{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:event_id",),
        event_type=("json:metric",),
        answer="4 s",
        retries="7 days",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="telnyx",
        name="Telnyx",
        confidence="medium",
        schemes=(
            Signed(
                name="telnyx",
                headers=("telnyx-signature-ed25519",),
                content="{timestamp}|{body}",
                algorithm="ed25519",
                timestamp="header:telnyx-timestamp",
                tolerance_s=300,
                secret_encoding="base64_ed25519_public_key",
                encoding="base64",
            ),
        ),
        header="telnyx-signature-ed25519",
        signed="{telnyx-timestamp}|{raw_body} (Ed25519, base64)",
        event_id=("json:data.id",),
        event_type=("json:data.event_type",),
        answer="2 s",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="front",
        name="Front",
        confidence="medium",
        schemes=(
            Signed(
                name="front",
                headers=("x-front-signature",),
                content="{timestamp}:{body}",
                timestamp="header:x-front-request-timestamp",
                unit="s_or_ms",
                encoding="base64",
            ),
        ),
        header="X-Front-Signature",
        signed="{X-Front-Request-Timestamp}:{raw_body} (HMAC-SHA256, base64)",
        event_id=("json:id",),
        event_type=("json:type",),
        handshakes=("front",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="zoom",
        name="Zoom",
        confidence="high",
        schemes=(
            Signed(
                name="zoom-v0",
                headers=("x-zm-signature",),
                content="v0:{timestamp}:{body}",
                prefix="v0=",
                timestamp="header:x-zm-request-timestamp",
                tolerance_s=300,
            ),
        ),
        header="x-zm-signature: v0=<hex>",
        signed="v0:{x-zm-request-timestamp}:{raw_body} (HMAC-SHA256, hex)",
        secret="Secret Token",
        event_id=("json:event_ts",),
        event_id_with=("json:event", "json:payload.object.uuid"),
        event_type=("json:event",),
        handshakes=("zoom-url-validation",),
        answer="200/204 within 3 s",
        unconfirmed=("3 retries at 5/20/60 min",),
        source=(
            "developers.zoom.us/docs/api/webhooks; developers.zoom.us/changelog/platform/webhook-url-validation.md; "
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="linkedin",
        name="LinkedIn",
        confidence="medium",
        schemes=(Signed(name="linkedin", headers=("x-li-signature",), content="hmacsha256={body}"),),
        header="X-LI-Signature",
        signed="hmacsha256={raw_body} (HMAC-SHA256, hex)",
        event_id=("json:notificationId",),
        event_type=("json:type",),
        handshakes=("linkedin",),
        retries="every 5 min for 8 h",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
)
