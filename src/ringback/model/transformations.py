"""How is a message changed on its way to an endpoint? Code of the endpoint's owner, with its variables."""

from __future__ import annotations

import msgspec


class Transformation(msgspec.Struct, frozen=True):
    """What an endpoint does to its messages. `code` is JavaScript. `updated_at` is microseconds since 1970, None = never written."""

    code: str | None = None
    enabled: bool = False
    variables: dict[str, str] | None = None
    updated_at: int | None = None
