"""The official SDK against a running server: applications, event types, connectors, environments, tokens."""

from __future__ import annotations

import json

import pytest
from svix.api import (
    ApplicationListOptions,
    ConnectorListOptions,
    EventTypeDeleteOptions,
    EventTypeListOptions,
)
from svix.exceptions import HTTPValidationError
from svix.models import (
    ApplicationIn,
    ApplicationPatch,
    ApplicationTokenExpireIn,
    AppPortalAccessIn,
    AppPortalCapability,
    ConnectorIn,
    ConnectorKind,
    ConnectorPatch,
    ConnectorProduct,
    ConnectorUpsertIn,
    EnvironmentIn,
    EventTypeImportOpenApiIn,
    EventTypeIn,
    EventTypePatch,
    EventTypeUpsertIn,
    Ordering,
)

from tests.acceptance.sdk_shop import CODE, missing
from tests.acceptance.sdk_surface import Sdk, client


def test_applications(sdk: Sdk) -> None:
    svix, uid = sdk.svix, sdk.name("app")
    made = svix.application.create(ApplicationIn(name="A", uid=uid, metadata={"plan": "pro"}, throttle_rate=9))
    assert (made.uid, made.metadata, made.throttle_rate) == (uid, {"plan": "pro"}, 9)
    assert svix.application.get_or_create(ApplicationIn(name="B", uid=uid)) == made == svix.application.get(uid)
    assert svix.application.upsert(uid, ApplicationIn(name="C")).metadata == {}
    assert svix.application.patch(made.id, ApplicationPatch(name="D")).name == "D"
    newest = svix.application.list(ApplicationListOptions(limit=1, order=Ordering.DESCENDING, exclude_apps_with_no_endpoints=False))
    assert [item.id for item in newest.data] == [made.id]
    svix.application.delete(uid)
    assert missing(lambda: svix.application.get(uid)) == (404, "not_found")


def test_event_types(sdk: Sdk) -> None:
    svix, name = sdk.svix, sdk.name("type")
    made = svix.event_type.create(EventTypeIn(name=name, description="one", schemas={"1": {"type": "object"}}, group_name="g"))
    assert (made.schemas, made.group_name) == ({"1": {"type": "object"}}, "g")
    assert svix.event_type.get(name) == made
    assert svix.event_type.upsert(name, EventTypeUpsertIn(description="two")).schemas is None
    assert svix.event_type.patch(name, EventTypePatch(deprecated=True)).deprecated is True
    svix.event_type.delete(name)
    live = svix.event_type.list(EventTypeListOptions(limit=250))
    archived = svix.event_type.list(EventTypeListOptions(limit=250, include_archived=True, with_content=True))
    assert name not in {item.name for item in live.data}
    assert name in {item.name for item in archived.data if item.archived}
    svix.event_type.delete(name, EventTypeDeleteOptions(expunge=True))
    assert missing(lambda: svix.event_type.get(name)) == (404, "not_found")


def test_event_types_from_an_openapi_document(sdk: Sdk) -> None:
    svix, name = sdk.svix, sdk.name("imported")
    hook = {"post": {"description": "d", "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/X"}}}}}}
    spec = {"openapi": "3.1.0", "webhooks": {name: hook}, "components": {"schemas": {"X": {"type": "object"}}}}
    planned = svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec=spec, dry_run=True)).data
    assert planned.modified == [name]
    assert planned.to_modify is not None and planned.to_modify[0].schemas == {"1": {"type": "object"}}
    assert missing(lambda: svix.event_type.get(name)) == (404, "not_found")
    done = svix.event_type.import_openapi(EventTypeImportOpenApiIn(spec_raw=json.dumps(spec))).data
    assert (done.modified, done.to_modify) == ([name], None)
    assert svix.event_type.get(name).description == "d"
    assert missing(lambda: svix.event_type.import_openapi(EventTypeImportOpenApiIn())) == (400, "invalid_spec")


def test_connectors(sdk: Sdk) -> None:
    svix, uid = sdk.svix, sdk.name("connector")
    wanted = ConnectorIn(name="Slack", uid=uid, kind=ConnectorKind.SLACK, transformation=CODE, product_type=ConnectorProduct.STREAM)
    made = svix.connector.create(wanted)
    assert (made.kind, made.product_type, made.feature_flags) == (ConnectorKind.SLACK, ConnectorProduct.STREAM, None)
    assert svix.connector.get(uid) == made
    streams = svix.connector.list(ConnectorListOptions(limit=250, product_type=ConnectorProduct.STREAM, order=Ordering.DESCENDING))
    assert streams.data[0].id == made.id
    changed = svix.connector.patch(uid, ConnectorPatch(description="posts"))
    assert (changed.description, changed.transformation_updated_at) == ("posts", made.transformation_updated_at)
    assert svix.connector.upsert(uid, ConnectorUpsertIn(transformation=CODE + "//")).transformation_updated_at > made.updated_at
    svix.connector.delete(uid)
    assert missing(lambda: svix.connector.get(uid)) == (404, "not_found")
    with pytest.raises(HTTPValidationError):
        svix.connector.create(ConnectorIn(name="Short", transformation="short"))


def test_environments(sdk: Sdk) -> None:
    svix, name = sdk.svix, sdk.name("moved")
    svix.event_type.create(EventTypeIn(name=name, description="one", archived=True))
    svix.connector.create(ConnectorIn(name=name, transformation=CODE))
    exported = svix.environment.export()
    assert name in {item.name for item in exported.event_types} & {item.name for item in exported.connectors}
    svix.environment.import_(EnvironmentIn.model_validate_json(exported.model_dump_json(by_alias=True)))
    again = svix.environment.export()
    assert (again.event_types, again.connectors) == (exported.event_types, exported.connectors)
    svix.environment.import_(EnvironmentIn(settings={"colour": "blue"}, event_types=[EventTypeIn(name=name, description="two")]))
    assert svix.environment.export().settings == {"colour": "blue"}
    assert svix.event_type.get(name).description == "two"


def test_portal_tokens(sdk: Sdk) -> None:
    svix = sdk.svix
    app = svix.application.create(ApplicationIn(name="A")).id
    opened = svix.authentication.app_portal_access(app, AppPortalAccessIn(session_id="s1", capabilities=[AppPortalCapability.VIEW_BASE]))
    assert opened.url.endswith(f"#key={opened.token}")
    portal = client(sdk.server, opened.token)
    assert portal.application.get(app).id == app
    assert missing(lambda: portal.application.list()) == (403, "insufficient access")
    portal.authentication.logout()
    assert missing(lambda: portal.application.get(app)) == (401, "authentication_failed")
    other = client(sdk.server, svix.authentication.app_portal_access(app, AppPortalAccessIn(session_id="s2")).token)
    svix.authentication.expire_all(app, ApplicationTokenExpireIn(session_ids=["s1"]))
    assert other.application.get(app).id == app
    svix.authentication.expire_all(app, ApplicationTokenExpireIn())
    assert missing(lambda: other.application.get(app)) == (401, "authentication_failed")
    assert missing(svix.authentication.logout) == (403, "insufficient access")


def test_health(sdk: Sdk) -> None:
    assert sdk.svix.health.get() is None
