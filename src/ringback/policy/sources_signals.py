"""Does a provider say that it calls no more, or less? Signals in requests that were believed. Pure.

Sources: dev.twitch.tv/docs/eventsub/handling-webhook-events (revocation), docs.slack.dev/apis/events-api (app_rate_limited),
docs.aws.amazon.com/sns (UnsubscribeConfirmation), learn.microsoft.com/graph/change-notifications-lifecycle-events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ringback.errors import VerificationError
from ringback.signing.documents import parse_json
from ringback.signing.request import InboundRequest

# Characters of what a provider says besides the word itself.
_DETAIL_MAX: Final = 300
_LIFECYCLE: Final = ("subscriptionRemoved", "reauthorizationRequired", "missed")


class Signal(msgspec.Struct, frozen=True):
    """The provider's word, and the rest of what it says."""

    name: str
    detail: str = ""


def _document(request: InboundRequest) -> dict[str, Any]:
    try:
        document = parse_json(request.body)
    except (VerificationError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _said(document: Mapping[str, Any], *names: str) -> str:
    parts = [f"{name} {document[name]}" for name in names if isinstance(document.get(name), str | int)]
    return ", ".join(parts)[:_DETAIL_MAX]


def _twitch(request: InboundRequest) -> Signal | None:
    try:
        kind = request.headers.one(b"twitch-eventsub-message-type")
    except VerificationError:
        return None
    if kind != b"revocation":
        return None
    subscription = _document(request).get("subscription")
    return Signal("revocation", _said(subscription, "status", "type", "id") if isinstance(subscription, dict) else "")


def _slack(request: InboundRequest) -> Signal | None:
    # Cheap to tell from nearly all others: it has no event.
    if b"app_rate_limited" not in request.body:
        return None
    document = _document(request)
    return (
        Signal("app_rate_limited", _said(document, "team_id", "minute_rate_limited"))
        if document.get("type") == "app_rate_limited"
        else None
    )


def _sns(request: InboundRequest) -> Signal | None:
    if b"UnsubscribeConfirmation" not in request.body:
        return None
    document = _document(request)
    return Signal("UnsubscribeConfirmation", _said(document, "TopicArn")) if document.get("Type") == "UnsubscribeConfirmation" else None


def _graph(request: InboundRequest) -> Signal | None:
    if b"lifecycleEvent" not in request.body:
        return None
    items = _document(request).get("value")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("lifecycleEvent") in _LIFECYCLE:
            return Signal(item["lifecycleEvent"], _said(item, "subscriptionId", "subscriptionExpirationDateTime"))
    return None


# By the type of the source; all of these have handshakes, beside which they are looked for.
SIGNALS: Final[Mapping[str, Callable[[InboundRequest], Signal | None]]] = {
    "twitch": _twitch,
    "slack": _slack,
    "aws-sns": _sns,
    "ms-graph": _graph,
}
