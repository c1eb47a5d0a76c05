"""How subscriptions are renewed: what each provider is sent, what its answer means, and when the next renewal is."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.clock import SECOND_US
from ringback.model.subscriptions import Renewal, Subscription
from ringback.policy.access_tokens import refresh_token_in, token_in, token_request
from ringback.policy.asking import Unreadable
from ringback.policy.subscription_rows import RENEWALS
from ringback.policy.subscriptions import (
    MAX_PERIOD_S,
    Asking,
    end_in,
    first_at,
    is_parameter,
    parameters_of,
    renew_at,
    renewal_problems,
    renewal_request,
    topic_of,
    try_again_at,
    unfit_parameters,
)

NOW_US = 1_700_000_000 * SECOND_US
ASKING = Asking(NOW_US + 3_600 * SECOND_US, "https://hooks.example.com/webhooks/x", "0123abcd")
# What goes out for each row: the first line, the body, and the form for an access token ("" = none is asked for).
SENT = {
    "ms-graph": (
        "PATCH /v1.0/subscriptions/sub%2F1 HTTP/1.1",
        b'{"expirationDateTime": "2023-11-14T23:13:20.000000Z"}',
        b"grant_type=client_credentials&client_id=c1&client_secret=s3cret&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
    ),
    "airtable": ("POST /v0/bases/app1/webhooks/ach1/refresh HTTP/1.1", b"", b""),
    "clio": (
        "PATCH /api/v4/webhooks/77.json?fields=id,expires_at HTTP/1.1",
        b'{"data": {"expires_at": "2023-11-14T23:13:20.000000Z"}}',
        b"grant_type=refresh_token&client_id=c1&client_secret=other&refresh_token=s3cret",
    ),
    "google-calendar": (
        "POST /calendar/v3/calendars/a%40example.com/events/watch HTTP/1.1",
        b'{"id": "0123abcd", "type": "web_hook", "address": "https://hooks.example.com/webhooks/x", "token": "t1", '
        b'"params": {"ttl": "3600"}}',
        b"grant_type=refresh_token&client_id=c1&client_secret=other&refresh_token=s3cret",
    ),
}
# The form of the hub, which has no headers with a credential.
SENT_TO_HUB = (
    b"hub.mode=subscribe&hub.topic=https%3A%2F%2Fexample.com%2Ffeed%3Fa%3D1%26b%3D2&hub.callback=https%3A%2F%2Fhooks.example.com%2Fwebhooks%2Fx"
    b"&hub.lease_seconds=3600&hub.secret=s3cret"
)
PARAMETERS = {
    "topic": "https://example.com/feed?a=1&b=2",
    "subscription": "sub/1",
    "tenant": "t",
    "client_id": "c1",
    "base": "app1",
    "webhook": "ach1",
    "calendar": "a@example.com",
    "token": "t1",
}


def settings(renewal: Renewal, **more: typing.Any) -> Subscription:
    given = {name: value for name, value in PARAMETERS.items() if name in parameters_of(renewal)}
    if renewal.name == "clio":
        given["webhook"] = "77"
    wanted = {"credential": "s3cret", "client_secret": "other", "period_s": 3_600, "parameters": given, **more}
    return Subscription(renewal=renewal.name, **wanted)


def test_every_row_is_shown_here() -> None:
    assert {*SENT, "websub"} == set(RENEWALS)


def test_a_hub_is_asked_with_a_form_that_says_everything_and_the_credential_nowhere_else() -> None:
    """www.w3.org/TR/websub, 5.1."""
    row = RENEWALS["websub"]
    for place, line in (("https://hub.example.com", "POST / HTTP/1.1"), ("https://hub.example.com/a/", "POST /a/ HTTP/1.1")):
        sent = renewal_request(settings(row, base_url=place), row, ASKING, "")
        first, *fields = sent.head.decode().removesuffix("\r\n\r\n").split("\r\n")
        assert (first, sent.body) == (line, SENT_TO_HUB)
        assert "content-type: application/x-www-form-urlencoded" in fields and "s3cret" not in sent.head.decode()
    assert topic_of(settings(row), row) == PARAMETERS["topic"]


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        (b'{"refresh_token": "next"}', "next"),
        (b'{"access_token": "a"}', None),
        (b'{"refresh_token": null}', None),
        (b"<html>", None),
        (b'{"refresh_token": "a\\nb"}', Unreadable),
        (b'{"refresh_token": "' + b"k" * 9_000 + b'"}', Unreadable),
    ],
)
def test_a_refresh_token_that_comes_with_an_answer_is_read(answer: bytes, token: typing.Any) -> None:
    """RFC 6749, 6: www.rfc-editor.org/rfc/rfc6749#section-6."""
    if token is Unreadable:
        with pytest.raises(Unreadable):
            refresh_token_in(RENEWALS["clio"], answer)
    else:
        assert refresh_token_in(RENEWALS["clio"], answer) == token
    # A client secret is none, whatever an answer says.
    assert refresh_token_in(RENEWALS["ms-graph"], answer) is None


