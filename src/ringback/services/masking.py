"""What of a payload does somebody see? Tokens of the organisation, and whoever a message is delivered to, all of it."""

from __future__ import annotations

import msgspec

from ringback.model.applications import TokenKind
from ringback.model.messages import Message
from ringback.policy.masking import masked
from ringback.services.tokens import Principal


def shown(message: Message) -> Message:
    """The message with its sensitive fields masked, as people see it. Takes long for a large payload: not for the event loop."""
    if not message.sensitive or not message.payload:
        return message
    return msgspec.structs.replace(message, payload=masked(message.payload, message.sensitive))


def shown_to(who: Principal, message: Message) -> Message:
    """The message as the API shows it to this caller: a token of an application, such as the portal's, sees masks."""
    return message if who.kind is TokenKind.ORG else shown(message)
