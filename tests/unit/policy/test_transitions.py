from __future__ import annotations

import re
from pathlib import Path

from ringback.model.deliveries import AttemptStatus, DeliveryState
from ringback.policy.transitions import SHOWN, TRANSITIONS, live
from ringback.store.migrations.steps import migrations

ROOT = Path(__file__).parents[3]


def states_in(table: str) -> set[str]:
    """The states that the schema allows in a table."""
    sql = "\n".join(step.sql for step in migrations())
    (body,) = re.findall(rf"CREATE TABLE {table} \((.*?)\n\)", sql, re.S)
    (line,) = [line for line in body.splitlines() if line.split()[:1] == ["state"]]
    return set(re.findall(r"'(\w+)'", line))


def test_the_table_knows_every_state_and_no_other():
    assert set(TRANSITIONS) == set(SHOWN) == set(DeliveryState)
    assert set().union(*TRANSITIONS.values()) <= set(DeliveryState)


def test_the_states_of_live_rows_are_those_that_the_schema_allows():
    assert states_in("delivery") == {state.value for state in DeliveryState if live(state)}


def test_the_states_of_dead_letters_are_those_that_the_schema_allows():
    assert states_in("dead_letter") == {DeliveryState.DEAD.value, DeliveryState.DISCARDED.value}


def test_every_state_is_reached_but_the_first_and_every_live_one_may_end():
    reached = set().union(*TRANSITIONS.values())
    assert reached == set(DeliveryState) - {DeliveryState.WAITING}
    for state in DeliveryState:
        assert not live(state) or DeliveryState.DELIVERED in TRANSITIONS[state]


def test_every_state_is_shown_as_the_contract_says():
    assert {state.value: int(shown) for state, shown in SHOWN.items()} == {
        "waiting": 1,
        "retrying": 3,
        "delivered": 0,
        "dead": 2,
        "discarded": 2,
        "cancelled": 4,
    }
    assert set(SHOWN.values()) == set(AttemptStatus)


def test_the_diagram_in_the_architecture_is_the_table():
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    lines = re.findall(r"^(\w+) +-> +([\w ]+)$", text, re.M)
    drawn = {(state, following) for state, more in lines for following in more.split()}
    assert drawn == {(state.value, following.value) for state, more in TRANSITIONS.items() for following in more}
