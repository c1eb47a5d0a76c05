"""What is awaited is found or missed, also when a read of the store ends before it has found all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import pytest

from ringback.clock import to_datetime
from ringback.errors import StoreFailure
from ringback.ids import IdMaker
from ringback.model.expectations import MET
from ringback.services.expectations import ExpectationIn, Expectations, MatchIn
from ringback.services.operational import Operational
from ringback.store.base import Store, Transaction
from tests.gateway.conftest import WHO, Running, path_of
from tests.gateway.signing import event, signed

T = TypeVar("T")


class Impatient:
    """The store, one of whose reads is stopped by its deadline behind the first event that it looked into."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.stops_next = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, query: Callable[[Transaction], T]) -> Awaitable[T]:
        stops, self.stops_next = self.stops_next, False
        return self._store.read(lambda tx: query(cast(Transaction, Stopped(tx)) if stops else tx))


class Stopped:
    """A transaction that reads one payload and no more."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._payloads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def row(self, sql: str, parameters: Any = ()) -> Any:
        if sql.startswith("SELECT payload"):
            self._payloads += 1
            if self._payloads > 1:
                raise StoreFailure("the query took longer than its deadline and was stopped")
        return self._tx.row(sql, parameters)


def test_what_a_read_had_found_before_it_was_stopped_is_found_by_the_next(running: Running) -> None:
    impatient, source = Impatient(running.store), running.made()
    store = cast(Store, impatient)
    awaited: dict[str, Callable[[], None]] = {}
    clock, make_id = running.clock, IdMaker()
    operational = Operational(clock, make_id, running.metrics)
    wanted = Expectations(store, running.vault, clock, make_id, running.sources, operational, running.metrics, awaited)
    running.run(wanted.load())
    deadline = to_datetime(clock.now_us()) + timedelta(hours=1)
    made = [
        running.run(
            wanted.create(
                WHO, running.app_id, source.id, ExpectationIn(match=MatchIn(at="json:id", equals=f"evt_{number}"), deadline=deadline)
            )
        )
        for number in (1, 2)
    ]
    running.run(wanted.look())
    for number in (1, 2):
        body = event(number)
        assert running.ask(path_of(source), body, signed(body)).status == 200
    awaited[source.id]()
    impatient.stops_next = True
    with pytest.raises(StoreFailure):
        running.run(wanted.look())
    running.run(wanted.look())
    assert [running.run(wanted.get(WHO, running.app_id, source.id, one.id)).state for one in made] == [MET, MET]
