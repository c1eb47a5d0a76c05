"""Who may call which operation? The doors check the token; the services check the tenant and the application."""

from __future__ import annotations

import enum

from ringback.errors import Forbidden
from ringback.model.applications import Capability, TokenKind
from ringback.services.tokens import Principal


class Access(enum.Enum):
    """Which tokens an operation takes."""

    # Nobody needs a token.
    OPEN = "open"
    # An org token, or a token of the very application in the path (another application is not found).
    APPLICATION = "application"
    # An org token alone.
    ORGANISATION = "organisation"
    # As APPLICATION; and the token of the very auto-config subscription in the path, which no other operation takes.
    SUBSCRIPTION = "subscription"
    # As APPLICATION; and the key of the very polling endpoint in the path, or the token of the auto-config subscription that made it.
    POLLER = "poller"
    # Any token of a caller.
    ANY = "any"


def authorise(access: Access, who: Principal, needs: Capability | None = None) -> None:
    """May this caller use an operation with that access, for which an application's token needs that capability? Raises Forbidden."""
    if who.auto_config_id is not None and access not in (Access.SUBSCRIPTION, Access.POLLER):
        raise Forbidden("This token completes an auto-config subscription, and is good for nothing else")
    if who.poller_id is not None:
        if access is not Access.POLLER:
            raise Forbidden("This key reads a polling endpoint, and is good for nothing else")
        return
    if access is Access.ORGANISATION and who.kind is not TokenKind.ORG:
        raise Forbidden
    if needs is not None and who.auto_config_id is None and not who.may(needs):
        raise Forbidden(f"This token may not do that: it lacks the capability {needs}")
