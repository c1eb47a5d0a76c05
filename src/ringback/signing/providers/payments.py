"""How do payment providers sign? Rows of the catalogue."""

from __future__ import annotations

from typing import Final

from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.providers.adyen import AdyenStandard
from ringback.signing.providers.braintree import Braintree
from ringback.signing.providers.paypal import PayPal
from ringback.signing.scheme import Signed
from ringback.signing.tokens import Token, Unsigned

# Tolerances are the provider's own, in seconds, from the source that each row names.
ROWS: Final = (
    Provider(
        id="stripe",
        name="Stripe",
        confidence="high",
        schemes=(
            Signed(
                name="stripe-v1",
                headers=("stripe-signature",),
                content="{timestamp}.{body}",
                layout="pairs",
                timestamp="item:t",
                tolerance_s=300,
            ),
        ),
        header="Stripe-Signature: t=<unix>,v1=<hex>[,v1=<hex>...][,v0=<hex>]",
        signed="{t}.{raw_body} (HMAC-SHA256, hex lower)",
        secret="whsec_... used VERBATIM as UTF-8 bytes (do not base64-decode)",
        several=(
            "several v1 while two endpoint secrets are active (roll keeps the old one up to 24 h); accept any; ignore v0 (fake "
            "test-mode signature) and every non-v1 scheme"
        ),
        addresses="docs.stripe.com/ips",
        event_id=("json:id",),
        event_type=("json:type",),
        answer="any 2xx, quickly, before heavy work; 3xx is a failure",
        retries=(
            "live: exponential backoff up to 3 days; sandbox: 3 times over a few hours; intervals not published; order not "
            "guaranteed; duplicates possible; endpoint disabled/deleted stops that event"
        ),
        note=(
            "SDK checks only the past side of the tolerance; a future timestamp passes. API version pinned per endpoint. CLI secret"
            " differs from the dashboard secret. Reconcile with GET /v1/events?delivery_success=false (30 days)."
        ),
        unconfirmed=("UA Stripe/1.0 (+https://stripe.com/docs/webhooks)", "ips_webhooks.json URL", "24 h roll window", "30 day event list"),
        source=(
            "stripe/stripe-python stripe/_webhook.py; docs.stripe.com/webhooks, /webhooks/signatures; dev.to/shannonllc (docs "
            "checked 2026-09-27); stripe/stripe-dotnet EventUtilityTest.cs"
        ),
    ),
    Provider(
        id="paddle",
        name="Paddle Billing",
        confidence="high",
        schemes=(
            Signed(
                name="paddle-h1",
                headers=("paddle-signature",),
                content="{timestamp}:{body}",
                layout="pairs",
                separator=";",
                signature_key="h1",
                timestamp="item:ts",
                tolerance_s=5,
            ),
        ),
        header="Paddle-Signature: ts=<unix>;h1=<hex>[;h1=<hex>] (SEMICOLON)",
        signed="{ts}:{raw_body} (HMAC-SHA256, hex)",
        secret="pdl_ntfset_... verbatim",
        several="several h1; SDK takes list of secrets",
        event_id=("json:event_id", "json:notification_id"),
        event_type=("json:event_type",),
        note="SDK default tolerance only 5 s: make it configurable",
        source="PaddleHQ/paddle-python-sdk Notifications/PaddleSignature.py, Verifier.py + tests",
    ),
    Provider(
        id="square",
        name="Square",
        confidence="high",
        schemes=(Signed(name="square", headers=("x-square-hmacsha256-signature",), content="{url}{body}", encoding="base64"),),
        header="x-square-hmacsha256-signature: <base64>",
        signed="{notification_url}{raw_body} (HMAC-SHA256, base64)",
        secret="signature key verbatim",
        event_id=("json:event_id",),
        event_type=("json:type",),
        note="needs the exact registered URL on the source",
        source="square/square-python-sdk utils/webhooks_helper.py + tests",
    ),
    Provider(
        id="adyen",
        name="Adyen",
        confidence="high",
        schemes=(
            Signed(name="adyen-payload", headers=("hmacsignature",), secret_encoding="hex", encoding="base64"),
            AdyenStandard(name="adyen-standard"),
        ),
        header="additionalData.hmacSignature in each item (standard); HmacSignature header (Banking/Management)",
        signed=(
            "pspReference:originalReference:merchantAccountCode:merchantReference:value:currency:eventCode:success ; or raw body "
            "(HMAC-SHA256, base64)"
        ),
        secret="HEX string, decode first",
        event_id=("json:pspReference",),
        event_id_with=("json:eventCode", "json:success"),
        event_type=("json:eventCode",),
        batch="notificationItems[].NotificationRequestItem",
        answer='body "[accepted]" with 200',
        reply=(200, "[accepted]", "text/plain"),
        note="batch in notificationItems[]; missing fields are empty strings; commonly with Basic auth on top",
        source=(
            "Adyen/adyen-python-api-library Adyen/util.py + tests; hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; "
            "quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="paypal",
        name="PayPal",
        confidence="high",
        schemes=(PayPal(name="paypal"),),
        header="PAYPAL-TRANSMISSION-SIG",
        signed=(
            "{PAYPAL-TRANSMISSION-ID}|{PAYPAL-TRANSMISSION-TIME}|{webhook_id}|{crc32(raw_body) unsigned decimal} (SHA256withRSA "
            "PKCS1v15, cert from PAYPAL-CERT-URL, base64)"
        ),
        secret="webhook id (not secret, not in the request)",
        event_id=("json:id",),
        event_type=("json:event_type",),
        note="pin cert host to *.paypal.com, cache by URL; or postback POST /v1/notifications/verify-webhook-signature",
        unconfirmed=("25 retries over 3 days",),
        source=(
            "hookdeck/webhook-skills skills/paypal-webhooks/references/verification.md; "
            "developer.paypal.com/api/rest/webhooks/rest; developer.paypal.com verify_webhook_signature schema"
        ),
    ),
    Provider(
        id="braintree",
        name="Braintree",
        confidence="high",
        schemes=(Braintree(name="braintree"),),
        header="form bt_signature = public_key|hex[&public_key|hex]",
        signed="bt_payload (base64 XML), also tried with trailing newline (HMAC-SHA1 with key SHA1(private_key), hex)",
        secret="API private key",
        several="pairs, pick own public key",
        handshakes=("braintree-challenge",),
        source="braintree/braintree_python webhook_notification_gateway.py",
    ),
    Provider(
        id="coinbase-commerce",
        name="Coinbase Commerce",
        confidence="high",
        schemes=(Signed(name="coinbase-commerce", headers=("x-cc-webhook-signature",)),),
        header="X-CC-Webhook-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        secret="uuid string verbatim",
        event_id=("json:event.id",),
        event_type=("json:event.type",),
        source="coinbase/coinbase-commerce-python coinbase_commerce/webhook.py",
    ),
    Provider(
        id="plaid",
        name="Plaid",
        confidence="medium",
        schemes=(
            Jwt(
                name="plaid",
                place="header:plaid-verification",
                algorithms=("ES256",),
                secret_encoding="pem",
                jwks_url="https://production.plaid.com/webhook_verification_key/get",
                names_audience=False,
                body_hash_claim="request_body_sha256",
                tolerance_s=300,
            ),
        ),
        header="Plaid-Verification (JWT)",
        signed="JWT claim request_body_sha256 = hex sha256(raw_body) (ES256; JWK by kid via POST /webhook_verification_key/get, JWS)",
        secret="Plaid API client_id/secret to fetch JWK",
        event_type=("json:webhook_code",),
        note="require alg==ES256 before key lookup; cache JWK by kid (24 h), honour expired_at",
        source="plaid.com/docs/api/webhooks/webhook-verification (as described by several open-source verifiers)",
    ),
    Provider(
        id="revolut",
        name="Revolut",
        confidence="medium",
        schemes=(
            Signed(
                name="revolut",
                headers=("revolut-signature",),
                content="v1.{timestamp}.{body}",
                layout="pairs",
                timestamp="header:revolut-request-timestamp",
                unit="ms",
                tolerance_s=300,
            ),
        ),
        header="Revolut-Signature: v1=<hex>,...",
        signed="v1.{Revolut-Request-Timestamp}.{raw_body} (HMAC-SHA256, hex)",
        secret="wsk_...",
        several="comma list",
        addresses="documented list",
        event_id=("json:id",),
        event_type=("json:event",),
        retries="3 at 10 min",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="gocardless",
        name="GoCardless",
        confidence="medium",
        schemes=(Signed(name="gocardless", headers=("webhook-signature",)),),
        header="Webhook-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:id",),
        event_type=("json:action",),
        batch="events[]",
        answer="204; whole batch retried",
        reply=(204, "", ""),
        note="batched",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="razorpay",
        name="Razorpay",
        confidence="medium",
        schemes=(Signed(name="razorpay", headers=("x-razorpay-signature",)),),
        header="X-Razorpay-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        event_id=("header:x-razorpay-event-id",),
        event_type=("json:event",),
        unconfirmed=("x-razorpay-event-id",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="paystack",
        name="Paystack",
        confidence="medium",
        schemes=(Signed(name="paystack", headers=("x-paystack-signature",), algorithm="hmac-sha512"),),
        header="x-paystack-signature",
        signed="{raw_body} (HMAC-SHA512, hex)",
        secret="API secret key",
        addresses="52.31.139.75, 52.49.173.169, 52.214.14.220",
        event_id=("json:data.id",),
        event_id_with=("json:event",),
        event_type=("json:event",),
        answer="200, 30 s",
        retries="every 3 min x4 then hourly 72 h",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="mollie",
        name="Mollie",
        confidence="medium",
        schemes=(Unsigned(name="mollie", why="Mollie sends only the id of a payment, unsigned: fetch the payment, or say verify: none"),),
        signed="unsigned form id=tr_...",
        note='receiver must GET the resource; model as "callback-fetch" source',
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="recurly",
        name="Recurly",
        confidence="medium",
        schemes=(Token(name="recurly", places=("basic",)),),
        header="Authorization",
        signed="unsigned",
        note="XML by default; Basic auth + IP allowlist",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="chargebee",
        name="Chargebee",
        confidence="medium",
        schemes=(Token(name="chargebee", places=("basic",)),),
        header="Authorization",
        signed="unsigned",
        event_id=("json:id",),
        event_type=("json:event_type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="airwallex",
        name="Airwallex",
        confidence="medium",
        schemes=(
            Signed(name="airwallex", headers=("x-signature",), content="{timestamp}{body}", timestamp="header:x-timestamp", unit="ms"),
        ),
        header="x-signature",
        signed="{x-timestamp}{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:id",),
        event_type=("json:name",),
        retries="3 days",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="wechatpay",
        name="WeChat Pay v3",
        confidence="medium",
        schemes=(
            Signed(
                name="wechatpay",
                headers=("wechatpay-signature",),
                content="{timestamp}\n{header:wechatpay-nonce}\n{body}\n",
                algorithm="rsa-sha256",
                timestamp="header:wechatpay-timestamp",
                tolerance_s=300,
                secret_encoding="pem",
                encoding="base64",
            ),
        ),
        header="Wechatpay-Signature",
        signed="{timestamp}\\n{nonce}\\n{body}\\n (SHA256withRSA, key by Wechatpay-Serial, base64)",
        event_id=("json:id",),
        event_type=("json:event_type",),
        answer='{"code":"SUCCESS","message":"OK"}',
        reply=(200, '{"code":"SUCCESS","message":"OK"}', "application/json"),
        note="resource is AES-256-GCM encrypted",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="tebex",
        name="Tebex",
        confidence="medium",
        schemes=(Signed(name="tebex", headers=("x-signature",), content="{body_sha256}"),),
        header="X-Signature",
        signed="hex(sha256(raw_body)) (HMAC-SHA256, hex)",
        event_id=("json:id",),
        event_type=("json:type",),
        handshakes=("tebex-validation",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="solidgate",
        name="Solidgate",
        confidence="medium",
        schemes=(
            Signed(
                name="solidgate",
                headers=("signature",),
                content="{header:merchant}{body}{header:merchant}",
                algorithm="hmac-sha512",
                encoding="base64_of_hex",
            ),
        ),
        header="signature (+merchant)",
        signed="{public}{raw_body}{public} (HMAC-SHA512, base64(hex))",
        event_id=("header:solidgate-event-id",),
        event_type=("header:solidgate-event-type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="zerohash",
        name="Zero Hash",
        confidence="medium",
        schemes=(
            Signed(
                name="zerohash",
                headers=("x-zh-hook-signature",),
                content="{body}{timestamp}",
                timestamp="header:x-zh-hook-timestamp",
                unit="ms",
                tolerance_s=300,
            ),
        ),
        header="x-zh-hook-signature",
        signed="{raw_body}{x-zh-hook-timestamp} (HMAC-SHA256, hex)",
        event_id=("header:x-zh-hook-notification-id",),
        event_type=("header:x-zh-hook-payload-type",),
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="revenuecat",
        name="RevenueCat",
        confidence="low",
        schemes=(Token(name="revenuecat", places=("header:authorization",)),),
        signed="unsigned (constant-time compare, plain)",
        event_id=("json:event.id",),
        event_type=("json:event.type",),
        unconfirmed=("all",),
        source="revenuecat.com/docs/integrations/webhooks (knowledge)",
    ),
    Provider(
        id="lemonsqueezy",
        name="Lemon Squeezy",
        confidence="low",
        schemes=(Signed(name="lemonsqueezy", headers=("x-signature",)),),
        header="X-Signature",
        signed="{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:meta.webhook_id",),
        event_type=("header:x-event-name", "json:meta.event_name"),
        unconfirmed=("all",),
        source="docs.lemonsqueezy.com/help/webhooks/signing-requests (knowledge)",
    ),
)
