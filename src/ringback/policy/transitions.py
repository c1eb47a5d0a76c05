"""Which states of a delivery may follow which? One table, equal to the schema's CHECK constraints and to the diagram in ARCHITECTURE.md."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringback.model.deliveries import AttemptStatus, DeliveryState

S = DeliveryState

TRANSITIONS: Final[Mapping[DeliveryState, frozenset[DeliveryState]]] = MappingProxyType(
    {
        S.WAITING: frozenset({S.DELIVERED, S.RETRYING, S.DEAD, S.DISCARDED, S.CANCELLED}),
        S.RETRYING: frozenset({S.DELIVERED, S.RETRYING, S.DEAD, S.DISCARDED, S.CANCELLED}),
        S.DELIVERED: frozenset(),
        S.DEAD: frozenset({S.RETRYING, S.DELIVERED, S.DISCARDED, S.CANCELLED}),
        S.DISCARDED: frozenset(),
        S.CANCELLED: frozenset(),
    }
)

# What the HTTP contract shows for each state.
SHOWN: Final[Mapping[DeliveryState, AttemptStatus]] = MappingProxyType(
    {
        S.WAITING: AttemptStatus.PENDING,
        S.RETRYING: AttemptStatus.SENDING,
        S.DELIVERED: AttemptStatus.SUCCESS,
        S.DEAD: AttemptStatus.FAIL,
        S.DISCARDED: AttemptStatus.FAIL,
        S.CANCELLED: AttemptStatus.CANCELED,
    }
)


def live(state: DeliveryState) -> bool:
    """Is the delivery unfinished: does it have a row among the live deliveries?"""
    return state in (S.WAITING, S.RETRYING)
