"""How is a source compared with its provider? The settings of that are made, read and deleted, and a run is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from ringback.clock import Clock
from ringback.errors import FieldProblem, InvalidField, NotFound, Refused
from ringback.model.reconciliation import Listing, Progress, Reconciliation, Standing
from ringback.model.sources import Source
from ringback.policy.access_tokens import token_place_of
from ringback.policy.listings import comparison_problems, listing_problems, parameters_of
from ringback.policy.reconciliation import MAX_INTERVAL_S, base_of
from ringback.policy.reconciliation_rows import LISTINGS, listing_of
from ringback.policy.validation import Problem, Rule
from ringback.services.provider_api import ProviderFailure
from ringback.services.provider_settings import (
    MAX_CREDENTIAL,
    MAX_PARAMETERS,
    credential_rule,
    kept_secrets,
    missing_parameters,
    place_problems,
)
from ringback.services.reconciler import Found, Reconciler
from ringback.services.sources import Sources
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import reconciliations
from ringback.store.operations.endpoints import Sealer

# Seconds between two runs: a provider's API has its limits.
MIN_INTERVAL_S: Final = 60
DEFAULT_INTERVAL_S: Final = 3_600
# Seconds that a run looks back. Providers list 30 days at the most; how far it really goes is also bounded by what the source remembers.
MIN_LOOKBACK_S: Final = 3_600
MAX_LOOKBACK_S: Final = 30 * 86_400
DEFAULT_LOOKBACK_S: Final = 72 * 3_600
# Seconds that a call may be on its way before it counts as missing.
MAX_SETTLE_S: Final = 86_400
DEFAULT_SETTLE_S: Final = 600
_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_IN_HOST: Final = _LETTERS | {"-"}
_IN_PATH: Final = _LETTERS | frozenset("-._/!=@")

Also = Callable[[Transaction, Standing], None]


class ReconciliationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """How a source is to be compared with its provider. Left out, the credential and the client secret stay as they are."""

    listing: str | dict[str, Any] | None = None
    credential: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CREDENTIAL)] | UnsetType = UNSET
    client_secret: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CREDENTIAL)] | UnsetType = UNSET
    interval_s: Annotated[int, msgspec.Meta(ge=MIN_INTERVAL_S, le=MAX_INTERVAL_S)] = DEFAULT_INTERVAL_S
    lookback_s: Annotated[int, msgspec.Meta(ge=MIN_LOOKBACK_S, le=MAX_LOOKBACK_S)] = DEFAULT_LOOKBACK_S
    settle_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_SETTLE_S)] = DEFAULT_SETTLE_S
    base_url: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    token_url: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None
    parameters: Annotated[
        dict[str, Annotated[str, msgspec.Meta(min_length=1, max_length=200)]], msgspec.Meta(max_length=MAX_PARAMETERS)
    ] = {}
    missing: Literal["take", "redeliver"] = "take"
    paused: bool = False

    RULES: ClassVar[Mapping[str, Rule]] = {
        "credential": credential_rule("the credential"),
        "client_secret": credential_rule("the client secret"),
    }


def _none() -> NotFound:
    return NotFound("this source is not compared with its provider; PUT its reconciliation first")


class Reconciliations:
    """The reconciliations of sources; each verb sees those of its caller's sources alone."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, of: Sources, reconciler: Reconciler) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._sources = of
        self._reconciler = reconciler
        self._woken: Callable[[], None] = lambda: None

    def watch(self, woken: Callable[[], None]) -> None:
        """Have somebody told when there is something to do at once."""
        self._woken = woken
        self._reconciler.watch(woken)

    async def get(self, who: Principal, app_ref: str | None, source_ref: str) -> Standing:
        """The reconciliation of a source. Raises NotFound when there is none."""
        found = await self.find(who, app_ref, source_ref)
        if found is None:
            raise _none()
        return found

    async def find(self, who: Principal, app_ref: str | None, source_ref: str) -> Standing | None:
        """The reconciliation of a source, None when there is none. Raises NotFound for an unknown source."""

        def query(tx: Transaction) -> Standing | None:
            return reconciliations.get(tx, self._vault, self._sources.find(tx, who, app_ref, source_ref).id)

        return await self._store.read(query)

    async def put(self, who: Principal, app_ref: str | None, source_ref: str, wanted: ReconciliationIn) -> tuple[Standing, bool]:
        """Make or replace it; was it made? Its first run is due at once. Raises NotFound, InvalidField."""

        def operation(tx: Transaction) -> tuple[Standing, bool]:
            source = self._sources.find(tx, who, app_ref, source_ref)
            former = reconciliations.get(tx, self._vault, source.id)
            settings = settings_of(source, wanted, None if former is None else former.settings)
            progress = Progress(whole=True)
            if former is not None and _place(former.settings) == _place(settings):
                kept = former.progress
                wider = settings.lookback_s > former.settings.lookback_s
                progress = replace(
                    Progress(last=kept.last, covered_until=kept.covered_until, whole=kept.whole or wider, found=kept.found),
                    position=kept.position,
                    lost_at=kept.lost_at,
                    anew=kept.anew,
                )
            return self._kept(tx, source.id, settings, progress), former is None

        standing, made = await self._store.write(operation)
        self._woken()
        return standing, made

    async def delete(self, who: Principal, app_ref: str | None, source_ref: str) -> None:
        """Forget it, and its credential. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            if not reconciliations.delete(tx, self._sources.find(tx, who, app_ref, source_ref).id):
                raise _none()

        await self._store.write(operation)

    async def run(self, who: Principal, app_ref: str | None, source_ref: str, *, also: Also | None = None) -> Standing:
        """Have it run now, as far back as it may look. Raises NotFound, and Refused while it is paused."""

        def operation(tx: Transaction) -> Standing:
            source = self._sources.find(tx, who, app_ref, source_ref)
            former = reconciliations.get(tx, self._vault, source.id)
            if former is None:
                raise _none()
            if former.settings.paused:
                raise Refused("paused", "the reconciliation is paused; PUT it with paused = false first", 409)
            progress = replace(former.progress, run=None, whole=True, failures=0, cause="", detail="", failed_at=None, seen=b"")
            standing = self._kept(tx, source.id, former.settings, progress)
            if also is not None:
                also(tx, standing)
            return standing

        standing = await self._store.write(operation)
        self._woken()
        return standing

    async def look(self, who: Principal, app_ref: str | None, source_ref: str) -> Found:
        """What a run would find; nothing is changed. Raises NotFound, and Refused with the cause when the provider cannot be asked."""
        source = await self._sources.get(who, app_ref, source_ref)
        standing = await self.get(who, app_ref, source_ref)
        try:
            return await self._reconciler.look(standing, source)
        except ProviderFailure as failure:
            raise Refused("provider_failed", str(failure), 409) from None

    def _kept(self, tx: Transaction, source_id: str, settings: Reconciliation, progress: Progress) -> Standing:
        now_us = self._clock.now_us()
        listing, next_at = listing_of(settings.listing), None if settings.paused else now_us
        thin = listing is not None and listing.thin
        reconciliations.put(tx, self._vault, source_id, settings, progress, next_at, now_us, when_called=thin)
        kept = reconciliations.get(tx, self._vault, source_id)
        if kept is None:
            raise NotFound
        return kept


def settings_of(source: Source, wanted: ReconciliationIn, former: Reconciliation | None) -> Reconciliation:
    """The settings that are wanted, if they can work. Raises InvalidField."""
    listing, name = _listing(source, wanted)
    given = {name: value for name, value in wanted.parameters.items() if name in parameters_of(listing)}
    problems = [*_parameter_problems(listing, wanted.parameters)]
    if listing.name not in LISTINGS or LISTINGS[listing.name] != listing:
        problems += [(("listing", *where), text) for where, text in listing_problems(listing)]
    problems += comparison_problems(source, listing)
    if wanted.missing == "redeliver" and not listing.redeliver:
        problems.append((("missing",), f"{listing.name} has no way to ask for an event again; use take"))
    # Of what no call brings, none is on its way.
    settle_s = 0 if listing.thin else wanted.settle_s
    if settle_s >= wanted.lookback_s:
        problems.append((("settleS",), f"{settle_s} must be below lookbackS, or nothing is ever compared"))
    settings = Reconciliation(
        listing=name,
        credential="",
        interval_s=wanted.interval_s,
        lookback_s=wanted.lookback_s,
        settle_s=settle_s,
        base_url=wanted.base_url or None,
        token_url=(wanted.token_url or None) if listing.token_url else None,
        parameters=given,
        missing=wanted.missing,
        paused=wanted.paused,
    )
    problems += _place_problems(settings, listing) if not problems else []
    moved = not problems and former is not None and _place(former) != _place(settings)
    secrets, unfit = kept_secrets(listing, wanted.credential, wanted.client_secret, former, moved=moved)
    problems += unfit
    if problems:
        raise InvalidField(*(FieldProblem(("body", *where), text) for where, text in problems))
    return replace(settings, **secrets)


def _listing(source: Source, wanted: ReconciliationIn) -> tuple[Listing, str | Listing]:
    if isinstance(wanted.listing, dict):
        try:
            own = msgspec.convert(wanted.listing, Listing)
        except (ValueError, TypeError) as error:
            raise InvalidField(FieldProblem(("body", "listing"), f"this is no listing: {error}")) from None
        return own, own
    name = wanted.listing or source.type
    listing = listing_of(name)
    if listing is None:
        text = f"{name!r} is no listing that is known here; use one of {', '.join(LISTINGS)}, or describe your own"
        raise InvalidField(FieldProblem(("body", "listing"), text))
    return listing, name


def _parameter_problems(listing: Listing, given: Mapping[str, str]) -> list[Problem]:
    wanted = parameters_of(listing)
    problems = missing_parameters(wanted, given, listing.parameters)
    for name in sorted(wanted & set(given)):
        allowed = _IN_HOST if "{" + name + "}" in listing.base.partition("://")[2].partition("/")[0] else _IN_PATH
        if not set(given[name]) <= allowed or ".." in given[name]:
            marks = "-" if allowed is _IN_HOST else "any of - . _ / ! = @"
            problems.append((("parameters", name), f"{given[name]!r} is not allowed; use letters, digits and {marks}"))
    return problems


def _place_problems(settings: Reconciliation, listing: Listing) -> list[Problem]:
    places = [(("listing", "base") if settings.base_url is None else ("baseUrl",), partial(base_of, settings, listing))]
    if listing.token_url:
        where = ("listing", "tokenUrl") if settings.token_url is None else ("tokenUrl",)
        places.append((where, partial(token_place_of, settings, listing)))
    return place_problems(places)


def _place(settings: Reconciliation) -> tuple[Any, ...]:
    """Where the credential goes, and for what."""
    return settings.listing, settings.base_url, settings.token_url, settings.parameters
