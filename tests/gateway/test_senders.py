"""Several senders share one URL, and each has secrets of its own."""

from __future__ import annotations

import typing

import pytest

from ringback.errors import InvalidField
from ringback.services.sources import SecretRotateIn
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import NOW_S, event, signed

SECRETS = [{"text": "secret-a", "sender": "shop-a"}, {"text": "secret-b", "sender": "shop-b"}]


def sent(running: Running, path: str, number: int, secret: str, sender: str | None, at_s: int = NOW_S) -> int:
    headers = signed(event(number), secret, at_s)
    return running.ask(path, event(number), headers if sender is None else {**headers, "X-Shop": sender}).status


def test_each_sender_is_judged_by_its_own_secrets(running: Running) -> None:
    source = running.made(secretBy="header:X-Shop", secrets=SECRETS)
    path = path_of(source)
    assert sent(running, path, 1, "secret-a", "shop-a") == 200
    assert sent(running, path, 2, "secret-b", "shop-b") == 200
    assert sent(running, path, 3, "secret-a", "shop-b") == 401, "a sender cannot speak for another"
    assert sent(running, path, 4, "secret-a", "shop-c") == 401
    assert sent(running, path, 5, "secret-a", None) == 401
    assert [message.origin and message.origin.secret for message in running.messages()] == [0, 1]
    assert [item.reason for item in running.quarantined(source)] == ["unknown_sender", "unknown_sender", "signature_mismatch"]


def test_a_sender_that_is_named_twice_is_nobody(running: Running) -> None:
    path = path_of(running.made(secretBy="header:X-Shop", secrets=SECRETS))
    headers = [(name.encode(), value.encode()) for name, value in signed(event(), "secret-a").items()]
    assert running.ask(path, event(), [*headers, (b"x-shop", b"shop-b"), (b"x-shop", b"shop-a")]).status == 401


def test_a_sender_in_the_body_is_found(running: Running) -> None:
    path = path_of(running.made(secretBy="json:team.id", secrets=[{"text": "secret-a", "sender": "7"}]))
    body = b'{"id":"evt_1","type":"a","team":{"id":7}}'
    assert running.ask(path, body, signed(body, "secret-a")).status == 200


def test_the_same_id_of_two_senders_is_two_events(running: Running) -> None:
    path = path_of(running.made(secretBy="header:X-Shop", secrets=SECRETS))
    for sender, secret in (("shop-a", "secret-a"), ("shop-b", "secret-b"), ("shop-a", "secret-a")):
        assert sent(running, path, 1, secret, sender) == 200
    assert [message.origin and message.origin.flags for message in running.messages()] == [(), ()]


def test_the_secret_of_one_sender_rotates_alone(running: Running) -> None:
    source = running.made(secretBy="header:X-Shop", secrets=SECRETS)
    wanted = SecretRotateIn(secret="new-a", sender="shop-a", grace_period_seconds=60)
    running.run(running.sources.rotate_secret(WHO, running.app_id, source.id, wanted))
    path = path_of(source)
    assert [sent(running, path, 1, "new-a", "shop-a"), sent(running, path, 2, "secret-a", "shop-a")] == [200, 200]
    assert running.messages()[1].origin is not None and "old_secret" in running.messages()[1].origin.flags
    running.clock.set(NOW_S + 61)
    later = NOW_S + 61
    assert [sent(running, path, 3, "secret-a", "shop-a", later), sent(running, path, 4, "secret-b", "shop-b", later)] == [401, 200]


@pytest.mark.parametrize(
    "wanted",
    [
        {"secretBy": "header:X-Shop", "secrets": ["plain"]},
        {"secretBy": "header:X-Shop", "secrets": [{"text": "", "sender": "a"}]},
        {"secretBy": "body", "secrets": SECRETS},
        {"secretBy": "somewhere", "secrets": SECRETS},
        {"secrets": SECRETS},
        {"secrets": [str(number) for number in range(11)]},
        {"secretBy": "header:X-Shop", "secrets": [{"text": str(number), "sender": "a"} for number in range(11)]},
    ],
)
def test_senders_that_cannot_be_told_apart_are_refused(running: Running, wanted: dict[str, typing.Any]) -> None:
    with pytest.raises(InvalidField):
        running.made(**wanted)


def test_hundreds_of_senders_share_a_url(running: Running) -> None:
    secrets = [{"text": f"secret-{number}", "sender": f"shop-{number}"} for number in range(300)]
    path = path_of(running.made(secretBy="header:X-Shop", secrets=secrets))
    assert sent(running, path, 1, "secret-299", "shop-299") == 200
