"""When does the provider stop calling a source? Its subscription, and the signals of its provider, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback import ids
from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Badge, Choice, Fact, choices
from ringback.dashboard.forms import Wrong, pairs
from ringback.dashboard.source_words import Warning
from ringback.dashboard.words import count, counted, listed, moment, relative
from ringback.model.arrivals import Arrival
from ringback.model.sources import Source
from ringback.model.subscriptions import Subscription, SubscriptionStanding
from ringback.policy.subscription_rows import RENEWALS, renewal_of
from ringback.policy.subscriptions import parameters_of, worst_of

# The fields of the form, and those of them that are never shown.
FIELDS: Final = ("renewal", "credential", "clientSecret", "parameters", "topics", "periodH", "expiresAt", "baseUrl", "tokenUrl", "paused")
SECRET_FIELDS: Final = ("credential", "clientSecret")
# What stands in the form for a renewal that was described through the API.
OWN: Final = "your own"
_PAUSED: Final = (("", "before it ends"), ("1", "not now: it is paused"))
# Seconds in an hour, which people count in.
_HOUR_S: Final = 3_600
# A signal of the provider is a warning for so long (a week); then it is history.
_RECENT_US: Final = 7 * 86_400 * SECOND_US


class TopicView(msgspec.Struct, frozen=True):
    """One of several topics that a source is subscribed to."""

    topic: str
    badge: Badge
    sentence: str


class SubscriptionView(msgspec.Struct, frozen=True):
    """The subscription of a source: `set` says that there is one, `renewable` that it can be renewed now.

    Of several topics it is the one that needs somebody the most; `topics` are all of them.
    """

    href: str
    set: bool
    badge: Badge | None
    sentence: str
    facts: Sequence[Fact]
    notes: Sequence[str]
    renewable: bool
    topics: Sequence[TopicView] = ()


def subscription_of(source: Source, standings: Sequence[SubscriptionStanding], now_us: int) -> SubscriptionView | None:
    """The section on the page of a source; None where nobody calls."""
    href = f"{BASE}/sources/{source.id}/subscription"
    if not standings:
        if source.cron is not None:
            return None
        text = "Nothing is renewed. Some providers stop calling after hours or days unless somebody renews the subscription; a source can."
        return SubscriptionView(href, False, None, text, (), (), False)
    standing = worst_of(standings)
    settings, progress = standing.settings, standing.progress
    row = renewal_of(settings.renewal)
    facts = [
        Fact("Renewal", settings.renewal if isinstance(settings.renewal, str) else OWN),
        *([Fact("Topic", settings.parameters["topic"], mono=True)] if "topic" in settings.parameters else []),
        *([Fact("Hub", progress.hub, mono=True)] if progress.hub else []),
        *([Fact("Subscribed to", progress.asked_for, mono=True)] if progress.hub and progress.asked_for else []),
        *([Fact("Ends", "", moment=moment(progress.expires_at, now_us))] if progress.expires_at else []),
        *([Fact("Renewed", "", moment=moment(progress.renewed_at, now_us))] if progress.renewed_at is not None else []),
        *([Fact("Failed", "", moment=moment(progress.failed_at, now_us))] if progress.failed_at is not None else []),
        *([Fact(_next_name(standing), "", moment=moment(standing.next_at, now_us))] if standing.next_at is not None else []),
        Fact("Renewals ever", count(sum(one.progress.renewals for one in standings))),
    ]
    notes = [f"{row.note[0].upper()}{row.note[1:]}."] if row is not None and row.note else []
    topics = [TopicView(one.topic, _badge(one, now_us), _sentence(one, now_us)) for one in standings if len(standings) > 1]
    renewable = standing.next_at is not None
    return SubscriptionView(href, True, _badge(standing, now_us), _sentence(standing, now_us), facts, notes, renewable, topics)


def _next_name(standing: SubscriptionStanding) -> str:
    if standing.progress.failures:
        return "Next try"
    return "Next renewal" if standing.progress.asked_at is None else "Confirmed by"


def _badge(standing: SubscriptionStanding, now_us: int) -> Badge:
    progress = standing.progress
    if standing.next_at is None:
        return Badge("off", "paused")
    if not progress.failures:
        if progress.asked_at is not None:
            return Badge("wait", "asked")
        return Badge("ok", "renewed") if progress.renewals else Badge("wait", "not renewed yet")
    return Badge("dead", "ended") if 0 < progress.expires_at <= now_us else Badge("retry", "failing")


def _sentence(standing: SubscriptionStanding, now_us: int) -> str:
    progress = standing.progress
    if standing.next_at is None:
        return "It is paused: nobody renews it."
    if progress.failures:
        again = relative(standing.next_at, now_us)
        return f"Renewing it failed {counted(progress.failures, 'time')} in a row: {progress.detail}. The next try is {again}."
    if progress.asked_at is not None:
        asked = relative(progress.asked_at, now_us)
        return f"The hub was asked {asked}. It confirms at the URL of the source, and says there how long the subscription lives."
    return "It is renewed when a third of its life is left."


def subscription_warnings(standings: Sequence[SubscriptionStanding], signals: Sequence[Arrival], now_us: int) -> list[Warning]:
    """What the owner should know: renewals that fail, and what the provider itself says."""
    found = []
    standing = worst_of(standings) if standings else None
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


def values_of(source: Source, standings: Sequence[SubscriptionStanding]) -> dict[str, str]:
    """What stands in the form; credentials never do."""
    if not standings:
        known = RENEWALS.get(source.type)
        names = set() if known is None else parameters_of(known)
        return dict.fromkeys(FIELDS, "") | {
            "renewal": "" if known is None else known.name,
            "parameters": "".join(f"{name}: \n" for name in sorted(names - {"topic"})),
            "topics": "".join(f"{topic}\n" for topic in source.verification.topics if "topic" in names),
        }
    settings = standings[0].settings
    topics = [one.topic for one in standings if one.topic]
    return dict.fromkeys(FIELDS, "") | {
        "renewal": settings.renewal if isinstance(settings.renewal, str) else OWN,
        "parameters": "".join(f"{name}: {value}\n" for name, value in settings.parameters.items() if not topics or name != "topic"),
        "topics": "".join(f"{topic}\n" for topic in topics),
        "periodH": f"{settings.period_s / _HOUR_S:g}",
        "baseUrl": settings.base_url or "",
        "tokenUrl": settings.token_url or "",
        "paused": "1" if settings.paused else "",
    }


def asked_of(values: Mapping[str, str], former: Subscription | None) -> dict[str, Any]:
    """What the form asks for, as the API takes it. Raises Wrong."""
    renewal: Any = values["renewal"] or None
    if renewal == OWN and former is not None:
        renewal = former.renewal if isinstance(former.renewal, str) else msgspec.to_builtins(former.renewal)
    if renewal is None:
        raise Wrong({"renewal": "choose one"})
    asked: dict[str, Any] = {
        "renewal": renewal,
        "parameters": pairs(values["parameters"], ":"),
        "topics": values["topics"].split(),
        "periodS": _seconds(values["periodH"].strip()),
        "expiresAt": values["expiresAt"].strip() or None,
        "baseUrl": values["baseUrl"].strip() or None,
        "tokenUrl": values["tokenUrl"].strip() or None,
        "paused": values["paused"] == "1",
    }
    for name in SECRET_FIELDS:
        if values[name].strip():
            asked[name] = values[name].strip()
    return asked


def _seconds(text: str) -> int | None:
    if not text:
        return None
    try:
        return round(float(text) * _HOUR_S)
    except (ValueError, OverflowError):
        raise Wrong({"periodH": "write a number of hours"}) from None


def renewal_choices(chosen: str) -> list[Choice]:
    """The renewals that the form offers."""
    names = [("", "choose one"), *((name, name) for name in RENEWALS), *([(OWN, OWN)] if chosen == OWN else [])]
    return choices(names, chosen)


def paused_choices(chosen: str) -> list[Choice]:
    """Whether it is renewed."""
    return choices(_PAUSED, chosen)


def parameter_hint() -> str:
    """Which parameters each renewal needs."""
    needed = [f"{name} needs {listed(sorted(parameters_of(row)), 9)}" for name, row in RENEWALS.items() if parameters_of(row)]
    return f"One name: value on each line. {'; '.join(needed)}."
