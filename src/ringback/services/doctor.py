"""Why is this request not believed? The signature doctor: examines one request, and looks whether another secret of ours made it.

What is pasted is used for the one answer: it is neither stored nor written to the log.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Final

import msgspec

from ringback.clock import SECOND_US, Clock
from ringback.errors import NotFound, Refused, VerificationError
from ringback.model.quarantine import CapturedRequest
from ringback.model.sources import Source, SourceSecret
from ringback.policy import sources as rules_of
from ringback.policy.paging import Walk
from ringback.services.endpoints import find as find_endpoint
from ringback.services.tokens import Principal
from ringback.signing.examination import Examination, Prepare, examine
from ringback.signing.fetched import Keys, KeyUnavailable
from ringback.signing.headers import Headers
from ringback.signing.providers import catalogue
from ringback.signing.request import InboundRequest, Scheme, Secret, Verifier
from ringback.signing.standard_scheme import StandardScheme
from ringback.signing.verdict import SIGNATURE_MISMATCH
from ringback.signing.verify import prepare_provider, prepare_scheme
from ringback.store.base import Store, Transaction
from ringback.store.operations import endpoints, sources
from ringback.store.operations.endpoints import Sealer

# Others whose secrets are tried, sources of the same kind or endpoints of the same application: each costs a verification or two.
_OTHERS: Final = 100
# Keys that one request may make us fetch, one after the other: a certificate and its issuer.
_MAX_FETCHES: Final = 2
# How our own deliveries are signed.
_OURS: Final = StandardScheme(name="standard")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request and who should have signed it: a provider or scheme by its name with `secrets`, or with those that we keep.

    `source` and `endpoint` (an application and an endpoint of it) are such whose secrets we keep; those given are tried besides.
    """

    request: InboundRequest
    now_us: int
    signer: str = ""
    source: str = ""
    endpoint: tuple[str, str] | None = None
    secrets: tuple[str, ...] = ()
    encoding: str | None = None
    tolerance_s: float | None = None


class Elsewhere(msgspec.Struct, frozen=True):
    """Somebody else's secret made the signature: a source's or an endpoint's of the organisation. `ended`: it holds no more."""

    kind: str
    id: str
    app_id: str
    name: str
    ended: bool


class Findings(msgspec.Struct, frozen=True):
    """What the doctor found. `kept` is how many of the secrets that were tried are kept here: they come first."""

    examination: Examination
    signer: str
    tried: int
    kept: int
    elsewhere: tuple[Elsewhere, ...] = ()


class _Signer(msgspec.Struct, frozen=True):
    """Who should have signed, with all that the check needs."""

    name: str
    schemes: tuple[Scheme, ...]
    prepare: Prepare
    secrets: tuple[Secret, ...]
    kept: int
    others: tuple[tuple[Elsewhere, tuple[Secret, ...]], ...] = ()


