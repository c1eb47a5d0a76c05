"""Every page there is, with what must stand on it: for the tests that look at all of them."""

from __future__ import annotations

import re
import typing

from tests.waiting import wait_until

if typing.TYPE_CHECKING:
    from tests.dashboard.conftest import Shop

# Patterns of routes, each with a path in the shop and facts that its page shows.
Stop = tuple[str, str, tuple[str, ...]]


def looked_for(shop: Shop) -> str:
    """A search for somebody's data, which has found something."""
    task: str = shop.server.make("/privacy/erase", {"subject": "evt-0024", "dryRun": True})["id"]
    wait_until(lambda: shop.server.call("GET", f"/background-task/{task}")[1]["status"] == "finished", what="it is over")
    return task


def saved_view(shop: Shop) -> str:
    """The id of a view that was saved."""
    from tests.dashboard.conftest import Person

    person = Person(shop.url).log_in()
    person.act("/saved-views", to="/dashboard/event-types?q=invoice.", name="Invoices")
    found = re.search(r'/saved-views/(view_\w+)/delete" data-panel aria-label="Delete Invoices"', person.get("/saved-views").text)
    person.close()
    assert found
    return found[1]


def tour(shop: Shop) -> list[Stop]:
    """All pages that are shown by a GET."""
    app, billing, message = shop.app(), shop.endpoint("billing"), shop.message_to("billing")
    attempt = shop.attempts("billing")[-1]["id"]
    one, view = f"{app}/messages/{message}", saved_view(shop)
    return [
        ("/", "/?span=1h", ("Overview", "Endpoints that fail most", "Billing, in maintenance", "As a table")),
        (
            "/alerts",
            "/alerts",
            ("things need attention", "Wants no second attempt", "given up as asked", "wrong signature", "broken-scale", "Old ERP"),
        ),
        ("/login", "/audit", ()),
        ("/find", "/find?q=bill", ("Billing, in maintenance", "Endpoint")),
        ("/palette", "/palette?q=audit", ("Audit log",)),
        ("/switcher", "/switcher?here=/dashboard/apps/x/endpoints", ("Acme Logistics", "東京ストア")),
        ("/apps", "/apps", ("Acme Logistics", "Zoë Müller GmbH", "東京ストア", "tokyo-store")),
        ("/apps/new", "/apps/new", ("New application", "Attempts a second")),
        ("/apps/{app_id}", app, ("7 endpoints, 1 of them disabled.", "/billing", "hooks.example.com", shop.scene.apps["acme"])),
        (
            "/apps/{app_id}",
            f"/apps/{shop.equipment.depot}",
            (
                "Polling endpoints",
                "night-shift",
                "all event types, on eu and us",
                "ledger",
                "5 messages",
                "by lease, 1 batch not committed",
            ),
        ),
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
        ("/apps/{app_id}/endpoints/{endpoint_id}/ordering", f"{billing}/ordering", ("each key for itself", "one before it has succeeded")),
        ("/apps/{app_id}/endpoints/{endpoint_id}/filter", f"{billing}/filter", ("What a payload must be", "Try on the last 100 messages")),
        (
            "/apps/{app_id}/endpoints/{endpoint_id}/transformation",
            f"{billing}/transformation",
            ("function handler(webhook)", "Save and switch on", "Message to try it on"),
        ),
        ("/apps/{app_id}/endpoints/{endpoint_id}/disable", f"{billing}/disable", ("New messages do not go to it",)),
        ("/apps/{app_id}/endpoints/{endpoint_id}/delete", f"{billing}/delete", ("gets nothing more",)),
        (
            "/apps/{app_id}/endpoints/{endpoint_id}/replay",
            f"{billing}/replay",
            ("what failed, and has not arrived since", "get one more attempt each", "background task"),
        ),
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
            "/apps/{app_id}/messages/{message_id}/attempts/{attempt_id}",
            f"{one}/attempts/{attempt}?tab=compare",
            ("What differs from", "What is known of them", "Request bodies: both have the same body."),
        ),
        (
            "/apps/{app_id}/endpoints/{endpoint_id}/test",
            f"{billing}/test",
            ("svix.ping", "Whatever the endpoint's filters say", "Send test event"),
        ),
        ("/apps/{app_id}/send", f"{app}/send?type=order.created", ("3 of 7 endpoints want order.created", "Send message")),
        ("/audit", "/audit", ("Who changed what", "logged in")),
        ("/settings/portal", "/settings/portal", ("Customers' portal", "Link back", "data:image/png;base64,")),
        ("/saved-views", "/saved-views", ("Saved views", "Invoices", "Event types", "q: invoice.")),
        ("/saved-views/{view_id}/delete", f"/saved-views/{view}/delete", ("Delete the view “Invoices”?", "for all who log in here")),
        *more(shop),
    ]


