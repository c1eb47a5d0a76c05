"""How is one endpoint's configuration made ready for delivery? Once per change, not once per attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from ringback.delivery.seal import HeaderStyle, Plan, make_plan
from ringback.engine.lanes import LanePlan, Rates, Tell
from ringback.policy.urls import split_url
from ringback.policy.validation import is_sensitive
from ringback.services.directory import Entry
from ringback.signing.secret import parse_secret
from ringback.signing.standard import Signer

_UNLIMITED: Final = Rates(None, None)
# Later than every secret's end.
_NEVER_US: Final = 1 << 62


def planner(style: HeaderStyle, teller: Callable[[str], Tell | None] = lambda org_id: None) -> Callable[[Entry, str, int], LanePlan | None]:
    """What prepares an endpoint of an application at a time (microseconds): None when it was deleted or is disabled.

    `teller` gives who hears of an organisation's attempts that may be news, None when nobody listens.
    """

    def prepare(entry: Entry, endpoint_id: str, now_us: int) -> LanePlan | None:
        endpoint = entry.endpoints.get(endpoint_id)
        if endpoint is None or endpoint.disabled:
            return None
        plan = request_plan(endpoint.url, endpoint.headers, endpoint.signing_secrets(now_us), style)
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
        )

    return prepare


def request_plan(url: str, headers: Mapping[str, str], secrets: Sequence[str], style: HeaderStyle) -> Plan:
    """How requests to a URL look that are signed with these secrets. Raises ValueError for what cannot be sent."""
    signer = Signer([parse_secret(text) for text in secrets])
    own = [name.lower() for name in headers if is_sensitive(name)]
    return make_plan(url=url, signer=signer, headers=headers, style=style, sensitive=own)


def _shown(url: str) -> str:
    """The URL without the user and password that it may carry."""
    scheme, _, _ = url.partition("://")
    parts = split_url(url)
    return f"{scheme}://{parts.authority}{parts.target}" if parts.basic else url
