"""How is a source's subscription at its provider kept alive? Settings of that are made, read and deleted, and a renewal is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from ringback.clock import Clock, to_us
from ringback.errors import FieldProblem, InvalidField, NotFound, Refused
from ringback.model.sources import Source
from ringback.model.subscriptions import Progress, Renewal, Subscription, SubscriptionStanding
from ringback.policy.access_tokens import token_place_of
from ringback.policy.sources import handshakes_of
from ringback.policy.subscription_rows import RENEWALS, renewal_of
from ringback.policy.subscriptions import (
    MAX_PERIOD_S,
    MIN_PERIOD_S,
    asks_topic,
    first_at,
    parameters_of,
    place_of,
    renewal_problems,
    topic_of,
    unfit_parameters,
)
from ringback.policy.urls import split_url
from ringback.policy.validation import Instant, Problem, Rule
from ringback.services.provider_settings import (
    MAX_CREDENTIAL,
    MAX_PARAMETERS,
    credential_rule,
    is_safe,
    kept_secrets,
    missing_parameters,
    place_problems,
)
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import subscriptions
from ringback.store.operations.endpoints import Sealer
from ringback.store.operations.provider_steps import MAX_STEPS

Standings: TypeAlias = Sequence[SubscriptionStanding]
Also: TypeAlias = Callable[[Transaction, Standings], None]


_credential: Final = credential_rule("it")
# WebSub, 5.1: "This parameter MUST be less than 200 bytes in length."
_MAX_HUB_SECRET: Final = 200


class SubscriptionIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How a subscription is to be renewed. Left out, credentials stay as they are; without `expiresAt` the first one is due at once.

    `topics` are those of a hub, each of which has a lease of its own; one alone may stand in the parameter `topic` instead.
    """

    renewal: str | dict[str, Any] | None = None
    credential: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CREDENTIAL)] | UnsetType = UNSET
    client_secret: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CREDENTIAL)] | UnsetType = UNSET
    period_s: Annotated[int, msgspec.Meta(ge=MIN_PERIOD_S, le=MAX_PERIOD_S)] | None = None
    expires_at: Instant | None = None
    base_url: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    token_url: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    parameters: Annotated[
        dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=500)]], msgspec.Meta(max_length=MAX_PARAMETERS)
    ] = {}
    topics: Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=500)], ...], msgspec.Meta(max_length=MAX_STEPS)] = ()
    paused: bool = False

    RULES: ClassVar[Mapping[str, Rule]] = {"credential": _credential, "client_secret": _credential}


def _none() -> NotFound:
    return NotFound("this source has no subscription that is renewed; PUT one first")


