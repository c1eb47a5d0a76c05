"""What does a provider's API answer? One request at a time, through the guarded client, with a credential that goes nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import msgspec

from ringback.clock import Clock
from ringback.delivery.transport import Origin, SealedRequest, Transport
from ringback.model.attempts import ErrorClass, Exchange
from ringback.policy.asking import Request
from ringback.policy.heads import header_value
from ringback.policy.outcome import retry_after_s
from ringback.policy.urls import UrlParts

# The largest answer that is read: a hundred events of Stripe have some hundred kilobytes, of GitHub's deliveries with their payloads more.
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
# Seconds from the request to the head of the answer, and from there to its end.
TIMEOUT_S: Final = 30.0

# Statuses that say that a cursor is not known any more.
_NO_SUCH_PAGE: Final = (400, 404, 410, 422)


class ProviderFailure(Exception):
    """The provider's API could not be asked: `cause` is a word, the text a sentence without anything secret.

    `again`: what was to be read next cannot be had, so that the run begins anew.
    """

    def __init__(self, cause: str, detail: str, *, retry_after_s: float | None = None, again: bool = False) -> None:
        super().__init__(detail)
        self.cause = cause
        self.retry_after_s = retry_after_s
        self.again = again


class Answered(msgspec.Struct, frozen=True):
    """A success, or what else was asked for."""

    status: int
    head: bytes
    body: bytes


class ProviderApi:
    """Asks providers. Belongs to one event loop."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    async def ask(self, request: Request, *, paged: bool = False, also: Collection[int] = ()) -> Answered:
        """The answer to one request; `paged`: it is for a page that an earlier answer named.

        Raises ProviderFailure for all but successes, and statuses of `also`.
        """
        exchange = await self._exchanged(request.place, request.head, request.body)
        if exchange.status not in also or exchange.body_truncated:
            self._judge(exchange, paged=paged)
        return Answered(exchange.status, exchange.head, exchange.body)

    async def look(self, place: UrlParts, head: bytes) -> Exchange:
        """Whatever is answered there, as far as it was read. Raises ProviderFailure when nothing is."""
        exchange = await self._exchanged(place, head, b"")
        if exchange.status == 0:
            raise _unreached(exchange, place.host)
        return exchange

    async def _exchanged(self, place: UrlParts, head: bytes, body: bytes) -> Exchange:
        request = SealedRequest(Origin(place.tls, place.host, place.port), head, body)
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        # The transport bounds the time of each of its steps.
        self._transport.send(request, lambda exchange: None if done.cancelled() else done.set_result(exchange))
        return await done

    def _judge(self, exchange: Exchange, *, paged: bool) -> None:
        status = exchange.status
        if status == 0:
            raise _unreached(exchange, "the provider's API")
        wait_s = retry_after_s(header_value(exchange.head, b"retry-after"), self._clock.now_us())
        if status == 429 or (status == 403 and _is_used_up(exchange.head, wait_s)):
            raise ProviderFailure("rate_limited", f"the provider's API answered {status}: too many requests", retry_after_s=wait_s)
        if status in (401, 403):
            text = f"the provider's API answered {status}: it does not take the credential, or that may not read this"
            raise ProviderFailure("credential", text, retry_after_s=wait_s)
        if 300 <= status < 400:
            raise ProviderFailure(
                "redirected", f"the provider's API answered {status}; redirects are never followed, give the right baseUrl"
            )
        if paged and status in _NO_SUCH_PAGE:
            raise ProviderFailure("cursor", f"the provider's API answered {status} to its own next page; the run begins anew", again=True)
        if status >= 400:
            cause = "provider" if status >= 500 else "refused"
            hint = "" if status >= 500 else "; look at the parameters and the base URL"
            raise ProviderFailure(cause, f"the provider's API answered {status}{hint}", retry_after_s=wait_s)
        if exchange.body_truncated:
            if len(exchange.body) >= MAX_BODY_BYTES:
                raise ProviderFailure("too_large", f"the answer is larger than {MAX_BODY_BYTES} bytes")
            raise ProviderFailure("unreachable", "the answer broke off, or did not end in time")


def _unreached(exchange: Exchange, who: str) -> ProviderFailure:
    cause = "blocked" if exchange.error is ErrorClass.BLOCKED else "unreachable"
    return ProviderFailure(cause, f"{who} was not reached: {exchange.detail}")


def _is_used_up(head: bytes, wait_s: float | None) -> bool:
    """Does a refusal mean that there were too many requests? GitHub says so with 403 (docs.github.com, rate limits for the REST API)."""
    return wait_s is not None or header_value(head, b"x-ratelimit-remaining") == b"0"
