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
from ringback.policy.subscriptions import asks_topic, place_of
from ringback.services.subscriptions import SubscriptionIn, Subscriptions

# Where the sources of an application are, and the ingest sources.
_PLACES: Final = ("/api/v1/app/{app_id}/source/{source_id}/subscription", "/ingest/api/v1/source/{source_id}/subscription")


class SubscriptionOut(msgspec.Struct, frozen=True, rename="camel"):
    """How a source's subscription is renewed, and until when it lives (null: nobody knows yet). Credentials are never shown.

    `state`: `waiting` for the next renewal at `nextAt`, `asked` (a hub is to confirm it by `nextAt`), `failing` (for `cause`; tried again
    at `nextAt`), `ended` (failing, and past `expiresAt`), `paused`. `renewals` counts those that succeeded. Where `baseUrl` is empty, the
    topic is asked for its hub before each renewal; `hub` and `topic` are what it named last, and null before.
    """

    renewal: Any
    credential_set: bool
    client_secret_set: bool
    period_s: int
    base_url: str
    hub: str | None
    topic: str | None
    token_url: str | None
    parameters: dict[str, str]
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


SUBSCRIPTION_IN = Body(SubscriptionIn)


def state_of(standing: SubscriptionStanding) -> str:
    """How it stands, in a word."""
    if standing.next_at is None:
        return "paused"
    progress = standing.progress
    if not progress.failures:
        return "waiting" if progress.asked_at is None else "asked"
    return "ended" if progress.told_ended else "failing"


def shown(standing: SubscriptionStanding) -> SubscriptionOut:
    """The subscription as its owner sees it."""
    settings, progress = standing.settings, standing.progress
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
        hub=progress.hub or None,
        topic=progress.asked_for or None,
        token_url=settings.token_url,
        parameters=settings.parameters,
        paused=settings.paused,
        state=state_of(standing),
        expires_at=_time(progress.expires_at or None),
        renewed_at=_time(progress.renewed_at),
        renewals=progress.renewals,
        next_at=_time(standing.next_at),
        failures=progress.failures,
        cause=progress.cause or None,
        detail=progress.detail or None,
        failed_at=_time(progress.failed_at),
        warnings=warnings,
        updated_at=rfc3339(standing.updated_at),
    )


def _time(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)


class _Handlers:
    def __init__(self, subscriptions: Subscriptions) -> None:
        self._subscriptions = subscriptions

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._subscriptions.get(call.who, *refs_of(call))))

    async def put(self, call: Call) -> Answer:
        standing, made = await self._subscriptions.put(call.who, *refs_of(call), call.parsed(SUBSCRIPTION_IN))
        return answer(201 if made else 200, shown(standing))

    async def delete(self, call: Call) -> Answer:
        await self._subscriptions.delete(call.who, *refs_of(call))
        return NO_CONTENT

    async def renew(self, call: Call) -> Answer:
        def asked(standing: SubscriptionStanding) -> Answer:
            return answer(202, shown(standing))

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
