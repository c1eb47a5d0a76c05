"""Do received payloads fit their source's schema? Compared by a process of its own, so that no schema holds the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ringback.clock import Clock
from ringback.errors import Unavailable
from ringback.policy.json_instances import MAX_CHECKED_BYTES
from ringback.services.checking import Checker

# A schema whose comparison did not come to an end is not tried with each request: others wait for the same process.
_ENDLESS_S: Final = 60.0
# Such schemas that are remembered: two kilobytes each.
_REMEMBERED: Final = 1_000
# Comparisons that wait at once; each holds its request's body.
_WAITING: Final = 64


class Comparing:
    """Compares payloads with schemas. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._checker = Checker()
        self._endless: dict[bytes, float] = {}
        self._waiting = 0

    async def problem(self, schema: bytes, payloads: Sequence[bytes]) -> str | None:
        """What does not fit first, as a sentence; None when all payloads fit. Raises Unavailable when that cannot be told in time."""
        if self._endless.get(schema, 0.0) > self._clock.monotonic_s():
            raise Unavailable("the schema takes too long to compare with; it is tried again within a minute")
        if self._waiting >= _WAITING:
            raise Unavailable("too many payloads wait to be compared with their schemas")
        self._waiting += 1
        try:
            for payload in payloads:
                found = await self._found(schema, payload)
                if found is not None:
                    return found
        finally:
            self._waiting -= 1
        return None

    async def close(self) -> None:
        """Compare nothing any more."""
        await self._checker.close()

    async def _found(self, schema: bytes, payload: bytes) -> str | None:
        if len(payload) > MAX_CHECKED_BYTES:
            return f"the body has {len(payload)} bytes; at most {MAX_CHECKED_BYTES} can be checked against a schema"
        try:
            compared = await self._checker.compare(schema, payload, draft7=False)
        except Unavailable:
            if len(self._endless) >= _REMEMBERED:
                del self._endless[next(iter(self._endless))]
            self._endless[schema] = self._clock.monotonic_s() + _ENDLESS_S
            raise Unavailable("the body could not be compared with the schema in time") from None
        if compared.unusable is not None or not compared.misfits:
            return compared.unusable
        first = compared.misfits[0]
        if first.rule == "of JSON":
            return "the body is not JSON"
        return f"at /{'/'.join(first.where)}: the value breaks the rule {first.rule}"
