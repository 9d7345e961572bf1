"""The demo's verdict: what was written against what was delivered. Pure functions over the journals' lines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from consumer.demo.journal import Delivery, Write

__all__ = ["Goals", "Staged", "Stop", "Verdict", "judge", "pauses"]

_KILLED: Final = -9


@dataclass(frozen=True, slots=True)
class Stop:
    """A worker that was sent a signal, and when."""

    worker: str
    at: float


@dataclass(frozen=True, slots=True)
class Staged:
    """What happened on purpose.

    ``rotations``, ``splits`` and ``merges`` are the stream server's own counts, ``parents`` the lineage it showed, by
    shard. ``exits`` are exit codes by worker.
    """

    killed: Stop | None = None
    stopped: Stop | None = None
    rotations: int = 0
    splits: int = 0
    merges: int = 0
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    exits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Goals:
    """What a run must show. ``rotations``: shards replaced by a single one, which in Kinesis are merges."""

    writes: int = 2000
    keys: int = 50
    rotations: int = 3
    splits: int = 1
    takeover_seconds: float = 12.0
    handoff_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The numbers; ``problems`` say why the run failed, ``missed`` which goals of time were missed."""

    written: int
    delivered: int
    lost: int
    duplicates: int
    out_of_order: int
    rotations: int
    splits: int
    merges: int
    keys: int
    takeover_seconds: float | None
    handoff_seconds: float | None
    problems: tuple[str, ...]
    missed: tuple[str, ...]


def judge(writes: Sequence[Write], deliveries: Sequence[Delivery], staged: Staged, goals: Goals) -> Verdict:
    """The verdict on ``writes`` in the journal's order and ``deliveries``, file after file, each in its order.

    ``duplicates`` are allowed, at-least-once is what a killed worker costs, unless a line repeats within one tenure.
    """
    written = {(write.key, write.version) for write in writes}
    given = [(delivery.key, delivery.version) for delivery in sorted(deliveries, key=lambda each: each.at)]
    delivered = written & set(given)
    unwritten = set(given) - written
    repeats, descents = _within_tenures(deliveries)
    out_of_order = _late_firsts(given) + descents
    takeover = _worst(deliveries, staged.killed, staged.parents, from_signal=True)
    handoff = _worst(deliveries, staged.stopped, staged.parents, from_signal=False)
    rotations = staged.rotations or staged.merges
    keys = len({write.key for write in writes})
    found = (
        (len(written) > len(delivered), f"{len(written) - len(delivered)} writes were never delivered"),
        (out_of_order > 0, f"{out_of_order} records came out of order"),
        (bool(unwritten), f"{len(unwritten)} delivered changes are not in the writer's journal"),
        (repeats > 0, f"{repeats} records came twice within one tenure"),
        (len(writes) < goals.writes, f"only {len(writes)} writes were made, {goals.writes} are needed"),
        (keys < goals.keys, f"only {keys} keys were written, {goals.keys} are needed"),
        (rotations < goals.rotations, f"only {rotations} rotations happened, {goals.rotations} are needed"),
        (staged.splits < goals.splits, f"only {staged.splits} splits happened, {goals.splits} are needed"),
        *_unstaged(staged, takeover, handoff),
    )
    limits = (
        ("takeover", takeover, goals.takeover_seconds),
        ("hand-off", handoff, goals.handoff_seconds),
    )
    return Verdict(
        written=len(writes),
        delivered=len(delivered),
        lost=len(written) - len(delivered),
        duplicates=sum(count - 1 for count in Counter(given).values()),
        out_of_order=out_of_order,
        rotations=rotations,
        splits=staged.splits,
        merges=staged.merges,
        keys=keys,
        takeover_seconds=None if takeover is None else round(takeover, 3),
        handoff_seconds=None if handoff is None else round(handoff, 3),
        problems=(*_journal_faults(writes), *(sentence for failed, sentence in found if failed)),
        missed=tuple(
            f"the {name} took {seconds:.2f} s, the goal is {limit:g} s"
            for name, seconds, limit in limits
            if seconds is not None and seconds > limit
        ),
    )


def _unstaged(staged: Staged, takeover: float | None, handoff: float | None) -> tuple[tuple[bool, str], ...]:
    """What was to happen and did not: the two stops, what they show, and how every process ended."""
    killed = staged.killed.worker if staged.killed else ""
    wrong = [
        f"{worker} with {code}" for worker, code in staged.exits.items() if code != (_KILLED if worker == killed else 0)
    ]
    return (
        (staged.killed is None, "no worker was killed"),
        (
            staged.killed is not None and takeover is None,
            f"no shard of {killed}, killed, was seen to be read elsewhere",
        ),
        (staged.stopped is None, "no worker was stopped with SIGTERM"),
        (
            staged.stopped is not None and handoff is None,
            "no shard of the stopped worker was seen to be read elsewhere",
        ),
        (bool(wrong), f"unexpected exit codes: {', '.join(wrong)}"),
    )


