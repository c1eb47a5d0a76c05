"""What is a received event in order with? Its source names where the key of the order is."""

from __future__ import annotations

from typing import Any

import pytest

from ringback.errors import InvalidField
from ringback.store.base import Transaction
from tests.gateway.conftest import Running, path_of
from tests.gateway.signing import signed

OPEN: dict[str, Any] = {"type": "custom", "verify": "none", "secrets": []}
PLACES = ["header:X-Order-Of", "json:data.customer", "form:customer"]


def keys(running: Running) -> list[str | None]:
    """The keys of all messages, the oldest first."""

    def query(tx: Transaction) -> list[str | None]:
        return [row[0] for row in tx.rows("SELECT ordering_key FROM message ORDER BY seq")]

    found: list[str | None] = running.run(running.store.read(query))
    return found


def test_the_first_place_that_holds_a_text_or_a_number_gives_the_key(running: Running) -> None:
    path = path_of(running.made(**OPEN, orderingKeyAt=PLACES))
    for body, headers in (
        (b'{"data":{"customer":"c1"}}', {}),
        (b'{"data":{"customer":"c1"}}', {"x-order-of": "h"}),
        (b'{"data":{"customer":7}}', {"x-order-of": ""}),
        (b"customer=f+1", {"content-type": "application/x-www-form-urlencoded"}),
    ):
        assert running.ask(path, body, headers).status == 200
    assert keys(running) == ["c1", "h", "7", "f 1"]


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"data":{"customer":null}}', b'{"data":{"customer":""}}', b'{"data":{"customer":["c1"]}}', b"not json", b"\xff", b"",
     b'{"data":{"customer":"' + b"k" * 513 + b'"}}', b'{"data":' * 3_000],
)  # fmt: skip
def test_an_event_without_a_usable_key_is_taken_and_in_no_order(running: Running, body: bytes) -> None:
    path = path_of(running.made(**OPEN, orderingKeyAt=["json:data.customer"]))
    assert running.ask(path, body).status == 200
    assert keys(running) == [None]


def test_each_event_of_a_batch_has_a_key_of_its_own(running: Running) -> None:
    path = path_of(running.made(type="azure-event-grid", secrets=["s"], orderingKeyAt=["json:subject"]))
    body = b'[{"id":"a","eventType":"x","subject":"1"},{"id":"b","eventType":"x","subject":"2"},{"id":"c","eventType":"x"}]'
    assert running.ask(path, body, {"content-type": "application/json"}, query=b"secret=s").status == 200
    assert keys(running) == ["1", "2", None]


def test_a_source_that_names_no_key_orders_nothing_and_one_that_does_still_knows_its_events(running: Running) -> None:
    plain, ordering = running.made(), running.made(name="t", orderingKeyAt=["json:customer"])
    for source in (plain, ordering, ordering):
        body = b'{"id":"evt_1","type":"a","customer":"c1"}'
        assert running.ask(path_of(source), body, signed(body)).status == 200
    assert keys(running) == [None, "c1"]
    assert [message.event_type for message in running.messages()] == ["a", "a"]


@pytest.mark.parametrize("field", ["orderingKeyAt", "eventTypeAt", "redeliveryAt"])
@pytest.mark.parametrize("place", ["customer", "cookie:a", "json:", "body"])
def test_a_place_that_holds_no_text_is_refused(running: Running, field: str, place: str) -> None:
    with pytest.raises(InvalidField) as refused:
        running.made(**OPEN, **{field: ["json:ok", place]})
    (problem,) = refused.value.problems
    assert problem.loc == ("body", field)
    assert problem.msg == f"{place!r} is no place of a text; use header:NAME, json:PATH or form:NAME"


def test_more_than_ten_places_are_refused(running: Running) -> None:
    with pytest.raises(InvalidField):
        running.made(**OPEN, orderingKeyAt=[f"json:p{number}" for number in range(11)])
    assert len(running.made(**OPEN, orderingKeyAt=[f"json:p{number}" for number in range(10)]).rules.ordering_key_at) == 10
