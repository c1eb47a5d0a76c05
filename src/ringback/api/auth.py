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
    # An org token, or a token of the very stream in the path (another stream is not found).
    STREAM = "stream"
    # As STREAM; and the key of the very sink in the path.
    SINK_POLLER = "sink poller"
    # The portal token of a stream alone.
    STREAM_PORTAL = "stream portal"
    # Any token of a caller.
    ANY = "any"


_OF_STREAMS = (Access.STREAM, Access.SINK_POLLER, Access.STREAM_PORTAL)


def authorise(access: Access, who: Principal, needs: Capability | None = None) -> None:
    """May this caller use an operation with that access, for which an application's token needs that capability? Raises Forbidden."""
    if who.auto_config_id is not None and access not in (Access.SUBSCRIPTION, Access.POLLER):
        raise Forbidden("This token completes an auto-config subscription, and is good for nothing else")
    if who.poller_id is not None:
        reads, opens = ("a polling endpoint", Access.POLLER) if who.stream_id is None else ("a sink", Access.SINK_POLLER)
        if access is not opens:
            raise Forbidden(f"This key reads {reads}, and is good for nothing else")
        return
    if who.stream_id is not None and access not in (*_OF_STREAMS, Access.ANY):
        raise Forbidden("This token is of a stream, and is good for nothing else")
    if access in _OF_STREAMS and not _reaches_streams(access, who):
        raise Forbidden
    if access is Access.ORGANISATION and who.kind is not TokenKind.ORG:
        raise Forbidden("This token may not do that; use an org token")
    if needs is not None and who.auto_config_id is None and not who.may(needs):
        raise Forbidden(f"This token may not do that: it lacks the capability {needs}")


def _reaches_streams(access: Access, who: Principal) -> bool:
    """May a caller use operations on streams at all?"""
    return who.stream_id is not None or (who.kind is TokenKind.ORG and access is not Access.STREAM_PORTAL)
