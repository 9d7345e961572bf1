"""What happens to members of mixed fleets again and again: they lead, are killed, are told to stop; shards change."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import Final

from tests.integration.kcl.evidence import passages, reigns
from tests.integration.kcl.mixed_stage import MixedFleet
from tests.integration.kcl.play import Play
from tests.integration.ledger import CLOCK
from tests.integration.process_stage import Process

__all__ = [
    "killed",
    "leader_now",
    "longest_silence",
    "python_leader",
    "resharded",
    "stopped",
    "until_all_given",
    "until_led",
]

_RUNS_OF_A_LEADER: Final = 3


async def until_led(play: Play, name: str, within_seconds: float) -> None:
    """Until this member has held the lock for three runs of an assignment."""
    fleet = play.fleet
    least = _RUNS_OF_A_LEADER * fleet.timers.assignment_seconds

    def reached() -> bool:
        reign = next(iter(reigns(fleet.exchanges, CLOCK.monotonic())[-1:]), None)
        is_long = reign is not None and reign.runs >= _RUNS_OF_A_LEADER and reign.seconds >= least
        return is_long and reign is not None and reign.name == name

    await fleet.until(reached, f"three assignment runs led by {name}", within_seconds)


async def killed(play: Play, victim: Process, what: str, bound_seconds: float) -> None:
    """kill -9, and until others read all that was the victim's; longer than the bound is a finding."""
    fleet = play.fleet
    shards = await _something_of(fleet, victim)
    async with play.step(f"kill -9 of {what}", may_repeat=True) as figures:
        killed_at = victim.send(signal.SIGKILL)
        await victim.end()
        took = await fleet.until_read_elsewhere(shards, victim.name, killed_at, fleet.timers.patience_seconds)
        figures["takeover"] = round(max(took.values(), default=0.0), 2)
        figures["shards"] = len(shards)
    late = figures["takeover"]
    assert isinstance(late, float)
    play.expect(late <= bound_seconds, f"kill -9 of {what}: {late} s until all was read, promised {bound_seconds:.1f}")


async def _something_of(fleet: MixedFleet, member: Process) -> set[str]:
    """Its shards, once it has some: children may be born with others, and a leader's next run shares them out."""
    shares = await fleet.until_shared(fleet.timers.patience_seconds)
    return shares[member.name]


async def stopped(play: Play, leaving: Process, what: str) -> None:
    """SIGTERM, and until others read all that it had."""
    fleet = play.fleet
    shards = await _something_of(fleet, leaving)
    async with play.step(f"SIGTERM to {what}") as figures:
        told_at = leaving.send(signal.SIGTERM)
        await leaving.end(fleet.timers.patience_seconds)
        took = await fleet.until_read_elsewhere(shards, leaving.name, told_at, fleet.timers.patience_seconds)
        figures["takeover"] = round(max(took.values(), default=0.0), 2)
        figures["silence"] = longest_silence(fleet, leaving.name, told_at)


def longest_silence(fleet: MixedFleet, giver: str, since: float) -> float:
    """The longest time without a record of a shard that went from ``giver`` to another."""
    after = [each for each in passages(fleet.ledger.notes) if each.at >= since and each.giver == giver]
    return round(max((each.silence_seconds for each in after), default=0.0), 2)


def _to_reshard(fleet: MixedFleet) -> tuple[tuple[str, str], str]:
    """Two neighbours to be merged, and another shard to be split; one more goes on.

    With a KCL 2.7.2 it is one of that: it counts ended leases as load until they are cleaned up, wants no other while
    it has such, and does not end by a SIGTERM while it has nothing else.
    """
    leases = {shard: held for shard, held in fleet.leases().items() if not held.is_finished}
    java = set() if fleet.has_leader else {each.name for each in fleet.running("java")}
    kept = min(leases, key=lambda shard: (leases[shard].owner not in java, shard))
    merged = next(pair for pair in pairwise(sorted(leases)) if kept not in pair)
    return merged, min(leases.keys() - {kept, *merged})


async def resharded(play: Play) -> None:
    """A split and a merge, or where the service has no merges a rotation of all; until the children are read."""
    fleet = play.fleet
    merged, split = _to_reshard(fleet)

    def act() -> set[str]:
        lineage = fleet.streams.server.log.stream(fleet.stream.table).lineage
        if fleet.edition == "adapter":
            return set(lineage.rotate())
        return {lineage.merge(*merged), *lineage.split(split)}

    async with play.step("split and merge" if fleet.edition != "adapter" else "rotation") as figures:
        at = CLOCK.monotonic()
        children = fleet.streams.call(act)

        def first_reads() -> dict[str, float]:
            first: dict[str, float] = {}
            for note in fleet.ledger.of("record"):
                if note.shard_id in children:
                    first[note.shard_id] = min(note.at - at, first.get(note.shard_id, note.at))
            return first if first.keys() == children else {}

        took = await fleet.until(first_reads, "the children read", fleet.timers.patience_seconds)
        figures["child"] = round(max(took.values()), 2)


def leader_now(fleet: MixedFleet) -> str:
    """Who holds the lock, or held it last; nobody before anybody did."""
    return next((each.name for each in reigns(fleet.exchanges, CLOCK.monotonic())[-1:]), "")


async def python_leader(play: Play) -> Process:
    """Who of them leads, after three runs; where nobody does, the first."""
    fleet = play.fleet
    if not fleet.has_leader:
        return fleet.running("python")[0]
    async with play.step("Python leads for three runs") as figures:

        def leading() -> str:
            name = leader_now(fleet)
            return name if fleet.languages.get(name) == "python" else ""

        name = await fleet.until(leading, "a Python leader", fleet.timers.patience_seconds)
        await until_led(play, name, fleet.timers.patience_seconds)
        figures["leader"] = name
    return next(each for each in fleet.running("python") if each.name == name)


async def until_all_given(play: Play) -> None:
    await play.fleet.ledger.until_all_delivered(play.fleet.timers.patience_seconds)
