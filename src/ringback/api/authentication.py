"""The operations on portal tokens, and the one that says who is calling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from ringback.api.applications import APPLICATION_IN, named_in
from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, answer
from ringback.errors import NotFound
from ringback.model.applications import Capability
from ringback.services.applications import Applications
from ringback.services.portal import ApplicationTokenExpireIn, AppPortalAccessIn, Portal

_AUTH: Final = "/api/v1/auth"
ACCESS_IN: Final = Body(AppPortalAccessIn, inner={"application": APPLICATION_IN})
EXPIRE_IN: Final = Body(ApplicationTokenExpireIn)


class AppPortalAccessOut(msgspec.Struct, frozen=True):
    """A portal token, and the page where it works."""

    url: str
    token: str


class WhoamiOut(msgspec.Struct, frozen=True, rename="camel"):
    """Whose token this is: the organisation's (`envId`), or one of its applications'; and what it may do."""

    env_id: str
    app_id: str | None
    stream_app_id: str | None
    permission_source: Literal["SvixJwt", "RegionalAuthToken"]
    session_id: str | None
    capabilities: list[Capability]


class _Handlers:
    def __init__(self, portal: Portal, applications: Applications, page_url: Callable[[str], str]) -> None:
        self._portal = portal
        self._applications = applications
        self._page_url = page_url

    async def access(self, call: Call) -> Answer:
        return await self._access(call, call.parsed(ACCESS_IN))

    async def dashboard(self, call: Call) -> Answer:
        return await self._access(call, AppPortalAccessIn())

    async def _access(self, call: Call, wanted: AppPortalAccessIn) -> Answer:
        app = call.params["app_id"]
        if wanted.application is not None:
            try:
                await self._applications.get(call.who, app)
            except NotFound:
                await self._applications.create(call.who, named_in(wanted.application, app), get_if_exists=True)
        return self._out(await self._portal.admit(call.who, app, wanted, also=call.keeping(self._out)))

    def _out(self, token: str) -> Answer:
        return answer(200, AppPortalAccessOut(self._page_url(token), token))

    async def logout(self, call: Call) -> Answer:
        await self._portal.leave(call.who)
        return NO_CONTENT

    async def expire_all(self, call: Call) -> Answer:
        await self._portal.expire_all(call.who, call.params["app_id"], call.parsed(EXPIRE_IN))
        return NO_CONTENT

    async def whoami(self, call: Call) -> Answer:
        who = call.who
        source: Literal["SvixJwt", "RegionalAuthToken"] = "SvixJwt" if who.signed else "RegionalAuthToken"
        capabilities = [capability for capability in Capability if who.may(capability)]
        return answer(200, WhoamiOut(who.org_id, who.app_id or None, who.stream_id, source, who.session_id, capabilities))


def routes(portal: Portal, applications: Applications, page_url: Callable[[str], str]) -> list[Operation]:
    """The operations of this module. `page_url` makes the URL of the portal for a token."""
    handlers = _Handlers(portal, applications, page_url)
    return [
        Operation(
            method="POST",
            path=f"{_AUTH}/app-portal-access/{{app_id}}",
            summary="Make a portal token of an application",
            handler=handlers.access,
            access=Access.ORGANISATION,
            body=ACCESS_IN,
            answers={200: AppPortalAccessOut},
        ),
        Operation(
            method="POST",
            path=f"{_AUTH}/dashboard-access/{{app_id}}",
            summary="Make a portal token of an application (former path)",
            handler=handlers.dashboard,
            access=Access.ORGANISATION,
            answers={200: AppPortalAccessOut},
        ),
        Operation(
            method="POST",
            path=f"{_AUTH}/logout",
            summary="End the portal token that this is sent with",
            handler=handlers.logout,
            access=Access.ANY,
            answers={204: None},
        ),
        Operation(
            method="POST",
            path=f"{_AUTH}/app/{{app_id}}/expire-all",
            summary="End the portal tokens of an application",
            handler=handlers.expire_all,
            access=Access.ORGANISATION,
            body=EXPIRE_IN,
            answers={204: None},
        ),
        Operation(
            method="GET",
            path=f"{_AUTH}/whoami",
            summary="Whose token this is",
            handler=handlers.whoami,
            access=Access.ANY,
            answers={200: WhoamiOut},
        ),
    ]
