"""How is a subscription at a provider renewed, and when? Requests that renew it, and what their answers say. Pure.

One engine for all providers: what differs is a `Renewal`, a row of `policy.subscription_rows` or the owner's own. An answer is a
stranger's text: whatever it holds, reading it raises `Unreadable` and nothing else.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from ringback.clock import SECOND_US, rfc3339
from ringback.model.subscriptions import Renewal, Subscription, SubscriptionStanding
from ringback.policy.access_tokens import FORM, quoted, text_at
from ringback.policy.asking import FRAMING, Request, Unreadable, are_headers, filled, is_path, names_in, request_to, rest_s, time_of
from ringback.policy.hubs import Hub
from ringback.policy.urls import UrlParts, split_url

# Seconds that a subscription may live: providers give between an hour and some months.
MIN_PERIOD_S: Final = 300
MAX_PERIOD_S: Final = 366 * 86_400
# It is renewed when this part of its life is left, so that there is time for an outage of the provider, and for a person.
_LEFT: Final = 3
# Nothing is renewed more often, whatever an answer says; and the shortest rest after a failure, as its end draws near.
_SHORTEST_S: Final = 30.0
# Bytes of an owner's own renewal, as JSON.
_MAX_RENEWAL: Final = 16_384
# What the engine itself knows.
_KNOWN: Final = frozenset({"period_s", "expires_at", "expires_s", "expires_ms", "url", "unique"})
_SECRETS: Final = frozenset({"credential", "basic", "client_secret", "access_token"})
# What a parameter may not hold: it could end the text that it stands in.
_ENDS: Final = frozenset("\"\\'<>{}&?# ")

Where = tuple[str, ...]


class Asking(msgspec.Struct, frozen=True):
    """What one renewal asks for: to live until `until` (microseconds since 1970), at the source's `url`; `unique` is a new id.

    `hub` is the one that the topic named, where the settings leave that to the topic.
    """

    until: int
    url: str
    unique: str
    hub: Hub | None = None


def place_of(settings: Subscription, renewal: Renewal) -> UrlParts:
    """Where the provider's API is. Raises ValueError when that is no URL."""
    place = settings.base_url or filled(renewal.base, settings.parameters)
    # Without a path it is the very place that is asked.
    return split_url(place.rstrip("/") if renewal.path else place)


def asks_topic(settings: Subscription, renewal: Renewal) -> bool:
    """Is the hub found by asking the topic which one that is?"""
    return renewal.confirmed and not renewal.base and settings.base_url is None


def topic_of(settings: Subscription, renewal: Renewal) -> str:
    """What a hub is asked for."""
    return filled(renewal.form.get("hub.topic", ""), settings.parameters)


