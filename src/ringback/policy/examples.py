"""What does an example of an event look like? Chosen from the schema of its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ringback.errors import Refused
from ringback.policy.json_schemas import newest

# The type that every organisation has, whether it is in its catalogue or not: it only says that deliveries arrive (contract, 3.2).
PING: Final = "svix.ping"
PING_PAYLOAD: Final = b'{"success":true}'


def example_of(name: str, schemas: Mapping[str, Any] | None, index: int) -> bytes:
    """The payload to send as an example of an event type: of its highest numbered schema. Raises Refused (`invalid_scheme`)."""
    schema = newest(schemas or {})
    known: Mapping[str, Any] = schema if isinstance(schema, dict) else {}
    examples = known.get("examples")
    if examples:
        if index >= len(examples):
            raise Refused("invalid_scheme", f"event type {name!r} has {len(examples)} examples, counted from 0; there is no {index}")
        chosen = examples[index]
    elif "example" in known:
        chosen = known["example"]
    else:
        raise Refused("invalid_scheme", f"event type {name!r} has no example; add `examples` or `example` to its newest schema")
    if not isinstance(chosen, dict):
        raise Refused("invalid_scheme", f"the example of event type {name!r} is no JSON object, as every payload is; correct its schema")
    return msgspec.json.encode(chosen)
