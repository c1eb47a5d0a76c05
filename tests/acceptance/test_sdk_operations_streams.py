"""The official SDK against a running server: streams, their event types and sinks, and the tokens that reach one stream."""

from __future__ import annotations

import datetime
import json
import typing

import pytest
from svix.api.streaming_event_type import StreamingEventTypeDeleteOptions, StreamingEventTypeListOptions
from svix.api.streaming_events import StreamingEventsGetOptions
from svix.api.streaming_sink import StreamingSinkListOptions
from svix.api.streaming_stream import StreamingStreamListOptions
from svix.exceptions import HTTPValidationError
from svix.models import (
    CreateStreamEventsIn,
    EndpointSecretRotateIn,
    EventIn,
    HttpSinkHeadersPatchIn,
    Ordering,
    OtelTracingConfigIn,
    OtelTracingConfigPatch,
    RotatePollerTokenIn,
    S3ConfigIn,
    SinkHttpConfigIn,
    SinkHttpConfigPatch,
    SinkStatusIn,
    SinkTransformIn,
    StreamEventTypeIn,
    StreamEventTypePatch,
    StreamIn,
    StreamPatch,
    StreamPortalAccessIn,
    StreamSinkIn,
    StreamSinkPatch,
    StreamTokenExpireIn,
)

from tests.acceptance.receiver import verify
from tests.acceptance.sdk_shop import missing
from tests.acceptance.sdk_surface import Sdk, client
from tests.waiting import wait_until

URL: typing.Final = "https://a.example/"


def stream(sdk: Sdk) -> str:
    """The id of a new stream."""
    return sdk.svix.streaming.stream.create(StreamIn(name="Orders", uid=sdk.name("stream"))).id


def called(url: str = URL, **more: typing.Any) -> StreamSinkIn:
    """A sink that is called."""
    return StreamSinkIn(type="http", config=SinkHttpConfigIn(url=url), **more)


def asked(**more: typing.Any) -> StreamSinkIn:
    """A sink that asks."""
    return StreamSinkIn(type="poller", config={}, **more)


def events(*payloads: str, kind: str = "order.paid", **more: typing.Any) -> CreateStreamEventsIn:
    """Events of one type."""
    return CreateStreamEventsIn(events=[EventIn(event_type=kind, payload=payload) for payload in payloads], **more)


def test_streams(sdk: Sdk) -> None:
    svix, uid = sdk.svix, sdk.name("stream")
    made = svix.streaming.stream.create(StreamIn(name="Orders", uid=uid, metadata={"a": "b"}))
    assert (made.name, made.uid, made.metadata) == ("Orders", uid, {"a": "b"})
    assert svix.streaming.stream.get(uid) == made
    newest = svix.streaming.stream.list(StreamingStreamListOptions(limit=1, order=Ordering.DESCENDING))
    assert (newest.data, newest.iterator) == ([made], made.id)
    assert missing(lambda: svix.streaming.stream.create(StreamIn(name="again", uid=uid))) == (409, "conflict")
    replaced = svix.streaming.stream.upsert(uid, StreamIn(name="Bills"))
    assert (replaced.id, replaced.name, replaced.uid, replaced.metadata) == (made.id, "Bills", uid, {})
    patched = svix.streaming.stream.patch(uid, StreamPatch(description="of all shops", metadata={"c": "d"}))
    assert (patched.name, patched.metadata, patched.updated_at > made.updated_at) == ("Bills", {"c": "d"}, True)
    named = sdk.name("stream")
    assert svix.streaming.stream.upsert(named, StreamIn(name="new")).uid == named
    svix.streaming.stream.delete(made.id)
    assert missing(lambda: svix.streaming.stream.get(made.id)) == (404, "not_found")
    assert svix.streaming.stream.create(StreamIn(name="the uid is free", uid=uid)).id != made.id


