"""How do requests reach the services? Every door of the server: the API, the gateway for providers, and the hot routes before both."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp

from ringback import __version__
from ringback.api import arrivals as arrivals_api
from ringback.api import attempts as attempts_api
from ringback.api import authentication, operator, publish
from ringback.api import auto_configs as auto_configs_api
from ringback.api import connectors as connectors_api
from ringback.api import dead_letters as dead_letters_api
from ringback.api import destinations as destinations_api
from ringback.api import environments as environments_api
from ringback.api import event_type_imports as imports_api
from ringback.api import examples as examples_api
from ringback.api import expectations as expectations_api
from ringback.api import filters as filters_api
from ringback.api import ingest as ingest_api
from ringback.api import integrations as integrations_api
from ringback.api import messages as messages_api
from ringback.api import misses as misses_api
from ringback.api import operational_webhooks as operational_webhooks_api
from ringback.api import ordering as ordering_api
from ringback.api import organisations as organisations_api
from ringback.api import pollers as pollers_api
from ringback.api import portal as portal_api
from ringback.api import privacy as privacy_api
from ringback.api import quarantine as quarantine_api
from ringback.api import received as received_api
from ringback.api import reconciliations as reconciliations_api
from ringback.api import search as search_api
from ringback.api import sources as sources_api
from ringback.api import subscriptions as subscriptions_api
from ringback.api import tasks as tasks_api
from ringback.api import transformations as transformations_api
from ringback.api.app import Services, build
from ringback.api.app import Settings as ApiSettings
from ringback.api.door import protocol_class
from ringback.api.doorway import Doorway
from ringback.api.intake import BodyReader
from ringback.api.publish import Publisher
from ringback.api.routing import Operation
from ringback.api.trail import Trail
from ringback.app import transports
from ringback.app.asked import Asked
from ringback.app.bins import bins_open
from ringback.app.declared import declare
from ringback.app.parts import Parts, microseconds
from ringback.app.spooling import aside_of, draining_of
from ringback.app.streams import Streaming
from ringback.config.in_force import settings_in_force
from ringback.dashboard.door import DashboardDoor
from ringback.errors import StoreFailure
from ringback.gateway.app import Gateway, Place
from ringback.gateway.bins import BinDoor
from ringback.gateway.expecting import ExpectationRunner
from ringback.gateway.hot import Inbound, inbound_class
from ringback.gateway.keys import FetchedKeys
from ringback.gateway.proxied import forwarded_class, proxied_class
from ringback.gateway.reconciling import ProviderRunner
from ringback.gateway.switch import switching_class
from ringback.gateway.upkeep import Upkeep
from ringback.model.endpoints import Endpoint
from ringback.model.sources import Source
from ringback.policy.bins import own_hosts
from ringback.services.address_lists import AddressLists
from ringback.services.alerts import Alerts
from ringback.services.applications import Applications
from ringback.services.arrivals import Arrivals, Journal
from ringback.services.attempts import Attempts
from ringback.services.attention import Attention
from ringback.services.audit import Audit
from ringback.services.auto_configs import AutoConfigs
from ringback.services.bins import Bins
from ringback.services.comparing import Comparing
from ringback.services.connectors import Connectors
from ringback.services.dead_letters import DeadLetters
from ringback.services.doctor import Doctor
from ringback.services.endpoints import Endpoints, Told
from ringback.services.environments import Environments
from ringback.services.event_type_imports import EventTypeImports
from ringback.services.event_types import EventTypes
from ringback.services.expectations import Expectations
from ringback.services.filters import PayloadFilters, of_endpoints, of_pollers
from ringback.services.finding import Finder
from ringback.services.gateway import SourceDirectory
from ringback.services.health import Health
from ringback.services.idempotency import Idempotency
from ringback.services.integrations import Integrations
from ringback.services.journeys import Journeys
from ringback.services.messages import Messages
from ringback.services.naming import Naming
from ringback.services.operational_endpoints import OperationalEndpoints
from ringback.services.ordering import Orderings
from ringback.services.org_tokens import OrgTokens
from ringback.services.organisations import Organisations
from ringback.services.payloads import Payloads
from ringback.services.pollers import Pollers
from ringback.services.polling import Polling
from ringback.services.portal import Portal
from ringback.services.previews import Previews
from ringback.services.processing import Requeue
from ringback.services.provider_api import ProviderApi
from ringback.services.published import Published
from ringback.services.quarantine import Quarantine
from ringback.services.received import ReceivedEvents
from ringback.services.receiving import Receiver
from ringback.services.reconciler import Reconciler
from ringback.services.reconciliations import Reconciliations
from ringback.services.relay import Relay, Timing
from ringback.services.releasing import Releases
from ringback.services.renewer import Renewer
from ringback.services.saved_views import SavedViews
from ringback.services.schedules import Schedules
from ringback.services.sending import Sending
from ringback.services.server import About, ServerFacts
from ringback.services.sessions import Sessions
from ringback.services.signals import Signals
from ringback.services.source_views import SourceViews
from ringback.services.sources import Sources
from ringback.services.spooling import Draining
from ringback.services.subscriptions import Subscriptions
from ringback.services.transformations import Transformations
from ringback.telemetry.prometheus import Exposition
from ringback.telemetry.usage import usage

if TYPE_CHECKING:
    from ringback.dashboard.desk import Services as Desk

# Seconds of the drain that are kept for telling senders and listeners of the relay that it is over, and for what comes after the doors.
_LAST_WORDS_S: Final = 3.0


class Doors:
    """All doors of one server. `operator_token` opens the operator's routes, `ready` says whether requests are wanted."""

    def __init__(self, parts: Parts, operator_token: str, ready: Callable[[], bool]) -> None:
        self._parts = parts
        settings, store, clock, make_id, vault = parts.settings, parts.store, parts.clock, parts.ids, parts.vault
        self.fetching = transports.fetching(settings, parts.tls, clock)
        self.urls = sources_api.Urls(settings.public_url)
        self.source_directory = SourceDirectory(store, vault, clock, parts.directory, parts.metrics, settings.receive_rate)
        self._sources = Sources(store, vault, clock, make_id, self.source_directory, parts.directory, secrets.randbits)
        self._quarantine = Quarantine(store, vault, clock, make_id, self._sources)
        self._received = ReceivedEvents(store, vault, clock, self._sources)
        self.published = Published(store, vault, clock)
        self._keys = FetchedKeys(self.fetching, clock, self.published)
        self.comparing = Comparing(clock)
        # Sources of which an event is awaited, and those whose calls have a list read: looked into by the receiver.
        self._awaited, self._called = dict[str, Callable[[], None]](), dict[str, Callable[[], None]]()
        self._expectations = Expectations(store, vault, clock, make_id, self._sources, parts.operational, parts.metrics, self._awaited)
        self.expecting = ExpectationRunner(self._expectations, clock)
        self._journal = Journal(store, clock, make_id, parts.metrics)
        self._receiver, self.draining = self._make_receiver()
        self.asking = transports.asking(settings, parts.tls, clock)
        reconciler = Reconciler(store, vault, clock, self._receiver, ProviderApi(self.asking, clock), parts.metrics, self._called)
        self.reconciling = ProviderRunner(reconciler, "reconciliation", clock, parts.traces.tracing)
        self._reconciliations = Reconciliations(store, vault, clock, self._sources, reconciler)
        self._reconciliations.watch(self.reconciling.wake)
        self._releases = Releases(self._sources, self._quarantine, self._receiver, clock)
        kept_us = microseconds(settings.idempotency_ttl.total_seconds())
        idempotency = Idempotency(store, vault, clock, kept_us)
        self.payloads = Payloads(store, clock, parts.metrics, settings.payload_validation)  # type: ignore[arg-type]  # config has checked it
        self._services = self._make_services(idempotency, ready)
        self._attempts = Attempts(store, clock, vault, parts.dispatcher)
        self._dead_letters = DeadLetters(store, clock, parts.dispatcher)
        self._audit = Audit(store, clock, make_id)
        messages = Messages(store, clock)
        publisher = Publisher(parts.intake, parts.directory, self._services.applications, messages, self.payloads, clock, kept_us)
        reader = BodyReader(settings.max_body_bytes, settings.body_memory_max)
        wait_s, exposition = settings.idempotency_wait.total_seconds(), Exposition(parts.metrics)
        api = build(
            self._services,
            reader,
            ApiSettings(max_body_bytes=settings.max_body_bytes, idempotency_wait_s=wait_s, metrics_access=settings.metrics_access),
            metrics=lambda: exposition.render(clock.now_us()),
            trail=Trail(self._audit, settings.trusted_proxies),
            more=[
                *publish.routes(publisher),
                *messages_api.routes(messages),
                *examples_api.routes(publisher, self._services.event_types),
                *self._operations(operator_token),
            ],
        )
        place = Place(settings.trusted_proxies, settings.public_url)
        self.sessions = Sessions(store, clock, parts.tokens, secrets.token_bytes)
        pages = DashboardDoor(lambda: self._make_dashboard(reader), api)
        self.schedules = Schedules(store, vault, clock, self.source_directory, parts.directory, parts.intake)
        self.lists = AddressLists(self._keys, clock, self.published)
        gateway = Gateway(self._receiver, self.source_directory, reader, clock, pages, place, self.lists, parts.metrics)
        self.bins = Bins(store, vault, clock, make_id)
        # How long requests may still be answered at the end: less than the doors have, so that those that wait hear why.
        self.relay = Relay(Timing(drain_s=max(settings.drain_timeout.total_seconds() - _LAST_WORDS_S, 0.0)))
        self.app: ASGIApp = BinDoor(self.bins, self.relay, reader, clock, gateway, place.trusted) if bins_open(settings) else gateway
        self.inbound = Inbound(self._receiver, self.source_directory, reader, place, parts.metrics, parts.traces.hot_inbound())
        self.doorway = Doorway(publisher, parts.tokens, idempotency, reader, wait_s, random.getrandbits, parts.traces.hot())

    def listening(self, url: str) -> None:
        """The server answers at this URL."""
        self.urls.listening(url)
        if not self._parts.settings.public_url:
            self.app = Asked(self.app, self._parts.settings.trusted_proxies, self.urls.asked)
        if bins_open(self._parts.settings):
            self._services.applications.own_bins = own_hosts(self._parts.settings.public_url, url)

    async def declare(self) -> None:
        """Have the sources of the settings be there. Raises OperatorError."""
        await declare(self._parts.settings.sources, self._sources, self._services.applications)

    async def learn_bins(self) -> None:
        """Have lists of applications know this server's bins."""
        try:
            await self._services.applications.learn_bins()
        except StoreFailure:
            # A disk that is full: the lists look for bins themselves then.
            return

    def _make_receiver(self) -> tuple[Receiver, Draining | None]:
        parts = self._parts
        aside = aside_of(parts)
        requeue = Requeue(parts.store, parts.clock, parts.dispatcher)
        receiver = Receiver(
            parts.intake,
            parts.directory,
            self._quarantine,
            self._sources,
            self._keys,
            parts.clock,
            parts.outcomes,
            self.comparing,
            self._journal,
            Signals(parts.store, parts.clock, parts.operational, parts.metrics),
            requeue,
            self._awaited,
            self._called,
            aside,
            parts.traces.tracing,
        )
        return receiver, draining_of(parts, aside, receiver, self.source_directory, self._journal)

    def protocol(self) -> type[asyncio.Protocol]:
        """What speaks on each connection: the hot doors, and websockets for the relay."""
        door = inbound_class(protocol_class(self.doorway), self.inbound)
        settings = self._parts.settings
        spoken: type[asyncio.Protocol] = switching_class(door, self.relay.timing) if bins_open(settings) else door
        if settings.forwarded_header == "forwarded":
            spoken = forwarded_class(spoken)
        return proxied_class(spoken, settings.trusted_proxies) if settings.proxy_protocol else spoken

    def _make_services(self, idempotency: Idempotency, ready: Callable[[], bool]) -> Services:
        parts = self._parts
        store, clock, make_id = parts.store, parts.clock, parts.ids
        return Services(
            tokens=parts.tokens,
            idempotency=idempotency,
            health=Health(store, clock, dispatching=lambda: parts.dispatcher.running, ready=ready, spool=self.draining),
            applications=Applications(store, clock, make_id, parts.directory, parts.tokens),
            endpoints=self._endpoints(parts.operational.endpoint_changed),
            event_types=EventTypes(store, clock, self.payloads),
        )

    def _make_dashboard(self, reader: BodyReader) -> ASGIApp:
        # Imported here: nobody pays for the pages before somebody looks at them.
        from ringback.dashboard.app import Dashboard
        from ringback.dashboard.forms import FormReader
        from ringback.dashboard.guard import Arrival

        settings = self._parts.settings
        return Dashboard(self._desk(), FormReader(reader), Arrival(settings.public_url, settings.trusted_proxies))

    def _desk(self) -> Desk:
        from ringback.dashboard.desk import Services

        parts, api = self._parts, self._services
        store, clock, vault = parts.store, parts.clock, parts.vault
        return Services(
            clock=clock,
            draw=secrets.token_bytes,
            url=lambda: self.urls.base,
            urls=self.urls,
            allowed=len(parts.settings.retry_schedule) + 1,
            sessions=self.sessions,
            audit=self._audit,
            attention=Attention(store, clock, parts.metrics),
            alerts=Alerts(store, vault, clock),
            directory=parts.directory,
            applications=api.applications,
            endpoints=api.endpoints,
            event_types=api.event_types,
            attempts=self._attempts,
            messages=Messages(store, clock),
            feed=parts.feed,
            journeys=self._journeys,
            trends=parts.trends,
            standings=parts.dispatcher,
            finder=Finder(store, parts.directory),
            saved_views=SavedViews(store, clock, parts.ids),
            search=parts.search,
            pollers=self._pollers,
            previews=Previews(store, vault),
            privacy=parts.privacy,
            sending=Sending(parts.intake, parts.directory, self.payloads),
            dead_letters=self._dead_letters,
            orderings=self._orderings,
            filters=self._filters,
            transformations=self._transformations,
            tasks=parts.tasks,
            naming=Naming(store, vault),
            sinks=self._streaming.sinks,
            sink_transformations=self._streaming.transformations,
            sources=self._sources,
            address_lists=self.lists,
            source_views=SourceViews(store, vault, clock, parts.settings.receive_rate),
            received=self._received,
            arrivals=self._arrivals,
            reconciliations=self._reconciliations,
            subscriptions=self._subscriptions,
            expectations=self._expectations,
            quarantine=self._quarantine,
            releases=self._releases,
            doctor=Doctor(store, vault, clock, self._keys),
            event_type_imports=self._imports,
            org_tokens=OrgTokens(store, clock, parts.tokens),
            portal=self._portal,
            server=self._server_facts(),
            operational=self._operational,
            listeners=self._listeners,
        )

    def _endpoints(self, told: Told, *, checks_types: bool = True) -> Endpoints:
        parts, settings = self._parts, self._parts.settings
        return Endpoints(
            parts.store,
            parts.vault,
            parts.clock,
            parts.ids,
            parts.directory,
            secrets.token_bytes,
            secret_kind=settings.default_signature_type,  # type: ignore[arg-type]  # config has checked that it is one of the two
            https_only=settings.endpoint_https_only,
            told=told,
            checks_types=checks_types,
        )

    def _server_facts(self) -> ServerFacts:
        parts = self._parts
        about = About(__version__, parts.search.on, settings_in_force(parts.settings), parts.settings.min_free_disk)
        return ServerFacts(parts.store, parts.vault, parts.clock, parts.metrics, parts.dispatcher, usage, about)

    @cached_property
    def upkeep(self) -> Upkeep:
        """What looks after sources."""
        made = Upkeep(self.source_directory, self._journal, self.lists, self.published)
        self._parts.privacy.settle = made.note
        return made

    @cached_property
    def renewing(self) -> ProviderRunner:
        """What keeps subscriptions at providers alive."""
        parts = self._parts
        api = ProviderApi(self.asking, parts.clock)
        told, asked = (parts.operational, parts.metrics), self.source_directory.changed
        renewer = Renewer(parts.store, parts.vault, parts.clock, api, *told, self._called_at, secrets.randbits, asked)
        return ProviderRunner(renewer, "renewal", parts.clock, parts.traces.tracing)

    def _called_at(self, source: Source) -> str | None:
        return self.urls.route(source) or self.urls.ingest(source)

    # What both the API and the dashboard use, made when the first of them asks.

    @cached_property
    def _subscriptions(self) -> Subscriptions:
        made = Subscriptions(self._parts.store, self._parts.vault, self._parts.clock, self._sources)
        made.watch(self.renewing.wake, self.source_directory.changed)
        return made

    @cached_property
    def _arrivals(self) -> Arrivals:
        return Arrivals(self._parts.store, self._sources)

    @cached_property
    def _portal(self) -> Portal:
        return Portal(self._parts.store, self._parts.tokens)

    @cached_property
    def _polling(self) -> Polling:
        parts = self._parts
        return Polling(parts.store, parts.vault, parts.clock, parts.ids, parts.directory, parts.tokens)

    @cached_property
    def _pollers(self) -> Pollers:
        return Pollers(self._parts.store, self._parts.clock)

    @cached_property
    def _streaming(self) -> Streaming:
        return Streaming(self._parts)

    @cached_property
    def _imports(self) -> EventTypeImports:
        return EventTypeImports(self._parts.store, self._parts.clock, self._services.event_types)

    @cached_property
    def _operational(self) -> OperationalEndpoints:
        parts = self._parts
        return OperationalEndpoints(parts.store, parts.clock, parts.ids, parts.operational)

    @cached_property
    def _orderings(self) -> Orderings:
        parts = self._parts
        return Orderings(parts.store, parts.vault, parts.clock, parts.directory, parts.dispatcher, parts.operational.endpoint_changed)

    @cached_property
    def _journeys(self) -> Journeys:
        return Journeys(self._parts.store, self._parts.vault, self._parts.clock)

    @cached_property
    def _filters(self) -> PayloadFilters[Endpoint]:
        parts = self._parts
        return of_endpoints(parts.store, parts.vault, parts.clock, parts.directory, parts.operational.endpoint_changed)

    @cached_property
    def _transformations(self) -> Transformations:
        parts = self._parts
        told, https_only = parts.operational.endpoint_changed, parts.settings.endpoint_https_only
        return Transformations(parts.store, parts.vault, parts.clock, parts.scripts, parts.directory, told, https_only=https_only)

    @cached_property
    def _listeners(self) -> Endpoints:
        # What they want to hear was checked with the request: it is no event type of the organisation.
        return self._endpoints(self._parts.operational.listener_changed, checks_types=False)

    def _operations(self, operator_token: str) -> list[Operation]:
        """The operations of the API, but for those of `Services` and of publishing."""
        parts, settings = self._parts, self._parts.settings
        store, clock = parts.store, parts.clock
        connectors = Connectors(store, clock, parts.ids)
        return [
            *attempts_api.routes(self._attempts),
            *dead_letters_api.routes(self._dead_letters),
            *operator.routes(parts.tokens, operator_token),
            *organisations_api.routes(Organisations(store, self.source_directory), operator_token),
            *sources_api.routes(self._sources, self.urls),
            *authentication.routes(self._portal, self._services.applications, self.urls.portal),
            *portal_api.routes(self._portal, settings.portal_frame_ancestors),
            *tasks_api.routes(parts.tasks),
            *privacy_api.routes(parts.privacy),
            *search_api.routes(parts.search),
            *operational_webhooks_api.routes(self._operational, self._listeners),
            *connectors_api.routes(connectors),
            *imports_api.routes(self._imports),
            *environments_api.routes(Environments(store, self._services.event_types, connectors), clock),
            *ordering_api.routes(self._orderings),
            *misses_api.routes(self._journeys),
            *filters_api.routes(self._filters, of_pollers(store, clock, parts.directory), self._sources),
            *transformations_api.routes(self._transformations, self._sources),
            *auto_configs_api.routes(self._auto_configs(), self.urls),
            *destinations_api.routes(self._polling),
            *pollers_api.routes(self._pollers, self._polling),
            *self._streaming.operations(self.urls.portal),
            *integrations_api.routes(Integrations(store, clock, parts.ids, parts.tokens)),
            *ingest_api.routes(self._sources, self._services.endpoints, self._portal, self.urls),
            *received_api.routes(self._received),
            *arrivals_api.routes(self._arrivals),
            *quarantine_api.routes(self._sources, self._quarantine, self._releases),
            *reconciliations_api.routes(self._reconciliations),
            *subscriptions_api.routes(self._subscriptions),
            *expectations_api.routes(self._expectations),
        ]

    def _auto_configs(self) -> AutoConfigs:
        parts = self._parts
        return AutoConfigs(
            parts.store,
            parts.vault,
            parts.clock,
            parts.ids,
            parts.tokens,
            self._services.endpoints,
            self._polling,
            secrets.token_bytes,
            parts.settings.default_signature_type,  # type: ignore[arg-type]  # config has checked that it is one of the two
        )
