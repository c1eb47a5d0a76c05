"""What becomes of refresh tokens that hold once, when several ask at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

from ringback.model.reconciliation import Listing, Reconciliation
from ringback.services.access_tokens import AccessTokens
from ringback.services.provider_api import Answered

LISTING = Listing(
    base="https://api.example.com",
    path="/changes",
    auth={"authorization": "Bearer {access_token}"},
    token_url="https://api.example.com/token",
    token_form={"refresh_token": "{credential}"},
)
SETTINGS = Reconciliation(listing=LISTING, credential="first", interval_s=60, lookback_s=3_600, settle_s=0)


class Giving:
    """An API that gives one refresh token in place of the other."""

    async def ask(self, request: Any) -> Answered:
        return Answered(200, b"", b'{"access_token":"access","refresh_token":"second"}')


class Still:
    """A clock."""

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return 0.0


def test_a_refresh_token_that_two_have_stored_at_the_same_time_is_stored() -> None:
    async def at_once() -> list[str]:
        kept, go_on = list[str](), asyncio.Event()

        async def keep(source_id: str, settings: Reconciliation, credential: str) -> None:
            await go_on.wait()
            kept.append(credential)

        tokens = AccessTokens[Reconciliation](Giving(), Still(), keep)  # type: ignore[arg-type]  # it asks for nothing else
        asking = asyncio.create_task(tokens.token("src_1", SETTINGS, LISTING))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        settling = asyncio.create_task(tokens.settle("src_1"))
        await asyncio.sleep(0)
        go_on.set()
        await settling
        assert (await asking)[0].credential == "second"
        return kept

    assert set(asyncio.run(at_once())) == {"second"}
