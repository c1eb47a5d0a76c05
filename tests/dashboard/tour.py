"""Every page there is, with what must stand on it: for the tests that look at all of them."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from tests.dashboard.conftest import Shop

# Patterns of routes, each with a path in the shop and facts that its page shows.
Stop = tuple[str, str, tuple[str, ...]]


def tour(shop: Shop) -> list[Stop]:
    """All pages that are shown by a GET."""
    app, billing, message = shop.app(), shop.endpoint("billing"), shop.message_to("billing")
    attempt = shop.attempts("billing")[-1]["id"]
    one = f"{app}/messages/{message}"
    return [
        ("/", "/?span=1h", ("Overview", "Endpoints that fail most", "Billing, in maintenance", "As a table")),
        ("/login", "/audit", ()),
        ("/find", "/find?q=bill", ("Billing, in maintenance", "Endpoint")),
        ("/palette", "/palette?q=audit", ("Audit log",)),
        ("/switcher", "/switcher?here=/dashboard/apps/x/endpoints", ("Acme Logistics", "東京ストア")),
        ("/apps", "/apps", ("Acme Logistics", "Zoë Müller GmbH", "東京ストア", "tokyo-store")),
        ("/apps/new", "/apps/new", ("New application", "Attempts a second")),
        ("/apps/{app_id}", app, ("7 endpoints, 1 of them disabled.", "/billing", "hooks.example.com", shop.scene.apps["acme"])),
        ("/apps/{app_id}/edit", f"{app}/edit", ("Acme Logistics", "acme")),
        ("/apps/{app_id}/delete", f"{app}/delete", ("7 endpoints will get nothing more", "cannot be taken back")),
        ("/apps/{app_id}/endpoints", f"{app}/endpoints", ("/billing", "Billing, in maintenance", "payment.captured", "disabled")),
        ("/apps/{app_id}/endpoints/new", f"{app}/endpoints/new", ("order.created", "Create endpoint")),
        (
            "/apps/{app_id}/endpoints/{endpoint_id}",
            billing,
            ("Billing, in maintenance", "503", "One secret signs", "never shown", "in the last 24 hours"),
        ),
        ("/apps/{app_id}/endpoints/{endpoint_id}/edit", f"{billing}/edit", ("payment.captured", "Authorization")),
        ("/apps/{app_id}/endpoints/{endpoint_id}/rotate", f"{billing}/rotate", ("for a week", "The former one signs too")),
        ("/apps/{app_id}/endpoints/{endpoint_id}/disable", f"{billing}/disable", ("New messages do not go to it",)),
        ("/apps/{app_id}/endpoints/{endpoint_id}/delete", f"{billing}/delete", ("gets nothing more",)),
        ("/apps/{app_id}/endpoints/{endpoint_id}/attempts", f"{billing}/attempts?status=failed", ("failed", "503")),
        ("/apps/{app_id}/messages", f"{app}/messages", ("payment.captured", "evt-0024", "shop")),
        ("/apps/{app_id}/messages/live", f"{app}/messages/live", ("Live", "Pause")),
        ("/apps/{app_id}/messages/{message_id}", one, ("payment.captured", "the endpoint answered 503", "overloaded or in maintenance")),
        (
            "/apps/{app_id}/messages/{message_id}/attempts/{attempt_id}",
            f"{one}/attempts/{attempt}?tab=request",
            ("webhook-signature", "POST /billing HTTP/1.1", "Authorization", "***"),
        ),
        (
            "/apps/{app_id}/endpoints/{endpoint_id}/test",
            f"{billing}/test",
            ("svix.ping", "Whatever the endpoint's filters say", "Send test event"),
        ),
        ("/apps/{app_id}/send", f"{app}/send?type=order.created", ("3 of 7 endpoints want order.created", "Send message")),
        ("/audit", "/audit", ("Who changed what", "logged in")),
    ]
