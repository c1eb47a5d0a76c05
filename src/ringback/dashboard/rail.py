"""Which entries has the rail, in which order? A page names its section; a section without a page does not belong here."""

from __future__ import annotations

from typing import Final

from ringback.dashboard.visits import Section

# Headings of groups; what comes first needs none.
_RECEIVE: Final = "Receive"
_SET_UP: Final = "Set up"
_SERVER: Final = "Server"

SECTIONS: Final[tuple[Section, ...]] = (
    Section("overview", "Overview", "/", "overview"),
    Section("alerts", "Alerts", "/alerts", "alerts"),
    Section("messages", "Messages", "/apps/{app_id}/messages", "messages", without="/apps"),
    Section("endpoints", "Endpoints", "/apps/{app_id}/endpoints", "endpoints", without="/apps"),
    Section("dead_letters", "Dead letters", "/dead-letters", "dead_letters", waiting="dead"),
    Section("streams", "Streams", "/streams", "streams"),
    Section("sources", "Sources", "/sources", "sources", group=_RECEIVE),
    Section("quarantine", "Quarantine", "/quarantine", "quarantine", group=_RECEIVE, waiting="quarantined"),
    Section("applications", "Applications", "/apps", "applications", group=_SET_UP),
    Section("event_types", "Event types", "/event-types", "event_types", group=_SET_UP),
    Section("operational", "Operational webhooks", "/operational", "live", group=_SET_UP),
    Section("tokens", "Tokens", "/tokens", "tokens", group=_SET_UP),
    Section("privacy", "Personal data", "/privacy", "person", group=_SERVER),
    Section("tasks", "Background tasks", "/tasks", "tasks", group=_SERVER),
    Section("queue", "Queue and process", "/queue", "queue", group=_SERVER, waiting="spooled"),
    Section("settings", "Settings", "/settings", "settings", group=_SERVER),
    Section("audit", "Audit log", "/audit", "audit", group=_SERVER),
)
