"""What can customers choose from? A connector is a template of a transformation, with what a person needs to choose it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

# The lists of the contract (5.3), and three that newer clients know; other values break some clients.
ConnectorKind: TypeAlias = Literal[
    "Custom",
    "AgenticCommerceProtocol",
    "CloseCRM",
    "CustomerIO",
    "DatadogTracing",
    "Discord",
    "GrafanaCloudTracing",
    "Hubspot",
    "Inngest",
    "Loops",
    "NewRelicTracing",
    "Otel",
    "Resend",
    "Salesforce",
    "Segment",
    "Sendgrid",
    "Slack",
    "Teams",
    "TriggerDev",
    "Windmill",
    "Zapier",
]
ConnectorProduct: TypeAlias = Literal["Dispatch", "Stream"]


class Connector(msgspec.Struct, frozen=True):
    """A template. `transformation` is JavaScript. `allowed_event_types` and `feature_flags` are None when there is no such condition.

    Times are microseconds since 1970; `transformation_updated_at` moves with the code alone.
    """

    id: str
    org_id: str
    uid: str | None
    kind: ConnectorKind
    name: str
    logo: str | None
    description: str
    instructions: str
    allowed_event_types: tuple[str, ...] | None
    transformation: str
    feature_flags: tuple[str, ...] | None
    product_type: ConnectorProduct
    created_at: int
    updated_at: int
    transformation_updated_at: int