def test_event_types_of_streams(sdk: Sdk) -> None:
    svix, name = sdk.svix, sdk.name("kind")
    made = svix.streaming.event_type.create(StreamEventTypeIn(name=name, description="paid", feature_flags=["beta"]))
    assert (made.name, made.description, made.archived, made.deprecated) == (name, "paid", False, False)
    assert svix.streaming.event_type.get(name) == made
    assert missing(lambda: svix.streaming.event_type.create(StreamEventTypeIn(name=name))) == (409, "event_type_exists")
    assert svix.streaming.event_type.patch(name, StreamEventTypePatch(deprecated=True)).deprecated
    svix.streaming.event_type.delete(name)
    assert svix.streaming.event_type.get(name).archived

    def listed(archived: bool) -> bool:
        options = StreamingEventTypeListOptions(limit=250, include_archived=archived)
        return name in [kind.name for kind in svix.streaming.event_type.list(options).data]

    assert (listed(False), listed(True)) == (False, True)
    again = svix.streaming.event_type.create(StreamEventTypeIn(name=name))
    assert (again.archived, again.feature_flags, again.created_at) == (False, None, made.created_at)
    assert svix.streaming.event_type.upsert(name, StreamEventTypeIn(name=name, description="other")).description == "other"
    svix.streaming.event_type.delete(name, StreamingEventTypeDeleteOptions(expunge=True))
    assert missing(lambda: svix.streaming.event_type.get(name)) == (404, "not_found")


def test_events_reach_a_sink_that_is_called_in_one_signed_batch(sdk: Sdk) -> None:
    svix, owner, path = sdk.svix, stream(sdk), "/" + sdk.name("sink")
    svix.streaming.events.create(owner, events("before there was a sink"))
    sink = svix.streaming.sink.create(owner, called(sdk.receiver.url + path))
    begin = sink.current_iterator
    svix.streaming.events.create(owner, events('{"number": 1}', "no JSON \u00e9\x00", ""))
    (arrival,) = wait_until(lambda: sdk.receiver.at(path), what="the batch")
    assert json.loads(arrival.body) == [
        {"eventType": "order.paid", "payload": payload} for payload in ('{"number": 1}', "no JSON \u00e9\x00", "")
    ]
    verify(arrival, str(svix.streaming.sink.get_secret(owner, sink.id).key))
    assert arrival.id.startswith("batch_") and arrival.headers["content-type"] == "application/json"
    wait_until(lambda: svix.streaming.sink.get(owner, sink.id).current_iterator != begin, what="the sink has moved on")


def test_the_first_events_make_their_stream(sdk: Sdk) -> None:
    svix, uid = sdk.svix, sdk.name("stream")
    assert missing(lambda: svix.streaming.events.create(uid, events("a"))) == (404, "not_found")
    for named, kind in ((None, "application_uid_missing"), ("other", "application_uid_mismatch")):
        with pytest.raises(HTTPValidationError) as wrong:
            svix.streaming.events.create(uid, events("a", stream=StreamIn(name="Orders", uid=named)))
        assert [(problem.loc, problem.type) for problem in wrong.value.detail] == [(["body", "stream", "uid"], kind)]
    assert missing(lambda: svix.streaming.stream.get(uid)) == (404, "not_found")
    for _ in range(2):
        svix.streaming.events.create(uid, events("a", stream=StreamIn(name="Orders", uid=uid)))
    assert svix.streaming.stream.get(uid).name == "Orders"


def test_sinks(sdk: Sdk) -> None:
    svix, owner = sdk.svix, stream(sdk)
    made = svix.streaming.sink.create(owner, called(uid="mine", batch_size=7, max_wait_secs=3, event_types=["a"], metadata={"a": "b"}))
    assert (made.type, made.config.url, made.config.headers.headers, made.status.value) == ("http", URL, {}, "enabled")
    assert (made.batch_size, made.max_wait_secs, made.event_types, made.channels) == (7, 3, ["a"], [])
    assert (made.failure_reason, made.next_retry_at) == (None, None)
    assert svix.streaming.sink.get(owner, "mine") == made
    assert missing(lambda: svix.streaming.sink.create(owner, asked(uid="mine"))) == (409, "conflict")
    other = svix.streaming.sink.create(owner, asked())
    assert [sink.id for sink in svix.streaming.sink.list(owner, StreamingSinkListOptions(limit=5)).data] == [other.id, made.id]
    patched = svix.streaming.sink.patch(
        owner, "mine", StreamSinkPatch(type="http", config=SinkHttpConfigPatch(url=f"{URL}b"), status=SinkStatusIn.DISABLED)
    )
    assert (patched.config.url, patched.status.value, patched.batch_size) == (f"{URL}b", "disabled", 7)
    with pytest.raises(HTTPValidationError) as wrong:
        svix.streaming.sink.patch(owner, "mine", StreamSinkPatch(type="poller", config={}))
    assert [problem.loc for problem in wrong.value.detail] == [["body", "type"]]
    key = svix.streaming.sink.get_secret(owner, "mine").key
    replaced = svix.streaming.sink.upsert(owner, "mine", called())
    assert (replaced.id, replaced.status.value, replaced.batch_size, replaced.metadata) == (made.id, "enabled", 100, {})
    assert svix.streaming.sink.get_secret(owner, "mine").key == key, "who replaces a sink keeps its secret"
    assert svix.streaming.sink.upsert(owner, "mine", asked()).type == "poller"
    svix.streaming.sink.delete(owner, "mine")
    assert missing(lambda: svix.streaming.sink.get(owner, "mine")) == (404, "not_found")


