"""What did not come from a source? How it is compared with its provider, and what is awaited of it, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ringback.clock import SECOND_US
from ringback.dashboard.components import BASE, Badge, Choice, Fact, choices
from ringback.dashboard.forms import Wrong, pairs
from ringback.dashboard.source_words import Warning
from ringback.dashboard.words import Moment, count, counted, duration, listed, moment, relative
from ringback.model.expectations import MET, MISSED, Expectation
from ringback.model.reconciliation import Reconciliation, Run, Standing
from ringback.model.sources import Source
from ringback.policy.listings import parameters_of
from ringback.policy.reconciliation_rows import LISTINGS, listing_of
from ringback.services.reconciliations import DEFAULT_INTERVAL_S, DEFAULT_LOOKBACK_S, DEFAULT_SETTLE_S

# The fields of the form.
FIELDS: Final = (
    *("listing", "credential", "clientSecret", "parameters", "missing", "intervalMin", "lookbackH", "settleMin"),
    *("baseUrl", "tokenUrl", "paused"),
)
SECRET_FIELDS: Final = ("credential", "clientSecret")
# Seconds in a minute and in an hour, which people count in.
_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
# What stands in the form for a listing that was described through the API.
OWN: Final = "your own"
_MISSING: Final = (("take", "take the event from the list"), ("redeliver", "ask the provider to send it again"))
_PAUSED: Final = (("", "as often as this says"), ("1", "not now: it is paused"))
_CALLS: Final = "Calls that never came"
_CHANGES: Final = "Changes that no call brings"
_OPEN: Final = Badge("wait", "awaited")
_CAME: Final = Badge("ok", "came")
_MISSED: Final = Badge("dead", "missed")
# What was missed, or lost, is a warning for so long (a day); then it is history.
_RECENT_US: Final = 86_400 * SECOND_US


class ExpectationRow(msgspec.Struct, frozen=True):
    """One event that is awaited, or was."""

    id: str
    wanted: str
    badge: Badge
    deadline: Moment
    message: str


class GapsView(msgspec.Struct, frozen=True):
    """What did not come, or what no call brings: `set` says that the source is compared with its provider, `possible` that it has one."""

    href: str
    title: str
    possible: bool
    set: bool
    badge: Badge | None
    sentence: str
    facts: Sequence[Fact]
    notes: Sequence[str]
    expectations: Sequence[ExpectationRow]
    all_expectations: str


def gaps_of(source: Source, standing: Standing | None, awaited: Sequence[Expectation], now_us: int) -> GapsView:
    """The section on the page of a source."""
    here = f"{BASE}/sources/{source.id}"
    rows = [expectation_row(source, item, now_us) for item in awaited]
    every = f"{here}/expectations" if rows else ""
    if standing is None:
        text = "It is not compared with its provider. A provider that lists what it sent can be asked for the calls that never came."
        return GapsView(f"{here}/reconciliation", _CALLS, source.cron is None, False, None, text, (), (), rows, every)
    row = listing_of(standing.settings.listing)
    notes = [f"{row.note[0].upper()}{row.note[1:]}."] if row is not None and row.note else []
    return GapsView(
        f"{here}/reconciliation",
        _CHANGES if row is not None and row.thin else _CALLS,
        True,
        True,
        badge_of(standing),
        sentence_of(standing, now_us),
        facts_of(standing, now_us),
        notes,
        rows,
        every,
    )


def badge_of(standing: Standing) -> Badge:
    """How a reconciliation stands."""
    if standing.next_at is None:
        return Badge("off", "paused")
    if standing.progress.failures:
        return Badge("retry", "failing")
    if standing.progress.run is not None or standing.progress.last is None:
        return Badge("wait", "running")
    row = listing_of(standing.settings.listing)
    return Badge("ok", "read" if row is not None and row.thin else "compared")


def sentence_of(standing: Standing, now_us: int) -> str:
    """How a reconciliation does, in a sentence."""
    progress = standing.progress
    if progress.failures and standing.next_at is not None:
        again = relative(standing.next_at, now_us)
        return f"It failed {counted(progress.failures, 'time')} in a row: {progress.detail}. The next try is {again}."
    if progress.last is None:
        return "It has not run yet." if progress.run is None else "Its first run is under way."
    run, row = progress.last, listing_of(standing.settings.listing)
    if row is not None and row.thin:
        more = f"; {run.cut}" if run.cut else ""
        return f"Of {counted(run.looked_at, 'change')} that the provider lists, the last run took in {count(run.added)}{more}."
    found = f"{counted(run.missing, 'call')} that never came" if run.missing else "nothing missing"
    cut = f"; {run.cut}" if run.cut else ""
    return f"Of {counted(run.looked_at, 'event')} that the provider lists, the last run found {found}{_consequence(run)}{cut}."


def _consequence(run: Run) -> str:
    parts = []
    if run.added:
        parts.append(f"{count(run.added)} taken in from the list")
    if run.asked:
        parts.append(f"{count(run.asked)} asked for again")
    if run.skipped:
        parts.append(f"{count(run.skipped)} that cannot be taken in")
    return f": {listed(parts, 3)}" if parts else ""


def facts_of(standing: Standing, now_us: int) -> list[Fact]:
    """What is known of a reconciliation."""
    settings, progress = standing.settings, standing.progress
    row = listing_of(settings.listing)
    thin = row is not None and row.thin
    times = [
        ("Last run", None if progress.last is None else progress.last.ended_at),
        ("Next run", standing.next_at),
        ("Read up to" if thin else "Compared up to", progress.covered_until or None),
        ("Position lost", progress.lost_at),
    ]
    facts = [Fact("List", settings.listing if isinstance(settings.listing, str) else settings.listing.name)]
    facts += [Fact(name, "", moment=moment(at, now_us)) for name, at in times if at is not None]
    facts += [Fact("Taken in ever" if thin else "Missing ever", count(progress.found)), Fact("Runs every", duration(settings.interval_s))]
    if thin:
        return [*facts, Fact("Runs besides", "a second after a call")]
    return [*facts, Fact("Looks back", duration(settings.lookback_s)), Fact("What is missing", dict(_MISSING)[settings.missing])]


def gap_warnings(standing: Standing | None, awaited: Sequence[Expectation], now_us: int) -> list[Warning]:
    """What the owner should know of what did not come."""
    found = []
    if standing is not None and standing.progress.failures and standing.next_at is not None:
        found.append(Warning("retry", f"It cannot be compared with its provider: {standing.progress.detail}."))
    lost_at = None if standing is None else standing.progress.lost_at
    if lost_at is not None and lost_at > now_us - _RECENT_US:
        when = relative(lost_at, now_us)
        text = f"The provider knew no more {when} up to where its list was read: what changed shortly before may be missing."
        found.append(Warning("retry", text))
    missed = [item for item in awaited if item.state == MISSED and (item.ended_at or 0) > now_us - _RECENT_US]
    if missed:
        wanted = listed([wanted_words(item) for item in missed], 3)
        found.append(Warning("dead", f"{counted(len(missed), 'event')} did not come by the deadline: {wanted}."))
    return found


def expectation_row(source: Source, item: Expectation, now_us: int) -> ExpectationRow:
    """An expectation as a line."""
    badge = _CAME if item.state == MET else _MISSED if item.state == MISSED else _OPEN
    message = "" if item.message_id is None else f"{BASE}/apps/{source.app_id}/messages/{item.message_id}"
    return ExpectationRow(item.uid or item.id, wanted_words(item), badge, moment(item.deadline, now_us), message)


def wanted_words(item: Expectation) -> str:
    """What an event must have, in words."""
    wanted = item.wanted
    parts = [wanted.event_type, f"id {wanted.event_id}" if wanted.event_id else ""]
    parts.append(f"{wanted.at.partition(':')[2]} = {wanted.equals}" if wanted.at else "")
    return ", ".join(part for part in parts if part)


def values_of(source: Source, settings: Reconciliation | None) -> dict[str, str]:
    """What stands in the form; the credential never does."""
    if settings is None:
        known = source.type if source.type in LISTINGS else ""
        return dict.fromkeys(FIELDS, "") | {
            "listing": known,
            "parameters": "" if not known else "".join(f"{name}: \n" for name in sorted(parameters_of(LISTINGS[known]))),
            "missing": "take",
            "intervalMin": str(DEFAULT_INTERVAL_S // _MINUTE_S),
            "lookbackH": str(DEFAULT_LOOKBACK_S // _HOUR_S),
            "settleMin": str(DEFAULT_SETTLE_S // _MINUTE_S),
        }
    return dict.fromkeys(FIELDS, "") | {
        "listing": settings.listing if isinstance(settings.listing, str) else OWN,
        "parameters": "".join(f"{name}: {value}\n" for name, value in settings.parameters.items()),
        "missing": settings.missing,
        "intervalMin": f"{settings.interval_s / _MINUTE_S:g}",
        "lookbackH": f"{settings.lookback_s / _HOUR_S:g}",
        "settleMin": f"{settings.settle_s / _MINUTE_S:g}",
        "baseUrl": settings.base_url or "",
        "tokenUrl": settings.token_url or "",
        "paused": "1" if settings.paused else "",
    }


def asked_of(values: Mapping[str, str], former: Reconciliation | None) -> dict[str, Any]:
    """What the form asks for, as the API takes it. Raises Wrong."""
    listing: Any = values["listing"] or None
    if listing == OWN and former is not None:
        listing = former.listing if isinstance(former.listing, str) else msgspec.to_builtins(former.listing)
    asked: dict[str, Any] = {
        "listing": listing,
        "parameters": pairs(values["parameters"], ":"),
        "missing": values["missing"],
        "intervalS": _seconds(values["intervalMin"], _MINUTE_S, "intervalMin"),
        "lookbackS": _seconds(values["lookbackH"], _HOUR_S, "lookbackH"),
        "settleS": _seconds(values["settleMin"], _MINUTE_S, "settleMin"),
        "baseUrl": values["baseUrl"].strip() or None,
        "tokenUrl": values["tokenUrl"].strip() or None,
        "paused": values["paused"] == "1",
    }
    for name in SECRET_FIELDS:
        if values[name].strip():
            asked[name] = values[name].strip()
    return asked


def _seconds(text: str, unit_s: int, field: str) -> int:
    try:
        return round(float(text) * unit_s)
    except (ValueError, OverflowError):
        raise Wrong({field: "write a number"}) from None


def listing_choices(chosen: str) -> list[Choice]:
    """The listings that the form offers."""
    names = [("", "choose one"), *((name, name) for name in LISTINGS), *([(OWN, OWN)] if chosen == OWN else [])]
    return choices(names, chosen)


def missing_choices(chosen: str) -> list[Choice]:
    """What may follow when an event is missing."""
    return choices(_MISSING, chosen)


def paused_choices(chosen: str) -> list[Choice]:
    """Whether it runs."""
    return choices(_PAUSED, chosen)


def parameter_hint() -> str:
    """Which parameters each listing needs."""
    needed = [f"{name} needs {listed(sorted(parameters_of(row)), 9)}" for name, row in LISTINGS.items() if parameters_of(row)]
    return f"One name: value on each line. {'; '.join(needed)}."
