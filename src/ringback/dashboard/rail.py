"""Which entries has the rail, in which order? A page names its section; a section without a page does not belong here."""

from __future__ import annotations

from typing import Final

from ringback.dashboard.visits import Section

SECTIONS: Final[tuple[Section, ...]] = (
    Section("overview", "Overview", "/", "overview"),
    Section("messages", "Messages", "/apps/{app_id}/messages", "messages", without="/apps"),
    Section("endpoints", "Endpoints", "/apps/{app_id}/endpoints", "endpoints", without="/apps"),
    Section("applications", "Applications", "/apps", "applications"),
    Section("audit", "Audit log", "/audit", "audit"),
)
