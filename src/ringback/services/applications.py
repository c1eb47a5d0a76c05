"""What can be done with applications? They are made, read, listed, changed and deleted; each by whoever may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from ringback import ids
from ringback.clock import Clock
from ringback.errors import Conflict, NotFound
from ringback.ids import IdMaker
from ringback.model.applications import Application
from ringback.policy import validation
from ringback.policy.paging import Page, Walk, cut
from ringback.policy.validation import Name, Rate, RatePatch, Rule
from ringback.services.tokens import Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import applications
from ringback.store.operations.applications import Without as Without

UID: Rule = validation.uid(ids.APPLICATION)


class Directory(Protocol):
    """What keeps applications with their endpoints in memory."""

    def changed(self, app_id: str) -> None:
        """Read this application anew before it is used again."""
        ...


class ApplicationIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole application, as it should be."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    uid: Name | None = None
    throttle_rate: Rate | None = None
    metadata: dict[str, str] | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"name": validation.text, "uid": UID, "metadata": validation.metadata}


class ApplicationPatch(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What to change of an application: what is unset stays, None removes, and so does a `throttle_rate` of 0."""

    name: Annotated[str, msgspec.Meta(min_length=1)] | UnsetType = UNSET
    uid: Name | UnsetType | None = UNSET
    throttle_rate: RatePatch | UnsetType | None = UNSET
    metadata: dict[str, str] | UnsetType = UNSET

    RULES: ClassVar[Mapping[str, Rule]] = ApplicationIn.RULES


class Created(msgspec.Struct, frozen=True):
    """An application, and whether it was made just now."""

    application: Application
    new: bool


# What the caller adds to the transaction of an effect: it gets the result, and must not raise for anything but a failing store.
Also = Callable[[Transaction, Created], None]


def find(tx: Transaction, who: Principal, ref: str) -> Application:
    """The application of that id or uid, if this caller may reach it. Raises NotFound."""
    application = applications.by_ref(tx, who.org_id, ref)
    if application is None or who.app_id not in (None, application.id):
        raise NotFound
    return application


class Applications:
    """The applications of every organisation; each verb sees those of its caller alone."""

    def __init__(self, store: Store, clock: Clock, make_id: IdMaker, directory: Directory, tokens: Tokens) -> None:
        self._store = store
        self._clock = clock
        self._ids = make_id
        self._directory = directory
        self._tokens = tokens
        # The hosts of this server's own bins; known once it listens.
        self.own_bins: Sequence[str] = ()

    async def create(self, who: Principal, wanted: ApplicationIn, *, get_if_exists: bool = False, also: Also | None = None) -> Created:
        """Make an application, or with `get_if_exists` return untouched the one that has its uid. Raises Conflict when the uid is taken."""

        def operation(tx: Transaction) -> Created:
            former = applications.by_uid(tx, who.org_id, wanted.uid) if get_if_exists and wanted.uid is not None else None
            created = Created(former, False) if former is not None else Created(self._insert(tx, who, wanted, wanted.uid), True)
            if also is not None:
                also(tx, created)
            return created

        created = await self._store.write(operation)
        if created.new:
            self._directory.changed(created.application.id)
        return created

    async def get(self, who: Principal, ref: str) -> Application:
        """The application of that id or uid. Raises NotFound."""
        return await self._store.read(lambda tx: find(tx, who, ref))

    async def learn_bins(self) -> None:
        """Have the store know which hosts are bins of this server, so that lists that leave them out need not look for them."""
        hosts = self.own_bins
        if hosts:
            await self._store.write(lambda tx: applications.know_bins(tx, hosts))

    async def page(self, who: Principal, walk: Walk, without: Without) -> Page[Application]:
        """One page of the organisation's applications."""
        return cut(await self._store.read(lambda tx: applications.page(tx, who.org_id, walk, without, self.own_bins)), walk)

    async def upsert(self, who: Principal, ref: str, wanted: ApplicationIn) -> Created:
        """Replace the application of that id or uid as a whole, or make it. Raises Conflict when the uid is taken."""

        def operation(tx: Transaction) -> Created:
            former = applications.by_ref(tx, who.org_id, ref)
            if former is None:
                uid = validation.uid_in_path(ref, UID, ids.APPLICATION, "app_id") if wanted.uid is None else wanted.uid
                return Created(self._insert(tx, who, wanted, uid), True)
            changed = msgspec.structs.replace(
                former,
                name=wanted.name,
                # Addressed by its uid it keeps it, or repeating the request would make another one.
                uid=ref if wanted.uid is None and ref == former.uid else wanted.uid,
                throttle_rate=wanted.throttle_rate,
                metadata=wanted.metadata or {},
            )
            return Created(self._replace(tx, former, changed), False)

        created = await self._store.write(operation)
        self._directory.changed(created.application.id)
        return created

    async def patch(self, who: Principal, ref: str, change: ApplicationPatch) -> Application:
        """Change some fields. Raises NotFound, and Conflict when the uid is taken."""

        def operation(tx: Transaction) -> Application:
            former = find(tx, who, ref)
            changes = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not UNSET}
            if changes.get("throttle_rate") == 0:
                changes["throttle_rate"] = None
            return self._replace(tx, former, msgspec.structs.replace(former, **changes))

        application = await self._store.write(operation)
        self._directory.changed(application.id)
        return application

    async def delete(self, who: Principal, ref: str) -> None:
        """Delete an application, for every reader and for delivery at once. Raises NotFound."""
        now_us = self._clock.now_us()

        def operation(tx: Transaction) -> str:
            application = find(tx, who, ref)
            applications.delete(tx, application.id, now_us)
            return application.id

        app_id = await self._store.write(operation)
        self._directory.changed(app_id)
        self._tokens.forget_application(app_id)

    def _insert(self, tx: Transaction, who: Principal, wanted: ApplicationIn, uid: str | None) -> Application:
        self._check_uid(tx, who.org_id, uid, None)
        # The id is made inside the transaction: ids must be in the order of commits, which cursors rely on.
        now_us = self._clock.now_us()
        application = Application(
            id=self._ids.make(ids.APPLICATION, now_us),
            org_id=who.org_id,
            name=wanted.name,
            uid=uid,
            throttle_rate=wanted.throttle_rate,
            metadata=wanted.metadata or {},
            created_at=now_us,
            updated_at=now_us,
        )
        applications.insert(tx, application)
        return application

    def _replace(self, tx: Transaction, former: Application, wanted: Application) -> Application:
        if wanted == former:
            return former
        self._check_uid(tx, former.org_id, wanted.uid, former.id)
        application = msgspec.structs.replace(wanted, updated_at=max(self._clock.now_us(), former.updated_at + 1))
        applications.replace(tx, application)
        return application

    def _check_uid(self, tx: Transaction, org_id: str, uid: str | None, own_id: str | None) -> None:
        if uid is None:
            return
        holder = applications.by_uid(tx, org_id, uid)
        if holder is not None and holder.id != own_id:
            raise Conflict(f"An application with the uid {uid!r} exists already; choose another uid, or update that one")
