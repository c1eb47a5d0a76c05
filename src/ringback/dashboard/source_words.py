"""How does a source stand? In a badge, in a sentence, and in what its owner should know. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import Badge, Kind
from ringback.dashboard.words import count, counted, duration, relative, utc
from ringback.model.quarantine import ORGANISATION_RATE_LIMITED
from ringback.model.reconciliation import RECONCILED
from ringback.model.sources import (
    CONFLICT,
    NOT_UTF8,
    OLD_SECRET,
    RELEASED,
    SCHEMA,
    SCHEMA_UNKNOWN,
    SPOOLED,
    UNVERIFIED,
    UNVERSIONED,
    WOULD_REFUSE,
    Source,
)
from ringback.policy.sources import active
from ringback.services.source_views import Seen, Watched

ENABLED: Final = Badge("ok", "enabled")
DISABLED: Final = Badge("off", "disabled")
SILENT: Final = Badge("retry", "silent")
AWAITING: Final = Badge("wait", "waits for its secret")
# Flags of events, in words.
_FLAGS: Final[Mapping[str, str]] = {
    UNVERIFIED: "not verified",
    CONFLICT: "same id, another body",
    SCHEMA: "does not fit the schema",
    SCHEMA_UNKNOWN: "schema not compared in time",
    NOT_UTF8: "no UTF-8",
    RELEASED: "released",
    RECONCILED: "found at the provider",
    OLD_SECRET: "old secret",
    SPOOLED: "waited in the spool",
    UNVERSIONED: "no version to compare",
}
# Reasons of the quarantine: what happened, in a few words and in a sentence.
_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "missing_header": ("no signature", "The header that holds the signature was not there."),
    "malformed_header": ("unreadable signature", "The header of the signature does not look as it must."),
    "no_supported_scheme": ("unknown scheme", "It was signed in a way that this source does not take."),
    "signature_mismatch": ("wrong signature", "The signature was not made with one of the secrets over these bytes."),
    "timestamp_too_old": ("too old", "It was signed longer ago than is allowed."),
    "timestamp_in_future": ("from the future", "It was signed later than now: a clock is wrong."),
    "body_hash_mismatch": ("wrong body", "The signature holds, but it was made for another body."),
    "missing_body_hash": ("body not signed", "The signature holds, but covers no hash of the body."),
    "ip_denied": ("address not allowed", "It came from an address that is not among those allowed."),
    "duplicate": ("replayed", "The same signed request came before."),
    "client_certificate": ("no client certificate", "No trusted proxy says that it saw the client certificate that is asked for."),
    "unknown_sender": ("unknown sender", "The sender that it names has no secret here."),
    "header_required": ("header missing", "A header that this source asks for was not there, or was something else."),
    "schema_mismatch": ("does not fit the schema", "The body is no instance of the source's schema."),
    "unreadable_coding": ("unreadable coding", "The body is compressed in a way that cannot be read."),
    "unsolicited_handshake": ("unasked handshake", "The provider sent a new secret that nobody waits for."),
    "method_not_allowed": ("method not allowed", "It came with a method that this source does not take."),
    "rate_limited": ("too many requests", "More came than this source takes in a second; they were answered 429."),
    "organisation_rate_limited": (
        "the organisation's rate is used up",
        "All sources together took in as much as they may; it was answered 429.",
    ),
    "too_large": ("too large", "The body is larger than this source takes."),
    "too_slow": ("too slow", "The body did not arrive in time."),
    "body_not_kept": ("body not kept", "The body was too large to be kept."),
}


class Warning(msgspec.Struct, frozen=True):
    """Something that the owner of a source should know; `kind` as of a notice."""

    kind: Kind
    text: str


def badge_of(seen: Seen) -> Badge:
    """How a source stands."""
    if seen.source.disabled:
        return DISABLED
    if seen.source.verification.awaiting_secret:
        return AWAITING
    return SILENT if seen.silent_us is not None else ENABLED


def flag_words(flag: str) -> str:
    """A flag of an event in words."""
    if flag.startswith(WOULD_REFUSE):
        return f"would be refused: {reason_words(flag.removeprefix(WOULD_REFUSE))}"
    return _FLAGS.get(flag, flag.replace("_", " "))


def reason_words(reason: str) -> str:
    """A reason of the quarantine in a few words."""
    return _REASONS.get(reason, (reason.replace("_", " "), ""))[0]


def reason_sentence(reason: str) -> str:
    """A reason of the quarantine as a sentence; "" where there is none to say."""
    return _REASONS.get(reason, ("", ""))[1]


def sentence_of(seen: Seen, now_us: int) -> str:
    """How a source does, in one sentence."""
    source, day, last = seen.source, seen.day, seen.activity.last_at
    if source.disabled:
        return "It is disabled: it sends nothing." if source.cron is not None else "It is disabled: its URL answers as if there were none."
    if source.cron is not None:
        sent = f"; the last {relative(last, now_us)}" if last is not None else ""
        return f"It sends by itself: {counted(day.accepted, 'event')} in the last 24 hours{sent}."
    if last is None and not day.rejected:
        return "Nothing has come yet. Paste its URL at the provider, and send a test from there."
    came = f"{counted(day.accepted, 'event')} in the last 24 hours"
    parts = [came]
    if day.duplicates:
        parts.append(f"{counted(day.duplicates, 'duplicate')}")
    if day.superseded:
        parts.append(f"{count(day.superseded)} superseded")
    parts.append(f"{count(day.rejected)} refused" if day.rejected else "none refused")
    heard = f"; last heard {relative(last, now_us)}" if last is not None else ""
    return f"{', '.join(parts)}{heard}."


def warnings_of(watched: Watched, now_us: int) -> list[Warning]:
    """What the owner should know, the most urgent first."""
    seen = watched.seen
    source, activity = seen.source, seen.activity
    verification = source.verification
    found = []
    if verification.awaiting_secret:
        text = "It waits for the secret that the provider sends with its first request: register the URL there now."
        found.append(Warning("wait", text))
    if seen.silent_us is not None:
        quiet = duration(seen.silent_us / SECOND_US)
        text = f"Nothing has come for {quiet}, longer than usual. The provider may have disabled the webhook: look there."
        found.append(Warning("retry", text))
    over = watched.refusals.get(ORGANISATION_RATE_LIMITED, 0)
    if over:
        rate = f" ({count(watched.shared_rate)} a second)" if watched.shared_rate is not None else ""
        text = (
            f"{counted(over, 'request was', 'requests were')} answered 429 in the last 24 hours because all sources of the organisation "
            f"together took in as much as they may{rate}. Providers try again; whoever runs this server can raise the limit."
        )
        found.append(Warning("retry", text))
    ends = [secret.expires_at for secret in verification.secrets if secret.expires_at is not None and secret.expires_at > now_us]
    if activity.old_secret_at is not None and ends:
        text = (
            f"The provider still signs with an old secret, last {relative(activity.old_secret_at, now_us)}. "
            f"It is believed until {utc(max(ends))}; give the provider the new one before."
        )
        found.append(Warning("retry", text))
    if verification.verify == "observe":
        found.append(Warning("wait", "It only observes: what the signature would refuse is taken in, and marked."))
    if verification.verify == "none" and source.cron is None:
        found.append(Warning("wait", "Nothing is verified: whoever knows the URL can send events."))
    return found


def secrets_sentence(source: Source, now_us: int) -> str:
    """How many secrets are believed, in a sentence."""
    secrets = active(source.verification.secrets, now_us)
    if source.verification.verify == "none":
        return "No secret is needed: nothing is verified."
    if not secrets:
        return "There is no secret."
    ending = [secret.expires_at for secret in secrets if secret.expires_at is not None]
    if not ending:
        return f"{counted(len(secrets), 'secret is', 'secrets are')} believed."
    return f"{counted(len(secrets), 'secret is', 'secrets are')} believed, {_ending(ending)}."


def _ending(ends: Sequence[int]) -> str:
    last = utc(max(ends))
    return f"one of them until {last}" if len(ends) == 1 else f"{len(ends)} of them until {last} at the latest"