def more(shop: Shop) -> list[Stop]:
    """The pages of dead letters, receiving, the catalogue and the server."""
    made = shop.equipment
    scanner = shop.server.call("GET", "/stream/parcels/sink/scanner")[1]["id"]
    return [
        ("/dead-letters", "/dead-letters", ("have no attempts left", "/given-up", "given up as asked")),
        ("/dead-letters/list", "/dead-letters/list?cause=aborted", ("payment.captured", "Dead Letter Office", "Replay chosen")),
        ("/dead-letters/replay", f"/dead-letters/replay?app={made.yard}", ("get one more attempt each", "Replay 3 deliveries")),
        ("/dead-letters/discard", f"/dead-letters/discard?app={made.yard}", ("will never be made", "Discard 3 deliveries")),
        (
            "/streams",
            "/streams",
            ("Parcels, all depots", "scanner", "event 3, nothing waits", "broken-scale", "event 0, 3 events behind", "asks for its events"),
        ),
        (
            "/streams/{stream_id}/sinks/{sink_id}/transformation",
            f"/streams/parcels/sinks/{scanner}/transformation",
            ("function handler(input)", "Save and switch on", "Payload to try it on"),
        ),
        ("/sources", "/sources", ("Stripe, live", "Payments service", "enabled")),
        ("/sources/new", "/sources/new", ("Stripe", "GitHub", "Custom scheme", "ways to receive")),
        (
            "/sources/{source_id}",
            f"/sources/{made.stripe}",
            (
                "/webhooks/stripe",
                made.stripe_url,
                "charge.succeeded",
                "evt_3",
                "1 secret is believed",
                "wrong signature",
                "When it fails",
                "Whole journal",
            ),
        ),
        ("/sources/{source_id}/edit", f"/sources/{made.stripe}/edit", ("Stripe, live", "stripe-live", "Allowed addresses")),
        ("/sources/{source_id}/secret", f"/sources/{made.stripe}/secret", ("Former secrets are believed on", "for a day")),
        ("/sources/{source_id}/rotate", f"/sources/{made.stripe}/rotate", ("gets a new URL", "works until")),
        ("/sources/{source_id}/disable", f"/sources/{made.stripe}/disable", ("Its URL answers 404",)),
        ("/sources/{source_id}/delete", f"/sources/{made.stripe}/delete", ("2 requests in quarantine are dropped",)),
        ("/sources/{source_id}/events", f"/sources/{made.stripe}/events", ("invoice.paid", "evt_1")),
        (
            "/sources/{source_id}/arrivals",
            f"/sources/{made.stripe}/arrivals",
            ("duplicate", "evt_3", "POST …/in/***", "method not allowed", "access_token=***", "405", "127.0.0.1"),
        ),
        (
            "/sources/{source_id}/reconciliation",
            f"/sources/{made.stripe}/reconciliation",
            ("List of the provider", "shopify needs resource"),
        ),
        (
            "/sources/{source_id}/subscription",
            f"/sources/{made.stripe}/subscription",
            ("Keep the subscription alive", "websub needs topic", "choose one"),
        ),
        (
            "/sources/{source_id}/subscription/delete",
            f"/sources/{made.stripe}/subscription/delete",
            ("Renew this subscription no more?", "The credentials are forgotten here"),
        ),
        ("/sources/{source_id}/reconciliation/delete", f"/sources/{made.stripe}/reconciliation/delete", ("the credential is forgotten",)),
        ("/sources/{source_id}/expectations", f"/sources/{made.stripe}/expectations", ("Nothing is awaited", "by when")),
        ("/quarantine", "/quarantine", ("wrong signature", "Stripe, live", "Verify again")),
        ("/quarantine/list", f"/quarantine/list?source={made.stripe}", ("wrong signature", "one of the secrets over these bytes")),
        ("/quarantine/release", f"/quarantine/release?source={made.stripe}", ("2 requests stay refused", "wrong signature (2)")),
        ("/quarantine/drop", f"/quarantine/drop?source={made.stripe}", ("2 requests are forgotten", "Drop 2 requests")),
        (
            "/sources/{source_id}/quarantine/{item_id}",
            f"/sources/{made.stripe}/quarantine/{made.refused}",
            ("Refused: wrong signature", "A newline was added at the end of the body on its way", "stops here", "Zoë"),
        ),
        (
            "/sources/{source_id}/quarantine/{item_id}/believe",
            f"/sources/{made.stripe}/quarantine/{made.refused}/believe",
            ("Anybody could have sent it",),
        ),
        (
            "/sources/{source_id}/quarantine/{item_id}/drop",
            f"/sources/{made.stripe}/quarantine/{made.refused}/drop",
            ("forgotten for good",),
        ),
        ("/doctor", "/doctor", ("Signature doctor", "neither stored nor logged", "Standard Webhooks")),
        *set_up(shop),
        ("/privacy", "/privacy", ("Personal data", "Text that stands for the person", "Look for it")),
        (
            "/privacy/{task_id}",
            f"/privacy/{looked_for(shop)}",
            ("Finished after", "What was found", "Type the text again", "Erase for good"),
        ),
        ("/tasks", "/tasks", ("Usage of applications", "finished")),
        ("/tasks/{task_id}", f"/tasks/{made.task}", ("Usage of applications", "Finished after", "Acme Logistics")),
    ]


