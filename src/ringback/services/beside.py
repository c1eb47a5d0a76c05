"""Who reads a large request? A thread, so that others have their turn meanwhile; a small one is read at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from ringback.signing.large_documents import WHOLE_BYTES
from ringback.signing.request import InboundRequest

T = TypeVar("T")

# To hash a larger body, and to look into it some five times, takes milliseconds; below, a thread costs more than it spares.
LARGE_BYTES: Final = WHOLE_BYTES


async def beside(request: InboundRequest, work: Callable[..., T], *given: Any) -> T:
    """What comes of work that reads a request: done on a thread where that is large, or must be unpacked."""
    if len(request.body) > LARGE_BYTES or b"content-encoding" in request.headers:
        return await asyncio.to_thread(work, *given)
    return work(*given)