def _journal_faults(writes: Sequence[Write]) -> Iterator[str]:
    """A journal that the writer can't have written: lines are missing, doubled or in another order."""
    versions: dict[str, int] = defaultdict(int)
    for write in writes:
        versions[write.key] += 1
        if write.version != versions[write.key]:
            yield (
                f"the writer's journal is damaged: version {write.version} of {write.key} stands "
                f"where {versions[write.key]} is due"
            )
            return
    if any(later.at < earlier.at for earlier, later in pairwise(writes)):
        yield "the writer's journal is damaged: its times go back"


def _within_tenures(deliveries: Sequence[Delivery]) -> tuple[int, int]:
    """Repeats and descents of sequence numbers within a tenure, in the order the worker wrote them down."""
    last: dict[tuple[str, str, int], int] = {}
    repeats = descents = 0
    for delivery in deliveries:
        tenure = (delivery.worker, delivery.shard_id, delivery.tenure)
        number = int(delivery.sequence_number)
        before = last.get(tenure, -1)
        repeats += number == before
        descents += number < before
        last[tenure] = max(number, before)
    return repeats, descents


def _late_firsts(given: Sequence[tuple[str, int]]) -> int:
    """How many first deliveries of a change came after one of a later change of the same key."""
    highest: dict[str, int] = defaultdict(int)
    seen: set[tuple[str, int]] = set()
    late = 0
    for key, version in given:
        if (key, version) not in seen:
            seen.add((key, version))
            late += version < highest[key]
            highest[key] = max(highest[key], version)
    return late


def _worst(
    deliveries: Sequence[Delivery], stop: Stop | None, parents: Mapping[str, Sequence[str]], *, from_signal: bool
) -> float | None:
    """The longest pause of a shard that the stopped worker had; None where no shard shows one."""
    if stop is None:
        return None
    found = pauses(deliveries, stop, parents)
    return max((first - (stop.at if from_signal else last) for last, first in found.values()), default=None)


def pauses(
    deliveries: Sequence[Delivery], stop: Stop, parents: Mapping[str, Sequence[str]]
) -> dict[str, tuple[float, float]]:
    """For each shard that ``stop.worker`` had at ``stop.at``: its last record by that worker, the first by another.

    Where a shard had ended before anybody else had to read it, its children show the pause, each for itself.
    """
    children: dict[str, list[str]] = defaultdict(list)
    for shard_id, its_parents in parents.items():
        for parent in its_parents:
            children[parent].append(shard_id)
    by_shard: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in sorted(deliveries, key=lambda each: each.at):
        by_shard[delivery.shard_id].append(delivery)
    waiting = [shard for shard in by_shard if _had(stop, by_shard, shard, children)]
    found: dict[str, tuple[float, float]] = {}
    for shard in waiting:  # grows while it is walked: a shard without a reader elsewhere hands over to its children
        own = [each.at for each in by_shard[shard] if each.worker == stop.worker]
        others = [each.at for each in by_shard[shard] if each.worker != stop.worker and each.at > stop.at]
        if others:
            last = [at for at in own if at <= others[0]]
            found[shard] = (last[-1] if last else _end_above(shard, parents, by_shard), others[0])
        else:
            waiting += [child for child in children[shard] if child not in waiting]
    return found


def _had(
    stop: Stop, by_shard: Mapping[str, Sequence[Delivery]], shard: str, children: Mapping[str, Sequence[str]]
) -> bool:
    """Whether the worker was the last to read ``shard`` before the signal, and had not read it to its end."""
    before = [each for each in by_shard[shard] if each.at <= stop.at]
    below = list(children.get(shard, ()))
    for child in below:  # grows while it is walked: UpdateShardCount leaves shards that never had a record in between
        below += [each for each in children.get(child, ()) if each not in below]
    goes_on = any(each.at <= stop.at for child in below for each in by_shard.get(child, ()))
    return bool(before) and before[-1].worker == stop.worker and not goes_on


def _end_above(shard: str, parents: Mapping[str, Sequence[str]], by_shard: Mapping[str, Sequence[Delivery]]) -> float:
    """When the last record of the shard's nearest forebears that had one was delivered."""
    line = list(parents.get(shard, ()))
    for forebear in line:  # grows while it is walked; a lineage has an end
        if by_shard.get(forebear):
            return max(each.at for parent in line for each in by_shard.get(parent, ()))
        line += parents.get(forebear, ())
    return by_shard[shard][0].at
