"""The demo: its receiver believes only what is signed, its events vary, its arithmetic is right, its settings allow one address."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json

import httpx
import pytest
import standardwebhooks

from ringback.cli.demo import companion
from ringback.cli.demo.events import DESCRIPTIONS, make_event
from ringback.cli.demo.receiver import Fate, Receiver, fate_of
from ringback.cli.demo.tally import Tally
from ringback.config import load_settings
from ringback.signing.secret import parse_secret

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RUN = "run-1"


def signed(sequence: int, run: str = RUN, secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    """An attempt as a server would make it, signed with the official package."""
    body = json.dumps(make_event(sequence, run)[1], ensure_ascii=False)
    now = datetime.datetime.now(datetime.UTC)
    signature = standardwebhooks.Webhook(secret).sign("msg_1", now, body)
    return {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}, body.encode()


def post(tally: Tally, *attempts: tuple[dict[str, str], bytes]) -> list[int]:
    """Send attempts to a real receiver, one after another; the status codes, 0 for a connection that was cut."""

    async def scenario() -> list[int]:
        receiver = Receiver(tally, RUN)
        receiver.trust([parse_secret(SECRET)])
        port = await receiver.start("127.0.0.1")
        statuses = []
        async with httpx.AsyncClient(timeout=0.5, trust_env=False) as client:
            for headers, body in attempts:
                try:
                    answer = await client.post(f"http://127.0.0.1:{port}/webhook", content=body, headers=headers)
                    statuses.append(answer.status_code)
                except httpx.HTTPError:
                    statuses.append(0)
        receiver.close()
        return statuses

    return asyncio.run(scenario())


def test_a_signed_event_is_taken_and_its_latency_counted() -> None:
    tally = Tally()
    tally.sending(1, 0.0)
    tally.accepted()
    assert post(tally, signed(1)) == [204]
    assert (tally.sent, tally.delivered, tally.waiting, tally.retried, tally.bad_signatures) == (1, 1, 0, 0, 0)
    assert tally.percentile_ms(0.5) > 0


def test_what_was_sent_is_delivered_or_waits() -> None:
    tally = Tally()
    for sequence in (1, 2):
        tally.sending(sequence, 0.0)
    assert (tally.sent, tally.delivered, tally.waiting) == (0, 0, 0)
    tally.taken(1)
    assert tally.waiting == 0
    tally.accepted()
    tally.accepted()
    assert (tally.sent, tally.delivered, tally.waiting) == (2, 1, 1)


def test_a_forged_a_tampered_and_an_unsigned_event_count_as_bad_signatures() -> None:
    tally = Tally()
    headers, body = signed(1)
    statuses = post(tally, signed(1, secret="whsec_" + "A" * 32), (headers, body.replace(b"EUR", b"USD")), ({}, body))
    assert statuses == [500, 500, 500]
    assert (tally.bad_signatures, tally.delivered) == (3, 0)


@pytest.mark.parametrize(("sequence", "statuses"), [(3, [500, 204]), (47, [502, 502, 204]), (111, [0, 204]), (14, [0, 204])])
def test_an_event_that_is_to_fail_is_taken_on_a_later_attempt(sequence: int, statuses: list[int]) -> None:
    tally = Tally()
    tally.sending(sequence, 0.0)
    assert post(tally, *[signed(sequence)] * len(statuses)) == statuses
    assert (tally.delivered, tally.retried) == (1, len(statuses) - 1)


def test_an_event_of_an_earlier_demo_is_taken_and_not_counted() -> None:
    tally = Tally()
    assert post(tally, signed(3, run="run-0")) == [204]
    assert (tally.delivered, tally.duplicates, tally.retried) == (0, 0, 0)


def test_an_event_that_comes_twice_is_a_duplicate() -> None:
    tally = Tally()
    tally.sending(1, 0.0)
    assert post(tally, signed(1), signed(1)) == [204, 204]
    assert (tally.delivered, tally.duplicates) == (1, 1)


def test_every_event_is_taken_within_the_attempts_of_the_demo_schedule() -> None:
    attempts = len(companion.DEFAULTS["retry_schedule"].split(",")) + 1
    assert all(fate_of(sequence, attempts - 1) is Fate.TAKEN for sequence in range(1_000))
    assert {fate_of(sequence, 0) for sequence in range(1_000)} == set(Fate)


def test_events_differ_in_type_size_and_script() -> None:
    events = [make_event(sequence, RUN) for sequence in range(1, 101)]
    bodies = [json.dumps(payload, ensure_ascii=False).encode() for _, payload in events]
    assert {event_type for event_type, _ in events} == set(DESCRIPTIONS)
    assert max(map(len, bodies)) > 20 * min(map(len, bodies))
    assert any(not body.isascii() for body in bodies)


def test_percentiles_are_those_of_the_latencies() -> None:
    tally = Tally()
    for sequence in range(100):
        tally.sending(sequence, 0.0)
        tally.arrived(sequence, (sequence + 1) / 1000)
    assert (round(tally.percentile_ms(0.5)), round(tally.percentile_ms(0.99)), Tally().percentile_ms(0.5)) == (51, 100, 0)


def test_a_demo_allows_the_receivers_address_and_no_other_and_has_a_token_and_a_port() -> None:
    settings = companion.prepared(load_settings({"listen_address": "127.0.0.1:0"}, {}, None, defaults=companion.DEFAULTS))
    assert settings.whitelist_subnets == (ipaddress.ip_network("127.0.0.1/32"),)
    assert settings.token is not None and settings.listen_address.port > 0
    assert settings.database_url == "sqlite:///ringback-demo.db"


def test_what_the_operator_sets_beats_what_the_demo_would_like() -> None:
    environ = {"RINGBACK_RETRY_SCHEDULE": "7", "RINGBACK_TOKEN": "sk_operators_own", "RINGBACK_WHITELIST_SUBNETS": "10.0.0.0/8"}
    settings = companion.prepared(load_settings({"database_url": "mine.db"}, environ, None, defaults=companion.DEFAULTS))
    assert settings.database_url == "sqlite:///mine.db"
    assert [wait.total_seconds() for wait in settings.retry_schedule] == [7]
    assert settings.token is not None and settings.token.reveal() == "sk_operators_own"
    assert len(settings.whitelist_subnets) == 2
