"""The official SDK against a running server: sources that receive, and their endpoints."""

from __future__ import annotations

import pytest
from svix.api.ingest_endpoint import IngestEndpointListOptions
from svix.api.ingest_source import IngestSourceListOptions
from svix.exceptions import HTTPValidationError
from svix.models import (
    IngestEndpointHeadersIn,
    IngestEndpointIn,
    IngestEndpointSecretIn,
    IngestEndpointTransformationPatch,
    IngestEndpointUpsertIn,
    IngestSourceIn,
    Ordering,
)

from tests.acceptance.sdk_shop import CODE, missing
from tests.acceptance.sdk_surface import Sdk

URL = "https://a.example/"


def source(sdk: Sdk) -> str:
    """The id of a new source."""
    wanted = IngestSourceIn(name="any", uid=sdk.name("source"), type="generic-webhook", config={})
    return sdk.svix.ingest.source.create(wanted).id


def test_sources(sdk: Sdk) -> None:
    svix = sdk.svix
    made = svix.ingest.source.get(source(sdk))
    newest = svix.ingest.source.list(IngestSourceListOptions(limit=1, order=Ordering.DESCENDING))
    assert [item.id for item in newest.data] == [made.id]
    assert svix.ingest.source.rotate_token(made.id).ingest_url != made.ingest_url
    again = svix.ingest.source.upsert(made.id, IngestSourceIn(name="other", type="generic-webhook", config={}))
    assert (again.id, again.name) == (made.id, "other")
    svix.ingest.source.delete(made.id)
    assert missing(lambda: svix.ingest.source.get(made.id)) == (404, "not_found")


def test_endpoints_of_a_source(sdk: Sdk) -> None:
    svix, owner = sdk.svix, source(sdk)
    made = svix.ingest.endpoint.create(owner, IngestEndpointIn(url=URL, uid="mine"))
    assert svix.ingest.endpoint.get(owner, "mine").id == made.id
    assert [item.id for item in svix.ingest.endpoint.list(owner, IngestEndpointListOptions(limit=5)).data] == [made.id]
    assert svix.ingest.endpoint.upsert(owner, "mine", IngestEndpointUpsertIn(url=URL, description="x")).description == "x"
    before = svix.ingest.endpoint.get_secret(owner, "mine").key
    svix.ingest.endpoint.rotate_secret(owner, "mine", IngestEndpointSecretIn())
    assert svix.ingest.endpoint.get_secret(owner, "mine").key != before
    svix.ingest.endpoint.set_headers(owner, "mine", IngestEndpointHeadersIn(headers={"x-a": "1"}))
    assert svix.ingest.endpoint.get_headers(owner, "mine").headers == {"x-a": "1"}
    svix.ingest.endpoint.delete(owner, "mine")
    assert missing(lambda: svix.ingest.endpoint.get(owner, "mine")) == (404, "not_found")


def test_transformations_of_a_source(sdk: Sdk) -> None:
    svix, owner = sdk.svix, source(sdk)
    svix.ingest.endpoint.create(owner, IngestEndpointIn(url=URL, uid="mine"))
    svix.ingest.endpoint.transformation.patch(owner, "mine", IngestEndpointTransformationPatch(code=CODE, variables={"a": "b"}))
    kept = svix.ingest.endpoint.transformation.get(owner, "mine")
    assert (kept.code, kept.enabled, kept.variables) == (CODE, False, {"a": "b"})
    enable = IngestEndpointTransformationPatch(enabled=True)
    svix.ingest.endpoint.transformation.patch(owner, "mine", enable)
    assert svix.ingest.endpoint.transformation.get(owner, "mine").enabled is True
    svix.ingest.endpoint.transformation.patch(owner, "mine", IngestEndpointTransformationPatch(code=None))
    with pytest.raises(HTTPValidationError):
        svix.ingest.endpoint.transformation.patch(owner, "mine", enable)
