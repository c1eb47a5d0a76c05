"""How do shops, customer services and document services sign? Rows of the catalogue."""

from __future__ import annotations

from typing import Final

from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.providers.ebay import Ebay
from ringback.signing.scheme import Signed
from ringback.signing.tokens import Token, Unsigned

_SALESFORCE_ACK: Final = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><notificationsResponse '
    'xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse></soapenv:Body></soapenv:Envelope>'
)
# Tolerances are the provider's own, in seconds, from the source that each row names.
ROWS: Final = (
    Provider(
        id="shopify",
        name="Shopify",
        confidence="high",
        schemes=(Signed(name="shopify-hmac", headers=("x-shopify-hmac-sha256", "shopify-hmac-sha256"), encoding="base64"),),
        header='X-Shopify-Hmac-Sha256 (also shopify-hmac-sha256 for new "Events" webhooks): <base64>',
        signed="{raw_body} (HMAC-SHA256, base64)",
        secret="app client secret as UTF-8",
        several="none in header; app holds new+old client secret; up to 1 h after rotation the old one still signs",
        also_sent=("X-Shopify-Shop-Domain, X-Shopify-API-Version, X-Shopify-Name, shopify-handle, shopify-action, shopify-resource-id"),
        event_id=("header:x-shopify-event-id", "header:shopify-event-id"),
        event_id_with=("header:x-shopify-topic", "header:shopify-topic"),
        event_type=("header:x-shopify-topic", "header:shopify-topic"),
        answer="2xx; connect 1 s, total 5 s",
        retries=(
            "8 times over 4 h, exponential, ORIGINAL payload and original URL; after 8 consecutive failures Admin-API subscriptions"
            " are deleted"
        ),
        note=(
            "Test notifications from the store settings are signed with another secret and fail. Mandatory privacy topics. Docs "
            "demand reconciliation jobs. Dedup key = (topic, event id) when several subscriptions share a source."
        ),
        source=(
            "Shopify/shopify-app-js lib/types.ts, lib/webhooks; Shopify/shopify-api-ruby utils/hmac_validator.rb; "
            "shopify.dev/docs/apps/build/webhooks/verify-deliveries; shopify.dev/changelog/updates-to-webhook-retry-mechanism; "
            "shopify.dev/apps/build/webhooks/ignore-duplicates; dev.to/shannonllc (docs checked 2026-09-27)"
        ),
    ),
    Provider(
        id="woocommerce",
        name="WooCommerce",
        confidence="medium",
        schemes=(Signed(name="woocommerce", headers=("x-wc-webhook-signature",), encoding="base64"),),
        header="X-WC-Webhook-Signature",
        signed="{raw_body} (HMAC-SHA256, base64)",
        also_sent="X-WC-Webhook-Resource, X-WC-Webhook-Event, X-WC-Webhook-Source, X-WC-Webhook-ID",
        event_id=("header:x-wc-webhook-delivery-id",),
        event_type=("header:x-wc-webhook-topic",),
        unconfirmed=("creation ping body",),
        source=(
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026); hookdeck/webhook-skills "
            "skills/woocommerce-webhooks/references/verification.md"
        ),
    ),
    Provider(
        id="easypost",
        name="EasyPost",
        confidence="high",
        schemes=(Signed(name="easypost", headers=("x-hmac-signature",), prefix="hmac-sha256-hex=", secret_encoding="nfkd_utf8"),),
        header="X-Hmac-Signature: hmac-sha256-hex=<hex>",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="NFKD-normalised UTF-8 string",
        event_id=("json:id",),
        event_type=("json:description",),
        unconfirmed=("float 0 formatting note",),
        source="EasyPost/easypost-python easypost/util.py",
    ),
    Provider(
        id="ebay",
        name="eBay",
        confidence="medium",
        schemes=(Ebay(name="ebay"),),
        header="x-ebay-signature (base64 JSON {alg,kid,signature,digest})",
        signed="{raw_body} (ECDSA SHA1, key by kid, base64)",
        event_id=("json:notification.notificationId",),
        event_type=("json:metadata.topic",),
        handshakes=("ebay",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="walmart",
        name="Walmart Marketplace",
        confidence="medium",
        schemes=(
            Signed(
                name="walmart",
                headers=("wm_sec.signature",),
                content="{method}\n{path}\n{timestamp}\n{body_sha256}",
                timestamp="header:wm_sec.timestamp",
                unit="s_or_ms",
                tolerance_s=300,
                encoding="base64",
            ),
        ),
        header="WM_SEC.SIGNATURE",
        signed="{METHOD}\\n{path?query}\\n{ts}\\n{sha256_hex(body)} (HMAC-SHA256, base64)",
        note="header name contains a dot: proxies that drop odd headers break it",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="wix",
        name="Wix",
        confidence="medium",
        schemes=(Jwt(name="wix", place="body", algorithms=("RS256",), secret_encoding="pem"),),
        signed="entire body is an RS256 JWT (RS256, JWT)",
        answer="~1.25 s first attempt, 12 retries",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="hubspot",
        name="HubSpot",
        confidence="high",
        schemes=(
            Signed(
                name="hubspot-v3",
                headers=("x-hubspot-signature-v3",),
                content="{method}{decoded_url}{body}{timestamp}",
                timestamp="header:x-hubspot-request-timestamp",
                unit="ms",
                tolerance_s=300,
                encoding="base64",
            ),
        ),
        by_name_only=(
            Signed(name="hubspot-v2", headers=("x-hubspot-signature",), content="{key}{method}{url}{body}", algorithm="digest-sha256"),
            Signed(name="hubspot-v1", headers=("x-hubspot-signature",), content="{key}{body}", algorithm="digest-sha256"),
        ),
        header="X-HubSpot-Signature-v3 (v1/v2: X-HubSpot-Signature)",
        signed=(
            "v3: {METHOD}{full_uri}{raw_body}{timestamp}; v2: sha256({client_secret}{METHOD}{uri}{body}); v1: "
            "sha256({client_secret}{body}) (v3 HMAC-SHA256; v1/v2 SHA-256, v3 base64; v1/v2 hex)"
        ),
        secret="app client secret",
        event_id=("json:eventId",),
        event_type=("json:subscriptionType",),
        batch="[]",
        note="batch array; needs public URL; v3 URL-decodes some characters before signing",
        source=(
            "HubSpot/hubspot-api-python hubspot/utils/signature.py + tests; hookdeck/webhook-skills providers.yaml @00ad8d05 "
            "(secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="intercom",
        name="Intercom",
        confidence="medium",
        schemes=(Signed(name="intercom", headers=("x-hub-signature",), algorithm="hmac-sha1", prefix="sha1="),),
        header="X-Hub-Signature: sha1=<hex>",
        signed="{raw_body} (HMAC-SHA1, hex)",
        secret="client_secret",
        event_id=("json:id",),
        event_type=("json:topic",),
        handshakes=("head-ok",),
        unconfirmed=("HEAD on save",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="zendesk",
        name="Zendesk",
        confidence="medium",
        schemes=(
            Signed(
                name="zendesk",
                headers=("x-zendesk-webhook-signature",),
                content="{timestamp}{body}",
                timestamp="header:x-zendesk-webhook-signature-timestamp",
                unit="iso",
                encoding="base64",
            ),
        ),
        header="X-Zendesk-Webhook-Signature",
        signed="{X-Zendesk-Webhook-Signature-Timestamp}{raw_body} (HMAC-SHA256, base64)",
        secret="verbatim; test secret dGhpc19zZWNyZXRfaXNfZm9yX3Rlc3Rpbmdfb25seQ==",
        event_id=("header:x-zendesk-webhook-invocation-id",),
        event_type=("json:type",),
        answer="12 s",
        retries="409 x3; 429/503 if Retry-After<60; timeouts x5; circuit breaker at 70% errors",
        unconfirmed=("X-Zendesk-Webhook-Invocation-Id",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="typeform",
        name="Typeform",
        confidence="medium",
        schemes=(Signed(name="typeform", headers=("typeform-signature",), prefix="sha256=", encoding="base64"),),
        header="Typeform-Signature: sha256=<BASE64>",
        signed="{raw_body} (HMAC-SHA256, base64 (prefix looks like hex scheme))",
        event_id=("json:event_id",),
        event_type=("json:event_type",),
        retries="404/410 disable at once; 408/423/429/503 every 2-3 min for 10 h; else ~5",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="calendly",
        name="Calendly",
        confidence="high",
        schemes=(
            Signed(
                name="calendly",
                headers=("calendly-webhook-signature",),
                content="{timestamp}.{body}",
                layout="pairs",
                timestamp="item:t",
                tolerance_s=180,
            ),
        ),
        header="Calendly-Webhook-Signature: t=<unix>,v1=<hex>",
        signed="{t}.{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:payload.uri",),
        event_id_with=("json:event",),
        event_type=("json:event",),
        source=(
            "NangoHQ/nango calendly-webhook-routing.ts; hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes "
            "provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="docusign",
        name="DocuSign Connect",
        confidence="medium",
        schemes=(Signed(name="docusign", headers=("x-docusign-signature-*",), layout="each", encoding="base64"),),
        header="X-DocuSign-Signature-1..N",
        signed="{raw_body} (HMAC-SHA256 (x-authorization-digest), base64)",
        several="one header per active key, up to 100; any match",
        also_sent="x-authorization-digest",
        event_id=("json:data.envelopeId", "json:envelopeId"),
        event_id_with=("json:event", "json:generatedDateTime"),
        event_type=("json:event",),
        retries="from ~5 min doubling up to 15 days",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="adobe-sign",
        name="Adobe Acrobat Sign",
        confidence="medium",
        schemes=(Token(name="adobe-sign", places=("header:x-adobesign-clientid",)),),
        header="X-AdobeSign-ClientId",
        signed="unsigned",
        event_id=("json:webhookNotificationId",),
        event_type=("json:event",),
        handshakes=("adobe-sign",),
        source="webhook-co handshake source; several receivers",
    ),
    Provider(
        id="salesforce-outbound",
        name="Salesforce Outbound Messages",
        confidence="medium",
        schemes=(
            Unsigned(
                name="salesforce-outbound",
                why="Salesforce outbound messages are unsigned SOAP: restrict addresses or use mTLS, and say verify: none",
            ),
        ),
        signed="unsigned SOAP",
        answer="SOAP <Ack>true</Ack>",
        reply=(200, _SALESFORCE_ACK, "text/xml; charset=utf-8"),
        note="sync response needed",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="pipedrive",
        name="Pipedrive",
        confidence="medium",
        schemes=(Token(name="pipedrive", places=("basic",)),),
        header="Authorization",
        signed="unsigned",
        event_id=("json:meta.id",),
        event_type=("json:meta.action",),
        retries="3/30/150 s; ban 30 min; deleted after 3 days",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="webflow",
        name="Webflow",
        confidence="medium",
        schemes=(
            Signed(
                name="webflow",
                headers=("x-webflow-signature",),
                content="{timestamp}:{body}",
                timestamp="header:x-webflow-timestamp",
                unit="s_or_ms",
            ),
        ),
        header="x-webflow-signature",
        signed="{x-webflow-timestamp}:{raw_body} (HMAC-SHA256, hex)",
        event_type=("json:triggerType",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="sanity",
        name="Sanity",
        confidence="medium",
        schemes=(
            Signed(
                name="sanity",
                headers=("sanity-webhook-signature",),
                content="{timestamp}.{body}",
                encoding="base64url",
                layout="pairs",
                timestamp="item:t",
                unit="ms",
            ),
        ),
        header="sanity-webhook-signature: t=<ms>,v1=<b64url>",
        signed="{t}.{raw_body} (HMAC-SHA256, base64url no padding)",
        event_id=("header:idempotency-key",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="cloudinary",
        name="Cloudinary",
        confidence="medium",
        schemes=(
            Signed(
                name="cloudinary",
                headers=("x-cld-signature",),
                content="{body}{timestamp}{key}",
                algorithm="digest-sha1",
                timestamp="header:x-cld-timestamp",
                tolerance_s=7200,
            ),
        ),
        by_name_only=(
            Signed(
                name="cloudinary-sha256",
                headers=("x-cld-signature",),
                content="{body}{timestamp}{key}",
                algorithm="digest-sha256",
                timestamp="header:x-cld-timestamp",
                tolerance_s=7200,
            ),
        ),
        header="x-cld-signature",
        signed="{raw_body}{x-cld-timestamp}{api_secret} (SHA1|SHA256 digest (not HMAC), hex)",
        event_type=("json:notification_type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
)
