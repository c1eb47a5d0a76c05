"""What was not believed is kept with its reason, and comes in once the source is mended."""

from __future__ import annotations

import asyncio
import hmac

import pytest

from ringback.clock import rfc3339
from ringback.errors import Refused
from ringback.services.gateway import Ready
from ringback.services.releasing import Chosen
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import NOW_S, event, signed
from tests.gateway.test_forgeries import Amazon
from tests.gateway.test_forgeries import sns as sns_body

DAY_S = 86_400


def test_a_refused_request_comes_in_after_the_secret_was_mended_days_later(running: Running) -> None:
    source = running.made(secrets=["wrong"])
    running.clock.set(NOW_S)
    assert running.ask(path_of(source), event(), signed(event())).status == 401
    (item,) = running.quarantined(source)
    assert (item.reason, item.request.body) == ("signature_mismatch", event())
    with pytest.raises(Refused) as refused:
        running.run(running.releases.one(WHO, running.app_id, source.id, item.id, believe=False))
    assert (refused.value.code, refused.value.status) == ("still_refused", 409)
    running.clock.set(NOW_S + 3 * DAY_S)
    running.changed(source, secrets=("whsec_test",))
    (message_id,) = running.run(running.releases.one(WHO, running.app_id, source.id, item.id, believe=False))
    (message,) = running.messages()
    assert (message.id, message.payload) == (message_id, event())
    assert message.origin is not None and message.origin.flags == ("released",)
    assert running.quarantined(source) == []


def test_many_are_released_and_those_still_refused_are_counted_by_reason(running: Running) -> None:
    source = running.made(secrets=["wrong"])
    for number in range(5):
        running.ask(path_of(source), event(number), signed(event(number)))
    running.ask(path_of(source), event(9), {"stripe-signature": "nonsense"})
    running.changed(source, secrets=("whsec_test",))
    left = running.run(running.releases.many(WHO, running.app_id, source.id, Chosen(), believe=False))
    assert (left.released, left.refused, left.iterator) == (5, {"malformed_header": 1}, None)
    assert [message.payload for message in running.messages()] == [event(number) for number in range(5)]
    assert len(running.quarantined(source)) == 1


def test_a_person_may_believe_what_no_signature_proves(running: Running) -> None:
    source = running.made()
    running.ask(path_of(source), event(), {})
    (item,) = running.quarantined(source)
    assert running.run(running.releases.one(WHO, running.app_id, source.id, item.id, believe=True))
    (message,) = running.messages()
    assert message.origin is not None and set(message.origin.flags) == {"released", "unverified"}


def test_a_released_event_that_came_again_meanwhile_is_a_duplicate(running: Running) -> None:
    source = running.made(secrets=["wrong"])
    running.ask(path_of(source), event(), signed(event()))
    running.changed(source, secrets=("whsec_test",))
    assert running.ask(path_of(source), event(), signed(event())).status == 200
    left = running.run(running.releases.many(WHO, running.app_id, source.id, Chosen(), believe=False))
    assert left.released == 1
    assert len(running.messages()) == 1


def test_a_flood_of_refused_requests_is_answered_and_sampled(running: Running) -> None:
    source = running.made()
    statuses = {running.ask(path_of(source), event(number), {}).status for number in range(100)}
    assert statuses == {401}
    assert len(running.quarantined(source)) == 10
    running.run(running.known.note())
    assert running.run(running.sources.activity(source.id)).rejected == 100


def test_quarantine_is_bounded_and_lets_go_of_the_oldest(running: Running) -> None:
    source = running.made()
    for number in range(1_010):
        running.clock.set(NOW_S + number)
        running.ask(path_of(source), event(number), {})
    kept = running.run(running.store.read(lambda tx: tx.rows("SELECT COUNT(*) FROM quarantine")))[0][0]
    assert kept == 1_000
    assert running.quarantined(source)[0].request.body == event(1_009)


def test_what_is_kept_is_sealed(running: Running) -> None:
    source = running.made()
    running.ask(path_of(source), b"needle-in-the-body", {"authorization": "Bearer needle"})
    stored = running.run(running.store.read(lambda tx: tx.rows("SELECT request FROM quarantine")))[0][0]
    assert b"needle" not in stored


def test_what_is_acknowledged_into_quarantine_is_kept_whole_and_never_sampled(running: Running) -> None:
    source = running.made(schema={"type": "array"}, schemaMode="quarantine", maxBodyBytes=5_000_000)
    for number in range(30):
        assert running.ask(path_of(source), event(number), signed(event(number))).status == 200
    assert len(running.quarantined(source)) == 30
    large = event(31) + b" " * 4_500_000
    assert running.ask(path_of(source), large, signed(large)).status == 200
    assert running.quarantined(source)[0].request.body == large