def test_a_sink_without_a_driver_is_refused_and_not_kept(sdk: Sdk) -> None:
    svix, owner = sdk.svix, stream(sdk)
    with pytest.raises(HTTPValidationError) as refused:
        svix.streaming.sink.create(owner, StreamSinkIn(type="amazonS3", config=S3ConfigIn(bucket="b")))
    (problem,) = refused.value.detail
    assert problem.loc == ["body", "type"]
    built = "those of type 'http', 'otelTracing' and 'poller' are"
    assert problem.msg == f"sinks of type 'amazonS3' are not built: this version has no driver for them; {built}"
    with pytest.raises(HTTPValidationError) as nowhere:
        svix.streaming.sink.create(owner, StreamSinkIn.model_construct(type="http"))
    assert [problem.loc for problem in nowhere.value.detail] == [["body", "config", "url"]]
    assert svix.streaming.sink.list(owner).data == []


def test_secrets_of_a_sink(sdk: Sdk) -> None:
    svix, owner = sdk.svix, stream(sdk)
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    wanted = StreamSinkIn(type="http", config=SinkHttpConfigIn(url=URL, key=own))
    sink = svix.streaming.sink.create(owner, wanted).id
    assert svix.streaming.sink.get_secret(owner, sink).key == own
    rotated = svix.streaming.sink.rotate_secret(owner, sink, EndpointSecretRotateIn(grace_period_seconds=60))
    assert rotated.key == svix.streaming.sink.get_secret(owner, sink).key != own
    poller = svix.streaming.sink.create(owner, asked()).id
    assert missing(lambda: svix.streaming.sink.get_secret(owner, poller)) == (400, "not_http_sink")
    assert missing(lambda: svix.streaming.sink.rotate_secret(owner, poller, EndpointSecretRotateIn())) == (400, "not_http_sink")


def test_headers_of_a_sink(sdk: Sdk) -> None:
    svix, owner, path = sdk.svix, stream(sdk), "/" + sdk.name("sink")
    wanted = StreamSinkIn(type="http", config=SinkHttpConfigIn(url=sdk.receiver.url + path, headers={"x-old": "1", "authorization": "s"}))
    made = svix.streaming.sink.create(owner, wanted)
    assert (made.config.headers.headers, made.config.headers.sensitive) == ({"x-old": "1"}, ["authorization"])
    # The type of the SDK knows no null, the contract does.
    change = HttpSinkHeadersPatchIn.model_construct(headers={"x-new": "2", "X-Old": None})
    shown = svix.streaming.sink_headers_patch(owner, made.id, change)
    assert shown == svix.streaming.sink_headers_get(owner, made.id)
    assert (shown.headers, shown.sensitive) == ({"x-new": "2"}, ["authorization"])
    svix.streaming.events.create(owner, events("a"))
    (arrival,) = wait_until(lambda: sdk.receiver.at(path), what="the batch")
    assert (arrival.headers["x-new"], arrival.headers["authorization"], "x-old" in arrival.headers) == ("2", "s", False)
    poller = svix.streaming.sink.create(owner, asked()).id
    assert missing(lambda: svix.streaming.sink_headers_get(owner, poller)) == (400, "not_http_sink")


