"""How is an access token asked for (RFC 6749), and what does the answer hold? The same for all that asks providers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias
from urllib.parse import quote, urlencode

from ringback.errors import VerificationError
from ringback.model.reconciliation import Listing, Reconciliation
from ringback.model.subscriptions import Renewal, Subscription
from ringback.policy.asking import Request, Unreadable, filled, request_to
from ringback.policy.urls import UrlParts, split_url
from ringback.signing.documents import find, parse_json, text_of

FORM: Final = "application/x-www-form-urlencoded"
# The form of a grant whose credential is a refresh token (RFC 6749, 6).
REFRESH: Final = {
    "grant_type": "refresh_token",
    "client_id": "{client_id}",
    "client_secret": "{client_secret}",
    "refresh_token": "{credential}",
}
# Microsoft's grant for an application itself, whose credential is a client secret of it.
MICROSOFT_URL: Final = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token"
MICROSOFT: Final = {
    "grant_type": "client_credentials",
    "client_id": "{client_id}",
    "client_secret": "{credential}",
    "scope": "https://graph.microsoft.com/.default",
}

# Bytes of a token that a provider gives.
_MAX_TOKEN: Final = 8_192
# A token is used no longer than this, seconds, whatever its answer says; and no more when it ends within so many.
_LONGEST_S: Final = 3_600
_MARGIN_S: Final = 60


# What a row says of how tokens are given, and what an owner gave for it.
Granting: TypeAlias = Listing | Renewal
Granted: TypeAlias = Reconciliation | Subscription


def token_place_of(settings: Granted, row: Granting) -> UrlParts:
    """Where access tokens are given. Raises ValueError when that is no URL."""
    return split_url(settings.token_url or filled(row.token_url, quoted(settings.parameters)))


def token_request(settings: Granted, row: Granting) -> Request:
    """The request for an access token."""
    place = token_place_of(settings, row)
    known = {**settings.parameters, "credential": settings.credential, "client_secret": settings.client_secret}
    body = urlencode({name: filled(text, known) for name, text in row.token_form.items()}).encode()
    return request_to("POST", place, place.target, {"content-type": FORM}, body)


def token_in(body: bytes) -> str:
    """The access token that an answer holds. Raises Unreadable."""
    token = text_at(body, "access_token")
    if not token or len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise Unreadable("the answer to the request for an access token holds none")
    return token


def usable_s(body: bytes) -> int:
    """For how many seconds the access token of an answer may be used again: 0 where the answer does not say how long it lives."""
    text = text_at(body, "expires_in")
    return max(min(int(text), _LONGEST_S) - _MARGIN_S, 0) if text.isascii() and text.isdigit() and len(text) <= 9 else 0


def refresh_token_in(row: Granting, body: bytes) -> str | None:
    """The refresh token that an answer gives in place of the one it was asked with (RFC 6749, 6); None = the former one stays.

    Raises Unreadable for one that cannot be kept: the former one may be worth nothing by now.
    """
    if row.token_form.get("refresh_token") != "{credential}":
        return None
    token = text_at(body, "refresh_token")
    if not token:
        return None
    if len(token) > _MAX_TOKEN or not token.isascii() or not token.isprintable():
        raise Unreadable("the answer to the request for an access token holds a refresh token that is no line of ASCII; give a new one")
    return token


def needs_client_secret(row: Granting) -> bool:
    """Are there two secrets to give?"""
    return any("{client_secret}" in text for text in row.token_form.values())


def quoted(values: Mapping[str, str]) -> dict[str, str]:
    """Values that may stand in a URL."""
    return {name: quote(value, safe="") for name, value in values.items()}


def text_at(body: bytes, path: str) -> str:
    """The text at a path of an answer, "" where there is none."""
    try:
        value = text_of(next(find(parse_json(body), path), None))
    except (VerificationError, RecursionError):
        return ""
    return "" if value is None else value.decode("utf-8", "replace")
