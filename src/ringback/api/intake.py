"""How is a request body read? With a limit on each, a limit on all together, and a limit in time; nothing is read past a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from ringback.errors import PayloadTooLarge, Refused, Unavailable

# A body of the default limit (2 MiB) takes 17 s at 1 Mbit/s; a client slower than that holds memory that others need.
BODY_TIMEOUT_S = 30.0


class ClientGone(Exception):
    """The client closed the connection before its request was complete: there is nobody to answer."""


class BodyReader:
    """Reads bodies. `max_body_bytes` bounds one, `body_memory_max` all that are being read or handled, in bytes.

    Doors that read bodies themselves share the second bound through `take` and `give_back`.
    """

    def __init__(self, max_body_bytes: int, body_memory_max: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._free = body_memory_max

    def take(self, size: int) -> None:
        """Set memory aside. Raises Unavailable when bodies take too much of it already."""
        if size > self._free:
            raise Unavailable("too many request bodies are being read at once; try again")
        self._free -= size

    def give_back(self, size: int) -> None:
        """Memory set aside is free again."""
        self._free += size

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body; call `release` with it afterwards. Raises PayloadTooLarge, Unavailable, Refused (too slow), ClientGone."""
        self.check_size(headers.get(b"content-length", b""))
        taken = 0
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk = message.get("body", b"")
                    if taken + len(chunk) > self.max_body_bytes:
                        raise self.too_large()
                    self.take(len(chunk))
                    taken += len(chunk)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            self.give_back(taken)
            raise Refused("request_timeout", f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s", 408) from None
        except BaseException:
            self.give_back(taken)
            raise
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self, body: bytes) -> None:
        """A body that `read` gave is no longer needed."""
        self._free += len(body)

    def check_size(self, content_length: bytes) -> None:
        """Refuse a body by its announced length, unread. Raises PayloadTooLarge."""
        if content_length.isdigit() and (len(content_length) > 15 or int(content_length) > self.max_body_bytes):
            raise self.too_large()

    def too_large(self) -> PayloadTooLarge:
        """The error for a body over the limit."""
        return PayloadTooLarge(f"the body is larger than {self.max_body_bytes} bytes (setting max_body_bytes); send less")
