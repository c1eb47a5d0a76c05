"""The operations on applications."""

from __future__ import annotations

import msgspec

from ringback import ids
from ringback.api.auth import Access
from ringback.api.bodies import Alias, Body
from ringback.api.pagination import ITERATOR, LIMIT, ORDER, ListOut, listing, walk_of
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import NotFound
from ringback.model.applications import Application
from ringback.policy import validation
from ringback.services.applications import ApplicationIn, ApplicationPatch, Applications, Created, Without

# Older clients know the rate by this name.
_ALIASES = {"rateLimit": Alias("throttleRate")}
APPLICATION_IN = Body(ApplicationIn, _ALIASES)
APPLICATION_PATCH = Body(ApplicationPatch, _ALIASES)

_LIST = "/api/v1/app"
_ONE = "/api/v1/app/{app_id}"
_FLAG = {"type": "boolean", "default": False}
_FILTERS = (
    Parameter("exclude_apps_with_no_endpoints", _FLAG, "Leave out applications without endpoints"),
    Parameter("exclude_apps_with_disabled_endpoints", _FLAG, "Leave out applications whose endpoints are all disabled"),
    Parameter("exclude_apps_with_svix_play_endpoints", _FLAG, "Leave out applications whose endpoints are all request bins"),
)


class ApplicationOut(msgspec.Struct, frozen=True, rename="camel"):
    """An application as clients see it."""

    id: str
    name: str
    uid: str | None
    throttle_rate: int | None
    rate_limit: int | None
    metadata: dict[str, str]
    created_at: Timestamp
    updated_at: Timestamp


class ListResponseApplicationOut(ListOut[ApplicationOut], frozen=True, rename="camel"):
    """One page of applications."""


def shown(application: Application) -> ApplicationOut:
    """The application as clients see it."""
    return ApplicationOut(
        id=application.id,
        name=application.name,
        uid=application.uid,
        throttle_rate=application.throttle_rate,
        rate_limit=application.throttle_rate,
        metadata=application.metadata,
        created_at=rfc3339(application.created_at),
        updated_at=rfc3339(application.updated_at),
    )


def named_in(application: ApplicationIn | None, ref: str) -> ApplicationIn:
    """The application that a request about the unknown `ref` brings along. Raises NotFound, InvalidField."""
    if application is None:
        raise NotFound
    validation.uid_of_path(application.uid, ref, "application")
    return application


def is_cursor(text: str) -> bool:
    """Is this shaped like the cursor of a list of applications?"""
    return ids.is_id(ids.APPLICATION, text)


class _Handlers:
    def __init__(self, applications: Applications) -> None:
        self._applications = applications

    async def list(self, call: Call) -> Answer:
        walk = walk_of(call.query, is_cursor, descending=False)
        without = Without(
            endpoints=call.query.flag("exclude_apps_with_no_endpoints", False),
            enabled_endpoints=call.query.flag("exclude_apps_with_disabled_endpoints", False),
            endpoints_beside_bins=call.query.flag("exclude_apps_with_svix_play_endpoints", False),
        )
        page = await self._applications.page(call.who, walk, without)
        return answer(200, listing(page, lambda application: application.id, shown))

    async def create(self, call: Call) -> Answer:
        wanted = call.parsed(APPLICATION_IN)
        get_if_exists = call.query.flag("get_if_exists", False)
        return _created(await self._applications.create(call.who, wanted, get_if_exists=get_if_exists, also=call.keeping(_created)))

    async def get(self, call: Call) -> Answer:
        return answer(200, shown(await self._applications.get(call.who, call.params["app_id"])))

    async def upsert(self, call: Call) -> Answer:
        return _created(await self._applications.upsert(call.who, call.params["app_id"], call.parsed(APPLICATION_IN)))

    async def patch(self, call: Call) -> Answer:
        return answer(200, shown(await self._applications.patch(call.who, call.params["app_id"], call.parsed(APPLICATION_PATCH))))

    async def delete(self, call: Call) -> Answer:
        await self._applications.delete(call.who, call.params["app_id"])
        return NO_CONTENT


def _created(created: Created) -> Answer:
    return answer(201 if created.new else 200, shown(created.application))


def routes(applications: Applications) -> list[Operation]:
    """The operations of this module."""
    handlers = _Handlers(applications)
    return [
        Operation(
            method="GET",
            path=_LIST,
            summary="List applications",
            handler=handlers.list,
            access=Access.ORGANISATION,
            query=(LIMIT, ITERATOR, ORDER, *_FILTERS),
            answers={200: ListResponseApplicationOut},
        ),
        Operation(
            method="POST",
            path=_LIST,
            summary="Create an application",
            handler=handlers.create,
            access=Access.ORGANISATION,
            body=APPLICATION_IN,
            query=(Parameter("get_if_exists", _FLAG, "Answer the application that has the uid, untouched, if there is one"),),
            answers={201: ApplicationOut, 200: ApplicationOut},
        ),
        Operation(
            method="GET",
            path=_ONE,
            summary="Get an application",
            handler=handlers.get,
            access=Access.APPLICATION,
            answers={200: ApplicationOut},
        ),
        Operation(
            method="PUT",
            path=_ONE,
            summary="Replace or create an application",
            handler=handlers.upsert,
            access=Access.ORGANISATION,
            body=APPLICATION_IN,
            answers={200: ApplicationOut, 201: ApplicationOut},
        ),
        Operation(
            method="PATCH",
            path=_ONE,
            summary="Change fields of an application",
            handler=handlers.patch,
            access=Access.ORGANISATION,
            body=APPLICATION_PATCH,
            answers={200: ApplicationOut},
        ),
        Operation(
            method="DELETE",
            path=_ONE,
            summary="Delete an application",
            handler=handlers.delete,
            access=Access.ORGANISATION,
            answers={204: None},
        ),
    ]
