"""A program that receives, to be killed: `python -m tests.receiver.program PORT INBOX MODE JOURNAL`. Each run writes a line."""

from __future__ import annotations

import asyncio
import pathlib
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import fastapi
import uvicorn

from ringback.receiver import Event, Receiver, SqliteInbox, Worker
from ringback.receiver.fastapi import router

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LEASE = timedelta(seconds=1)


def application(inbox: str, mode: Any, journal: pathlib.Path, *secrets: str) -> fastapi.FastAPI:
    """The program's application; its receiver is at `/in`."""
    receiver = Receiver("ringback", secrets or SECRET, inbox=SqliteInbox(inbox), mode=mode, lease=LEASE)

    def note(event: Event) -> None:
        with journal.open("a", encoding="utf-8") as lines:
            lines.write(f"{event.id} {event.attempt} {event.secret_index} {event.sequence} {event.raw.decode()}\n")

    @receiver.on("*")
    def handler(event: Event) -> None:
        note(event)

    @receiver.on("hang")
    async def hanging(event: Event) -> None:
        note(event)
        if not journal.with_suffix(".mended").exists():
            await asyncio.Event().wait()

    @asynccontextmanager
    async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if mode == "stored":
                await stack.enter_async_context(Worker(receiver, lease=LEASE, look_every_s=0.1))
            yield

    app = fastapi.FastAPI(lifespan=lifespan)
    app.include_router(router(receiver, "/in"))
    return app


if __name__ == "__main__":
    port, path, how, lines = sys.argv[1:]
    uvicorn.run(application(path, how, pathlib.Path(lines)), host="127.0.0.1", port=int(port), log_level="error")