def test_transformations_of_sinks(sdk: Sdk) -> None:
    svix, owner, path = sdk.svix, stream(sdk), "/" + sdk.name("sink")
    sink = svix.streaming.sink.create(owner, called(sdk.receiver.url + path)).id
    none = svix.streaming.sink.transformation.get(owner, sink)
    assert (none.code, none.enabled) == (None, False)
    code = "function handler(input) { return {data: input.events.map((event) => event.payload.number)}; }"
    svix.streaming.sink.transformation.patch(owner, sink, SinkTransformIn(code=code))
    found = svix.streaming.sink.transformation.get(owner, sink)
    assert (found.code, found.enabled) == (code, True)
    svix.streaming.events.create(owner, events('{"number": 1}', '{"number": 2}'))
    (arrival,) = wait_until(lambda: sdk.receiver.at(path), what="the batch")
    assert json.loads(arrival.body) == [1, 2]
    verify(arrival, str(svix.streaming.sink.get_secret(owner, sink).key))
    svix.streaming.sink.transformation.patch(owner, sink, SinkTransformIn(code=None))
    found = svix.streaming.sink.transformation.get(owner, sink)
    assert (found.code, found.enabled) == (None, False)
    with pytest.raises(HTTPValidationError) as wrong:
        svix.streaming.sink.transformation.patch(owner, sink, SinkTransformIn(code="short"))
    assert [problem.loc for problem in wrong.value.detail] == [["body", "code"]]


def test_a_sink_for_spans(sdk: Sdk) -> None:
    svix, owner, path = sdk.svix, stream(sdk), "/" + sdk.name("sink") + "/v1/traces"
    config = OtelTracingConfigIn(url=sdk.receiver.url + path, headers={"x-team": "ledger"})
    made = svix.streaming.sink.create(owner, StreamSinkIn(type="otelTracing", config=config, uid="spans"))
    assert (made.type, made.config.url, made.config.headers.headers) == ("otelTracing", sdk.receiver.url + path, {"x-team": "ledger"})
    assert missing(lambda: svix.streaming.sink.get_secret(owner, "spans")) == (400, "not_http_sink")
    shown = svix.streaming.sink_headers_patch(owner, "spans", HttpSinkHeadersPatchIn(headers={"x-team": "books"}))
    assert shown.headers == {"x-team": "books"}
    code = """function handler(input) {
      const time = "2024-01-02T03:04:05Z";
      return {spans: input.events.map((event) => ({name: event.eventType, startTime: time, endTime: time, attributes: event.payload}))};
    }"""
    svix.streaming.sink.transformation.patch(owner, "spans", SinkTransformIn(code=code))
    svix.streaming.events.create(owner, events('{"number": 1}'))
    (arrival,) = wait_until(lambda: sdk.receiver.at(path), what="the spans")
    assert (arrival.headers["content-type"], arrival.headers["x-team"]) == ("application/json", "books")
    (resource,) = json.loads(arrival.body)["resourceSpans"]
    (span,) = resource["scopeSpans"][0]["spans"]
    assert (span["name"], span["attributes"]) == ("order.paid", [{"key": "number", "value": {"intValue": "1"}}])
    patched = svix.streaming.sink.patch(owner, "spans", StreamSinkPatch(type="otelTracing", config=OtelTracingConfigPatch(url=URL)))
    assert patched.config.url == URL


def test_events_are_read_from_a_sink_that_asks(sdk: Sdk) -> None:
    svix, owner = sdk.svix, stream(sdk)
    sink = svix.streaming.sink.create(owner, asked()).id
    first = svix.streaming.events.get(owner, sink)
    assert (first.data, first.done) == ([], True)
    svix.streaming.events.create(owner, events("1", "2", "3"))
    page = svix.streaming.events.get(owner, sink, StreamingEventsGetOptions(limit=2, iterator=first.iterator))
    assert ([event.payload for event in page.data], page.done) == (["1", "2"], False)
    rest = svix.streaming.events.get(owner, sink, StreamingEventsGetOptions(limit=2, iterator=page.iterator))
    assert ([event.payload for event in rest.data], rest.done) == (["3"], True)
    again = svix.streaming.events.get(owner, sink, StreamingEventsGetOptions(iterator=first.iterator))
    assert [event.payload for event in again.data] == ["1", "2", "3"], "an iterator may be used again"
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
    assert svix.streaming.events.get(owner, sink, StreamingEventsGetOptions(after=later)).data == []
    since = svix.streaming.events.get(owner, sink, StreamingEventsGetOptions(after=rest.data[0].timestamp))
    assert [event.payload for event in since.data] == ["1", "2", "3"], "events of one call have one time"
    foreign = svix.streaming.sink.create(owner, asked())
    options = StreamingEventsGetOptions(iterator=foreign.current_iterator)
    assert missing(lambda: svix.streaming.events.get(owner, sink, options)) == (400, "invalid_iterator")
    http = svix.streaming.sink.create(owner, called()).id
    assert missing(lambda: svix.streaming.events.get(owner, http)) == (400, "not_poller")