class Subscriptions:
    """The subscriptions of sources; each verb sees those of its caller's sources alone."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, of: Sources) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._sources = of
        self._woken: Callable[[], None] = lambda: None
        self._changed: Callable[[str], None] = lambda source_id: None

    def watch(self, woken: Callable[[], None], changed: Callable[[str], None]) -> None:
        """Have somebody told when there is something to do at once, and of sources whose hubs may not ask for a topic any more."""
        self._woken, self._changed = woken, changed

    async def get(self, who: Principal, app_ref: str | None, source_ref: str) -> Standings:
        """The subscriptions of a source. Raises NotFound when there is none."""
        found = await self.find(who, app_ref, source_ref)
        if not found:
            raise _none()
        return found

    async def find(self, who: Principal, app_ref: str | None, source_ref: str) -> Standings:
        """The subscriptions of a source: none, one, or one for each topic. Raises NotFound for an unknown source."""

        def query(tx: Transaction) -> Standings:
            return subscriptions.of_source(tx, self._vault, self._sources.find(tx, who, app_ref, source_ref).id)

        return await self._store.read(query)

    async def put(self, who: Principal, app_ref: str | None, source_ref: str, wanted: SubscriptionIn) -> tuple[Standings, bool]:
        """Make or replace them; were they made? Raises NotFound, InvalidField."""

        def operation(tx: Transaction) -> tuple[Standings, bool]:
            source = self._sources.find(tx, who, app_ref, source_ref)
            former = subscriptions.of_source(tx, self._vault, source.id)
            asked = {topic: settings_of(source, one, former, topic) for topic, one in _by_topic(wanted).items()}
            now_us = self._clock.now_us()
            for one in former:
                if one.topic not in asked:
                    subscriptions.delete_topic(tx, source.id, one.topic)
            for topic, settings in asked.items():
                progress, next_at = Progress(), now_us
                known = next((one.progress for one in former if _place(one.settings) == _place(settings)), None)
                if known is not None:
                    progress = Progress(expires_at=known.expires_at, renewed_at=known.renewed_at, renewals=known.renewals)
                if wanted.expires_at is not None:
                    progress = replace(progress, expires_at=to_us(wanted.expires_at))
                    next_at = first_at(now_us, progress.expires_at)
                self._keep(tx, (source.id, topic), settings, progress, next_at)
            return subscriptions.of_source(tx, self._vault, source.id), not former

        standings, made = await self._store.write(operation)
        self._changed(standings[0].source_id)
        self._woken()
        return standings, made

    async def delete(self, who: Principal, app_ref: str | None, source_ref: str) -> None:
        """Forget them, and their credentials; nothing is said to the provider. Raises NotFound."""

        def operation(tx: Transaction) -> str:
            source_id = self._sources.find(tx, who, app_ref, source_ref).id
            if not subscriptions.delete(tx, source_id):
                raise _none()
            return source_id

        self._changed(await self._store.write(operation))

    async def renew(self, who: Principal, app_ref: str | None, source_ref: str, *, also: Also | None = None) -> Standings:
        """Have them renewed now. Raises NotFound, and Refused while they are paused."""

        def operation(tx: Transaction) -> Standings:
            source = self._sources.find(tx, who, app_ref, source_ref)
            former = subscriptions.of_source(tx, self._vault, source.id)
            if not former:
                raise _none()
            if former[0].settings.paused:
                raise Refused("paused", "the subscription is paused; PUT it with paused = false first", 409)
            for one in former:
                self._keep(tx, (source.id, one.topic), one.settings, one.progress, self._clock.now_us())
            standings = subscriptions.of_source(tx, self._vault, source.id)
            if also is not None:
                also(tx, standings)
            return standings

        standings = await self._store.write(operation)
        self._woken()
        return standings

    def _keep(self, tx: Transaction, key: tuple[str, str], settings: Subscription, progress: Progress, next_at: int) -> None:
        subscriptions.put(tx, self._vault, key, settings, progress, None if settings.paused else next_at, self._clock.now_us())


def _by_topic(wanted: SubscriptionIn) -> dict[str, SubscriptionIn]:
    """What is wanted of each topic; of "" where there is one subscription. Raises InvalidField."""
    if not wanted.topics:
        return {"": wanted}
    if "topic" in wanted.parameters:
        raise InvalidField(FieldProblem(("body", "topics"), "give topics, or the parameter topic, and not both"))
    return {topic: replace(wanted, parameters={**wanted.parameters, "topic": topic}, topics=()) for topic in wanted.topics}


def settings_of(source: Source, wanted: SubscriptionIn, kept: Standings, of_topic: str = "") -> Subscription:
    """The settings that are wanted, if they can work; `of_topic` is one of several topics. Raises InvalidField."""
    renewal, name = _renewal(source, wanted)
    needed = parameters_of(renewal)
    problems: list[Problem] = []
    if of_topic and not (renewal.confirmed and "topic" in needed):
        problems.append((("topics",), "this renewal asks no hub for a {topic}; leave topics out, or use one like websub"))
    problems += _parameter_problems(renewal, needed, wanted.parameters)
    if isinstance(name, Renewal):
        problems += [(("renewal", *where), text) for where, text in renewal_problems(renewal)]
    settings = Subscription(
        renewal=name,
        credential="",
        period_s=renewal.period_s if wanted.period_s is None else wanted.period_s,
        base_url=wanted.base_url or None,
        token_url=(wanted.token_url or None) if renewal.token_url else None,
        parameters={key: value for key, value in wanted.parameters.items() if key in needed},
        paused=wanted.paused,
    )
    if not problems:
        problems += _place_problems(settings, renewal)
    # Its own where there is one: the credential may go where it goes already.
    former = next((one.settings for one in kept if _place(one.settings) == _place(settings)), kept[0].settings if kept else None)
    moved = not problems and former is not None and _place(former) != _place(settings)
    secrets, unfit = kept_secrets(renewal, wanted.credential, wanted.client_secret, former, moved=moved)
    problems += unfit
    if renewal.confirmed and not problems:
        problems += _hub_problems(source, replace(settings, **secrets), renewal)
    if problems:
        raise InvalidField(*(FieldProblem(("body", *_named(where, of_topic)), text) for where, text in problems))
    return replace(settings, **secrets)


def _named(where: tuple[str, ...], of_topic: str) -> tuple[str, ...]:
    """Where a problem is, as the owner wrote it."""
    return ("topics", of_topic) if of_topic and where == ("parameters", "topic") else where


def _renewal(source: Source, wanted: SubscriptionIn) -> tuple[Renewal, str | Renewal]:
    if isinstance(wanted.renewal, dict):
        try:
            own = msgspec.convert(wanted.renewal, Renewal)
        except (ValueError, TypeError) as error:
            raise InvalidField(FieldProblem(("body", "renewal"), f"this is no renewal: {error}")) from None
        return own, own
    name = wanted.renewal or source.type
    renewal = renewal_of(name)
    if renewal is None:
        text = f"{name!r} is no renewal that is known here; use one of {', '.join(RENEWALS)}, or describe your own"
        raise InvalidField(FieldProblem(("body", "renewal"), text))
    return renewal, name


def _parameter_problems(renewal: Renewal, needed: set[str], given: Mapping[str, str]) -> list[Problem]:
    problems = missing_parameters(needed, given, renewal.parameters)
    text = "it holds a blank, a quotation mark or another character that ends a text"
    asked = {name: given[name] for name in needed & set(given)}
    return problems + [(("parameters", name), text) for name in unfit_parameters(renewal, asked)]


def _hub_problems(source: Source, settings: Subscription, renewal: Renewal) -> list[Problem]:
    """Why a hub's confirmation would not be believed, or what it sends."""
    problems: list[Problem] = []
    if "websub" not in handshakes_of(source):
        problems.append((("renewal",), "a hub asks the source whether it subscribed, which only sources of type websub answer"))
    if topic_of(settings, renewal) not in source.verification.topics:
        problems.append((("parameters", "topic"), "it is none of the topics of the source, so that its confirmation would be answered 404"))
    if settings.credential and settings.credential not in [secret.text for secret in source.verification.secrets]:
        problems.append((("credential",), "it is no secret of the source, so that nothing that is signed with it would be believed"))
    elif len(settings.credential) >= _MAX_HUB_SECRET:
        problems.append((("credential",), f"a hub takes secrets of less than {_MAX_HUB_SECRET} bytes"))
    return problems


