"""Which types of source does the ingest API know? Names of the HTTP contract, each with the row that verifies it.

Most are providers of the catalogue under their own name. The others sign as the contract says; it was not confirmed with the provider.
Missing are types whose way to sign nobody could tell: checkbook, nango, openclaw, orum-io, panda-doc, port-io, rutter and vgs.
"""

from __future__ import annotations

from typing import Final

from ringback.signing.provider import Provider
from ringback.signing.providers.catalogue import PROVIDERS
from ringback.signing.request import Scheme
from ringback.signing.scheme import Signed
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.tokens import Token

# Types that are rows of the catalogue, by the contract's spelling.
_KNOWN: Final = {
    "open-ai": "openai",
    **{
        name: name
        for name in (
            "adobe-sign",
            "airwallex",
            "clerk",
            "docusign",
            "easypost",
            "github",
            "hubspot",
            "lithic",
            "meta",
            "replicate",
            "resend",
            "shopify",
            "slack",
            "stripe",
            "svix",
            "telnyx",
            "zoom",
        )
    },
}
_STANDARD: Final = (
    "beehiiv",
    "brex",
    "guesty",
    "incident-io",
    "nash",
    "pleo",
    "psi-fi",
    "render",
    "safebase",
    "sardine",
    "stych",
)


def _row(scheme: Scheme, signed: str) -> Provider:
    return Provider(
        id=scheme.name,
        name=scheme.name,
        confidence="low",
        schemes=(scheme,),
        signed=signed,
        unconfirmed=("all",),
        source="the HTTP contract of the ingest API",
    )


_OTHERS: Final = (
    *(_row(StandardScheme(name=name), "Standard Webhooks") for name in _STANDARD),
    _row(Signed(name="segment", headers=("x-signature",), algorithm="hmac-sha1"), "{body}"),
    _row(
        Signed(
            name="tailscale",
            headers=("tailscale-webhook-signature",),
            content="{timestamp}.{body}",
            layout="pairs",
            timestamp="item:t",
        ),
        "{timestamp}.{body}",
    ),
    _row(Signed(name="veriff", headers=("x-hmac-signature",)), "{body}"),
    _row(Token(name="vapi", places=("header:x-vapi-secret",)), "nothing: a shared secret in a header"),
)

INGEST_TYPES: Final[dict[str, Provider]] = {
    **{name: PROVIDERS[known] for name, known in _KNOWN.items()},
    **{row.id: row for row in _OTHERS},
}
