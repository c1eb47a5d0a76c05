"""The operations that compare sources with what their providers say they sent."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Timestamp, answer
from ringback.api.sources import refs_of
from ringback.clock import rfc3339
from ringback.model.reconciliation import Listing, Run, Standing
from ringback.policy.reconciliation import base_of
from ringback.policy.reconciliation_rows import listing_of
from ringback.services.reconciliations import ReconciliationIn, Reconciliations

# Where the sources of an application are, and the ingest sources.
_PLACES: Final = ("/api/v1/app/{app_id}/source/{source_id}/reconciliation", "/ingest/api/v1/source/{source_id}/reconciliation")


class RunOut(msgspec.Struct, frozen=True, rename="camel"):
    """One comparison of what the provider lists between `since` and `until` with what came.

    Of the events that were `lookedAt`, so many were `missing`: `added` from the list, or `asked` to be sent again. Those `skipped` have
    no id, or do not fit the source's schema. `cut` says why it did not come to its end.
    """

    began_at: Timestamp
    ended_at: Timestamp | None
    since: Timestamp
    until: Timestamp
    pages: int
    looked_at: int
    missing: int
    added: int
    asked: int
    skipped: int
    cut: str | None


class ReconciliationOut(msgspec.Struct, frozen=True, rename="camel"):
    """How a source is compared with its provider, and how far that has got. Credential and client secret are never shown.

    `state`: `waiting` for the next run, `running`, `failing` (for `cause`; tried again at `nextAt`), `paused`. All that the provider listed
    up to `coveredUntil` was compared; `found` is how many events were missing ever. `lostAt` is when a provider last knew no more up to
    where its list of changes was read.
    """

    listing: Any
    credential_set: bool
    client_secret_set: bool
    interval_s: int
    lookback_s: int
    settle_s: int
    base_url: str
    token_url: str | None
    parameters: dict[str, str]
    missing: str
    paused: bool
    state: str
    cause: str | None
    detail: str | None
    failed_at: Timestamp | None
    failures: int
    next_at: Timestamp | None
    covered_until: Timestamp | None
    lost_at: Timestamp | None
    found: int
    run: RunOut | None
    last: RunOut | None
    warnings: list[str]
    updated_at: Timestamp


class RunIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`dryRun` only says what is missing, as far as one call goes."""

    dry_run: bool = False


class RunAskedOut(msgspec.Struct, frozen=True, rename="camel"):
    """A run was asked for (then the reconciliation tells how it goes), or what a dry run has found.

    `missingIds` are up to 100 of the provider's ids; `complete` is false where the list goes on behind what was looked at.
    """

    dry_run: bool
    looked_at: int | None = None
    missing: int | None = None
    missing_ids: list[str] | None = None
    complete: bool | None = None


RECONCILIATION_IN = Body(ReconciliationIn, shown=ReconciliationOut)
RUN_IN = Body(RunIn)


def state_of(standing: Standing) -> str:
    """How it stands, in a word."""
    if standing.next_at is None:
        return "paused"
    if standing.progress.failures:
        return "failing"
    return "running" if standing.progress.run is not None else "waiting"


def shown(standing: Standing) -> ReconciliationOut:
    """The reconciliation as its owner sees it."""
    settings, progress = standing.settings, standing.progress
    listing = listing_of(settings.listing)
    base = "" if listing is None else base_of(settings, listing)
    return ReconciliationOut(
        listing=settings.listing if isinstance(settings.listing, str) else msgspec.to_builtins(settings.listing),
        credential_set=bool(settings.credential),
        client_secret_set=bool(settings.client_secret),
        interval_s=settings.interval_s,
        lookback_s=settings.lookback_s,
        settle_s=settings.settle_s,
        base_url=base if isinstance(base, str) else f"{base.scheme}://{base.authority}{base.target}".rstrip("/"),
        token_url=settings.token_url,
        parameters=settings.parameters,
        missing=settings.missing,
        paused=settings.paused,
        state=state_of(standing),
        cause=progress.cause or None,
        detail=progress.detail or None,
        failed_at=None if progress.failed_at is None else rfc3339(progress.failed_at),
        failures=progress.failures,
        next_at=None if standing.next_at is None else rfc3339(standing.next_at),
        covered_until=rfc3339(progress.covered_until) if progress.covered_until else None,
        lost_at=None if progress.lost_at is None else rfc3339(progress.lost_at),
        found=progress.found,
        run=None if progress.run is None else _run(progress.run),
        last=None if progress.last is None else _run(progress.last),
        warnings=warnings(listing),
        updated_at=rfc3339(standing.updated_at),
    )


def warnings(listing: Listing | None) -> list[str]:
    """What the owner should know of a listing."""
    if listing is None:
        return ["there is no such listing any more: choose another one"]
    if listing.confidence != "high" and listing.source:
        return [f"the list of {listing.name} was not confirmed with the provider (confidence {listing.confidence})"]
    return []


def _run(run: Run) -> RunOut:
    return RunOut(
        rfc3339(run.began_at),
        None if run.ended_at is None else rfc3339(run.ended_at),
        rfc3339(run.since),
        rfc3339(run.until),
        run.pages,
        run.looked_at,
        run.missing,
        run.added,
        run.asked,
        run.skipped,
        run.cut or None,
    )


class _Handlers:
    def __init__(self, reconciliations: Reconciliations) -> None:
        self._reconciliations = reconciliations

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._reconciliations.get(call.who, *refs_of(call))))

    async def put(self, call: Call) -> Answer:
        standing, made = await self._reconciliations.put(call.who, *refs_of(call), call.parsed(RECONCILIATION_IN))
        return answer(201 if made else 200, shown(standing))

    async def delete(self, call: Call) -> Answer:
        await self._reconciliations.delete(call.who, *refs_of(call))
        return NO_CONTENT

    async def run(self, call: Call) -> Answer:
        if call.parsed(RUN_IN).dry_run:
            found = await self._reconciliations.look(call.who, *refs_of(call))
            return answer(200, RunAskedOut(True, found.looked_at, found.missing, found.names, found.whole))
        asked = answer(202, RunAskedOut(False))
        await self._reconciliations.run(call.who, *refs_of(call), also=call.keeping(lambda standing: asked))
        return asked


def routes(reconciliations: Reconciliations) -> list[Operation]:
    """The operations of this module."""
    h = _Handlers(reconciliations)
    declared: list[tuple[str, str, str, Any, Body[Any] | None, dict[int, Any], tuple[int, ...]]] = []
    for place in _PLACES:
        declared += [
            ("GET", place, "Get how a source is compared with its provider", h.get, None, {200: ReconciliationOut}, ()),
            (
                "PUT", place, "Have a source compared with its provider", h.put, RECONCILIATION_IN,
                {200: ReconciliationOut, 201: ReconciliationOut}, (),
            ),
            ("DELETE", place, "Compare a source with its provider no more", h.delete, None, {204: None}, ()),
            ("POST", place + "/run", "Compare a source with its provider now", h.run, RUN_IN, {200: RunAskedOut, 202: RunAskedOut}, (409,)),
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
