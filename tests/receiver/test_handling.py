"""Who handles an event, and what hears the provider? The same from threads and from coroutines."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ringback.errors import StoreFailure
from ringback.receiver import Claim, Event, EventKey, Receiver, Reply, SqliteInbox, Unavailable
from ringback.receiver.testing import sign
from ringback.signing.fetched import KeyRef, KeyUnavailable
from ringback.signing.request import InboundRequest
from tests.receiver.clocks import StandingClock

# Both ways of asking a receiver.
WAYS: dict[str, Callable[[Receiver, InboundRequest], Reply]] = {
    "handle": lambda receiver, request: receiver.handle(request),
    "handle_async": lambda receiver, request: asyncio.run(receiver.handle_async(request)),
}


@pytest.fixture(params=WAYS)
def handle(request: pytest.FixtureRequest) -> Callable[..., Reply]:
    def handle(receiver: Receiver, body: Any, provider: str = "stripe", **options: Any) -> Reply:
        made = sign(provider, "secret", body, **options)
        return WAYS[request.param](receiver, receiver.request(made.headers, made.body, made.method, made.url))

    return handle


def event(kind: str, number: int = 1) -> dict[str, Any]:
    return {"id": f"evt_{number}", "type": kind}


def test_an_event_goes_to_one_handler_by_its_name_or_the_longest_pattern(handle: Callable[..., Reply]) -> None:
    receiver, ran = Receiver("stripe", "secret"), list[str]()
    for name in ("*", "invoice.*", "invoice.paid", "*.paid", "a*c*e"):

        def handler(event: Event, name: str = name) -> None:
            ran.append(name)

        receiver.on(name)(handler)
    for kind in ("invoice.paid", "invoice.payment_failed", "order.paid", "x", "abcde", "a[c]e\n"):
        assert handle(receiver, event(kind)).status == 200
    assert ran == ["invoice.paid", "invoice.*", "*.paid", "*", "a*c*e", "*"]


def test_a_handler_may_have_several_names_and_a_name_one_handler() -> None:
    receiver = Receiver("github", "secret")

    @receiver.on("push", "pull_request")
    def handler(event: Event) -> None:
        """Does nothing."""

    with pytest.raises(ValueError, match="has a handler already"):
        receiver.on("push")(handler)
    for wrong in ("", handler):
        with pytest.raises(ValueError, match="needs the name"):
            receiver.on(wrong)  # type: ignore[arg-type]  # the mistake that is meant: no parentheses


def test_a_provider_s_own_names_are_kept(handle: Callable[..., Reply]) -> None:
    receiver, seen = Receiver("shopify", "secret"), list[tuple[str, str | None]]()
    receiver.on("orders/*")(lambda event: seen.append((event.type, event.id)))
    handle(receiver, {"id": 1}, "shopify", event_type="orders/create", event_id="b54557e4")
    ((kind, identity),) = seen
    assert kind == "orders/create" and identity is not None and "b54557e4" in identity


def test_what_a_handler_returns_is_the_answer(handle: Callable[..., Reply]) -> None:
    receiver, returned = Receiver("stripe", "secret"), list[Any]()
    receiver.on("*")(lambda event: returned.pop())
    for value, body, kind in (
        (None, b"{}", "application/json"),
        ({"a": 1}, b'{"a":1}', "application/json"),
        (["a"], b'["a"]', "application/json"),
        ("text", b"text", "text/plain; charset=utf-8"),
        (Reply.xml("<Response/>"), b"<Response/>", "text/xml; charset=utf-8"),
        (Reply(202, b"", "", (("x-a", "b"),)), b"", ""),
    ):
        returned.append(value)
        reply = handle(receiver, event("a"))
        assert (reply.body, reply.content_type) == (body, kind)
        assert reply.status == (202 if isinstance(value, Reply) and not value.body else 200)


def test_what_cannot_be_an_answer_is_told_and_the_event_not_run_again(
    handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver("stripe", "secret")
    receiver.on("*")(lambda event: object())
    assert handle(receiver, event("a")).status == 200
    assert "return None, text, a dict" in caplog.text


def test_each_provider_is_answered_as_it_wants(handle: Callable[..., Reply]) -> None:
    adyen = Receiver("adyen", "ab" * 32)
    made = sign("adyen", "ab" * 32, {"notificationItems": [{"NotificationRequestItem": {"pspReference": "a", "eventCode": "A"}}]})
    adyen.on("*")(lambda event: None)
    assert adyen.handle(adyen.request(made.headers, made.body, "POST", "")).body == b"[accepted]"
    twilio = Receiver("twilio", "secret")
    assert handle(twilio, b"From=a", "twilio").body.endswith(b"<Response/>")


def test_an_unknown_type_is_acknowledged_counted_and_told(handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver("stripe", "secret")
    with caplog.at_level(logging.INFO, "ringback.receiver"):
        assert handle(receiver, event("a.new.thing")).status == 200
    assert receiver.counts == {"unknown": 1}
    assert "has no handler for a.new.thing" in caplog.text


def test_a_handler_that_fails_is_answered_5xx_and_told_with_its_cause(
    handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver("stripe", "secret")

    @receiver.on("a")
    def failing(event: Event) -> None:
        raise KeyError("customer")

    @receiver.on("b")
    async def later(event: Event) -> None:
        raise Unavailable("the warehouse is closed", retry_after_s=120)

    assert handle(receiver, event("a")) == Reply(500)
    assert "KeyError: 'customer'" in caplog.text
    assert handle(receiver, event("b")) == Reply(503, headers=(("retry-after", "120"),))
    assert receiver.counts == {"failed": 2}


def test_refusals_are_counted_by_reason_and_told_to_the_owner_alone(handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver("stripe", "another")
    assert handle(receiver, event("a")) == Reply(401)
    assert receiver.counts == {"rejected:signature_mismatch": 1}
    assert "signature_mismatch" in caplog.text


def test_a_flood_of_forgeries_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver("stripe", "secret", clock=StandingClock())
    for _ in range(200):
        receiver.handle(receiver.request({}, b"", "POST", ""))
    assert receiver.counts == {"rejected:missing_header": 200}
    assert len(caplog.records) <= 10


def test_items_of_a_batch_are_events_of_their_own_and_one_that_fails_brings_the_batch_again(handle: Callable[..., Reply]) -> None:
    receiver, ran = Receiver("hubspot", "secret"), list[Any]()

    @receiver.on("contact.*")
    def contact(event: Event) -> None:
        ran.append((event.id, event.data["n"]))
        if event.data["n"] == 2:
            raise RuntimeError

    items = [{"eventId": number, "subscriptionType": "contact.creation", "n": number} for number in (1, 2, 3)]
    assert handle(receiver, items, "hubspot").status == 500
    assert [n for _, n in ran] == [1, 2, 3]
    assert receiver.counts == {"handled": 2, "failed": 1}
    ran.clear()
    assert handle(receiver, items[::2], "hubspot").status == 200


def test_a_batch_without_an_event_is_acknowledged_and_handled_by_nobody() -> None:
    receiver = Receiver("cloudevents", "secret")

    @receiver.on("*")
    def handler(event: Event) -> None:
        raise AssertionError(event)

    headers = {"content-type": "application/cloudevents-batch+json", "authorization": "Bearer secret"}
    assert receiver.handle(receiver.request(headers, b"[]", "POST", "")).status == 200


def test_a_handler_may_be_an_object_with_an_async_call(handle: Callable[..., Reply]) -> None:
    class Handler:
        def __init__(self) -> None:
            self.seen: list[str | None] = []

        async def __call__(self, event: Event) -> None:
            await asyncio.sleep(0)
            self.seen.append(event.id)

    receiver, handler = Receiver("stripe", "secret"), Handler()
    receiver.on("*")(handler)
    assert handle(receiver, event("a")).status == 200
    assert handler.seen == ["evt_1"]


def test_a_secret_that_the_provider_sends_is_stored_before_it_is_answered_and_only_once(handle: Callable[..., Reply]) -> None:
    stored = list[str]()
    receiver = Receiver("asana", keep_secret=stored.append)
    offer = InboundRequest(receiver.request({"X-Hook-Secret": "from-asana"}, b"", "POST", "").headers, b"", b"POST", b"")
    reply = receiver.handle(offer)
    assert (reply.status, dict(reply.headers)) == (200, {"X-Hook-Secret": "from-asana"})
    assert stored == ["from-asana"]
    receiver.on("*")(lambda event: None)
    signed = sign("asana", "from-asana", {"events": [{"action": "added"}]})
    assert receiver.handle(receiver.request(signed.headers, signed.body, "POST", "")).status == 200
    again = receiver.request({"X-Hook-Secret": "from-a-stranger"}, b"", "POST", "")
    assert receiver.handle(again) == Reply(401)
    assert receiver.counts["rejected:unsolicited_handshake"] == 1 and stored == ["from-asana"]


def test_of_two_secrets_at_once_the_first_one_is_taken() -> None:
    statuses = list[int]()

    def keep(secret: str) -> None:
        statuses.append(receiver.handle(receiver.request({"X-Hook-Secret": "second"}, b"", "POST", "")).status)

    receiver = Receiver("asana", keep_secret=keep)
    assert receiver.handle(receiver.request({"X-Hook-Secret": "first"}, b"", "POST", "")).status == 200
    assert statuses == [503]


def test_a_large_body_is_judged_off_the_loop() -> None:
    receiver, threads = Receiver("stripe", "secret", max_body_bytes=4_000_000), list[threading.Thread]()

    class Watched:
        """Says on which thread it was asked for a key."""

        def key(self, ref: KeyRef) -> bytes:
            threads.append(threading.current_thread())
            raise KeyUnavailable(ref)

        def fetch(self, ref: KeyRef) -> None:
            raise KeyUnavailable(ref)

        def visit(self, url: str) -> bool:
            return False

    sns = Receiver("aws-sns", "arn", fetcher=Watched(), max_body_bytes=4_000_000)
    fields = {"Type": "Notification", "TopicArn": "arn", "SignatureVersion": "1", "Signature": "aa", "MessageId": "1", "Timestamp": "t"}
    fields["SigningCertURL"] = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem"
    for size, on_loop in ((10, True), (40_000, False), (2_000_000, False)):
        body = json.dumps(fields | {"Message": "x" * size}).encode()
        assert asyncio.run(sns.handle_async(sns.request({}, body, "POST", ""))).status == 503
        assert (threads.pop() is threading.current_thread()) is on_loop
    made = sign("stripe", "secret", b'{"id":"evt_1","type":"a"}'.ljust(2_000_000))
    receiver.on("a")(lambda event: None)
    assert asyncio.run(receiver.handle_async(receiver.request(made.headers, made.body, "POST", ""))).status == 200


def test_where_the_secret_cannot_be_stored_the_provider_is_not_told_that_it_was(handle: Callable[..., Reply]) -> None:
    def full(secret: str) -> None:
        raise OSError("no space left")

    receiver = Receiver("asana", keep_secret=full)
    assert receiver.handle(receiver.request({"X-Hook-Secret": "s"}, b"", "POST", "")).status == 503


class Broken:
    """An inbox whose database is down."""

    def __init__(self, at: str) -> None:
        self.at = at

    def _fail(self, where: str) -> None:
        if where == self.at:
            raise StoreFailure("the disk is full")

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
        self._fail("claim")
        return Claim("new")

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
        self._fail("finish")

    def release(self, key: EventKey, claim: Claim) -> None:
        self._fail("release")


@pytest.mark.parametrize("at", ["claim", "finish", "release"])
def test_an_inbox_that_fails_is_never_answered_2xx(handle: Callable[..., Reply], at: str) -> None:
    receiver = Receiver("stripe", "secret", inbox=Broken(at))
    receiver.on("*")(lambda event: 1 / 0 if at == "release" else None)
    assert handle(receiver, event("a")).status == 503
    assert receiver.counts["unavailable"] == 1


def test_a_coroutine_that_is_cancelled_gives_its_event_back() -> None:
    told = list[str]()

    class Watched(Broken):
        async def release(self, key: EventKey, claim: Claim) -> None:  # type: ignore[override]  # an inbox may be of coroutines
            told.append(key.event_id)

    receiver = Receiver("stripe", "secret", inbox=Watched("nowhere"))
    made = sign("stripe", "secret", event("a"))

    async def cancelled() -> None:
        started = asyncio.Event()

        @receiver.on("*")
        async def endless(event: Event) -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(receiver.handle_async(receiver.request(made.headers, made.body, "POST", "")))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert told == ["evt_1"]


class Remembering(Broken):
    """An inbox in memory, for one thread."""

    def __init__(self) -> None:
        super().__init__("nowhere")
        self.done: dict[EventKey, bytes] = {}

    def claim(self, key: EventKey, now_us: int, lease_until_us: int) -> Claim:
        return Claim("done", reply=self.done[key]) if key in self.done else Claim("new")

    def finish(self, key: EventKey, claim: Claim, reply: bytes, keep_until_us: int) -> None:
        self.done[key] = reply


@pytest.mark.parametrize("status", [302, 409, 503])
def test_an_answer_that_is_not_2xx_is_a_failure_so_that_the_next_try_runs(
    handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    receiver, answers = Receiver("stripe", "secret", inbox=Remembering()), iter([Reply.text("later", status), None])
    receiver.on("*")(lambda event: next(answers))
    assert [(reply.status, reply.body) for reply in (handle(receiver, event("a")) for _ in range(3))] == [
        (status, b"later"), (200, b"{}"), (200, b"{}"),
    ]  # fmt: skip
    assert receiver.counts == {"failed": 1, "handled": 1, "duplicate": 1}
    assert f"answered {status}, which is not 2xx" in caplog.text


def test_an_item_of_a_batch_that_was_answered_4xx_brings_the_batch_again(handle: Callable[..., Reply]) -> None:
    receiver = Receiver("sendgrid", unverified=True)
    receiver.on("*")(lambda event: Reply(422))
    items = [{"event": "bounce", "sg_event_id": str(number)} for number in range(2)]
    request = receiver.request({"content-type": "application/json"}, json.dumps(items).encode(), "POST", "")
    assert receiver.handle(request).status == 422


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Reply(200, "text"), "Expected `bytes`, got `str`"),  # type: ignore[arg-type]  # what people write
        (Reply("200"), "Expected `int`, got `str`"),  # type: ignore[arg-type]  # as above
        (Reply(headers={"a": "b"}), "Expected `array`"),  # type: ignore[arg-type]  # as above
        (Reply(headers=(("a", "b\r\nc: d"),)), "on one line"),
        (Reply(headers=(("a b", "c"),)), "the header 'a b'"),
        (Reply(content_type="text/\u20ac"), "printable Latin-1"),
        (Reply(99), "between 200 and 599"),
        (Reply(204, b"x"), "such answers have none"),
        ("\ud800", "surrogates not allowed"),
        ({"n": object()}, "type object is unsupported"),
    ],
)
def test_an_answer_that_no_server_could_send_is_told_and_the_event_not_run_again(
    handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture, answer: Any, said: str
) -> None:
    receiver = Receiver("stripe", "secret", inbox=Remembering())
    receiver.on("*")(lambda event: answer)
    assert [handle(receiver, event("a")).body for _ in range(2)] == [b"{}", b"{}"]
    assert receiver.counts == {"handled": 1, "duplicate": 1}
    assert said in caplog.text


def test_a_failure_is_told_though_the_inbox_fails_too(handle: Callable[..., Reply], caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver("stripe", "secret", inbox=Broken("release"))
    receiver.on("*")(lambda event: 1 / 0)
    assert handle(receiver, event("a")).status == 503
    assert "division by zero" in caplog.text and "the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lease": timedelta(0)}, "lease must be longer than nothing"),
        ({"lease": timedelta(seconds=5), "deadline": timedelta(seconds=10)}, "must lie between nothing and the lease"),
        ({"deadline": timedelta(0)}, "must lie between nothing and the lease"),
    ],
)
def test_times_that_would_run_an_event_twice_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Receiver("stripe", "secret", inbox=Remembering(), **options)


def test_what_changes_with_each_sending_of_a_provider_makes_no_other_event(tmp_path: Path) -> None:
    receiver, ran = Receiver("mailgun", "secret", inbox=SqliteInbox(tmp_path / "inbox.db"), clock=StandingClock()), list[bool]()

    @receiver.on("*")
    def handler(event: Event) -> None:
        ran.append(event.conflict)

    for token, kind in (("a", "opened"), ("b", "opened"), ("c", "clicked")):
        signature = hmac.digest(b"secret", f"1700000000{token}".encode(), "sha256").hex()
        said = {"timestamp": "1700000000", "token": token, "signature": signature}
        body = json.dumps({"signature": said, "event-data": {"id": "1", "event": kind}}).encode()
        assert receiver.handle(receiver.request({"content-type": "application/json"}, body, "POST", "")).status == 200
    assert ran == [False, True]