def test_what_was_acknowledged_is_pushed_out_by_nobody(running: Running) -> None:
    source = running.made(schema={"type": "array"}, schemaMode="quarantine")
    for number in range(3):
        assert running.ask(path_of(source), event(number), signed(event(number))).status == 200
    for number in range(3, 1_010):
        running.clock.set(NOW_S + number)
        assert running.ask(path_of(source), event(number), {}).status == 401
    kept = running.run(running.store.read(lambda tx: tx.rows("SELECT reason, COUNT(*) FROM quarantine GROUP BY 1 ORDER BY 1")))
    assert kept == [("missing_header", 997), ("schema_mismatch", 3)]


def test_a_quarantine_full_of_what_was_acknowledged_acknowledges_no_more(running: Running) -> None:
    source = running.made(schema={"type": "array"}, schemaMode="quarantine", maxBodyBytes=5_000_000)
    statuses = []
    for number in range(9):
        body = event(number) + b" " * 4_000_000
        statuses.append(running.ask(path_of(source), body, signed(body)).status)
    assert statuses == [200] * 8 + [503]
    assert running.ask(path_of(source), event(10), {}).status == 401, "others are refused as ever"
    assert [item.reason for item in running.quarantined(source)] == ["missing_header", *["schema_mismatch"] * 8]


def test_where_all_that_does_not_fit_is_refused_the_newest_is_kept(running: Running) -> None:
    source = running.made(schema={"type": "array"}, schemaMode="reject", maxBodyBytes=5_000_000)
    for number in range(10):
        body = event(number) + b" " * 4_000_000
        assert running.ask(path_of(source), body, signed(body)).status == 422
    assert (running.quarantined(source)[0].request.body or b"").startswith(event(9))


def test_a_request_without_a_name_is_let_out_once_though_two_people_do_it(running: Running) -> None:
    source = running.made(type="custom", scheme={"type": "token", "places": ["header:x-key"]}, secrets=["k"])
    assert running.ask(path_of(source), b"no name", {"x-key": "wrong"}).status == 401
    (item,) = running.quarantined(source)

    async def let_out_twice() -> list[list[str]]:
        ready = Ready(source, running.clock.now_us())
        released = await asyncio.gather(*[running.receiver.release(ready, item, believe=True) for _ in range(2)])
        return [ids for ids in released if isinstance(ids, list)]

    first, second = running.run(let_out_twice())
    assert first == second
    assert len(running.messages()) == 1


def test_the_likely_cause_of_a_mismatch_is_named(running: Running) -> None:
    source = running.made(secrets=[" whsec_test "])
    assert running.ask(path_of(source), event(), signed(event())).status == 401
    (item,) = running.quarantined(source)
    assert running.run(running.releases.causes(source, item)) == ["the secret was pasted with blanks or quotes around it"]
    source = running.made()
    assert running.ask(path_of(source), event() + b"\n", signed(event())).status == 401
    (item,) = running.quarantined(source)
    assert "a newline was added at the end of the body on its way" in running.run(running.releases.causes(source, item))


def test_a_question_of_a_provider_that_is_released_is_no_event_and_what_it_asks_for_is_done(running: Running) -> None:
    slack = running.made(type="slack", secrets=["wrong"])
    body = b'{"type":"url_verification","challenge":"c"}'
    signature = hmac.digest(b"right", b"v0:%d:%b" % (NOW_S, body), "sha256").hex()
    running.clock.set(NOW_S)
    headers = {"x-slack-request-timestamp": str(NOW_S), "x-slack-signature": f"v0={signature}"}
    assert running.ask(path_of(slack), body, headers).status == 401
    mine, url = "arn:aws:sns:eu-west-1:1:mine", "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    sns, amazon = running.made(type="aws-sns", secrets=[f"{mine}-not"]), Amazon(running)
    fields = {"Message": "m", "MessageId": "1", "SubscribeURL": url, "Timestamp": rfc3339(running.clock.now_us()), "Token": "t"}
    fields |= {"TopicArn": mine, "Type": "SubscriptionConfirmation"}
    asked = sns_body(fields, amazon.signature("".join(f"{name}\n{value}\n" for name, value in fields.items())))
    assert running.ask(path_of(sns), asked).status == 401
    for source, secret in ((slack, "right"), (sns, mine)):
        running.changed(source, secrets=(secret,))
        left = running.run(running.releases.many(WHO, running.app_id, source.id, Chosen(), believe=False))
        assert (left.released, left.refused, running.quarantined(source)) == (1, {}, [])
    assert running.messages() == [] and running.published.visited == [url]
