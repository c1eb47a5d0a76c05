"""The operations that keep the subscriptions of sources at their providers alive."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import rfc3339
from ringback.model.subscriptions import SubscriptionStanding
from ringback.policy.subscription_rows import renewal_of
from ringback.policy.subscriptions import asks_topic, place_of, worst_of
from ringback.services.subscriptions import Standings, SubscriptionIn, Subscriptions

# Where the sources of an application are, and the ingest sources.
_PLACES: Final = ("/api/v1/app/{app_id}/source/{source_id}/subscription", "/ingest/api/v1/source/{source_id}/subscription")


class TopicOut(msgspec.Struct, frozen=True, rename="camel"):
    """How the subscription to one of several topics stands, as in `SubscriptionOut`.

    `asked_for` is the URL that the hub was asked for, which may be another one of the topic's; `hub` is null where the settings name it.
    """

    topic: str
    asked_for: str | None
    hub: str | None
    state: str
    expires_at: Timestamp | None
    renewed_at: Timestamp | None
    renewals: int
    next_at: Timestamp | None
    failures: int
    cause: str | None
    detail: str | None
    failed_at: Timestamp | None


class SubscriptionOut(msgspec.Struct, frozen=True, rename="camel"):
    """How a source's subscription is renewed, and until when it lives (null: nobody knows yet). Credentials are never shown.

    `state`: `waiting` for the next renewal at `nextAt`, `asked` (a hub is to confirm it by `nextAt`), `failing` (for `cause`; tried again
    at `nextAt`), `ended` (failing, and past `expiresAt`), `paused`. `renewals` counts those that succeeded.

    Where `baseUrl` is empty, topics are asked for their hubs before each renewal. `topics` are those of hubs, each with its own state; all
    else is that of the one which needs somebody the most, and `renewals` is the sum.
    """

    renewal: Any
    credential_set: bool
    client_secret_set: bool
    period_s: int
    base_url: str
    token_url: str | None
    parameters: dict[str, str]
    topics: list[TopicOut]
    paused: bool
    state: str
    expires_at: Timestamp | None
    renewed_at: Timestamp | None
    renewals: int
    next_at: Timestamp | None
    failures: int
    cause: str | None
    detail: str | None
    failed_at: Timestamp | None
    warnings: list[str]
    updated_at: Timestamp


SUBSCRIPTION_IN = Body(SubscriptionIn, shown=SubscriptionOut)


def state_of(standing: SubscriptionStanding) -> str:
    """How it stands, in a word."""
    if standing.next_at is None:
        return "paused"
    progress = standing.progress
    if not progress.failures:
        return "waiting" if progress.asked_at is None else "asked"
    return "ended" if progress.told_ended else "failing"


def shown(standings: Standings) -> SubscriptionOut:
    """The subscriptions of a source as its owner sees them."""
    standing = worst_of(standings)
    settings = standing.settings
    renewal = renewal_of(settings.renewal)
    base, warnings = "", list[str]()
    if renewal is None:
        warnings.append("there is no such renewal any more: choose another one")
    else:
        if not asks_topic(settings, renewal):
            parts = place_of(settings, renewal)
            base = f"{parts.scheme}://{parts.authority}{parts.target}".rstrip("/")
        if renewal.confidence != "high" and renewal.source:
            warnings.append(f"the renewal of {renewal.name} was not confirmed with the provider (confidence {renewal.confidence})")
    return SubscriptionOut(
        renewal=settings.renewal if isinstance(settings.renewal, str) else msgspec.to_builtins(settings.renewal),
        credential_set=bool(settings.credential),
        client_secret_set=bool(settings.client_secret),
        period_s=settings.period_s,
        base_url=base,
        token_url=settings.token_url,
        parameters={name: text for name, text in settings.parameters.items() if not standing.topic or name != "topic"},
        topics=[_topic(one) for one in standings if renewal is not None and renewal.confirmed],
        paused=settings.paused,
        **{**_progress(standing), "renewals": sum(one.progress.renewals for one in standings)},
        warnings=warnings,
        updated_at=rfc3339(standing.updated_at),
    )


def _topic(standing: SubscriptionStanding) -> TopicOut:
    progress = standing.progress
    return TopicOut(
        topic=standing.topic or standing.settings.parameters.get("topic", ""),
        asked_for=progress.asked_for or None,
        hub=progress.hub or None,
        **_progress(standing),
    )


def _progress(standing: SubscriptionStanding) -> dict[str, Any]:
    """What is told alike of one subscription and of the one that stands for all."""
    progress = standing.progress
    return {
        "state": state_of(standing),
        "expires_at": _time(progress.expires_at or None),
        "renewed_at": _time(progress.renewed_at),
        "renewals": progress.renewals,
        "next_at": _time(standing.next_at),
        "failures": progress.failures,
        "cause": progress.cause or None,
        "detail": progress.detail or None,
        "failed_at": _time(progress.failed_at),
    }


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)


class _Handlers:
    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._subscriptions.get(call.who, *refs_of(call))))

    async def put(self, call: Call) -> Answer:
        standings, made = await self._subscriptions.put(call.who, *refs_of(call), call.parsed(SUBSCRIPTION_IN))
        return answer(201 if made else 200, shown(standings))

    async def delete(self, call: Call) -> Answer:
        await self._subscriptions.delete(call.who, *refs_of(call))
        return NO_CONTENT

    async def renew(self, call: Call) -> Answer:
        def asked(standings: Standings) -> Answer:
            return answer(202, shown(standings))

        return asked(await self._subscriptions.renew(call.who, *refs_of(call), also=call.keeping(asked)))


def routes(subscriptions: Subscriptions) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(subscriptions)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any], tuple[int, ...]]] = []
    for place in _PLACES:
        declared += [
            ("GET", place, "Get how a source's subscription is renewed", h.get, None, {200: SubscriptionOut}, ()),
            (
                "PUT", place, "Have a source's subscription renewed", h.put, SUBSCRIPTION_IN,
                {200: SubscriptionOut, 201: SubscriptionOut}, (),
            ),
            ("DELETE", place, "Renew a source's subscription no more", h.delete, None, {204: None}, ()),
            ("POST", place + "/renew", "Renew a source's subscription now", h.renew, None, {202: SubscriptionOut}, (409,)),
        ]  # fmt: skip
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=Access.ORGANISATION,
            body=body,
            answers=answers,
            refusals=refusals,
        )
        for method, path, summary, handler, body, answers, refusals in declared
    ]
