"""What can be done with sources? They are made, read, listed, changed and deleted; their secrets and the tokens of their URLs rotate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from ringback import ids
from ringback.clock import SECOND_US, Clock
from ringback.errors import Conflict, FieldProblem, InvalidField, NotFound, Refused
from ringback.ids import ALPHABET, IdMaker, ShortIdMaker
from ringback.model.applications import Application
from ringback.model.sources import (
    Activity,
    Source,
    SourceSecret,
    SourceToken,
)
from ringback.policy import sources as rules_of
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.sources_silence import silence
from ringback.services import applications
from ringback.services.source_wishes import PREFIX as PREFIX
from ringback.services.source_wishes import SecretRotateIn as SecretRotateIn
from ringback.services.source_wishes import SourceIn as SourceIn
from ringback.services.source_wishes import cron_of, rules_for, verification_of
from ringback.services.source_wishes import uid_rule as uid_rule
from ringback.services.tokens import Principal
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications as application_operations
from ringback.store.operations import source_traffic, sources
from ringback.store.operations.endpoints import Sealer

# 24 base62 characters hold 142 bits; the contract asks for at least 128.
_TOKEN_CHARS: Final = 24
# The contract's grace of the URL's former tokens, and how many rotations may fall into it.
TOKEN_GRACE_S: Final = 48 * 3_600
_MAX_ROTATIONS: Final = 3
# Sources opened in one step: some tenths of a millisecond.
_SLICE: Final = 50


class Created(msgspec.Struct, frozen=True):
    """A source, and whether it was made just now."""

    source: Source
    new: bool


class Watcher(Protocol):
    """Who must know when a source changes."""

    def changed(self, source_id: str) -> None:
        """The source was changed or deleted, durably."""
        ...


class Directory(Protocol):
    """What keeps applications in memory."""

    def changed(self, app_id: str) -> None:
        """Read this application anew before it is used again."""
        ...


Also = Callable[[Transaction, Source], None]


class Sources:
    """The sources of every application; each verb sees those of its caller alone. `draw(n)` gives a random number of n bits."""

    def __init__(
        self,
        store: Store,
        vault: Sealer,
        clock: Clock,
        make_id: IdMaker,
        watcher: Watcher,
        directory: Directory,
        draw: Callable[[int], int],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._ids = make_id
        self._watcher = watcher
        self._directory = directory
        self._draw = draw
        self._short_ids = ShortIdMaker(make_id)

    async def create(self, who: Principal, app_ref: str | None, wanted: SourceIn, *, also: Also | None = None) -> Source:
        """Make a source of an application, or without one an ingest source. Raises NotFound, Conflict (uid, route), InvalidField."""

        def operation(tx: Transaction) -> Source:
            source = self._insert(tx, who, app_ref, wanted)
            if also is not None:
                also(tx, source)
            return source

        return self._told(await self._store.write(operation))

    async def get(self, who: Principal, app_ref: str | None, ref: str) -> Source:
        """The source of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: self.find(tx, who, app_ref, ref))

    async def activity(self, source_id: str) -> Activity:
        """What came from a source so far, to within some seconds."""
        return await self._store.read(lambda tx: sources.activity(tx, source_id))

    async def refusals(self, source_id: str) -> dict[str, int]:
        """For which reasons requests were refused in the last 24 hours, and how many, to within some seconds."""
        first = self._clock.now_us() // source_traffic.QUARTER_US - source_traffic.DAY + 1
        return await self._store.read(lambda tx: source_traffic.refusals(tx, source_id, first))

    def silence(self, source: Source, activity: Activity) -> int | None:
        """How long a source has been quiet, microseconds, if that is longer than it may be; else None."""
        return silence(source, activity, self._clock.now_us())

    async def page(self, who: Principal, app_ref: str | None, walk: Walk) -> Page[Source]:
        """One page of an application's sources, or without one of the organisation's ingest sources. Raises NotFound."""

        def query(tx: Transaction) -> list[Source]:
            if app_ref is None:
                return sources.page(tx, self._vault, "org_id", who.org_id, walk)
            return sources.page(tx, self._vault, "app_id", applications.find(tx, who, app_ref).id, walk)

        return cut(await self._store.read(query), walk)

    async def upsert(self, who: Principal, app_ref: str | None, ref: str, wanted: SourceIn) -> Created:
        """Replace a source, but for its tokens, or make it. Raises NotFound (application), Conflict, InvalidField."""

        def operation(tx: Transaction) -> Created:
            try:
                former = self.find(tx, who, app_ref, ref)
            except NotFound:
                given = validation.uid_in_path(ref, uid_rule, PREFIX, "source_id") if wanted.uid is None else wanted.uid
                return Created(self._insert(tx, who, app_ref, msgspec.structs.replace(wanted, uid=given)), True)
            _check_undeclared(former)
            named = ref if wanted.uid is None and ref == former.uid else wanted.uid
            return Created(self._replace(tx, former, msgspec.structs.replace(wanted, uid=named)), False)

        created = await self._store.write(operation)
        self._told(created.source)
        return created

    async def declare(self, who: Principal, app_ref: str | None, wanted: SourceIn, file: str) -> Source:
        """Make or replace the source of this uid as a file says; from then on it changes there alone. Raises as `upsert` does."""

        def operation(tx: Transaction) -> Source:
            try:
                former = self.find(tx, who, app_ref, wanted.uid or "")
            except NotFound:
                former = self._insert(tx, who, app_ref, wanted)
            source = msgspec.structs.replace(self._replaced(former, wanted), declared_in=file)
            if source == former:
                return former
            self._check_names(tx, source)
            self._check(source)
            return self._stored(tx, source, None)

        return self._told(await self._store.write(operation))

    async def undeclare(self, named: frozenset[str]) -> list[Source]:
        """Sources that a file declared once, and that are not among these ids any more, belong to the API again: they stay as they are."""
        found, after = list[Source](), ""
        while listed := await self._store.read(lambda tx, at=after: sources.live(tx, self._vault, at, _SLICE)):  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            after = listed[-1].id
            found += [msgspec.structs.replace(source, declared_in="") for source in listed if source.declared_in and source.id not in named]
        for source in found:
            await self._store.write(lambda tx, it=source: self._stored(tx, it, None))  # type: ignore[misc]  # as above
        return [self._told(source) for source in found]

    async def delete(self, who: Principal, app_ref: str | None, ref: str) -> None:
        """Delete a source; its URL is unknown at once. An ingest source's application goes with it. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> Source:
            source = self.find(tx, who, app_ref, ref)
            _check_undeclared(source)
            sources.delete(tx, source.id, now_us)
            if source.ingest:
                application_operations.delete(tx, source.app_id, now_us)
            return source

        self._told(await self._store.write(operation))

    async def rotate_token(self, who: Principal, app_ref: str | None, ref: str, *, also: Also | None = None) -> Source:
        """Give the URL a new token; the former ones work for 48 h. Raises NotFound, and Refused after three rotations in that time."""

        def operation(tx: Transaction) -> Source:
            former = self.find(tx, who, app_ref, ref)
            if former.cron is not None:
                raise Refused("no_url", "a source of type cron has no URL, as nobody calls it: there is nothing to rotate")
            now_us = self._clock.now_us()
            source = msgspec.structs.replace(former, tokens=rotated(former.tokens, self._token(), now_us))
            return self._stored(tx, source, also)

        return self._told(await self._store.write(operation))

    async def rotate_secret(
        self, who: Principal, app_ref: str | None, ref: str, wanted: SecretRotateIn, *, also: Also | None = None
    ) -> Source:
        """Believe another secret from now on, and the former ones until their grace is over. Raises NotFound, InvalidField."""

        def operation(tx: Transaction) -> Source:
            former = self.find(tx, who, app_ref, ref)
            _check_undeclared(former)
            now_us = self._clock.now_us()
            end_us = now_us + wanted.grace_period_seconds * SECOND_US
            believed = rules_of.active(former.verification.secrets, now_us)
            others = [secret for secret in believed if secret.sender != wanted.sender]
            old = [
                msgspec.structs.replace(secret, expires_at=min(end_us, secret.expires_at or end_us))
                for secret in believed
                if secret.sender == wanted.sender and secret.text != wanted.secret and wanted.grace_period_seconds
            ]
            new = SourceSecret(wanted.secret, wanted.encoding, sender=wanted.sender)
            secrets = (new, *old[: rules_of.MAX_SECRETS - 1], *others)
            verification = msgspec.structs.replace(former.verification, secrets=secrets, awaiting_secret=False)
            source = msgspec.structs.replace(former, verification=verification)
            self._check(source)
            return self._stored(tx, source, also)

        return self._told(await self._store.write(operation))

    async def capture(self, source_id: str, secret: str) -> bool:
        """Keep the secret that a provider sent in its handshake; False when the source does not wait for one any more."""

        def operation(tx: Transaction) -> bool:
            source = sources.by_id(tx, self._vault, source_id)
            if source is None or not source.verification.awaiting_secret:
                return False
            verification = msgspec.structs.replace(source.verification, secrets=(SourceSecret(secret),), awaiting_secret=False)
            self._stored(tx, msgspec.structs.replace(source, verification=verification), None)
            return True

        captured = await self._store.write(operation)
        self._watcher.changed(source_id)
        return captured

    def find(self, tx: Transaction, who: Principal, app_ref: str | None, ref: str) -> Source:
        """The source of that id or uid, within an application or among the ingest sources. Raises NotFound."""
        source = sources.by_ref(tx, self._vault, who.org_id, ref)
        if source is None:
            raise NotFound
        if app_ref is None:
            if not source.ingest or who.app_id not in (None, source.app_id):
                raise NotFound
        elif applications.find(tx, who, app_ref).id != source.app_id:
            raise NotFound
        return source

    def _told(self, source: Source) -> Source:
        self._watcher.changed(source.id)
        if source.ingest:
            self._directory.changed(source.app_id)
        return source

    def _insert(self, tx: Transaction, who: Principal, app_ref: str | None, wanted: SourceIn) -> Source:
        now_us = self._clock.now_us()
        source_id = self._short_ids.make(PREFIX, now_us)
        app_id = self._hidden(tx, who, wanted.name, now_us) if app_ref is None else applications.find(tx, who, app_ref).id
        source = Source(
            id=source_id,
            org_id=who.org_id,
            app_id=app_id,
            ingest=app_ref is None,
            uid=wanted.uid,
            name=wanted.name,
            type=wanted.type,
            route=wanted.route,
            disabled=wanted.disabled,
            metadata=wanted.metadata or {},
            verification=verification_of(wanted, ()),
            rules=rules_for(wanted),
            tokens=(SourceToken(self._token(), now_us),),
            created_at=now_us,
            updated_at=now_us,
            cron=cron_of(wanted, None, now_us),
        )
        self._check_names(tx, source)
        self._check(source)
        sources.insert(tx, self._vault, source)
        return source

    def _replace(self, tx: Transaction, former: Source, wanted: SourceIn) -> Source:
        source = self._replaced(former, wanted)
        self._check_names(tx, source)
        self._check(source)
        return self._stored(tx, source, None)

    def _replaced(self, former: Source, wanted: SourceIn) -> Source:
        return msgspec.structs.replace(
            former,
            uid=wanted.uid,
            name=wanted.name,
            type=wanted.type,
            route=wanted.route,
            disabled=wanted.disabled,
            metadata=wanted.metadata or {},
            verification=verification_of(wanted, former.verification.secrets),
            rules=rules_for(wanted),
            cron=cron_of(wanted, former, self._clock.now_us()),
        )

    def _stored(self, tx: Transaction, source: Source, also: Also | None) -> Source:
        source = msgspec.structs.replace(source, updated_at=max(self._clock.now_us(), source.updated_at + 1))
        sources.replace(tx, self._vault, source)
        if also is not None:
            also(tx, source)
        return source

    def _check_names(self, tx: Transaction, source: Source) -> None:
        if source.uid is not None and sources.holder(tx, "uid", source.uid, source.org_id) not in (None, source.id):
            raise Conflict(f"A source with the uid {source.uid!r} exists already; choose another uid, or update that one")
        if source.route is not None and sources.holder(tx, "route", source.route, None) not in (None, source.id):
            raise Conflict(f"The route /{source.route} belongs to another source of this server; choose another one")

    def _check(self, source: Source) -> None:
        found = rules_of.contradictions(source.type, source.route, source.verification, source.rules, self._clock.now_us())
        if source.cron is not None:
            found += rules_of.cron_problems(source.route, source.verification, source.rules, source.cron)
        if found:
            raise InvalidField(*(FieldProblem(("body", *where), text) for where, text in found))

    def _hidden(self, tx: Transaction, who: Principal, name: str, now_us: int) -> str:
        """An application of its own for an ingest source."""
        app_id = self._ids.make(ids.APPLICATION, now_us)
        application = Application(app_id, who.org_id, name, None, None, {}, now_us, now_us)
        application_operations.insert(tx, application, hidden=True)
        return app_id

    def _token(self) -> str:
        number = self._draw(_TOKEN_CHARS * 6)
        digits = []
        for _ in range(_TOKEN_CHARS):
            number, digit = divmod(number, 62)
            digits.append(ALPHABET[digit])
        return "".join(digits)


def _check_undeclared(source: Source) -> None:
    if source.declared_in:
        raise Conflict(f"The source is declared in {source.declared_in}; change it there, and start the server again")


def rotated(tokens: tuple[SourceToken, ...], text: str, now_us: int) -> tuple[SourceToken, ...]:
    """The tokens after a rotation, the current one first. Raises Refused after too many."""
    since_us = now_us - TOKEN_GRACE_S * SECOND_US
    kept = [token for token in tokens[1:] if token.expires_at is not None and token.expires_at > now_us]
    # Each former token that still works stands for one rotation within the last 48 h.
    if len([token for token in kept if token.expires_at and token.expires_at - TOKEN_GRACE_S * SECOND_US > since_us]) >= _MAX_ROTATIONS:
        raise Refused("limit_reached", f"the URL was rotated {_MAX_ROTATIONS} times within 48 h; wait until a former one has ended")
    former = msgspec.structs.replace(tokens[0], expires_at=now_us + TOKEN_GRACE_S * SECOND_US)
    return (SourceToken(text, now_us), former, *kept)
