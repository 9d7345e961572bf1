"""The lifecycle table: legal moves only, every state leads to DONE, the diagram shows all of it."""

from __future__ import annotations

import pytest

from consumer.shards.lifecycle import MOVES, Event, IllegalMove, State, mermaid, moved


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_a_move_is_in_the_table_or_raises(state, event):
    if event in MOVES[state]:
        assert moved("shard-1", state, event) is MOVES[state][event]
    else:
        with pytest.raises(IllegalMove, match=f"shard-1.*{event.name}.*{state.name}"):
            moved("shard-1", state, event)


def test_every_state_is_reached_from_the_start_and_leads_to_done():
    reached, todo = set(), [State.WAITING_FOR_PARENTS]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo.extend(MOVES[state].values())
    assert reached == set(State)
    to_done = {State.DONE}
    for _ in State:
        to_done |= {state for state in State if to_done & set(MOVES[state].values())}
    assert to_done == set(State)


def test_a_lost_lease_is_legal_wherever_the_tenure_is_not_over_yet():
    assert {state for state in State if Event.LEASE_LOST not in MOVES[state]} == {State.LOSING, State.DONE}


def test_shard_end_is_stored_from_ending_alone():
    assert [state for state in State if Event.END_STORED in MOVES[state]] == [State.ENDING]


def test_the_diagram_has_one_line_for_each_move():
    lines = mermaid().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    PROCESSING --> ENDING: everything delivered and done" in lines
    assert len(lines) == 3 + sum(len(moves) for moves in MOVES.values())