class Doctor:
    """Examines requests for whoever may see what they were sent to."""

    def __init__(self, store: Store, vault: Sealer, clock: Clock, keys: Keys) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._keys = keys

    async def ask(self, who: Principal, question: Question) -> Findings:
        """Examine a request. Raises NotFound, Refused (nothing to check with), and Unavailable when a key cannot be had."""
        signer = await self._signer(who, question)
        for left in range(_MAX_FETCHES, -1, -1):
            work = partial(_examined, signer, question, self._keys)
            try:
                # Some tens of verifications of up to a megabyte: too long for the loop.
                return await asyncio.to_thread(work)
            except KeyUnavailable as missing:
                if not left:
                    raise
                await self._keys.fetch(missing.ref)
        raise NotFound

    async def _signer(self, who: Principal, question: Question) -> _Signer:
        given = tuple(Secret(text, question.encoding) for text in question.secrets)
        tolerance_s = question.tolerance_s
        if question.source:
            return await self._store.read(lambda tx: self._of_source(tx, who, question.source, given, tolerance_s))
        if question.endpoint is not None:
            app, endpoint = question.endpoint
            return await self._store.read(lambda tx: self._of_endpoint(tx, who, app, endpoint, given, tolerance_s))
        if question.signer in catalogue.PROVIDERS:
            row = catalogue.PROVIDERS[question.signer]
            return _Signer(row.name, row.schemes, lambda s, t: prepare_provider(row, s, tolerance_s=_first(t, tolerance_s)), given, 0)
        if question.signer in catalogue.SCHEMES:
            scheme = catalogue.SCHEMES[question.signer]
            return _Signer(scheme.name, (scheme,), lambda s, t: prepare_scheme(scheme, s, tolerance_s=_first(t, tolerance_s)), given, 0)
        raise Refused("validation_error", f"{question.signer[:60]!r} is no provider and no scheme that is known here; choose one", 422)

    def _of_source(self, tx: Transaction, who: Principal, ref: str, given: tuple[Secret, ...], tolerance_s: float | None) -> _Signer:
        source = sources.by_ref(tx, self._vault, who.org_id, ref)
        if source is None or who.app_id not in (None, source.app_id):
            raise NotFound
        now_us = self._clock.now_us()
        held = _secrets(rules_of.active(source.verification.secrets, now_us))
        past = tuple(s for s in source.verification.secrets if s not in rules_of.active(source.verification.secrets, now_us))
        others = [(Elsewhere("source", source.id, source.app_id, source.name, True), _secrets(past))] if past else []
        others += [
            (Elsewhere("source", other.id, other.app_id, other.name, False), _secrets(other.verification.secrets))
            for other in sources.of_organisation(tx, self._vault, who.org_id, Walk(_OTHERS, descending=True))
            if other.id != source.id and other.type == source.type and other.verification.secrets
        ]
        schemes = rules_of.schemes_of(source.type, source.verification)
        return _Signer(source.name, schemes, _prepare_of(source, tolerance_s), held + given, len(held), tuple(others))

    def _of_endpoint(
        self, tx: Transaction, who: Principal, app: str, ref: str, given: tuple[Secret, ...], tolerance_s: float | None
    ) -> _Signer:
        endpoint = find_endpoint(tx, self._vault, who, app, ref)
        now_us = self._clock.now_us()
        held = tuple(Secret(s.text) for s in endpoint.secrets if s.expires_at is None or s.expires_at > now_us)
        past = tuple(Secret(s.text) for s in endpoint.secrets if s.expires_at is not None and s.expires_at <= now_us)
        others = [(Elsewhere("endpoint", endpoint.id, endpoint.app_id, endpoint.url, True), past)] if past else []
        for other in endpoints.all_of(tx, self._vault, endpoint.app_id)[:_OTHERS]:
            if other.id != endpoint.id:
                secrets = tuple(Secret(s.text) for s in other.secrets)
                others.append((Elsewhere("endpoint", other.id, other.app_id, other.url, False), secrets))
        return _Signer(
            endpoint.url,
            (_OURS,),
            lambda s, t: prepare_scheme(_OURS, s, tolerance_s=_first(t, tolerance_s)),
            held + given,
            len(held),
            tuple(others),
        )


def request_of(captured: CapturedRequest) -> InboundRequest:
    """A request in quarantine as verification sees it; without its body, where that was not kept."""
    headers = Headers(captured.headers, lowered=True)
    return InboundRequest(headers, captured.body or b"", captured.method.encode("latin-1"), captured.url)


def _examined(signer: _Signer, question: Question, keys: Keys) -> Findings:
    now_s = question.now_us / SECOND_US
    found = examine(signer.schemes, signer.prepare, signer.secrets, question.request, now_s=now_s, keys=keys)
    elsewhere: tuple[Elsewhere, ...] = ()
    if found.reason == SIGNATURE_MISMATCH:
        elsewhere = tuple(other for other, secrets in signer.others if _made_by(signer.prepare, secrets, question.request, now_s, keys))
    return Findings(found, signer.name, len(signer.secrets), signer.kept, elsewhere)


def _made_by(prepare: Prepare, secrets: Sequence[Secret], request: InboundRequest, now_s: float, keys: Keys) -> bool:
    try:
        prepare(secrets, math.inf).verify(request, now_s=now_s, key_source=keys)
    except (VerificationError, ValueError, KeyUnavailable):
        return False
    return True


def _prepare_of(source: Source, own_s: float | None) -> Prepare:
    def prepare(secrets: Sequence[Secret], tolerance_s: float | None) -> Verifier:
        given = tuple(SourceSecret(secret.text, secret.encoding) for secret in secrets)
        changed = msgspec.structs.replace(source.verification, verify="signature", secrets=given, awaiting_secret=False)
        limit_s = _first(tolerance_s, own_s)
        if limit_s is not None:
            changed = msgspec.structs.replace(changed, tolerance_s=limit_s)
        verifier = rules_of.make_verifier(source.type, changed, 0)
        if verifier is None:
            raise ValueError("the source verifies nothing")
        return verifier

    return prepare


def _first(asked_s: float | None, own_s: float | None) -> float | None:
    return own_s if asked_s is None else asked_s


def _secrets(secrets: Sequence[SourceSecret]) -> tuple[Secret, ...]:
    return tuple(Secret(secret.text, secret.encoding) for secret in secrets)
