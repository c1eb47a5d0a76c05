"""Receives Stripe's webhooks in a FastAPI application: stored before they are acknowledged, then run by a worker beside it.

pip install ringback fastapi uvicorn
STRIPE_SECRET=whsec_... python examples/receiver_fastapi.py
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from ringback.receiver import Event, Receiver, SqliteInbox, Worker
from ringback.receiver.fastapi import router

inbox = SqliteInbox(os.environ.get("INBOX", "webhooks.db"))
stripe = Receiver("stripe", os.environ["STRIPE_SECRET"], inbox=inbox, mode="stored")


@stripe.on("invoice.paid")
async def invoice_paid(event: Event) -> None:
    invoice = event.data["data"]["object"]
    print(f"paid: {invoice['id']}, attempt {event.attempt}", flush=True)


@stripe.on("invoice.*")
def any_other_invoice(event: Event) -> None:
    print(f"{event.type}: nothing to do", flush=True)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Worker(stripe):
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(router(stripe, "/webhooks/stripe"))


@app.get("/dead-letters")
def dead_letters() -> list[dict[str, object]]:
    return [{"id": letter.event.id, "type": letter.event.type, "error": letter.error} for letter in inbox.queue.dead_letters()]


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
