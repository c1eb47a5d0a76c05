"""How is an endpoint named among those of many applications? Pure."""

from __future__ import annotations

import msgspec

from ringback.dashboard.components import BASE
from ringback.dashboard.pages.endpoints import url_parts
from ringback.services.naming import Named


class EndpointName(msgspec.Struct, frozen=True):
    """An endpoint as a line of a list names it. `state` is "disabled" or "deleted", "" when it is on; `href` is None when it is gone."""

    name: str
    host: str
    path: str
    app: str
    app_href: str | None
    href: str | None
    state: str


def name_of(endpoint_id: str, named: Named | None) -> EndpointName:
    """The name of an endpoint; None: it is not there any more."""
    if named is None:
        return EndpointName(endpoint_id, endpoint_id, "", "", None, None, "deleted")
    host, path = url_parts(named.url)
    app = f"{BASE}/apps/{named.app_id}"
    return EndpointName(
        f"{host}{path if path != '/' else ''}",
        host,
        path,
        named.app_name,
        None if named.deleted else app,
        None if named.deleted else f"{app}/endpoints/{named.id}",
        "deleted" if named.deleted else "disabled" if named.disabled else "",
    )
