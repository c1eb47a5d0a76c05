"""When does the provider stop calling a source? Its subscription, and the signals of its provider, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Badge, Fact
from ringback.dashboard.source_words import Warning
from ringback.dashboard.words import count, counted, moment, relative
from ringback.model.arrivals import Arrival
from ringback.model.sources import Source
from ringback.model.subscriptions import SubscriptionStanding

# A signal of the provider is a warning for so long (a week); then it is history.
_RECENT_US: Final = 7 * 86_400 * SECOND_US


class SubscriptionView(msgspec.Struct, frozen=True):
    """The subscription of a source; `renewable` says that it can be renewed now."""

    href: str
    badge: Badge
    sentence: str
    facts: Sequence[Fact]
    renewable: bool


def subscription_of(source: Source, standing: SubscriptionStanding | None, now_us: int) -> SubscriptionView | None:
    """The section on the page of a source; None where nothing is renewed."""
    if standing is None:
        return None
    settings, progress = standing.settings, standing.progress
    facts = [
        Fact("Renewal", settings.renewal if isinstance(settings.renewal, str) else "your own"),
        *([Fact("Ends", "", moment=moment(progress.expires_at, now_us))] if progress.expires_at else []),
        *([Fact("Renewed", "", moment=moment(progress.renewed_at, now_us))] if progress.renewed_at is not None else []),
        *([Fact("Next try", "", moment=moment(standing.next_at, now_us))] if standing.next_at is not None else []),
        Fact("Renewals ever", count(progress.renewals)),
    ]
    href = f"{BASE}/sources/{source.id}/subscription"
    return SubscriptionView(href, _badge(standing, now_us), _sentence(standing, now_us), facts, standing.next_at is not None)


def _badge(standing: SubscriptionStanding, now_us: int) -> Badge:
    progress = standing.progress
    if standing.next_at is None:
        return Badge("off", "paused")
    if not progress.failures:
        return Badge("ok", "renewed") if progress.renewals else Badge("wait", "not renewed yet")
    return Badge("dead", "ended") if 0 < progress.expires_at <= now_us else Badge("retry", "failing")


def _sentence(standing: SubscriptionStanding, now_us: int) -> str:
    progress = standing.progress
    if standing.next_at is None:
        return "It is paused: nobody renews it."
    if progress.failures:
        again = relative(standing.next_at, now_us)
        return f"Renewing it failed {counted(progress.failures, 'time')} in a row: {progress.detail}. The next try is {again}."
    return "It is renewed when a third of its life is left."


def subscription_warnings(standing: SubscriptionStanding | None, signals: Sequence[Arrival], now_us: int) -> list[Warning]:
    """What the owner should know: renewals that fail, and what the provider itself says."""
    found = []
    if standing is not None and standing.progress.failures and standing.next_at is not None:
        progress = standing.progress
        if 0 < progress.expires_at <= now_us:
            text = f"Its subscription ended {relative(progress.expires_at, now_us)}, and the provider calls no more: {progress.detail}."
            found.append(Warning("dead", text))
        else:
            ends = f" It ends {relative(progress.expires_at, now_us)}." if progress.expires_at else ""
            found.append(Warning("retry", f"Its subscription at the provider cannot be renewed: {progress.detail}.{ends}"))
    for entry in signals[:1]:
        at = ids.created_us(entry.id)
        if at > now_us - _RECENT_US:
            found.append(Warning("retry", f"The provider said {entry.what} {relative(at, now_us)}: look there whether it still calls."))
    return found
