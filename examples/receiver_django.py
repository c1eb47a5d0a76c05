"""Receives GitHub's webhooks in a Django project of one file, each once: its mark is written in the transaction of the handler's own work.

pip install ringback django
GITHUB_SECRET=... python examples/receiver_django.py
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line
from django.db import connection, transaction
from django.urls import path

from ringback.receiver import Claim, Event, EventKey, Receiver
from ringback.receiver.django import view

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "for this example only"),
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(os.environ.get("INBOX", "webhooks.db"))}},
)
django.setup()


class DjangoInbox:
    """Marks events in the project's own database. What the handler writes and the mark are one transaction: both are kept, or neither."""

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
        atomic = transaction.atomic()
        atomic.__enter__()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM inbox WHERE until_us <= %s", [now_us])
            # Whoever comes second waits here for the first one's transaction to end.
            row = [key.receiver, key.event_id, key.digest, b"", lease_until_us]
            cursor.execute("INSERT INTO inbox VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", row)
            is_new = cursor.rowcount == 1
            cursor.execute("SELECT digest, reply FROM inbox WHERE receiver = %s AND event_id = %s", [key.receiver, key.event_id])
            known = {bytes(digest): bytes(reply) for digest, reply in cursor.fetchall()}
        if not is_new:
            atomic.__exit__(None, None, None)
            return Claim("done", reply=known[key.digest])
        return Claim("new", conflict=len(known) > 1, context=atomic)

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
        with connection.cursor() as cursor:
            done = "UPDATE inbox SET reply = %s, until_us = %s WHERE receiver = %s AND event_id = %s AND digest = %s"
            cursor.execute(done, [reply, keep_until_us, key.receiver, key.event_id, key.digest])
        claim.context.__exit__(None, None, None)

    def release(self, key: EventKey, claim: Claim) -> None:
        claim.context.__exit__(RuntimeError, RuntimeError("the handler failed"), None)


github = Receiver("github", os.environ["GITHUB_SECRET"], inbox=DjangoInbox())


@github.on("push")
def push(event: Event) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO pushed VALUES (%s)", [event.data["ref"]])
    print(f"pushed: {event.data['ref']}", flush=True)


urlpatterns = [path("webhooks/github", view(github))]


def make_tables() -> None:
    """In a project these are migrations."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS inbox (receiver TEXT, event_id TEXT, digest BLOB, reply BLOB, until_us BIGINT,"
            " PRIMARY KEY (receiver, event_id, digest))"
        )
        cursor.execute("CREATE TABLE IF NOT EXISTS pushed (ref TEXT)")


if __name__ == "__main__":
    call_command("check")
    make_tables()
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", f"127.0.0.1:{os.environ.get('PORT', '8000')}"])