def _place_problems(settings: Subscription, renewal: Renewal) -> list[Problem]:
    if asks_topic(settings, renewal):
        return _topic_problems(settings, renewal)
    if not renewal.base and settings.base_url is None:
        return [(("baseUrl",), "it is missing: the place that is asked")]
    places = [(("renewal", "base") if settings.base_url is None else ("baseUrl",), partial(place_of, settings, renewal))]
    if renewal.token_url:
        where = ("renewal", "tokenUrl") if settings.token_url is None else ("tokenUrl",)
        places.append((where, partial(token_place_of, settings, renewal)))
    return place_problems(places)


def _topic_problems(settings: Subscription, renewal: Renewal) -> list[Problem]:
    """Why a topic cannot be asked for its hub."""
    try:
        safe = is_safe(split_url(topic_of(settings, renewal)))
    except ValueError as error:
        return [(("parameters", "topic"), str(error))]
    if safe:
        return []
    text = "the topic is not https://, so that anybody on the way could name the hub"
    return [(("parameters", "topic"), f"{text}; give the hub as baseUrl, or subscribe to its https:// URL")]


def _place(settings: Subscription) -> tuple[Any, ...]:
    """Where the credentials go, and for what."""
    return settings.renewal, settings.base_url, settings.token_url, settings.parameters
