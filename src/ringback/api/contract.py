"""Which operations does the contract have? Those that are not built yet answer 501, so that nobody takes them for a typing error.

Generated once from the list of operations that the official SDKs call; a line is a path and its methods.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
/api/v1/app GET POST
/api/v1/app/{app_id} GET PUT PATCH DELETE
/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id} GET
/api/v1/app/{app_id}/attempt/msg/{msg_id} GET
/api/v1/app/{app_id}/autoconfig POST
/api/v1/app/{app_id}/autoconfig/{autoconfig_id} DELETE
/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/destination PUT
/api/v1/app/{app_id}/autoconfig/{autoconfig_id}/rotate POST
/api/v1/app/{app_id}/destination GET POST
/api/v1/app/{app_id}/destination/{destination_id} GET PUT PATCH DELETE
/api/v1/app/{app_id}/destination/{destination_id}/secret/rotate POST
/api/v1/app/{app_id}/destination/{destination_id}/transformation GET PATCH
/api/v1/app/{app_id}/endpoint GET POST
/api/v1/app/{app_id}/endpoint/{endpoint_id} GET PUT PATCH DELETE
/api/v1/app/{app_id}/endpoint/{endpoint_id}/attempt-stats GET
/api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config PUT
/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay POST
/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers GET PUT PATCH
/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg GET
/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover POST
/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing POST
/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret GET
/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate POST
/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example POST
/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats GET
/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation GET PATCH
/api/v1/app/{app_id}/integration GET POST
/api/v1/app/{app_id}/integration/{integ_id} GET PUT DELETE
/api/v1/app/{app_id}/integration/{integ_id}/key/rotate POST
/api/v1/app/{app_id}/msg GET POST
/api/v1/app/{app_id}/msg/bulk-expunge POST
/api/v1/app/{app_id}/msg/expunge-all-contents POST
/api/v1/app/{app_id}/msg/precheck/active POST
/api/v1/app/{app_id}/msg/{msg_id} GET
/api/v1/app/{app_id}/msg/{msg_id}/attempt GET
/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id} GET
/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content DELETE
/api/v1/app/{app_id}/msg/{msg_id}/content DELETE
/api/v1/app/{app_id}/msg/{msg_id}/endpoint GET
/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt GET
/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend POST
/api/v1/app/{app_id}/poller/{sink_id} GET
/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id} GET
/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek POST
/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id} GET
/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit POST
/api/v1/auth/app-portal-access/{app_id} POST
/api/v1/auth/app/{app_id}/expire-all POST
/api/v1/auth/app/{app_id}/poller/{sink_id}/token GET
/api/v1/auth/app/{app_id}/poller/{sink_id}/token/rotate POST
/api/v1/auth/dashboard-access/{app_id} POST
/api/v1/auth/logout POST
/api/v1/auth/stream-logout POST
/api/v1/auth/stream-portal-access/{stream_id} POST
/api/v1/auth/stream/{stream_id}/expire-all POST
/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token GET
/api/v1/auth/stream/{stream_id}/sink/{sink_id}/poller/token/rotate POST
/api/v1/auth/whoami GET
/api/v1/background-task GET
/api/v1/background-task/{task_id} GET
/api/v1/connector GET POST
/api/v1/connector/{connector_id} GET PUT PATCH DELETE
/api/v1/environment/export POST
/api/v1/environment/import POST
/api/v1/event-type GET POST
/api/v1/event-type/import/openapi POST
/api/v1/event-type/{event_type_name} GET PUT PATCH DELETE
/api/v1/health GET
/api/v1/operational-webhook/endpoint GET POST
/api/v1/operational-webhook/endpoint/{endpoint_id} GET PUT DELETE
/api/v1/operational-webhook/endpoint/{endpoint_id}/headers GET PUT
/api/v1/operational-webhook/endpoint/{endpoint_id}/secret GET
/api/v1/operational-webhook/endpoint/{endpoint_id}/secret/rotate POST
/api/v1/stats/usage/app POST
/api/v1/stats/usage/event-types PUT
/api/v1/stream GET POST
/api/v1/stream/event-type GET POST
/api/v1/stream/event-type/{name} GET PUT PATCH DELETE
/api/v1/stream/{stream_id} GET PUT PATCH DELETE
/api/v1/stream/{stream_id}/events POST
/api/v1/stream/{stream_id}/sink GET POST
/api/v1/stream/{stream_id}/sink/{sink_id} GET PUT PATCH DELETE
/api/v1/stream/{stream_id}/sink/{sink_id}/events GET
/api/v1/stream/{stream_id}/sink/{sink_id}/headers GET PATCH
/api/v1/stream/{stream_id}/sink/{sink_id}/secret GET
/api/v1/stream/{stream_id}/sink/{sink_id}/secret/rotate POST
/api/v1/stream/{stream_id}/sink/{sink_id}/transformation GET PATCH
/ingest/api/v1/source GET POST
/ingest/api/v1/source/{source_id} GET PUT DELETE
/ingest/api/v1/source/{source_id}/dashboard POST
/ingest/api/v1/source/{source_id}/endpoint GET POST
/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id} GET PUT DELETE
/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/headers GET PUT
/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret GET
/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/secret/rotate POST
/ingest/api/v1/source/{source_id}/endpoint/{endpoint_id}/transformation GET PATCH
/ingest/api/v1/source/{source_id}/token/rotate POST
"""


def contract_operations() -> list[tuple[str, str]]:
    """Every (method, path) of the contract, paths in order."""
    return [(method, path) for line in _TABLE.strip().splitlines() for path, *methods in [line.split()] for method in methods]
