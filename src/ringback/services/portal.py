"""How does a customer get into the portal, out again, and whose does it look like? Tokens of one application, and a look."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Final

import msgspec

from ringback.clock import SECOND_US
from ringback.model.applications import Capability
from ringback.policy import looks, validation
from ringback.policy.looks import Look
from ringback.policy.validation import Flags, Problem, Rule
from ringback.services.applications import ApplicationIn, find
from ringback.services.tokens import Grant, Principal, Tokens
from ringback.store.base import Store, Transaction
from ringback.store.operations import environments

# The contract's bounds of a portal token's life, seconds: an hour to a week, which is the default (section 3.6).
MIN_LIFE_S: Final = 3_600
MAX_LIFE_S: Final = 604_800
# How long tokens may live on after they were told to end, seconds: three days.
MAX_DELAY_S: Final = 259_200
MAX_FLAGS: Final = 25
MAX_SESSIONS: Final = 1_000
# Characters of a session id.
MAX_SESSION_CHARS: Final = 64
_SESSION_PATTERN: Final = r"[A-Za-z0-9@_-]+"
_SESSION: Final = re.compile(_SESSION_PATTERN)

SessionId = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SESSION_CHARS, extra_json_schema={"pattern": f"^{_SESSION_PATTERN}$"})]
LifeS = Annotated[int, msgspec.Meta(ge=MIN_LIFE_S, le=MAX_LIFE_S)]
_Delay = Annotated[int, msgspec.Meta(ge=0, le=MAX_DELAY_S)]
PortalFlags = Annotated[Flags, msgspec.Meta(max_length=MAX_FLAGS)]
_Sessions = Annotated[tuple[SessionId, ...], msgspec.Meta(max_length=MAX_SESSIONS)]


def session(value: str) -> Sequence[Problem]:
    """The rule for session ids."""
    if _SESSION.fullmatch(value) is None:
        return [((), f"{value!r} is no session id; use 1 to {MAX_SESSION_CHARS} letters, digits, '@', '_' and '-'")]
    return ()


def _sessions(values: Sequence[str]) -> Sequence[Problem]:
    return [((f"[{index}]", *where), text) for index, value in enumerate(values) for where, text in session(value)]


def flags(values: Sequence[str]) -> Sequence[Problem]:
    """The rule for the feature flags of a token; none at all are fine."""
    return validation.names(values) if values else ()


class AppPortalAccessIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a portal token is to allow, and for how many seconds. `application` is made when there is none."""

    application: ApplicationIn | None = None
    capabilities: tuple[Capability, ...] | None = None
    feature_flags: PortalFlags | None = None
    expiry: LifeS | None = MAX_LIFE_S
    session_id: SessionId | None = None
    read_only: bool | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"application": validation.members, "feature_flags": flags, "session_id": session}


class SourcePortalAccessIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """For how many seconds a token of an ingest source holds, and whether it may change nothing."""

    expiry: LifeS | None = MAX_LIFE_S
    read_only: bool | None = None


class ApplicationTokenExpireIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """In how many seconds tokens end (None: now), and those of which sessions (None: all)."""

    expiry: _Delay | None = None
    session_ids: _Sessions | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {"session_ids": _sessions}


class LookIn(msgspec.Struct, frozen=True, kw_only=True):
    """What customers are to see in the portal; "" = nothing of it. `logo` None: the one there is."""

    name: Annotated[str, msgspec.Meta(max_length=looks.NAME_CHARS)] = ""
    link: Annotated[str, msgspec.Meta(max_length=looks.LINK_CHARS)] = ""
    colour: str = ""
    logo: str | None = None

    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": looks.name,
        "link": lambda value: looks.link(value) if value else (),
        "colour": lambda value: looks.colour(value) if value else (),
        "logo": lambda value: looks.logo(value) if value else (),
    }


class Portal:
    """The portal tokens of every application, and the look of every organisation's portal."""

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._store = store
        self._tokens = tokens

    async def admit(
        self, who: Principal, app: str, wanted: AppPortalAccessIn, also: Callable[[Transaction, str], None] | None = None
    ) -> str:
        """A new token of an application: its text, which nobody can read again. Raises NotFound."""

        def grant(tx: Transaction) -> Grant:
            return Grant(find(tx, who, app).id, _capabilities(wanted), wanted.feature_flags or (), wanted.session_id)

        life_s = MAX_LIFE_S if wanted.expiry is None else wanted.expiry
        return await self._tokens.admit(who.org_id, grant, name="portal", life_s=life_s, also=also)

    async def look(self, who: Principal) -> Look:
        """What the caller's organisation shows its customers."""
        return looks.look_in(await self._store.read(lambda tx: environments.settings_of(tx, who.org_id)))

    async def dress(self, who: Principal, wanted: LookIn) -> Look:
        """Show customers something else from now on; the other settings that travel with the catalogue stay."""

        def operation(tx: Transaction) -> Look:
            parts = {"name": wanted.name, "link": wanted.link, "colour": wanted.colour.lower()}
            logo = {} if wanted.logo is None else {"logo": wanted.logo}
            settings = looks.settings_with(environments.settings_of(tx, who.org_id), parts | logo)
            environments.put_settings(tx, who.org_id, settings)
            return looks.look_in(settings)

        return await self._store.write(operation)

    async def leave(self, who: Principal) -> None:
        """End the caller's own token. Raises Forbidden for an org token."""
        await self._tokens.log_out(who)

    async def expire_all(self, who: Principal, app: str, wanted: ApplicationTokenExpireIn) -> None:
        """End the tokens of an application. Raises NotFound."""
        app_id = (await self._store.read(lambda tx: find(tx, who, app))).id
        # An empty list names no session, as none at all does: clients send both.
        await self._tokens.expire_application(app_id, wanted.session_ids or None, (wanted.expiry or 0) * SECOND_US)


def _capabilities(wanted: AppPortalAccessIn) -> tuple[Capability, ...] | None:
    if wanted.capabilities is not None:
        return tuple(dict.fromkeys((Capability.VIEW_BASE, *wanted.capabilities)))
    return (Capability.VIEW_BASE,) if wanted.read_only else None
