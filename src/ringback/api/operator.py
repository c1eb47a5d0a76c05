"""The operations behind `ringback token` while a server runs. They take the operator's token, which only this machine's owner can read."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import msgspec

from ringback.api.auth import Access
from ringback.api.bodies import Body
from ringback.api.routing import NO_CONTENT, Answer, Call, Operation, Parameter, Timestamp, answer
from ringback.clock import rfc3339
from ringback.errors import Unauthenticated
from ringback.model.applications import Token
from ringback.services.tokens import DEFAULT_ORG_NAME, Tokens

_LIST = "/api/v1/operator/token"
_ONE = "/api/v1/operator/token/{token_id}"


class TokenIn(msgspec.Struct, frozen=True):
    """For which organisation a token is wanted; made when there is none of this name."""

    org: str = DEFAULT_ORG_NAME


class TokenOut(msgspec.Struct, frozen=True, rename="camel"):
    """A token, without its text, which nobody knows but its holder."""

    id: str
    org_id: str
    kind: str
    name: str
    created_at: Timestamp
    revoked: bool
    last_used_at: Timestamp | None


class TokenCreated(msgspec.Struct, frozen=True):
    """A new token with its text: this once."""

    id: str
    token: str


_TOKEN_IN = Body(TokenIn)


def shown(token: Token) -> TokenOut:
    """The token as an operator sees it."""
    return TokenOut(
        id=token.id,
        org_id=token.org_id,
        kind=token.kind.name.lower(),
        name=token.name,
        created_at=rfc3339(token.created_at),
        revoked=token.revoked_at is not None,
        last_used_at=None if token.last_used_at is None else rfc3339(token.last_used_at),
    )


def checker(operator_token: str) -> Callable[[Call], None]:
    """What refuses everybody but the holder of the operator's token. It raises Unauthenticated."""
    expected = f"Bearer {operator_token}".encode()

    def check(call: Call) -> None:
        given = next((value for name, value in call.scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, expected):
            raise Unauthenticated

    return check


def routes(tokens: Tokens, operator_token: str) -> list[Operation]:
    """The operations of this module, for whoever holds `operator_token`."""
    check = checker(operator_token)

    async def create(call: Call) -> Answer:
        check(call)
        token, text = await tokens.create(call.parsed(_TOKEN_IN).org)
        return answer(201, TokenCreated(token.id, text))

    async def listing(call: Call) -> Answer:
        check(call)
        return answer(200, [shown(token) for token in await tokens.list(call.query.text("org"))])

    async def revoke(call: Call) -> Answer:
        check(call)
        await tokens.revoke(call.params["token_id"])
        return NO_CONTENT

    org = Parameter("org", {"type": "string"}, "the name of an organisation; left out, all")
    listed: Any = list[TokenOut]
    return [
        Operation(
            method="POST",
            path=_LIST,
            summary="Make an org token",
            handler=create,
            access=Access.OPEN,
            body=_TOKEN_IN,
            answers={201: TokenCreated},
            refusals=(401,),
        ),
        Operation(
            method="GET",
            path=_LIST,
            summary="All tokens",
            handler=listing,
            access=Access.OPEN,
            query=(org,),
            answers={200: listed},
            refusals=(401, 404),
        ),
        Operation(
            method="DELETE",
            path=_ONE,
            summary="Revoke a token",
            handler=revoke,
            access=Access.OPEN,
            answers={204: None},
            refusals=(401,),
        ),
    ]
