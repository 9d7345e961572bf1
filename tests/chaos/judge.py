"""The verdict on a recording: what it must not show. Pure, so that a kept recording can be judged again.

What is allowed, exactly: a record may be given again to another tenure; a record that is new may be given by whoever
may start a call. A process that was frozen goes on with the call it was in, and may begin one more for each tenure when
it wakes, where it was stopped between its look at the clock and the call; what it stores is refused.
"""

from __future__ import annotations

import signal
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from tests.chaos.plan import StopKind
from tests.chaos.recording import Recording, Stopped
from tests.integration.ledger import Note, disorder, early_children, lost, repeats_within_tenures
from tests.integration.table_history import Stored, by_row, early_ends, is_named, wrong_writes

__all__ = ["findings"]

# A woken process is on its feet again, and has looked at the clock, long before this.
_WAKING_SECONDS: Final = 1.0

Rows = Mapping[str, Sequence[Stored]]


def findings(recording: Recording) -> list[str]:
    """Every promise that the recording shows broken; none for a sound one."""
    rows = by_row(recording.writes)
    notes = recording.notes
    return [
        *(f"lost: version {version} of {key}" for key, version in lost(notes, recording.written)),
        *(f"order: {each}" for each in disorder(notes)),
        *(f"twice in a tenure: {each}" for each in repeats_within_tenures(notes)),
        *(f"early: {each}" for each in early_children(notes, recording.parents)),
        *(
            f"lease table: {wrong}"
            for history in rows.values()
            for wrong in wrong_writes(history, failover_seconds=recording.failover_seconds)
        ),
        *(f"lease table: {each}" for each in early_ends(rows)),
        *(f"lease table: {each}" for each in _unfounded_checkpoints(rows, notes)),
        *(f"user code: {each}" for each in _tenures_of_nobody(rows, notes)),
        *(f"user code: {each}" for each in _calls_after_the_end(rows, notes, recording.stopped)),
        *(f"at rest: {each}" for each in _left_behind(rows)),
        *(f"process: {each}" for each in _wrong_exits(recording)),
        *(f"process: {worker} logged a traceback" for worker in recording.tracebacks),
    ]


def _unfounded_checkpoints(rows: Rows, notes: Iterable[Note]) -> Iterator[str]:
    """Checkpoints at records that this worker's user code had not been given when it asked to store them."""
    given: dict[tuple[str, str, int], float] = {}
    for note in notes:
        if note.kind == "record":
            given.setdefault((note.worker, note.shard_id, note.number), note.at)
    for history in rows.values():
        for before, after in pairwise(history):
            stored = after.lease.checkpoint
            if stored == before.lease.checkpoint or not stored.is_number:
                continue
            at = given.get((after.by, after.lease.key, int(stored.sequence_number)))
            if at is None or at > after.asked_at:
                yield f"{after.lease.key} at {stored} by {after.by}, which was not given that record before"


def _tenures_of_nobody(rows: Rows, notes: Iterable[Note]) -> Iterator[str]:
    """Tenures of user code whose fencing token is no counter that this worker wrote as the row's owner."""
    begun = {
        (stored.by, stored.lease.key, stored.lease.counter)
        for history in rows.values()
        for stored in history
        if is_named(stored.lease.actual_owner, stored.by)
    }
    for note in notes:
        if note.kind == "initialize" and (note.worker, note.shard_id, note.tenure) not in begun:
            yield f"{note.shard_id} was begun by {note.worker} with token {note.tenure}, which it never won"


def _calls_after_the_end(rows: Rows, notes: Iterable[Note], stopped: Iterable[Stopped]) -> Iterator[str]:
    """Calls with records that a worker began while the table had another owner, or none, for the shard."""
    owned: dict[str, list[Stored]] = {}
    for history in rows.values():
        owned.setdefault(history[0].lease.key, []).extend(history)
    for each in owned.values():
        each.sort(key=lambda stored: stored.answered_at)
    woken = [(each.worker, each.woken_at) for each in stopped if each.woken_at is not None]
    excused: set[tuple[float, str, int]] = set()
    for note in notes:
        if note.kind != "batch":
            continue
        history = owned.get(note.shard_id, [])
        place = bisect_right(history, note.at, key=lambda stored: stored.answered_at)
        owner = history[place - 1].lease.actual_owner if place else None
        if is_named(owner, note.worker):
            continue
        wakings = [at for worker, at in woken if worker == note.worker and at <= note.at <= at + _WAKING_SECONDS]
        excuse = (wakings[-1], note.shard_id, note.tenure) if wakings else None
        if excuse is None or excuse in excused:
            yield f"{note.shard_id} was given records by {note.worker} while it was {owner or 'nobody'}'s"
        else:
            excused.add(excuse)


def _left_behind(rows: Rows) -> Iterator[str]:
    """Rows that name a worker when all have been told to stop."""
    for history in rows.values():
        last = history[-1].lease
        if not last.is_finished and (last.owner or last.checkpoint_owner):
            yield f"{last.key} still names {last.actual_owner}"


def _wrong_exits(recording: Recording) -> Iterator[str]:
    """Workers told to stop end with 0, killed ones with -9 unless they had just ended, and nobody by itself.

    A process that is told to stop while its interpreter still starts ends as any process does.
    """
    done: dict[str, set[StopKind]] = {}
    for stop in recording.stopped:
        done.setdefault(stop.worker, set()).add(stop.kind)
    for worker, code in recording.exits.items():
        kinds = done.get(worker, set())
        allowed = {
            *([0] if StopKind.TERM in kinds else []),
            *([-signal.SIGTERM] if StopKind.TERM in kinds and worker in recording.unborn else []),
            *([-signal.SIGKILL] if StopKind.KILL in kinds else []),
        }
        if code not in allowed:
            yield f"{worker} ended with {code}, after {', '.join(sorted(kinds)) or 'nothing was done to it'}"
