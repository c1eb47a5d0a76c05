"""How do clouds, identity services and open standards sign? Rows of the catalogue."""

from __future__ import annotations

from typing import Final

from ringback.signing.http_signatures import ContentDigest, HttpSignature
from ringback.signing.jwt import Jwt
from ringback.signing.provider import Provider
from ringback.signing.providers.sns import Sns
from ringback.signing.scheme import Signed
from ringback.signing.tokens import Token

# A sender keeps to one of the three hashes, and the length of a signature says to which.
_SIZED: Final = tuple(
    Signed(
        name=f"generic-hmac-{kind}-hex", headers=("x-signature",), algorithm=f"hmac-{kind}", layout="list", prefix=f"{kind}=", sized=True
    )
    for kind in ("sha512", "sha1")
)

# Tolerances are the provider's own, in seconds, from the source that each row names.
ROWS: Final = (
    Provider(
        id="workos",
        name="WorkOS",
        confidence="high",
        schemes=(
            Signed(
                name="workos",
                headers=("workos-signature",),
                content="{timestamp}.{body}",
                layout="pairs",
                timestamp="item:t",
                unit="ms",
                tolerance_s=180,
            ),
        ),
        header="WorkOS-Signature: t=<ms>, v1=<hex> (comma SPACE)",
        signed="{t}.{raw_body} (HMAC-SHA256, hex)",
        event_id=("json:id",),
        event_type=("json:event",),
        source="workos/workos-python src/workos/webhooks/_verification.py",
    ),
    Provider(
        id="persona",
        name="Persona",
        confidence="low",
        schemes=(
            Signed(
                name="persona",
                headers=("persona-signature",),
                content="{timestamp}.{body}",
                layout="pairs",
                timestamp="item:t",
                tolerance_s=300,
                groups=" ",
            ),
        ),
        header="Persona-Signature: t=<unix>,v1=<hex>[ t=<unix>,v1=<hex>...]",
        signed="{t}.{raw_body} (HMAC-SHA256, hex)",
        several="a list of pairs with blanks between while a secret rotates, each with a time of its own",
        event_id=("json:data.id",),
        event_type=("json:data.attributes.name",),
        unconfirmed=("all but that the list is separated by blanks",),
        source="an inventory of separators of signature lists",
    ),
    Provider(
        id="okta",
        name="Okta Event Hooks",
        confidence="high",
        schemes=(Token(name="okta", places=("header:authorization",)),),
        header="Authorization",
        signed="unsigned (constant-time compare, plain)",
        event_id=("json:uuid",),
        event_type=("json:eventType",),
        batch="data.events[]",
        handshakes=("okta",),
        answer="200/204 empty within 3 s",
        reply=(200, "", ""),
        retries="at most one, only 5xx/timeouts; 400k events/day cap",
        note="best effort, out of order",
        source="okta/okta-developer-docs docs/concepts/event-hooks/index.md",
    ),
    Provider(
        id="auth0",
        name="Auth0 Custom Log Streams",
        confidence="medium",
        schemes=(Token(name="auth0", places=("header:authorization",)),),
        header="Authorization",
        signed="unsigned array",
        event_id=("json:log_id",),
        event_type=("json:data.type",),
        batch="[]",
        source="hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)",
    ),
    Provider(
        id="ms-graph",
        name="Microsoft Graph",
        confidence="high",
        schemes=(Token(name="ms-graph", places=("json:value[].clientState",)),),
        signed="unsigned; value[].clientState compare",
        event_id=("json:id",),
        event_type=("json:changeType", "json:lifecycleEvent"),
        batch="value[]",
        handshakes=("ms-graph",),
        answer="2xx within 3 s (202 if persisted, 5xx if not)",
        reply=(202, "", ""),
        retries="up to 4 h; slow endpoint (>2.9 s on 10% of 100) throttled",
        note="subscriptions expire: renew; lifecycle missed -> delta query reconciliation",
        source=(
            "microsoftgraph/microsoft-graph-docs-contrib concepts/change-notifications-delivery-webhooks.md; "
            "hookdeck/webhook-skills providers.yaml @00ad8d05 (secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="azure-event-grid",
        name="Azure Event Grid",
        confidence="medium",
        schemes=(Token(name="azure-event-grid", places=("query:secret",)),),
        signed="unsigned",
        also_sent="aeg-delivery-count",
        redelivery=("header:aeg-delivery-count",),
        event_id=("json:id",),
        event_type=("json:eventType", "json:type"),
        batch="[]",
        handshakes=("event-grid", "cloudevents-options"),
        unconfirmed=("24 h retry schedule 10s..12h",),
        source="learn.microsoft.com event-grid (translated azure-docs copies)",
    ),
    Provider(
        id="google-pubsub-push",
        name="Google Pub/Sub push",
        confidence="low",
        schemes=(
            Jwt(
                name="google-pubsub-push",
                algorithms=("RS256",),
                secret_encoding="pem",
                jwks_url="https://www.googleapis.com/oauth2/v3/certs",
                issuers=("accounts.google.com", "https://accounts.google.com"),
            ),
        ),
        header="Authorization: Bearer <JWT>",
        signed="JWT iss accounts.google.com, aud, email, email_verified (RS256 via Google JWKS, JWT)",
        event_id=("json:message.messageId",),
        answer="102,200,201,202,204 ack; else nack",
        unconfirmed=("all",),
        source="cloud.google.com/pubsub/docs/authenticate-push-subscriptions (knowledge)",
    ),
    Provider(
        id="aws-sns",
        name="Amazon SNS",
        confidence="high",
        schemes=(Sns(name="aws-sns"),),
        header="body Signature; SignatureVersion 1=SHA1, 2=SHA256",
        signed=(
            '"Key\\nValue\\n" for Message,MessageId,Subject?,Timestamp,TopicArn,Type (confirmations: '
            "Message,MessageId,SubscribeURL,Timestamp,Token,TopicArn,Type) (RSA PKCS1v15, base64)"
        ),
        event_id=("json:MessageId",),
        event_type=("header:x-amz-sns-message-type", "json:Type"),
        handshakes=("aws-sns",),
        answer="2xx within ~15 s",
        retries="default ~50 over 4 phases; DLQ",
        note=(
            "SigningCertURL must be https sns.<region>.amazonaws.com; TopicArn allowlist; Content-Type is text/plain; "
            "RawMessageDelivery strips the signature"
        ),
        source=(
            "docs.aws.amazon.com/sns sns-verify-signature-of-message*.html; hookdeck/webhook-skills providers.yaml @00ad8d05 "
            "(secondary; quotes provider docs, mid-2026)"
        ),
    ),
    Provider(
        id="cloudevents",
        name="CloudEvents HTTP webhook 1.0",
        confidence="high",
        schemes=(Token(name="cloudevents", places=("bearer", "query:access_token")),),
        header="Authorization",
        signed="unsigned by the spec",
        event_id=("header:ce-id", "json:id"),
        event_id_with=("header:ce-source", "json:source"),
        event_type=("header:ce-type", "json:type"),
        batch="[]",
        batch_type="application/cloudevents-batch+json",
        handshakes=("cloudevents-options",),
        answer=(
            "200/201 with body+Content-Type, 201/204 without, 202 not yet processed, 410 retired, 415 not understood, "
            "429+Retry-After; never 3xx"
        ),
        source="cloudevents/spec cloudevents/http-webhook.md",
    ),
    Provider(
        id="websub",
        name="WebSub",
        confidence="medium",
        # The hub chooses the method (WebSub, 8). SHA-1 is taken only from who asks for it.
        schemes=(
            Signed(name="websub", headers=("x-hub-signature",), prefix="sha256=", sized=True),
            Signed(name="websub-sha384", headers=("x-hub-signature",), algorithm="hmac-sha384", prefix="sha384=", sized=True),
            Signed(name="websub-sha512", headers=("x-hub-signature",), algorithm="hmac-sha512", prefix="sha512=", sized=True),
        ),
        by_name_only=(Signed(name="websub-sha1", headers=("x-hub-signature",), algorithm="hmac-sha1", prefix="sha1="),),
        header="X-Hub-Signature: sha1|sha256|sha384|sha512=<hex>",
        signed="{raw_body} (named by prefix, hex)",
        secret="hub.secret <200 bytes",
        handshakes=("websub",),
        note="lease renewal before hub.lease_seconds; wrong signature: still 2xx but drop locally",
        unconfirmed=("drop-with-2xx rule",),
        source="W3C WebSub REC (knowledge) + implementations",
    ),
    Provider(
        id="rfc9421",
        name="HTTP Message Signatures",
        confidence="high",
        schemes=(HttpSignature(name="rfc9421-with-body", tolerance_s=300),),
        by_name_only=(
            HttpSignature(name="rfc9421", required=()),
            ContentDigest(name="rfc9530-content-digest"),
        ),
        header="Signature + Signature-Input",
        signed=(
            "signature base over covered components (hmac-sha256, ed25519, ecdsa-p256-sha256, rsa-pss-sha512, rsa-v1_5-sha256, "
            "sf-binary base64)"
        ),
        several="labels",
        note="require @method @target-uri content-digest created + keyid; verify Content-Digest (RFC 9530) against the body",
        source="RFC 9421; pyauth/http-message-signatures",
    ),
    Provider(
        id="generic-hmac",
        name="Generic X-Signature body HMAC",
        confidence="high",
        schemes=(*_SIZED, Signed(name="generic-hmac-sha256-hex", headers=("x-signature",), layout="list", prefix="sha256=")),
        header="configurable",
        signed="{raw_body} (SHA1/256/512, hex|base64)",
        several="comma list",
        source="adnanh/webhook docs/Hook-Rules.md",
    ),
)
