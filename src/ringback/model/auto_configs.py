"""How does an endpoint come to be without anybody copying secrets? A subscription: a text for the customer, who completes it with a URL."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

# The version of the text; clients refuse others.
TEXT_PREFIX: Final = "auto_v1_"


class AutoConfig(msgspec.Struct, frozen=True):
    """A subscription. `endpoint_id` is that of the endpoint that it makes, `secret` what that endpoint begins to sign with.

    Times are microseconds since 1970.
    """

    id: str
    app_id: str
    endpoint_id: str
    secret: str
    created_at: int
    updated_at: int


class _Content(msgspec.Struct, frozen=True):
    """What the text says; the names are those that clients read."""

    aid: str
    eid: str
    surl: str
    esec: str
    tok: str


def text_of(subscription: AutoConfig, secret: str, server_url: str, token: str) -> str:
    """The text that a customer completes the subscription with. Source: HTTP contract, section 15."""
    content = _Content(subscription.app_id, subscription.endpoint_id, server_url, secret, token)
    return TEXT_PREFIX + base64.b64encode(msgspec.json.encode(content)).decode()
