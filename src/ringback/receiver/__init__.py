"""Receives webhooks in the program that gets them: verified, once, and handed to a function. Needs `pip install ringback` and no more."""

from __future__ import annotations

from ringback.errors import Unavailable, VerificationError
from ringback.receiver.dedup import Claim, EventKey, Inbox
from ringback.receiver.event import Event, Reply
from ringback.receiver.receiving import Receiver
from ringback.receiver.sqlite_inbox import SqliteInbox
from ringback.receiver.work import Worker
from ringback.signing.request import Secret

__all__ = [
    "Receiver",
    "Event",
    "Reply",
    "VerificationError",
    "Unavailable",
    "SqliteInbox",
    "Worker",
    "Inbox",
    "Claim",
    "EventKey",
    "Secret",
]