@pytest.mark.parametrize("name", SENT)
def test_a_row_sends_what_its_provider_wants_and_the_credential_only_where_it_belongs(name: str) -> None:
    row = RENEWALS[name]
    line, body, form = SENT[name]
    wanted = settings(row)
    sent = renewal_request(wanted, row, ASKING, "acc3ss")
    first, *fields = sent.head.decode().removesuffix("\r\n\r\n").split("\r\n")
    assert (first, sent.body) == (line, body)
    assert f"content-length: {len(body)}" in fields
    assert ("content-type: application/json" in fields) == bool(body)
    assert f"authorization: Bearer {'acc3ss' if form else 's3cret'}" in fields
    assert b"{" not in sent.head
    if form:
        token = token_request(wanted, row)
        assert token.body == form
        assert b"s3cret" not in sent.head + sent.body and b"s3cret" not in token.head
        assert token.place.tls and token.head.startswith(b"POST /")


def test_the_rows_are_right_and_say_where_they_are_from() -> None:
    for name, row in RENEWALS.items():
        assert renewal_problems(row) == [], name
        assert row.source and row.note and set(row.parameters) == parameters_of(row), name


@pytest.mark.parametrize(
    ("answer", "ends_in_s"),
    [
        (b'{"end": "2023-11-15T22:13:20Z"}', 86_400),
        (b'{"end": 1700003600}', 3_600),
        (b'{"end": "1700003600000"}', 3_600),
        (b'{"end": null}', 60),
        (b"", 60),
        (b"<html>", 60),
        (b'{"end": "9999-01-01T00:00:00Z"}', MAX_PERIOD_S),
    ],
)
def test_the_answer_says_until_when_it_lives(answer: bytes, ends_in_s: int) -> None:
    renewal = Renewal(base="https://x", path="/", auth={}, expires_at="end")
    assert end_in(renewal, answer, NOW_US + 60 * SECOND_US, NOW_US) == NOW_US + ends_in_s * SECOND_US


@pytest.mark.parametrize("answer", [b'{"end": "soon"}', b'{"end": "2020-01-01T00:00:00Z"}', b'{"end": 1}'])
def test_an_end_that_is_none_or_past_is_a_failure(answer: bytes) -> None:
    with pytest.raises(Unreadable):
        end_in(Renewal(base="https://x", path="/", auth={}, expires_at="end"), answer, NOW_US + 1, NOW_US)


@given(st.binary(max_size=200), st.sampled_from(["", "end", "a.b[]", "[]"]))
def test_any_answer_is_read_or_unreadable(answer: bytes, path: str) -> None:
    for read in (
        lambda: end_in(Renewal(base="https://x", path="/", auth={}, expires_at=path), answer, NOW_US, NOW_US),
        lambda: token_in(answer),
    ):
        try:
            assert read()
        except Unreadable as error:
            assert str(error)


def test_a_third_of_its_life_is_left_when_it_is_renewed() -> None:
    assert renew_at(NOW_US, NOW_US + 90 * SECOND_US) == NOW_US + 60 * SECOND_US
    # An answer cannot make us renew without a pause.
    assert renew_at(NOW_US, NOW_US + 1) == NOW_US + 30 * SECOND_US
    # An owner who says that it ends soon is believed.
    assert first_at(NOW_US, NOW_US + 3 * SECOND_US) == NOW_US + 2 * SECOND_US
    assert first_at(NOW_US, NOW_US - 3) == NOW_US


def test_tries_come_ever_later_and_sooner_as_the_end_draws_near() -> None:
    def waits(failures: int, left_s: float, retry_after_s: float | None = None) -> float:
        return (try_again_at(NOW_US, failures, retry_after_s, int(NOW_US + left_s * SECOND_US)) - NOW_US) / SECOND_US

    assert [waits(failures, 1e6) for failures in (1, 2, 3, 20)] == [30, 60, 120, 3_600]
    assert waits(20, 400) == 100
    assert waits(20, 10) == 30
    assert waits(20, -10) == 3_600
    assert waits(1, 400, 7_200) == 7_200


@pytest.mark.parametrize("value", ['a"b', "a b", "a\nb", "a\\b", "{x}", "a&b", "a?b", "é", "../x"])
def test_a_parameter_cannot_end_the_text_that_it_stands_in(value: str) -> None:
    assert not is_parameter(value)
    own = Renewal(base="https://x", path="/{strict}", auth={"x-key": "{credential}"}, form={"a": "{free}"})
    assert unfit_parameters(own, {"strict": value, "free": "a?b&c='d' {e}"}) == ["strict"]
    assert unfit_parameters(own, {"strict": "a", "free": "a\nb"}) == ["free"]


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"path": "x"}, ("path",)),
        ({"auth": {"authorization": "Bearer"}}, ("auth",)),
        ({"auth": {"host": "{credential}"}}, ("auth",)),
        ({"body": "{credential}"}, ("body",)),
        ({"path": "/{credential}"}, ("path",)),
        ({"token_url": "https://x", "token_form": {}}, ("auth",)),
        ({"content_type": "a\nb"}, ("contentType",)),
        ({"period_s": 1}, ("periodS",)),
        ({"body": "x" * 20_000}, ()),
    ],
)
def test_what_is_wrong_with_a_renewal_of_ones_own_is_said(wrong: dict[str, typing.Any], where: tuple[str, ...]) -> None:
    given: dict[str, typing.Any] = {"base": "https://x", "path": "/", "auth": {"x-key": "{credential}"}, **wrong}
    assert where in [at for at, _ in renewal_problems(Renewal(**given))]
