"""The life of a shard consumer as one literal table: states, events, moves; the docs draw their diagram from it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

__all__ = ["MOVES", "Event", "IllegalMove", "State", "mermaid", "moved"]


class State(StrEnum):
    """Where one tenure's shard consumer is; the value is the stage that status and facts show."""

    WAITING_FOR_PARENTS = "waiting_for_parents"
    INITIALIZING = "initializing"
    PROCESSING = "processing"
    STOPPED_AT_GAP = "stopped_at_gap"
    STOPPING = "stopping"
    ENDING = "ending"
    LOSING = "losing"
    DONE = "done"


class Event(StrEnum):
    """What moves a shard consumer on."""

    PARENTS_DONE = "parents done"
    INITIALIZED = "initialize returned"
    STOP_REQUESTED = "hand-off or drain, no batch running"
    GAP_FOUND = "trimmed, on_trimmed=stop"
    END_REACHED = "everything delivered and done"
    LET_GO = "lease let go"
    END_STORED = "SHARD_END stored"
    LEASE_LOST = "lease lost"
    LOSS_TOLD = "lease_lost returned or given up"


# A hand-off that is taken back before shutdown_requested was called moves nothing: the consumer is still where it was.
# Before a processor is initialized there is nobody to tell of a stop or a loss, so both lead straight to DONE.
MOVES: Final[Mapping[State, Mapping[Event, State]]] = MappingProxyType(
    {
        State.WAITING_FOR_PARENTS: {
            Event.PARENTS_DONE: State.INITIALIZING,
            Event.LET_GO: State.DONE,
            Event.LEASE_LOST: State.DONE,
        },
        State.INITIALIZING: {
            Event.INITIALIZED: State.PROCESSING,
            Event.LET_GO: State.DONE,
            Event.LEASE_LOST: State.DONE,
        },
        State.PROCESSING: {
            Event.STOP_REQUESTED: State.STOPPING,
            Event.GAP_FOUND: State.STOPPED_AT_GAP,
            Event.END_REACHED: State.ENDING,
            Event.LEASE_LOST: State.LOSING,
        },
        State.STOPPED_AT_GAP: {
            Event.STOP_REQUESTED: State.STOPPING,
            Event.LEASE_LOST: State.LOSING,
        },
        State.STOPPING: {
            Event.LET_GO: State.DONE,
            Event.LEASE_LOST: State.LOSING,
        },
        State.ENDING: {
            Event.END_STORED: State.DONE,
            Event.STOP_REQUESTED: State.STOPPING,
            Event.LEASE_LOST: State.LOSING,
        },
        State.LOSING: {
            Event.LOSS_TOLD: State.DONE,
        },
        State.DONE: {},
    }
)


class IllegalMove(RuntimeError):
    """A state does not know an event: a fault in Leasehold itself."""


def moved(shard_id: str, state: State, event: Event) -> State:
    """The state that ``event`` leads to. Raises IllegalMove where it leads nowhere."""
    target = MOVES[state].get(event)
    if target is None:
        raise IllegalMove(f"Shard {shard_id}: {event.name} in state {state.name} is no move of the lifecycle.")
    return target


def mermaid() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.WAITING_FOR_PARENTS.name}"]
    for state, moves in MOVES.items():
        lines.extend(f"    {state.name} --> {target.name}: {event.value}" for event, target in moves.items())
    lines.append(f"    {State.DONE.name} --> [*]")
    return "\n".join(lines) + "\n"