def set_up(shop: Shop) -> list[Stop]:
    """The pages of the catalogue, of tokens, of operational webhooks, and of the server itself."""
    made = shop.equipment
    one, told = f"/event-types/{made.event_type}", f"/operational/{made.operational}"
    token = shop.tokens()[0]
    return [
        ("/search", "/search?q=tag:shop paymentId", ("payment.captured", "Acme Logistics", "<mark>paymentId</mark>", "How to search")),
        ("/event-types", "/event-types", ("invoice.issued", "An invoice was sent to a customer", "version 2, 1", "live")),
        ("/event-types/{name}", one, ("Version 2", "Version 1", "Made up from the schema", "in_4711", "2026-01-31T12:00:00Z")),
        ("/event-types/{name}/edit", f"{one}/edit", ("Edit invoice.issued", "There are: 2, 1", "An invoice was sent")),
        ("/event-types/{name}/archive", f"{one}/archive", ("Archive invoice.issued?", "It can be restored")),
        ("/new-event-type", "/new-event-type", ("New event type", "Feature flags", "Schema version")),
        ("/import-event-types", "/import-event-types", ("OpenAPI document", "Show what would change")),
        ("/operational", "/operational", ("/operations", "The people on call", "all but message.attempt.log")),
        ("/operational/new", "/operational/new", ("message.attempt.exhausted", "it is a dead letter")),
        ("/operational/{endpoint_id}", told, ("The people on call", "Last deliveries", "One secret signs", made.operational)),
        ("/operational/{endpoint_id}/edit", f"{told}/edit", ("Edit operational endpoint", "The people on call", "Save")),
        ("/operational/{endpoint_id}/disable", f"{told}/disable", ("It is told nothing until it is enabled",)),
        ("/operational/{endpoint_id}/delete", f"{told}/delete", ("It is told nothing more",)),
        ("/tokens", "/tokens", ("from the settings", "works", "you", "Revoke")),
        ("/tokens/new", "/tokens/new", ("New token", "for 90 days")),
        (
            "/tokens/{token_id}/revoke",
            f"/tokens/{token}/revoke",
            ("answered 401 at once", "you will be logged out"),
        ),
        ("/apps/{app_id}/portal-tokens", f"{shop.app()}/portal-tokens", ("End all portal tokens?", "Acme Logistics", "integrations")),
        ("/queue", "/queue", ("Queue and process", "Commit, p99", "Loop lag", "Its log", "Index of searches", "Up for")),
        ("/settings", "/settings", ("retry_schedule", "200ms,300ms,1h", "RINGBACK_RETRY_SCHEDULE", "set, never shown", "--listen")),
    ]