def test_keys_of_sinks_that_ask(sdk: Sdk) -> None:
    svix, owner = sdk.svix, stream(sdk)
    sink = svix.streaming.sink.create(owner, asked(uid="asks")).id
    key = svix.authentication.get_stream_poller_token(owner, "asks")
    assert svix.authentication.get_stream_poller_token(owner, sink) == key
    svix.streaming.events.create(owner, events("1"))
    assert [event.payload for event in client(sdk.server, key.token).streaming.events.get(owner, sink).data] == ["1"]
    wanted = RotatePollerTokenIn(old_token_expiry=0, expiry=3_600)
    other = svix.authentication.rotate_stream_poller_token(owner, sink, wanted)
    assert other.token != key.token and other.expires_at is not None
    assert missing(lambda: client(sdk.server, key.token).streaming.events.get(owner, sink)) == (401, "authentication_failed")
    reader = client(sdk.server, other.token)
    assert reader.streaming.events.get(owner, sink).done
    assert missing(lambda: reader.streaming.sink.get(owner, sink)) == (403, "insufficient access")
    svix.streaming.sink.delete(owner, sink)
    assert missing(lambda: reader.streaming.events.get(owner, sink)) == (401, "authentication_failed")
    called_one = svix.streaming.sink.create(owner, called()).id
    assert missing(lambda: svix.authentication.get_stream_poller_token(owner, called_one)) == (400, "not_poller")


def test_a_token_of_a_stream_reaches_that_stream_alone(sdk: Sdk) -> None:
    svix, owner, other = sdk.svix, stream(sdk), stream(sdk)
    flagged = svix.streaming.event_type.create(StreamEventTypeIn(name=sdk.name("kind"), feature_flags=["beta"])).name
    access = svix.authentication.stream_portal_access(owner, StreamPortalAccessIn(feature_flags=["beta"], session_id="s"))
    assert access.url.endswith(access.token)
    customer = client(sdk.server, access.token)
    assert customer.streaming.stream.get(owner).id == owner
    sink = customer.streaming.sink.create(owner, asked()).id
    assert customer.streaming.events.get(owner, sink).done
    assert customer.streaming.event_type.get(flagged).name == flagged
    plain = client(sdk.server, svix.authentication.stream_portal_access(owner, StreamPortalAccessIn()).token)
    assert missing(lambda: plain.streaming.event_type.get(flagged)) == (404, "not_found")
    assert missing(lambda: customer.streaming.stream.get(other)) == (404, "not_found")
    assert missing(lambda: customer.streaming.sink.create(other, asked())) == (404, "not_found")
    assert missing(lambda: customer.streaming.stream.delete(owner)) == (403, "insufficient access")
    assert missing(lambda: customer.streaming.events.create(owner, events("a"))) == (403, "insufficient access")
    assert missing(lambda: customer.application.list()) == (403, "insufficient access")
    assert missing(lambda: svix.authentication.stream_logout()) == (403, "insufficient access")
    plain.authentication.stream_logout()
    assert missing(lambda: plain.streaming.stream.get(owner)) == (401, "authentication_failed")
    svix.authentication.stream_expire_all(owner, StreamTokenExpireIn(session_ids=["other"]))
    assert customer.streaming.stream.get(owner).id == owner
    svix.authentication.stream_expire_all(owner, StreamTokenExpireIn())
    assert missing(lambda: customer.streaming.stream.get(owner)) == (401, "authentication_failed")
