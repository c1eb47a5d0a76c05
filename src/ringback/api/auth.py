"""Who may call which operation? The doors check the token; the services check the tenant and the application."""

from __future__ import annotations

import enum

from ringback.errors import Forbidden
from ringback.model.applications import TokenKind
from ringback.services.tokens import Principal


class Access(enum.Enum):
    """Which tokens an operation takes."""

    # Nobody needs a token.
    OPEN = "open"
    # An org token, or a token of the very application in the path (another application is not found).
    APPLICATION = "application"
    # An org token alone.
    ORGANISATION = "organisation"


def authorise(access: Access, who: Principal) -> None:
    """May this caller use an operation with that access? Raises Forbidden."""
    if access is Access.ORGANISATION and who.kind is not TokenKind.ORG:
        raise Forbidden
