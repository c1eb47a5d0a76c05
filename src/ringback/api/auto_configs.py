"""The operations on auto-config subscriptions, and the ones by which a customer completes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.destinations import DESTINATION_IN, DestinationOut, polling_in
from ringback.api.destinations import shown as shown_destination
from ringback.api.endpoints import ENDPOINT_IN, EndpointOut
from ringback.api.endpoints import shown as shown_endpoint
from ringback.api.routing import NO_CONTENT, Answer, Call, Handler, Operation, Timestamp, answer
from ringback.api.sources import Urls
from ringback.clock import rfc3339
from ringback.errors import FieldProblem, InvalidField
from ringback.model.applications import Capability
from ringback.model.auto_configs import TEXT_PREFIX, text_of
from ringback.policy import validation
from ringback.policy.validation import Name, Rule
from ringback.services.auto_configs import AutoConfigIn, AutoConfigRotateIn, AutoConfigs, Offer
from ringback.services.polling import AnyChannels, PollingEndpointIn, Types

_LIST: Final = "/api/v1/app/{app_id}/autoconfig"
_ONE: Final = _LIST + "/{autoconfig_id}"
_BY_ENDPOINT: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config"


class SinkInCommon(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a customer says of an endpoint that is polled; what else is said of it is for endpoints that are called."""

    uid: Name | None = None
    disabled: bool | None = None
    event_types: Types | None = None
    channels: AnyChannels | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = PollingEndpointIn.RULES


class AutoConfigSinkType(msgspec.Struct, frozen=True, kw_only=True):
    """Another kind of endpoint: one that is polled."""

    type: Literal["poller"]
    config: SinkInCommon | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"config": validation.members}


class SubscribeIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer completes a subscription with."""

    # Parsed by itself: it is a whole request body, with its older names and its rules. Empty = absent.
    endpoint: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/EndpointIn"})] = msgspec.field(
        default_factory=msgspec.Raw
    )
    sink: AutoConfigSinkType | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"sink": validation.members}


class AutoConfigOut(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription with its text, this once. Whoever has the text can direct the endpoint, and knows its secret."""

    id: str
    created_at: Timestamp
    token: str


class AutoConfigSubscriptionOut(msgspec.Struct, frozen=True, rename="camel"):
    """A subscription without its text, and its endpoint, once the customer has completed it."""

    id: str
    created_at: Timestamp
    token_censored: str
    endp_id: str | None
    dest_id: str | None
    status: Literal["pending", "active"]


AUTO_CONFIG_IN: Final = Body(AutoConfigIn)
ROTATE_IN: Final = Body(AutoConfigRotateIn)
SUBSCRIBE_IN: Final = Body(SubscribeIn)


