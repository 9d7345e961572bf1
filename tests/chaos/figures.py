"""The figures of a recording, as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

from tests.chaos.plan import StopKind
from tests.chaos.recording import Recording
from tests.integration.ledger import Note, records
from tests.integration.table_history import by_row, is_named, is_take

__all__ = ["figures", "longest_silence", "takeovers"]


def figures(recording: Recording, found: Sequence[str]) -> dict[str, Any]:
    """What was done, and what came of it. Seconds, and counts."""
    given = records(recording.notes)
    took, unprovoked = takeovers(recording)
    stopped = {stop.worker for stop in recording.stopped if stop.kind is StopKind.TERM}
    killed = {stop.worker for stop in recording.stopped if stop.kind is StopKind.KILL}
    return {
        "source": recording.source,
        "seed": recording.seed,
        "rounds": recording.rounds,
        "seconds": round(recording.seconds, 1),
        "failover_seconds": recording.failover_seconds,
        "done": dict(sorted(recording.done.items())),
        "calls_spoilt": dict(sorted(recording.spoilt.items())),
        "records": {
            "written": len(recording.written),
            "delivered": len(set(recording.written) & {(note.key, note.version) for note in given}),
            "repeated": len(given) - len({(note.key, note.version) for note in given}),
        },
        "shards": len(recording.parents),
        "lease_writes": {"accepted": len(recording.writes), "refused": recording.refused},
        "takeovers": {**_spread(took), "of_workers_that_were_not_stopped": unprovoked},
        "longest_silence_of_a_shard_seconds": round(longest_silence(given, recording.parents), 2),
        "exit_codes_after_sigterm": dict(
            Counter(str(code) for worker, code in sorted(recording.exits.items()) if worker in stopped - killed)
        ),
        "findings": list(found),
    }


def takeovers(recording: Recording) -> tuple[list[float], int]:
    """Seconds from each kill -9 or freeze to the next owner's first word about each lease; and takes without either.

    The first word is ``initialize``, told to user code; a new owner that was stopped itself before it shows none. A
    worker that has been awake again for a failover time renews again: what is taken from it then has another cause.
    """
    hit = [
        (stop.worker, stop.at, inf if stop.woken_at is None else stop.woken_at + recording.failover_seconds)
        for stop in recording.stopped
        if stop.kind is not StopKind.TERM
    ]
    told = {(note.worker, note.shard_id, note.tenure): note.at for note in recording.notes if note.kind == "initialize"}
    found, unprovoked = [], 0
    for history in by_row(recording.writes).values():
        for before, after in pairwise(history):
            owner = before.lease.actual_owner
            if owner is None or not is_take(before, after):
                continue
            asked = after.asked_at
            stops = [at for worker, at, until in hit if is_named(owner, worker) and at < asked < until]
            first = told.get((after.by, after.lease.key, after.lease.counter))
            if not stops:
                unprovoked += 1
            elif first is not None:
                found.append(first - max(stops))
    return found, unprovoked


def longest_silence(given: Sequence[Note], parents: Mapping[str, Sequence[str]]) -> float:
    """The longest pause in the deliveries of a shard, counted from its parents' last where it is its first."""
    last: dict[str, float] = {}
    longest = 0.0
    for note in given:
        before = last.get(note.shard_id)
        if before is None:
            before = max((last[parent] for parent in parents.get(note.shard_id, ()) if parent in last), default=note.at)
        longest = max(longest, note.at - before)
        last[note.shard_id] = note.at
    return longest


def _spread(seconds: Sequence[float]) -> dict[str, Any]:
    if not seconds:
        return {"count": 0}
    ordered = sorted(seconds)
    at = {"p50": 0.5, "p99": 0.99}
    shares = {
        f"{name}_seconds": ordered[min(len(ordered) - 1, int(share * len(ordered)))] for name, share in at.items()
    }
    rounded = {name: round(value, 2) for name, value in (shares | {"worst_seconds": ordered[-1]}).items()}
    return {"count": len(ordered), **rounded}
