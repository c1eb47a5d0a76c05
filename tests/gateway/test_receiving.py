"""What comes in, what is kept of it, and what the sender is told."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import sys
import zlib

import brotli
import msgspec
import pytest

from ringback.api.received import _facts
from ringback.clock import SECOND_US
from ringback.dashboard.pages.sources import event_row
from ringback.errors import Conflict, InvalidField, Refused
from ringback.model.sources import Source
from ringback.services.sources import SecretRotateIn, SourceIn
from ringback.store.operations.retention import expire_payloads
from tests.gateway.conftest import NEWEST, WHO, Running, path_of
from tests.gateway.signing import NOW_S, SECRET, event, signed

HOUR_S = 3_600


def test_bytes_content_type_and_headers_are_kept_as_they_came(running: Running) -> None:
    source = running.made()
    body = b'{ "id":"evt_1",\r\n "type":"charge.succeeded", "n": 1.0, "n": 90071992547409931 }\n'
    headers = {**signed(body), "X-Odd_Name.1": "\xe9", "Connection": "x-hop", "X-Hop": "1", "Host": "h", "Content-Length": str(len(body))}
    assert running.ask(path_of(source), body, headers).status == 200
    (message,) = running.messages()
    assert message.payload == body
    assert message.content_type == "application/json; charset=utf-8"
    assert message.event_type == "charge.succeeded"
    lines = (message.headers or b"").splitlines()
    assert b"x-odd_name.1: \xe9" in lines and any(line.startswith(b"stripe-signature: ") for line in lines)
    assert not any(line.startswith((b"host", b"x-hop", b"connection", b"content-")) for line in lines)
    assert message.origin is not None
    assert (message.origin.source_id, message.origin.event_id, message.origin.secret) == (source.id, "evt_1", 0)


def test_a_credential_for_us_is_not_passed_on(running: Running) -> None:
    source = running.made(type="custom", scheme={"type": "token", "places": ["header:X-Key"]}, secrets=["k"])
    assert running.ask(path_of(source), b"x", {"X-Key": "k", "Authorization": "Bearer b", "Cookie": "c", "X-Fine": "f"}).status == 200
    (message,) = running.messages()
    assert message.headers == b"x-fine: f\r\n"


@pytest.mark.parametrize(
    ("name", "mapped"),
    [("orders/create", "orders.create"), ("a b:c", "a.b.c"), ("Ωmega", "mega"), ("////", "stripe.webhook"), ("x" * 300, "x" * 256)],
)
def test_event_names_are_mapped_and_the_original_is_kept(running: Running, name: str, mapped: str) -> None:
    source = running.made()
    body = msgspec.json.encode({"id": "evt_1", "type": name})
    assert running.ask(path_of(source), body, signed(body)).status == 200
    (message,) = running.messages()
    assert message.event_type == mapped
    assert message.origin is not None and message.origin.event_type == name


def test_a_source_without_names_calls_its_events_after_its_type(running: Running) -> None:
    source = running.made(type="generic-webhook", secrets=[])
    assert running.ask(path_of(source), b"\xff\xfe").status == 200
    (message,) = running.messages()
    assert (message.event_type, message.content_type, message.payload) == (
        "generic-webhook.webhook",
        "application/octet-stream",
        b"\xff\xfe",
    )
    assert message.origin is not None and message.origin.flags == ("unverified",)


# -- who is there


def test_unknown_sources_wrong_tokens_and_disabled_sources_look_the_same(running: Running) -> None:
    source, off = running.made(), running.made(disabled=True)
    unknown = [
        running.ask(path_of(source) + "x"),
        running.ask(path_of(source).replace(source.id, off.id)),
        running.ask(path_of(off)),
        running.ask("/ingest/api/v1/source/src_0000000000000000000000/in/abc"),
        running.ask("/webhooks/nobody"),
        running.ask("/hooks/%2e%2e"),
        running.ask("/hooks/"),
        running.ask("/webhooks/a/b"),
    ]
    assert {(answer.status, answer.body, *answer.headers.items()) for answer in unknown} == {
        (404, unknown[0].body, *unknown[0].headers.items())
    }


def test_what_is_no_source_goes_to_the_door_behind(running: Running) -> None:
    assert running.ask("/api/v1/app").status == 299
    assert running.ask("/ingest/api/v1/source").status == 299


def test_a_trailing_slash_is_accepted(running: Running) -> None:
    source = running.made(route="hooks/stripe")
    assert running.ask(path_of(source) + "/", event(), signed(event())).status == 200
    assert running.ask("/hooks/stripe/", event(2), signed(event(2))).status == 200
    assert len(running.messages()) == 2


def test_a_route_is_unique_and_only_for_sources_that_verify(running: Running) -> None:
    running.made(route="webhooks/stripe")
    with pytest.raises(Conflict):
        running.made(route="webhooks/stripe")
    with pytest.raises(InvalidField):
        running.made(route="hooks/open", verify="none")


def test_a_source_without_its_secret_does_not_start(running: Running) -> None:
    with pytest.raises(InvalidField, match="secret"):
        running.made(secrets=[])
    assert running.made(secrets=[], verify="none").verification.verify == "none"


def test_old_tokens_work_for_two_days_and_three_rotations_are_the_most(running: Running) -> None:
    source = running.made()
    for number in range(3):
        rotated = running.run(running.sources.rotate_token(WHO, running.app_id, source.id))
        running.clock.set(NOW_S + number + 1)
    with pytest.raises(Refused) as refused:
        running.run(running.sources.rotate_token(WHO, running.app_id, source.id))
    assert refused.value.code == "limit_reached"
    for number, each in enumerate((source, rotated)):
        assert running.ask(path_of(each), event(number), signed(event(number))).status == 200
    running.clock.set(NOW_S + 48 * HOUR_S + 1)
    late = signed(event(5), at_s=NOW_S + 48 * HOUR_S)
    assert running.ask(path_of(source), event(5), late).status == 404
    assert running.ask(path_of(rotated), event(5), late).status == 200
    assert running.run(running.sources.rotate_token(WHO, running.app_id, source.id))


def told(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, object]]:
    """The fields of the log lines of an event."""
    return [record.fields for record in caplog.records if record.message == name]  # type: ignore[attr-defined]  # every line of ours has them


def test_an_old_secret_in_use_is_told_once_an_hour(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    source = running.made()
    running.run(running.sources.rotate_secret(WHO, running.app_id, source.id, SecretRotateIn(secret="next", grace_period_seconds=86_400)))
    for number, at_s in enumerate((NOW_S, NOW_S + 1, NOW_S + HOUR_S - 1, NOW_S + HOUR_S + 1, NOW_S + HOUR_S + 2)):
        running.clock.set(at_s)
        assert running.ask(path_of(source), event(number), signed(event(number), at_s=at_s)).status == 200
    assert told(caplog, "source.old_secret") == [{"source_id": source.id, "secret": 1}] * 2
    assert SECRET not in caplog.text and "next" not in caplog.text


def test_another_body_under_a_known_id_is_told(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    source = running.made()
    for body in (event(), event().replace(b"{}", b"[]")):
        assert running.ask(path_of(source), body, signed(body)).status == 200
    assert told(caplog, "source.conflict") == [{"source_id": source.id, "message_id": running.messages()[1].id}]


def test_secrets_overlap_and_the_one_that_matched_is_recorded(running: Running) -> None:
    source = running.made()
    running.run(running.sources.rotate_secret(WHO, running.app_id, source.id, SecretRotateIn(secret="next", grace_period_seconds=60)))
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    assert running.ask(path_of(source), event(2), signed(event(2), "next")).status == 200
    old, new = (message.origin for message in running.messages())
    assert old is not None and new is not None
    assert (old.secret, old.flags, new.secret, new.flags) == (1, ("old_secret",), 0, ())
    running.run(running.known.note())
    assert running.run(running.sources.activity(source.id)).old_secret_at is not None
    running.clock.set(NOW_S + 61)
    assert running.ask(path_of(source), event(3), signed(event(3))).status == 401
    assert running.ask(path_of(source), event(4), signed(event(4), "next")).status == 200


def test_what_a_source_counted_before_it_was_changed_is_kept(running: Running) -> None:
    source = running.made()
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    assert running.ask(path_of(source), event(2), signed(event(2), "wrong")).status == 401
    running.changed(source, name="another")
    running.clock.at_us += SECOND_US
    assert running.ask(path_of(source), event(3), signed(event(3))).status == 200
    running.run(running.known.note())
    activity = running.run(running.sources.activity(source.id))
    assert (activity.accepted, activity.duplicates, activity.rejected) == (2, 1, 1)
    assert activity.last_at == running.clock.at_us
    assert running.run(running.sources.refusals(source.id)) == {"signature_mismatch": 1}
    requests = running.metrics.source_requests
    assert (requests["accepted"], requests["duplicate"], requests["rejected"]) == (2, 1, 1)
    # Once it is written down, it is not written down again.
    running.run(running.known.note())
    running.run(running.known.note())
    assert running.run(running.sources.activity(source.id)) == activity


def test_what_a_source_counted_before_it_was_deleted_is_counted_and_leaves_nothing_behind(running: Running) -> None:
    source = running.made()
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    running.run(running.sources.delete(WHO, running.app_id, source.id))
    while running.run(running.known.forget()):
        pass
    running.run(running.known.note())
    assert running.metrics.source_requests["accepted"] == 1
    assert running.run(running.store.read(lambda tx: tx.rows("SELECT source_id FROM source_activity"))) == []


def test_a_deleted_source_is_unknown_at_once(running: Running) -> None:
    source = running.made(route="hooks/gone")
    assert running.ask(path_of(source), event(), signed(event())).status == 200
    running.run(running.sources.delete(WHO, running.app_id, source.id))
    assert running.ask(path_of(source), event(2), signed(event(2))).status == 404
    assert running.ask("/hooks/gone", event(2), signed(event(2))).status == 404
    assert running.made(route="hooks/gone")


def test_a_source_dies_with_its_application_and_gives_its_route_back(running: Running) -> None:
    source = running.made(route="hooks/gone")
    assert running.ask("/hooks/gone", event(), signed(event())).status == 200
    running.run(running.applications.delete(WHO, running.app_id))
    assert running.ask("/hooks/gone", event(2), signed(event(2))).status == 404
    assert running.ask(path_of(source), event(2), signed(event(2))).status == 404


# -- may it come in


def test_other_methods_are_refused_with_those_that_are_allowed(running: Running) -> None:
    source = running.made(methods=["POST", "PUT"])
    answer = running.ask(path_of(source), b"", method="DELETE")
    assert (answer.status, answer.headers["allow"]) == (405, "POST, PUT")
    assert running.ask(path_of(source), event(), signed(event()), method="PUT").status == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "status"),
    [
        ("198.51.100.7", "", 200),
        ("::ffff:198.51.100.7", "", 200),
        ("2001:db8::1", "", 200),
        ("192.0.2.77", "", 200),
        ("192.0.3.77", "", 403),
        ("203.0.113.9", "", 403),
        # A stranger's word on where it comes from counts for nothing.
        ("203.0.113.9", "198.51.100.7", 403),
        ("10.0.0.1", "198.51.100.7", 200),
        ("10.0.0.1", "198.51.100.7, 203.0.113.9", 403),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7, 10.0.0.2", 200),
        ("10.0.0.1", "198.51.100.7, nonsense", 403),
        ("10.0.0.1", "[2001:db8::2]:443", 200),
    ],
)
def test_addresses_are_allowed_by_list_and_proxies_are_walked_from_the_right(
    running: Running, peer: str, forwarded: str, status: int
) -> None:
    source = running.made(allowedIps=["198.51.100.0/24", "2001:db8::/32", "::ffff:192.0.2.0/120"])
    headers = {**signed(event()), **({"x-forwarded-for": forwarded} if forwarded else {})}
    assert running.ask(path_of(source), event(), headers, peer=peer).status == status
    assert [item.reason for item in running.quarantined(source)] == ([] if status == 200 else ["ip_denied"])


def test_required_headers_must_be_there_with_their_values(running: Running) -> None:
    source = running.made(requiredHeaders={"User-Agent": "Stripe/*", "X-Fixed": "1"})
    good = {**signed(event()), "user-agent": "Stripe/1.0", "x-fixed": "1"}
    assert running.ask(path_of(source), event(), {**good, "x-fixed": "2"}).status == 401
    assert running.ask(path_of(source), event(), {**good, "user-agent": "curl"}).status == 401
    assert running.ask(path_of(source), event(), good).status == 200
    assert {item.reason for item in running.quarantined(source)} == {"header_required"}


def test_a_rate_is_kept_with_a_hint_when_to_come_back(running: Running) -> None:
    source = running.made(rateLimit=2)
    answers = [running.ask(path_of(source), event(number), signed(event(number))) for number in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "1"
    running.clock.set(NOW_S + 1)
    assert running.ask(path_of(source), event(3), signed(event(3))).status == 200


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_of_its_source_is_not_read(running: Running, announced: bool) -> None:
    source = running.made(maxBodyBytes=100)
    body = b"x" * 101
    headers = {"content-length": "101"} if announced else {}
    answer = running.ask(path_of(source), body, headers, pieces=[b"x" * 60, b"x" * 41])
    assert (answer.status, answer.headers["connection"]) == (413, "close")


# -- what is in it


def test_unwanted_types_are_acknowledged_and_dropped(running: Running) -> None:
    source = running.made(eventTypes=["charge.succeeded"])
    assert running.ask(path_of(source), event(1, "charge.failed"), signed(event(1, "charge.failed"))).status == 200
    assert running.messages() == []
    assert running.ask(path_of(source), event(2), signed(event(2))).status == 200
    assert len(running.messages()) == 1


SCHEMA = {"type": "object", "required": ["amount"]}


@pytest.mark.parametrize(("mode", "status", "stored", "kept"), [("observe", 200, 1, 0), ("quarantine", 200, 0, 1), ("reject", 422, 0, 1)])
def test_a_schema_observes_quarantines_or_rejects(running: Running, mode: str, status: int, stored: int, kept: int) -> None:
    source = running.made(schema=SCHEMA, schemaMode=mode)
    assert running.ask(path_of(source), event(), signed(event())).status == status
    assert (len(running.messages()), len(running.quarantined(source))) == (stored, kept)
    if stored:
        origin = running.messages()[0].origin
        assert origin is not None and origin.flags == ("schema",)


@pytest.mark.parametrize("schema", [{"$ref": "http://127.0.0.1:9/schema"}, {"pattern": "("}, {"$ref": "file:///etc/passwd"}])
def test_a_schema_that_refers_outside_or_cannot_be_compiled_is_refused(running: Running, schema: object) -> None:
    with pytest.raises(InvalidField):
        running.made(schema=schema)


def test_payloads_are_kept_for_as_long_as_the_source_says(running: Running) -> None:
    source, other = running.made(retentionHours=2), running.made()
    assert running.ask(path_of(source), event(1), signed(event(1))).status == 200
    assert running.ask(path_of(other), event(2), signed(event(2))).status == 200
    for at_s, left in ((NOW_S + 2 * HOUR_S - 1, [event(1), event(2)]), (NOW_S + 2 * HOUR_S, [None, event(2)])):
        now_us = at_s * 1_000_000
        running.run(running.store.write(lambda tx, now_us=now_us: expire_payloads(tx, now_us, 100)))
        assert [message.payload for message in running.messages()] == left


def test_the_providers_clock_and_our_answer_are_measured(running: Running) -> None:
    path = path_of(running.made())
    for number, skew_s in enumerate((-90, 0, 3)):
        assert running.ask(path, event(number), signed(event(number), at_s=NOW_S - skew_s)).status == 200
    assert running.ask(path, event(9), signed(event(9), at_s=NOW_S - 1_000)).status == 401
    skews = dict(running.metrics.clock_skew_seconds.buckets())
    assert (skews["-60.0"], skews["0.0"], skews["5.0"], skews["+Inf"]) == (1, 2, 3, 3)
    assert dict(running.metrics.source_ack_seconds.buckets())["+Inf"] == 3, "a refusal acknowledges nothing"


@pytest.mark.parametrize(
    ("body", "kind", "flags"),
    [
        (b"\xef\xbb\xbf" + event(), "application/json", ()),
        (b'{"id":"evt_1","type":"charge.succeeded","text":"caf\xc3\xa9"}', "application/json", ()),
        (b'{"id":"evt_1","type":"charge.succeeded","text":"caf\xe9"}', "application/json", ("not_utf8",)),
        (b'{"id":"evt_1","type":"charge.succeeded","text":"caf\xe9"}', "text/plain; charset=UTF-8", ("not_utf8",)),
        (b'{"id":"evt_1","type":"charge.succeeded","text":"caf\xe9"}', "application/json; charset=iso-8859-1", ()),
        (b'{"id":"evt_1","type":"charge.succeeded","text":"caf\xe9"}', "application/octet-stream", ()),
    ],
)
def test_byte_order_marks_and_odd_bytes_are_kept_and_flagged(running: Running, body: bytes, kind: str, flags: tuple[str, ...]) -> None:
    source = running.made()
    for _ in range(2):
        assert running.ask(path_of(source), body, {**signed(body), "content-type": kind}).status == 200
    (message,) = running.messages()
    assert message.payload == body
    assert message.origin is not None and message.origin.flags == flags


def test_a_batch_behind_a_byte_order_mark_is_split(running: Running) -> None:
    source = running.made(type="sendgrid", verify="none", secrets=[])
    body = b'\xef\xbb\xbf[{"sg_event_id":"1","event":"open"},{"sg_event_id":"2","event":"click"}]'
    assert running.ask(path_of(source), body).status == 200
    assert [message.event_type for message in running.messages()] == ["open", "click"]


def test_paths_of_a_thousand_steps_are_no_failure_of_ours(running: Running) -> None:
    path = "json:" + ".".join("a" * 1_500)
    source = running.made(verify="none", secrets=[], type="custom", deduplication={"by": [path]}, eventTypeAt=[path])
    assert running.ask(path_of(source), b'{"a":' * 900 + b"1" + b"}" * 900).status == 200


def test_sources_in_memory_are_bounded(running: Running) -> None:
    sources = [running.made() for _ in range(5)]
    for number, source in enumerate(sources):
        running.clock.set(NOW_S + number)
        assert running.ask(path_of(source), event(number), signed(event(number), at_s=NOW_S)).status == 200
    running.run(running.known.note())
    running.known.remembered_max = 2
    running.run(running.known.note())
    assert [running.known.known(path_of(source).encode()) is not None for source in sources] == [False, False, False, True, True]
    assert running.ask(path_of(sources[0]), event(9), signed(event(9), at_s=NOW_S)).status == 200
    assert running.run(running.sources.activity(sources[0].id)).accepted == 1, "what was counted is written down"


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(event())),
        ("gzip", gzip.compress(event()[:9]) + gzip.compress(event()[9:]) + bytes(512)),
        ("br", brotli.compress(event())),
    ],
    ids=["gzip", "gzip in members", "br"],
)
def test_compressed_bodies_are_verified_kept_and_passed_on_as_they_came(running: Running, coding: str, packed: bytes) -> None:
    source = running.made()
    assert running.ask(path_of(source), packed, {**signed(packed), "content-encoding": coding}).status == 200
    (message,) = running.messages()
    assert (message.payload, message.event_type) == (packed, "charge.succeeded")
    assert f"content-encoding: {coding}\r\n".encode() in (message.headers or b"")


def test_without_its_extra_a_body_in_brotli_is_answered_415_and_the_owner_is_told_what_to_install(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where it is not installed: the import fails.
    monkeypatch.setitem(sys.modules, "brotli", None)
    source, packed = running.made(), brotli.compress(event())
    answer = running.ask(path_of(source), packed, {**signed(packed), "content-encoding": "br"})
    assert (answer.status, answer.body) == (415, b"")
    (kept,) = running.quarantined(source)
    assert (kept.reason, "ringback[brotli]" in kept.detail) == ("unreadable_coding", True)
    monkeypatch.undo()
    assert len(running.run(running.releases.one(WHO, running.app_id, source.id, kept.id, believe=False))) == 1


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b"\0" * 50_000_000), "gzip", 413),
        (zlib.compress(b"\0" * 50_000_000), "deflate", 413),
        (brotli.compress(b"\0" * 50_000_000, quality=1), "br", 413),
        (event(), "zstd", 415),
        (event(), "gzip", 400),
        (event(), "br", 400),
        (b"", "br", 400),
        (gzip.compress(event())[:-9], "gzip", 400),
        (brotli.compress(event())[:-1], "br", 400),
        (brotli.compress(event()) + b"more", "br", 400),
        (gzip.compress(event()) + b"more", "gzip", 400),
        (gzip.compress(b"") * 1_000 + gzip.compress(event()), "gzip", 413),
        (gzip.compress(b"\0" * 30_000_000) + gzip.compress(b"\0" * 30_000_000), "gzip", 413),
    ],
    ids=[
        "bomb of gzip",
        "bomb of deflate",
        "bomb of brotli",
        "unknown coding",
        "not gzip",
        "not brotli",
        "nothing",
        "cut short",
        "brotli cut short",
        "something behind",
        "something behind gzip",
        "many members",
        "bomb of members",
    ],
)
def test_bombs_and_unknown_codings_are_refused(running: Running, body: bytes, coding: str, status: int) -> None:
    source = running.made()
    assert running.ask(path_of(source), body, {**signed(body), "content-encoding": coding}).status == status
    assert running.messages() == []


def test_the_answer_is_what_the_source_says(running: Running) -> None:
    source = running.made(answer={"status": 202, "body": "[accepted]", "contentType": "text/plain"})
    answer = running.ask(path_of(source), event(), signed(event()))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (202, b"[accepted]", "text/plain")


# -- once


def test_the_same_event_is_kept_once_and_acknowledged_each_time(running: Running) -> None:
    source = running.made()
    for number in range(3):
        assert running.ask(path_of(source), event(), signed(event(), at_s=NOW_S + number)).status == 200
    assert len(running.messages()) == 1
    running.run(running.known.note())
    activity = running.run(running.sources.activity(source.id))
    assert (activity.accepted, activity.duplicates) == (1, 2)


def test_fifty_twins_at_once_are_one_event(running: Running) -> None:
    source = running.made()
    headers = [(name.encode(), value.encode()) for name, value in signed(event()).items()]

    async def together() -> list[int]:
        return [answer.status for answer in await asyncio.gather(*(running.asked(path_of(source), event(), headers) for _ in range(50)))]

    assert running.run(together()) == [200] * 50
    assert len(running.messages()) == 1


def test_another_body_under_the_same_id_is_kept_and_flagged_once(running: Running) -> None:
    source = running.made()
    other = event().replace(b"{}", b'{"tampered":1}')
    for body in (event(), other, other, event()):
        assert running.ask(path_of(source), body, signed(body)).status == 200
    first, second = running.messages()
    assert (first.payload, second.payload) == (event(), other)
    assert second.origin is not None and second.origin.flags == ("conflict",)


def test_an_event_is_forgotten_after_the_window_and_not_before(running: Running) -> None:
    source = running.made()
    for at_s, stored in ((NOW_S, 1), (NOW_S + 75 * HOUR_S, 1), (NOW_S + 77 * HOUR_S, 2)):
        running.clock.set(at_s)
        assert running.ask(path_of(source), event(), signed(event(), at_s=at_s)).status == 200
        assert len(running.messages()) == stored


def test_two_sources_do_not_share_events(running: Running) -> None:
    for source in (running.made(), running.made()):
        assert running.ask(path_of(source), event(), signed(event())).status == 200
    assert len(running.messages()) == 2


def test_an_identity_may_be_put_together_from_places(running: Running) -> None:
    source = running.made(deduplication={"by": ["header:x-topic", "json:id"]})
    for topic, number in (("a", 1), ("b", 1), ("a", 1), ("a", 2)):
        assert running.ask(path_of(source), event(number), {**signed(event(number)), "x-topic": topic}).status == 200
    assert len(running.messages()) == 3


def test_an_identity_may_be_the_body_itself(running: Running) -> None:
    source = running.made(type="generic-webhook", secrets=[], deduplication={"by": ["body"]})
    for body in (b"a", b"b", b"a"):
        assert running.ask(path_of(source), body).status == 200
    assert len(running.messages()) == 2


def test_without_an_identity_nothing_is_a_duplicate(running: Running) -> None:
    source = running.made(type="generic-webhook", secrets=[])
    for _ in range(2):
        assert running.ask(path_of(source), b"same").status == 200
    assert len(running.messages()) == 2


def test_while_the_server_drains_nothing_is_acknowledged(running: Running) -> None:
    source = running.made()
    running.intake.closed = True
    answer = running.ask(path_of(source), event(), signed(event()))
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    running.intake.closed = False
    assert running.ask(path_of(source), event(), signed(event())).status == 200
    assert len(running.messages()) == 1


def test_a_secret_is_nowhere_in_the_database_in_clear(running: Running) -> None:
    running.made(secrets=[SECRET + "_needle"])

    def dump(tx: object) -> bytes:
        rows = tx.rows("SELECT definition FROM source")  # type: ignore[attr-defined]  # the read hands over a transaction
        return b"".join(row[0] for row in rows)

    assert b"needle" not in running.run(running.store.read(dump))


# -- what is noted


def test_a_source_that_observes_takes_all_in_and_notes_what_it_would_have_refused(running: Running) -> None:
    source = running.made(verify="observe")
    stale = signed(event(2), at_s=NOW_S - 1_000)
    for body, headers in ((event(1), signed(event(1))), (event(2), stale), (event(3), {}), (event(4), signed(event(4), "another"))):
        assert running.ask(path_of(source), body, headers).status == 200
    origins = [message.origin for message in running.messages()]
    assert [None if origin is None else origin.flags for origin in origins] == [
        (),
        ("would_refuse:timestamp_too_old", "unverified"),
        ("would_refuse:missing_header", "unverified"),
        ("would_refuse:signature_mismatch", "unverified"),
    ]
    assert running.quarantined(source) == []


def test_a_source_that_only_observes_has_no_readable_route_and_still_needs_its_secret(running: Running) -> None:
    with pytest.raises(InvalidField, match="unguessable"):
        running.made(verify="observe", route="hooks/open")
    with pytest.raises(InvalidField, match="secret"):
        running.made(verify="observe", secrets=[])


def test_every_request_is_counted_by_what_became_of_it(running: Running) -> None:
    source = running.made(type="slack", secrets=["s"], maxBodyBytes=1_000, deduplication={"by": ["body"]}, verify="observe")
    asked = b"ssl_check=1&token=t"
    assert running.ask(path_of(source), asked).status == 200
    for _ in range(2):
        assert running.ask(path_of(source), b"{}").status == 200
    assert running.ask(path_of(source), b"", method="GET").status == 405
    assert running.ask(path_of(source), b"x" * 1_001).status == 413
    running.run(running.known.note())
    found = running.run(running.sources.activity(source.id))
    assert (found.accepted, found.duplicates, found.rejected, found.ignored, found.asked) == (1, 1, 2, 0, 1)
    assert running.metrics.source_requests == {"accepted": 1, "duplicate": 1, "rejected": 2, "ignored": 0, "handshake": 1, "superseded": 0}
    assert running.metrics.source_rejections == {"method_not_allowed": 1, "too_large": 1}


# -- what it answers


@pytest.mark.parametrize(
    ("kind", "status", "body", "content_type"),
    [
        ("adyen", 200, b"[accepted]", "text/plain"),
        ("slack", 200, b"", None),
        ("okta", 200, b"", None),
        ("xero", 200, b"", None),
        ("airtable", 200, b"", None),
        ("ms-graph", 202, b"", None),
        ("gocardless", 204, b"", None),
        ("twilio", 200, b'<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml"),
        ("stripe", 200, b"{}", "application/json"),
    ],
)
def test_a_provider_is_answered_as_it_wants_to_be(running: Running, kind: str, status: int, body: bytes, content_type: str | None) -> None:
    source = running.made(type=kind, verify="none", secrets=[])
    answer = running.ask(path_of(source), b'{"a":1}')
    assert (answer.status, answer.body, answer.headers.get("content-type")) == (status, body, content_type)
    own = running.made(type=kind, verify="none", secrets=[], answer={"status": 201, "body": "own", "contentType": "text/own"})
    answer = running.ask(path_of(own), b'{"a":1}')
    assert (answer.status, answer.body, answer.headers["content-type"]) == (201, b"own", "text/own")


def test_an_ingest_source_answers_as_the_contract_says_whatever_its_type(running: Running) -> None:
    source = running.run(running.sources.create(WHO, None, SourceIn(name="slack", type="slack", verify="none", secrets=())))
    answer = running.ask(path_of(source), b'{"a":1}')
    assert (answer.status, answer.body) == (200, b"{}")


def test_the_answer_has_the_headers_that_the_source_says(running: Running) -> None:
    source = running.made(answer={"status": 201, "body": "ok", "contentType": "text/plain", "headers": {"X-Slack-No-Retry": "1"}})
    answer = running.ask(path_of(source), event(), signed(event()))
    assert (answer.status, answer.body, answer.headers["x-slack-no-retry"]) == (201, b"ok", "1")


@pytest.mark.parametrize("status", [204, 205])
def test_an_answer_without_content_has_none(running: Running, status: int) -> None:
    source = running.made(answer={"status": status})
    answer = running.ask(path_of(source), event(), signed(event()))
    assert (answer.status, answer.body) == (status, b"")
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": {"headers": {"Content-Length": "5"}}},
        {"answer": {"headers": {"X-A": "b\r\nSet-Cookie: c"}}},
        {"answer": {"headers": {"X A": "b"}}},
        {"answer": {"status": 302}},
        {"deduplication": {"by": ["nonsense"]}},
        {"deduplication": {"windowS": 74 * HOUR_S}},
        {"eventTypeAt": ["cookie:a"]},
        {"requiredHeaders": {"x y": "1"}},
        {"publicUrl": "https://example.com/hook?a=b"},
        {"publicUrl": "example.com"},
        {"allowedIps": ["10.0.0.1/8"]},
        {"handshakes": ["secret-knock"]},
        {"methods": []},
        {"methods": ["TRACE"]},
        {"maxBodyBytes": 26 * 1024 * 1024},
        {"type": "strype"},
        {"scheme": "stripe-v2"},
        {"route": "api/v1"},
        {"route": "in/stripe"},
    ],
    ids=str,
)
def test_a_source_that_cannot_work_is_refused_when_it_is_made(running: Running, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidField):
        running.made(**wrong)


def test_a_cloudevents_sender_is_granted_what_the_source_takes(running: Running) -> None:
    source = running.made(type="cloudevents", secrets=["s"], rateLimit=3)
    headers = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "1000"}
    answer = running.ask(path_of(source), b"", headers, method="OPTIONS")
    assert (answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]) == ("eventemitter.example.com", "180")


def test_odd_json_and_xml_are_taken_as_they_are(running: Running) -> None:
    source = running.made(type="custom", scheme={"type": "token", "places": ["header:x-key"]}, secrets=["k"], eventTypeAt=["json:type"])
    bodies = [
        b"[" * 100_000,
        b'{"type":"a","type":"b"}',
        b'{"type":"big","id":9007199254740993}',
        b'{"type":NaN}',
        b'{"type":"\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"type":"\xff\xfe"}',
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b"",
    ]
    for body in bodies:
        assert running.ask(path_of(source), body, {"x-key": "k"}).status == 200
    assert [message.payload for message in running.messages()] == bodies


def slack(body: bytes, **more: str) -> dict[str, str]:
    signature = hmac.digest(b"secret", b"v0:%d:%b" % (int(NOW_S), body), "sha256").hex()
    return {"x-slack-request-timestamp": str(int(NOW_S)), "x-slack-signature": f"v0={signature}", **more}


def test_the_providers_own_count_of_deliveries_is_kept_with_the_event_and_shown(running: Running) -> None:
    source = running.made(type="slack", secrets=["secret"])
    first, second = b'{"event_id":"Ev1","type":"event_callback"}', b'{"event_id":"Ev2","type":"event_callback"}'
    assert running.ask(path_of(source), first, slack(first)).status == 200
    assert (
        running.ask(path_of(source), second, slack(second, **{"x-slack-retry-num": "2", "x-slack-retry-reason": "http_timeout"})).status
        == 200
    )
    events = running.run(running.received.page(WHO, running.app_id, source.id, NEWEST, None)).items
    assert [event.origin.redelivery for event in events] == ["2", None]
    assert [event_row(source, event, running.clock.now_us()).flags for event in events] == [["delivery counter 2"], []]
    assert [_facts(event)["redelivery"] for event in events] == ["2", None]


def test_where_deliveries_are_counted_can_be_said_and_what_strangers_write_there_is_cut(running: Running) -> None:
    source = running.made(redeliveryAt=["header:x-try", "json:try"])
    for number, headers in enumerate(({"x-try": "7"}, {"x-try": "9" * 500}, {"x-try": "\xff\n"[:1]}, {}), 1):
        body = b'{"id":"evt_%d","type":"a","try":3}' % number
        assert running.ask(path_of(source), body, {**signed(body), **headers}).status == 200
    found = [message.origin.redelivery for message in running.messages() if message.origin is not None]
    assert (found[0], found[1], found[3]) == ("7", "9" * 20, "3")
    batch = running.made(type="azure-event-grid", secrets=["s"])
    headers = {"aeg-delivery-count": "1", "content-type": "application/json"}
    body = b'[{"id":"a","eventType":"x"},{"id":"b","eventType":"x"}]'
    assert running.ask(path_of(batch), body, headers, query=b"secret=s").status == 200
    assert [message.origin.redelivery for message in running.messages()[-2:] if message.origin is not None] == ["1", "1"]


def test_a_thousand_sources_of_one_moment_have_ids_in_the_order_of_their_making_at_once(running: Running) -> None:
    # The clock of this test stands still: all of them are of one moment.
    given = SourceIn(name="n", type="generic-webhook")

    async def all_made() -> list[str]:
        return [(await running.sources.create(WHO, running.app_id, given)).id for _ in range(1_000)]

    async def within() -> list[str]:
        return await asyncio.wait_for(all_made(), 20.0)

    made = running.run(within())
    assert made == sorted(set(made)) and len(made) == 1_000


def test_requests_in_quarantine_and_the_journal_go_with_the_retention_of_their_source(running: Running) -> None:
    source, other = running.made(retentionHours=2), running.made()
    for made in (source, other):
        assert running.ask(path_of(made), event(), signed(event())).status == 200
        assert running.ask(path_of(made), event(), signed(event())).status == 200
        assert running.ask(path_of(made), event(), []).status == 401
    running.run(running.known.note())
    running.run(running.journal.write())
    for at_s, left in ((NOW_S + 2 * HOUR_S - 1, 1), (NOW_S + 2 * HOUR_S + 1, 0)):
        running.clock.at_us = at_s * 1_000_000
        running.run(running.known.silent())
        while running.run(running.known.forget()):
            pass
        assert (len(running.quarantined(source)), len(running.quarantined(other))) == (left, 1)
        kept = running.run(running.store.read(lambda tx: tx.rows("SELECT source_id FROM arrival ORDER BY source_id")))
        assert kept == sorted([(source.id,)] * left + [(other.id,)])


def test_a_hub_chooses_the_hash_and_sha1_is_taken_only_from_who_asks_for_it(running: Running) -> None:
    """https://www.w3.org/TR/websub/#signing-content ."""
    body = b"<feed/>"

    def sent(source: Source, method: str, key: bytes = b"s3cret") -> int:
        signature = hmac.new(key, body, method).hexdigest()
        return running.ask(path_of(source), body, {"x-hub-signature": f"{method}={signature}"}).status

    source = running.made(type="websub", secrets=["s3cret"])
    assert [sent(source, method) for method in ("sha256", "sha384", "sha512", "sha1")] == [200, 200, 200, 401]
    assert [sent(source, method, b"other") for method in ("sha256", "sha384", "sha512", "sha1")] == [401, 401, 401, 401]
    old = running.made(type="websub", scheme="websub-sha1", secrets=["s3cret"])
    assert [sent(old, method) for method in ("sha256", "sha1")] == [401, 200]
