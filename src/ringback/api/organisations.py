"""The operations behind `ringback organisation` while a server runs. They take the operator's token."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.operator import checker
from ringback.api.routing import Answer, Call, Operation, Timestamp, answer
from ringback.clock import rfc3339
from ringback.model.applications import Organisation
from ringback.services.organisations import MAX_RECEIVE_RATE, Organisations

_LIST: Final = "/api/v1/operator/organisation"
_LIMIT: Final = _LIST + "/limit"


class LimitIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many requests a second the sources of an organisation may take in: null = as the settings say, 0 = as many as come."""

    org: str
    receive_rate: Annotated[int, msgspec.Meta(ge=0, le=MAX_RECEIVE_RATE)] | None


class OrganisationOut(msgspec.Struct, frozen=True, rename="camel"):
    """An organisation; `receive_rate` as in `LimitIn`."""

    id: str
    name: str
    created_at: Timestamp
    receive_rate: int | None


_LIMIT_IN: Final = Body(LimitIn)


def shown(organisation: Organisation) -> OrganisationOut:
    """The organisation as an operator sees it."""
    return OrganisationOut(organisation.id, organisation.name, rfc3339(organisation.created_at), organisation.receive_rate)


def routes(organisations: Organisations, operator_token: str) -> list[Operation]:
    """The operations of this module, for whoever holds `operator_token`."""
    check = checker(operator_token)

    async def listing(call: Call) -> Answer:
        check(call)
        return answer(200, [shown(organisation) for organisation in await organisations.list()])

    async def limit(call: Call) -> Answer:
        check(call)
        wanted = call.parsed(_LIMIT_IN)
        return answer(200, shown(await organisations.limit(wanted.org, wanted.receive_rate)))

    listed: Any = list[OrganisationOut]
    return [
        Operation(
            method="GET",
            path=_LIST,
            summary="All organisations",
            handler=listing,
            access=Access.OPEN,
            answers={200: listed},
            refusals=(401,),
        ),
        Operation(
            method="PUT",
            path=_LIMIT,
            summary="Limit what an organisation takes in",
            handler=limit,
            access=Access.OPEN,
            body=_LIMIT_IN,
            answers={200: OrganisationOut},
            refusals=(401, 404),
        ),
    ]
