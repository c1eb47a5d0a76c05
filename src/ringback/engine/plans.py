"""How is one endpoint's configuration made ready for delivery? Once per change, not once per attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ringback.delivery.scripting_turns import Script
from ringback.delivery.seal import HeaderStyle, Plan, make_plan
from ringback.engine.lanes import Changes, LanePlan, Rates, Tell
from ringback.model.endpoints import Endpoint
from ringback.policy.transforming import METHODS, Transformed
from ringback.policy.urls import split_url
from ringback.policy.validation import is_sensitive
from ringback.services.directory import Entry
from ringback.signing.secret import parse_secret
from ringback.signing.standard import Signer

_UNLIMITED: Final = Rates(None, None)
# Later than every secret's end.
_NEVER_US: Final = 1 << 62


def planner(
    style: HeaderStyle, teller: Callable[[str], Tell | None] = lambda org_id: None, *, https_only: bool = False
) -> Callable[[Entry, str, int], LanePlan | None]:
    """What prepares an endpoint of an application at a time (microseconds): None when it was deleted or is disabled.

    `teller` gives who hears of an organisation's attempts that may be news, None when nobody listens. `https_only`: transformations may not
    choose another URL.
    """

    def prepare(entry: Entry, endpoint_id: str, now_us: int) -> LanePlan | None:
        endpoint = entry.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.disabled:
            return None
        signer = signer_of(endpoint.signing_secrets(now_us))
        plan = request_plan(endpoint.url, endpoint.headers, signer, style)
        ends = [s.expires_at for s in endpoint.secrets if s.expires_at is not None and s.expires_at > now_us]
        rates = Rates(endpoint.throttle_rate, entry.application.throttle_rate)
        return LanePlan(
            plan,
            entry,
            _shown(endpoint.url),
            min(ends, default=_NEVER_US),
            frozenset(plan.sensitive),
            rates if rates != _UNLIMITED else None,
            partial(teller, entry.application.org_id),
            endpoint.ordering,
            _changes(entry, endpoint, plan, signer, style, https_only),
        )

    return prepare


def signer_of(secrets: Sequence[str]) -> Signer:
    """What signs with all of these secrets."""
    return Signer([parse_secret(text) for text in secrets])


def request_plan(url: str, headers: Mapping[str, str], signer: Signer | None, style: HeaderStyle, method: str = METHODS[0]) -> Plan:
    """How requests to a URL look, which are not signed without a signer. Raises ValueError for what cannot be sent."""
    own = [name.lower() for name in headers if is_sensitive(name)]
    return make_plan(url=url, signer=signer, headers=headers, style=style, sensitive=own, method=method)


def _changes(entry: Entry, endpoint: Endpoint, plain: Plan, signer: Signer, style: HeaderStyle, https_only: bool) -> Changes | None:
    """The transformation of an endpoint."""
    found = entry.transformations.get(endpoint.id)
    if found is None or found.code is None:
        return None

    def plan(wanted: Transformed) -> tuple[Plan, str]:
        if wanted.method == METHODS[0] and wanted.url == endpoint.url and wanted.headers == endpoint.headers:
            return plain, _shown(wanted.url)
        return request_plan(wanted.url, wanted.headers, signer, style, wanted.method), _shown(wanted.url)

    script = Script(endpoint.id, endpoint.app_id, found.code)
    return Changes(script, endpoint.url, endpoint.headers, found.variables, https_only, plan)


def _shown(url: str) -> str:
    """The URL without the user and password that it may carry."""
    scheme, _, _ = url.partition("://")
    parts = split_url(url)
    return f"{scheme}://{parts.authority}{parts.target}" if parts.basic else url