class _Handlers:
    def __init__(self, subscriptions: AutoConfigs, urls: Urls) -> None:
        self._subscriptions = subscriptions
        self._urls = urls

    def _offered(self, status: int, offer: Offer) -> Answer:
        text = text_of(offer.subscription, offer.secret, self._urls.base, offer.token)
        return answer(status, AutoConfigOut(offer.subscription.id, rfc3339(offer.subscription.created_at), text))

    def _made(self, offer: Offer) -> Answer:
        return self._offered(201, offer)

    def _renewed(self, offer: Offer) -> Answer:
        return self._offered(200, offer)

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(AUTO_CONFIG_IN)
        return self._made(await self._subscriptions.create(call.who, call.params["app_id"], wanted, also=call.keeping(self._made)))

    async def get(self, call: Call) -> Answer:
        seen = await self._subscriptions.get(call.who, *_refs(call))
        s = seen.subscription
        endpoint_id = s.endpoint_id if seen.is_complete else None
        polled_id = s.endpoint_id if seen.is_polled else None
        status: Literal["pending", "active"] = "active" if seen.is_complete or seen.is_polled else "pending"
        return answer(200, AutoConfigSubscriptionOut(s.id, rfc3339(s.created_at), TEXT_PREFIX + "…", endpoint_id, polled_id, status))

    async def rotate(self, call: Call) -> Answer:
        wanted = call.parsed(ROTATE_IN)
        return self._renewed(await self._subscriptions.rotate(call.who, *_refs(call), wanted, also=call.keeping(self._renewed)))

    async def delete(self, call: Call) -> Answer:
        await self._subscriptions.delete(call.who, *_refs(call))
        return NO_CONTENT

    async def subscribe(self, call: Call) -> Answer:
        asked = call.parsed(SUBSCRIBE_IN)
        given = bytes(asked.endpoint)
        if asked.sink is not None:
            if given not in (b"", b"null"):
                raise InvalidField(FieldProblem(("body", "sink"), "give either an `endpoint` or a `sink`"))
            return await self._subscribed_by_polling(call, asked.sink.config or SinkInCommon())
        if given in (b"", b"null"):
            raise InvalidField(FieldProblem(("body", "endpoint"), "the field is missing; it is required", "value_error.jsondecode"))
        return await self._subscribed(call, None, call.params["endpoint_id"], given, ("endpoint",))

    async def _subscribed_by_polling(self, call: Call, said: SinkInCommon) -> Answer:
        """The former path answers with an endpoint whatever was made: its URL is where it is polled."""
        status: Literal["enabled", "disabled"] = "disabled" if said.disabled else "enabled"
        wanted = PollingEndpointIn(
            uid=said.uid, status=status, event_types=said.event_types, channels=said.channels, metadata=said.metadata
        )
        app, endpoint_id = call.params["app_id"], call.params["endpoint_id"]
        made = await self._subscriptions.subscribe_polling(call.who, app, subscription_id=None, endpoint_id=endpoint_id, wanted=wanted)
        created, updated = rfc3339(made.created_at), rfc3339(made.updated_at)
        return answer(
            200,
            EndpointOut(
                id=made.id,
                url=f"{self._urls.base}/api/v1/app/{made.app_id}/polling-endpoint/{made.id}",
                description="",
                uid=made.uid,
                disabled=made.disabled,
                event_types=made.event_types,
                filter_types=made.event_types,
                channels=made.channels,
                metadata=made.metadata,
                throttle_rate=None,
                rate_limit=None,
                version=1,
                created_at=created,
                updated_at=updated,
            ),
        )

    async def subscribe_destination(self, call: Call) -> Answer:
        wanted = polling_in(call.parsed(DESTINATION_IN))
        app, subscription_id = _refs(call)
        made = await self._subscriptions.subscribe_polling(call.who, app, subscription_id=subscription_id, endpoint_id="", wanted=wanted)
        return answer(200, shown_destination(made))

    async def subscribe_endpoint(self, call: Call) -> Answer:
        return await self._subscribed(call, call.params["autoconfig_id"], "", call.raw, ())

    async def _subscribed(self, call: Call, subscription_id: str | None, endpoint_id: str, raw: bytes, inside: tuple[str, ...]) -> Answer:
        try:
            wanted = ENDPOINT_IN.parse(raw)
            created = await self._subscriptions.subscribe(
                call.who, call.params["app_id"], subscription_id=subscription_id, endpoint_id=endpoint_id, wanted=wanted
            )
        except InvalidField as error:
            # The endpoint may stand inside the body, and does not know that.
            raise InvalidField(*(FieldProblem(("body", *inside, *p.loc[1:]), p.msg, p.type) for p in error.problems)) from None
        return answer(200, shown_endpoint(created.endpoint))


def _refs(call: Call) -> tuple[str, str]:
    return call.params["app_id"], call.params["autoconfig_id"]


def routes(subscriptions: AutoConfigs, urls: Urls) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(subscriptions, urls)
    app, subscription = Access.APPLICATION, Access.SUBSCRIPTION
    manage = Capability.MANAGE_ENDPOINT
    polled: Mapping[int, Any] = {200: DestinationOut}
    declared: list[tuple[str, str, str, Handler, Access, Capability | None, Body[Any] | None, Mapping[int, Any]]] = [
        ("POST", _LIST, "Offer a customer an endpoint to complete", h.create, app, manage, AUTO_CONFIG_IN, {201: AutoConfigOut}),
        ("GET", _ONE, "Get an auto-config subscription", h.get, app, None, None, {200: AutoConfigSubscriptionOut}),
        ("DELETE", _ONE, "End an auto-config subscription; its endpoint stays", h.delete, app, manage, None, {204: None}),
        ("POST", _ONE + "/rotate", "Give a subscription a new text", h.rotate, app, manage, ROTATE_IN, {200: AutoConfigOut}),
        ("PUT", _ONE + "/endpoint", "Complete a subscription", h.subscribe_endpoint, subscription, manage, ENDPOINT_IN, {200: EndpointOut}),
        (
            "PUT",
            _ONE + "/destination",
            "Complete a subscription by polling",
            h.subscribe_destination,
            subscription,
            manage,
            DESTINATION_IN,
            polled,
        ),
        ("PUT", _BY_ENDPOINT, "Complete a subscription (former path)", h.subscribe, subscription, manage, SUBSCRIBE_IN, {200: EndpointOut}),
    ]
    return [
        Operation(
            method=method,
            path=path,
            summary=summary,
            handler=handler,
            access=access,
            needs=needs,
            body=body,
            answers=answers,
            refusals=(409,) if access is subscription else (),
        )
        for method, path, summary, handler, access, needs, body, answers in declared
    ]