def renewal_request(settings: Subscription, renewal: Renewal, asking: Asking, access_token: str) -> Request:
    """The request that renews."""
    place = place_of(settings, renewal) if asking.hub is None else split_url(asking.hub.url)
    known = {
        "period_s": str(settings.period_s),
        "expires_at": rfc3339(asking.until),
        "expires_s": str(asking.until // SECOND_US),
        "expires_ms": str(asking.until // 1_000),
        "url": asking.url,
        "unique": asking.unique,
        **settings.parameters,
    }
    basic = base64.b64encode(f"{settings.credential}:".encode()).decode()
    secrets = {**settings.parameters, "credential": settings.credential, "basic": basic, "access_token": access_token}
    fields = {name.lower(): filled(text, known) for name, text in renewal.headers.items()}
    fields.update({name.lower(): filled(text, secrets) for name, text in renewal.auth.items()})
    body = filled(renewal.body, known).encode()
    if renewal.form:
        known["credential"] = settings.credential
        form = {name: filled(text, known) for name, text in renewal.form.items()}
        if asking.hub is not None:
            form["hub.topic"] = asking.hub.topic
        body = urlencode(form).encode()
        fields["content-type"] = FORM
    elif body:
        fields["content-type"] = renewal.content_type
    target = place.target.rstrip("/") + filled(renewal.path, quoted(known)) if renewal.path else place.target
    return request_to(renewal.method, place, target, fields, body)


def end_in(renewal: Renewal, body: bytes, asked_for: int, now_us: int) -> int:
    """Until when it lives, as the answer says; what was asked for where it does not say. Raises Unreadable for an end that is past."""
    text = text_at(body, renewal.expires_at) if renewal.expires_at else ""
    if not text:
        return asked_for
    end = time_of(text)
    if end is None:
        raise Unreadable(f"the answer has no time at {renewal.expires_at!r}")
    if end <= now_us:
        raise Unreadable(f"the answer says that it ended at {rfc3339(end)}")
    return min(end, now_us + MAX_PERIOD_S * SECOND_US)


def renew_at(now_us: int, expires_at: int) -> int:
    """When a subscription that is good from now until then is renewed."""
    return max(first_at(now_us, expires_at), now_us + int(_SHORTEST_S * SECOND_US))


def first_at(now_us: int, expires_at: int) -> int:
    """When one is renewed for the first time that its owner says ends then."""
    return max(expires_at - (expires_at - now_us) // _LEFT, now_us)


def try_again_at(now_us: int, failures: int, retry_after_s: float | None, expires_at: int) -> int:
    """When the next try is, after so many failures in a row: ever later, and sooner as the end draws near."""
    wait_s = rest_s(failures, retry_after_s)
    if retry_after_s is None and expires_at > now_us:
        wait_s = min(wait_s, max((expires_at - now_us) / SECOND_US / 4, _SHORTEST_S))
    return now_us + int(wait_s * SECOND_US)


def worst_of(standings: Sequence[SubscriptionStanding]) -> SubscriptionStanding:
    """The one of several that needs somebody the most: one that fails, else one that is not confirmed, else the one that ends first."""

    def rank(one: SubscriptionStanding) -> tuple[int, int]:
        progress = one.progress
        return 0 if progress.failures else 1 if progress.asked_at is not None else 2, progress.expires_at

    return min(standings, key=rank)


def parameters_of(renewal: Renewal) -> set[str]:
    """The parameters that the owner must give for a renewal."""
    texts = [*_strict_texts(renewal), *renewal.token_form.values(), *renewal.form.values()]
    return set().union(*map(names_in, texts)) - _KNOWN - _SECRETS


def _strict_texts(renewal: Renewal) -> list[str]:
    """Texts that a value could end, unlike those of forms."""
    return [renewal.base, renewal.path, renewal.body, renewal.token_url, *renewal.headers.values(), *renewal.auth.values()]


def unfit_parameters(renewal: Renewal, given: Mapping[str, str]) -> list[str]:
    """The parameters whose values cannot stand where they are to."""
    strict = set().union(*map(names_in, _strict_texts(renewal)))
    return [name for name in sorted(given) if not (is_parameter(given[name]) if name in strict else _is_line(given[name]))]


def _is_line(value: str) -> bool:
    return value.isascii() and value.isprintable()


def is_parameter(value: str) -> bool:
    """May a parameter have this value?"""
    return _is_line(value) and not _ENDS & set(value) and ".." not in value


def renewal_problems(renewal: Renewal) -> list[tuple[Where, str]]:
    """What is wrong with a renewal of an owner's own: where in it, and what."""
    problems: list[tuple[Where, str]] = []
    wrong = problems.append
    if renewal.path and not is_path(renewal.path, query=True):
        wrong((("path",), "a path begins with '/' and holds no blanks or '#'"))
    wanted = "{access_token}" if renewal.token_url else "{credential} or {basic}"
    holders = [*renewal.auth.values(), *renewal.form.values()]
    if not any(name in text for text in holders for name in wanted.split(" or ")):
        wrong((("auth",), f"no header holds {wanted}"))
    problems += _form_problems(renewal)
    if renewal.token_url and not any("{credential}" in text for text in renewal.token_form.values()):
        wrong((("tokenForm",), "no field holds {credential}"))
    for name, fields in (("auth", renewal.auth), ("headers", renewal.headers)):
        if not are_headers(fields):
            wrong(((name,), "names of headers are letters, digits, '-' and '_'; values are one line of ASCII"))
        if FRAMING & {field.lower() for field in fields}:
            wrong(((name,), f"{', '.join(sorted(FRAMING))} cannot be set"))
    if not are_headers({"content-type": renewal.content_type}):
        wrong((("contentType",), "it is one line of ASCII"))
    texts: dict[str, Any] = {"base": renewal.base, "path": renewal.path, "body": renewal.body, "headers": "".join(renewal.headers.values())}
    for name, text in texts.items():
        # Elsewhere it would be written into logs on its way.
        if names_in(text) & _SECRETS:
            wrong(((name,), "the credential goes into the headers of auth, and into tokenForm, alone"))
    if not MIN_PERIOD_S <= renewal.period_s <= MAX_PERIOD_S:
        wrong((("periodS",), f"use {MIN_PERIOD_S} to {MAX_PERIOD_S} seconds"))
    if len(msgspec.json.encode(renewal)) > _MAX_RENEWAL:
        wrong(((), f"the renewal has more than {_MAX_RENEWAL} bytes as JSON"))
    return problems


def _form_problems(renewal: Renewal) -> list[tuple[Where, str]]:
    problems: list[tuple[Where, str]] = []
    if renewal.form and renewal.body:
        problems.append((("form",), "a request has one body: leave form or body out"))
    if set().union(*map(names_in, renewal.form.values())) & (_SECRETS - {"credential"}):
        problems.append((("form",), "of what is secret, a form may hold {credential} alone"))
    if renewal.confirmed and not renewal.form.get("hub.topic"):
        problems.append((("confirmed",), "a hub is asked with a form that holds hub.topic"))
    return problems
