"""What happens to a mixed fleet, step by step, and what is measured and found wrong on the way.

A play is one fleet's life. A step that does not come about ends its play: what follows would build on it.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.integration.kcl.ecs_metadata import EcsMetadata
from tests.integration.kcl.evidence import passages, reigns, setbacks, unexpected_errors
from tests.integration.kcl.mixed_stage import MixedFleet
from tests.integration.ledger import CLOCK, Note, disorder, early_children, lost, repeats, repeats_within_tenures
from tests.integration.process_stage import Process

__all__ = ["MIXED", "ONLY", "PLAYS", "Performance", "Play", "perform"]

RUNS_OF_A_LEADER: Final = 3
# A KCL worker reports every 30 s, and counts as alive for two such periods.
KCL_ROW_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one step: the seconds from its cause to its end, and further figures by name."""

    name: str
    seconds: float
    figures: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class Performance:
    """What a play brought."""

    edition: str
    play: str
    steps: list[Step] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Play:
    """Carries out steps on a fleet and keeps what they brought; ``progress`` is told of each."""

    def __init__(self, fleet: MixedFleet, performance: Performance, progress: Callable[[str], None]) -> None:
        self.fleet = fleet
        self.performance = performance
        self._progress = progress
        self._repeated: set[tuple[str, int]] = set()

    @asynccontextmanager
    async def step(self, name: str, *, may_repeat: bool = False) -> AsyncIterator[dict[str, object]]:
        """One step; what is put into the mapping is kept as figures. Records given twice meanwhile are a finding."""
        figures: dict[str, object] = {}
        self._progress(f"{self.performance.edition} {self.performance.play}: {name} ...")
        began = CLOCK.monotonic()
        yield figures
        seconds = CLOCK.monotonic() - began
        again = set(repeats(self.fleet.ledger.notes)) - self._repeated
        self._repeated |= again
        if again:
            figures["repeats"] = len(again)
        wrong = {record for record in again if not may_repeat and not self._was_robbed(record)}
        if wrong:
            given = ", ".join(f"{each.worker} in {each.shard_id} at {each.at:.2f}" for each in self._given(min(wrong)))
            self.find(f"{name}: {len(wrong)} records were given twice: {given}")
        self.performance.steps.append(Step(name, round(seconds, 2), figures))
        self._progress(f"{self.performance.edition} {self.performance.play}: {name}: {seconds:.1f} s {figures or ''}")

    def find(self, finding: str) -> None:
        self.performance.findings.append(finding)
        self._progress(f"{self.performance.edition} {self.performance.play}: FOUND {finding}")

    def expect(self, is_so: bool, otherwise: str) -> None:
        """A finding unless it is so."""
        if not is_so:
            self.find(otherwise)

    def _was_robbed(self, record: tuple[str, int]) -> bool:
        """Whether it is one of those that a KCL 2.x repeats by itself: it robs live owners, and does not let go."""
        members = {self.fleet.languages[note.worker] for note in self._given(record)}
        return not self.fleet.has_leader and "java" in members

    def _given(self, record: tuple[str, int]) -> list[Note]:
        return [note for note in self.fleet.ledger.of("record") if (note.key, note.version) == record]

    def judge(self) -> None:
        """What must be true of every fleet."""
        fleet, notes = self.fleet, self.fleet.ledger.notes
        missing = lost(notes, fleet.ledger.written)
        self.expect(not missing, f"{len(missing)} records were never given, {missing[:3]} first")
        for wrong in (
            *disorder(notes)[:3],
            *repeats_within_tenures(notes)[:3],
            *early_children(notes, fleet.stream.parents())[:3],
            *setbacks(fleet.exchanges)[:3],
            *unexpected_errors(fleet.java_errors(), fleet.is_expected_error)[:6],
        ):
            self.find(wrong)
        for process in fleet.running("python"):
            self.expect("Traceback" not in process.said(), f"{process.name} logged a traceback")


# -- what all plays are made of


async def _until_led(play: Play, name: str, within_seconds: float) -> None:
    """Until this member has held the lock for three runs of an assignment."""
    fleet = play.fleet
    least = RUNS_OF_A_LEADER * fleet.timers.assignment_seconds

    def reached() -> bool:
        reign = next(iter(reigns(fleet.exchanges, CLOCK.monotonic())[-1:]), None)
        is_long = reign is not None and reign.runs >= RUNS_OF_A_LEADER and reign.seconds >= least
        return is_long and reign is not None and reign.name == name

    await fleet.until(reached, f"three assignment runs led by {name}", within_seconds)


async def _killed(play: Play, victim: Process, what: str, bound_seconds: float) -> None:
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


async def _stopped(play: Play, leaving: Process, what: str) -> None:
    """SIGTERM, and until others read all that it had."""
    fleet = play.fleet
    shards = await _something_of(fleet, leaving)
    async with play.step(f"SIGTERM to {what}") as figures:
        told_at = leaving.send(signal.SIGTERM)
        await leaving.end(fleet.timers.patience_seconds)
        took = await fleet.until_read_elsewhere(shards, leaving.name, told_at, fleet.timers.patience_seconds)
        figures["takeover"] = round(max(took.values(), default=0.0), 2)
        figures["silence"] = _longest_silence(fleet, leaving.name, told_at)


def _longest_silence(fleet: MixedFleet, giver: str, since: float) -> float:
    """The longest time without a record of a shard that went from ``giver`` to another."""
    after = [each for each in passages(fleet.ledger.notes) if each.at >= since and each.giver == giver]
    return round(max((each.silence_seconds for each in after), default=0.0), 2)


async def _resharded(play: Play) -> None:
    """A split and a merge, or where the service has no merges a rotation of all; until the children are read."""
    fleet = play.fleet
    open_shards = sorted(shard for shard, held in fleet.leases().items() if not held.is_finished)

    def act() -> set[str]:
        lineage = fleet.streams.server.log.stream(fleet.stream.table).lineage
        if fleet.edition == "adapter":
            return set(lineage.rotate())
        return {lineage.merge(*open_shards[1:3]), *lineage.split(open_shards[0])}

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


# -- the plays


async def java_first(play: Play) -> None:
    """A Java fleet that Python joins; resharded, its Java leader killed, Java back, all Python stopped."""
    fleet, timers = play.fleet, play.fleet.timers
    async with play.step("Java starts on an empty table"):
        await fleet.start_java("java1")
        await fleet.until_shared(timers.patience_seconds, least=4)
    async with play.step("Python joins") as figures:
        joined_at = CLOCK.monotonic()
        python = await fleet.start_python("python1")
        shares = await fleet.until_shared(timers.patience_seconds)
        figures["shares"] = {name: len(shards) for name, shards in shares.items()}
        figures["silence"] = _longest_silence(fleet, "java1", joined_at)
    if fleet.has_leader:
        async with play.step("Java leads for three runs"):
            await _until_led(play, "java1", timers.patience_seconds)
    await _resharded(play)
    (java,) = fleet.running("java")
    await _killed(play, java, "the Java leader", timers.python_takeover_seconds())
    if fleet.has_leader:
        async with play.step("Python leads for three runs"):
            await _until_led(play, "python1", timers.patience_seconds)
    async with play.step("Java joins") as figures:
        joined_at = CLOCK.monotonic()
        await fleet.start_java("java2")
        shares = await fleet.until_shared(timers.patience_seconds)
        figures["shares"] = {name: len(shards) for name, shards in shares.items()}
        figures["silence"] = _longest_silence(fleet, "python1", joined_at)
    await _stopped(play, python, "the last Python worker")
    async with play.step("Java goes on alone"):
        await _until_all_given(play)


async def python_first(play: Play) -> None:
    """A Python fleet that Java joins; a Python worker, its leader and a Java worker killed, all Java stopped."""
    fleet, timers = play.fleet, play.fleet.timers
    async with play.step("Python starts on an empty table"):
        for name in ("python1", "python2"):
            await fleet.start_python(name, **fleet.joinable)
        await fleet.until_shared(timers.patience_seconds)
    async with play.step("Java joins") as figures:
        java = await fleet.start_java("java1")
        shares = await fleet.until_shared(timers.patience_seconds)
        figures["shares"] = {name: len(shards) for name, shards in shares.items()}
    if _leader_now(fleet) == "java1":
        await _killed(play, java, "the Java leader", timers.python_takeover_seconds())
        async with play.step("Java joins under a Python leader"):
            java = await fleet.start_java("java3")
            await fleet.until_shared(timers.patience_seconds)
    leader = await _python_leader(play)
    await _killed(play, leader, "the Python leader", timers.python_takeover_seconds())
    async with play.step("Python joins anew"):
        await fleet.start_python("python3")
        await fleet.until_shared(timers.patience_seconds)
    await _killed(play, java, "a Java worker", timers.python_takeover_seconds())
    async with play.step("Java joins anew"):
        java = await fleet.start_java("java2")
        await fleet.until_shared(timers.patience_seconds)
    await _resharded(play)
    await _stopped(play, java, "the last Java worker")
    async with play.step("Python goes on alone"):
        await _until_all_given(play)
    if not fleet.has_leader or not timers.is_default:
        return
    async with play.step("Java's last signs of life grow old"):
        await CLOCK.sleep(KCL_ROW_SECONDS + timers.failover_seconds)
    await _killed(play, await _python_leader(play), "the leader of Python alone", timers.all_python_takeover_seconds())


def _leader_now(fleet: MixedFleet) -> str:
    """Who holds the lock, or held it last; nobody before anybody did."""
    return next((each.name for each in reigns(fleet.exchanges, CLOCK.monotonic())[-1:]), "")


async def _python_leader(play: Play) -> Process:
    """Who of them leads, after three runs; where nobody does, the first."""
    fleet = play.fleet
    if not fleet.has_leader:
        return fleet.running("python")[0]
    async with play.step("Python leads for three runs") as figures:

        def leading() -> str:
            name = _leader_now(fleet)
            return name if fleet.languages.get(name) == "python" else ""

        name = await fleet.until(leading, "a Python leader", fleet.timers.patience_seconds)
        await _until_led(play, name, fleet.timers.patience_seconds)
        figures["leader"] = name
    return next(each for each in fleet.running("python") if each.name == name)


async def _until_all_given(play: Play) -> None:
    await play.fleet.ledger.until_all_delivered(play.fleet.timers.patience_seconds)


async def hot_python(play: Play) -> None:
    """A Java leader takes leases from a Python worker that becomes busy.

    It balances by CPU where all publish it, and gives a newcomer nothing whose CPU is as busy as its own.
    """
    fleet, timers = play.fleet, play.fleet.timers
    async with EcsMetadata(5.0) as metadata:
        async with play.step("Java starts on an empty table"):
            await fleet.start_java("java1", cpu_percent=50.0)
            await fleet.until_shared(timers.patience_seconds, least=4)
        async with play.step("Python joins"):
            await fleet.start_python("python1", ECS_CONTAINER_METADATA_URI_V4=metadata.url)
            await fleet.until_shared(timers.patience_seconds)
        async with play.step("Python's CPU rises to 95 %") as figures:
            before = len(fleet.shares()["python1"])
            metadata.be_busy(95.0)
            await fleet.until(
                lambda: len(fleet.shares()["python1"]) < before, "fewer leases for Python", timers.patience_seconds
            )
            moved = [each for each in passages(fleet.ledger.notes) if each.giver == "python1"]
            figures["shares"] = {"before": before, "after": len(fleet.shares()["python1"])}
            figures["silence"] = max((round(each.silence_seconds, 2) for each in moved), default=0.0)
    leaders = {each.name for each in reigns(fleet.exchanges, CLOCK.monotonic())}
    play.expect(leaders == {"java1"}, f"java1 should have led all the while, not {leaders}")


async def upgrade(play: Play) -> None:
    """KCL 2.7.2 beside a 3.3.0 in 2.x-compatible mode with tables of its own, and Python in the midst of it."""
    fleet, timers = play.fleet, play.fleet.timers
    async with play.step("KCL 2.7.2 starts on an empty table"):
        old = await fleet.start_java("java1")
        await fleet.until_shared(timers.patience_seconds, least=4)
    async with play.step("Python joins"):
        python = await fleet.start_python("python1")
        await fleet.until_shared(timers.patience_seconds)
    async with play.step("KCL 3.3.0 joins, compatible with 2.x") as figures:
        compatible = {"coordinator.clientVersionConfig": "CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X"}
        await fleet.start_java("java2", edition="kcl-3.3.0", settings=compatible)
        shares = await fleet.until_shared(timers.patience_seconds)
        figures["shares"] = {name: len(shards) for name, shards in shares.items()}
    async with play.step("Python's metrics stand where the 3.3.0 looks for them"):
        await fleet.until(lambda: _reports(fleet, "python1"), "its row in the legacy table", timers.patience_seconds)
    play.expect(not fleet.other_rows(), f"rows that are no leases stand in the lease table: {fleet.other_rows()}")
    await _killed(play, old, "the KCL 2.7.2", timers.python_takeover_seconds())
    await _stopped(play, python, "the Python worker")


def _reports(fleet: MixedFleet, name: str) -> bool:
    """Whether this member's metric row stands in the table that a KCL before 3.5 keeps for them."""
    return any(fleet.name_of(row["wid"]["S"]) == name for row in fleet.rows("-WorkerMetricStats"))


async def java_only(play: Play) -> None:
    """What the KCL does by itself, to compare with: a second joins, shards change, the leader is killed."""
    fleet, timers = play.fleet, play.fleet.timers
    async with play.step("Java starts on an empty table"):
        leader = await fleet.start_java("java1")
        await fleet.until_shared(timers.patience_seconds, least=4)
    async with play.step("Java joins") as figures:
        joined_at = CLOCK.monotonic()
        await fleet.start_java("java2")
        await fleet.until_shared(timers.patience_seconds)
        figures["silence"] = _longest_silence(fleet, "java1", joined_at)
    await _resharded(play)
    await _killed(play, leader, "the Java leader", timers.patience_seconds)


PLAYS: Final[Mapping[str, Callable[[Play], Awaitable[None]]]] = {
    "java-first": java_first,
    "python-first": python_first,
    "hot-python": hot_python,
    "upgrade": upgrade,
    "java-only": java_only,
}

MIXED: Final = ("java-first", "python-first", "hot-python", "upgrade")
# The plays that are not for all editions.
ONLY: Final[Mapping[str, frozenset[str]]] = {
    "hot-python": frozenset({"kcl-3.5.1", "kcl-3.3.0", "adapter"}),
    "upgrade": frozenset({"kcl-2.7.2"}),
}


async def perform(fleet: MixedFleet, name: str, progress: Callable[[str], None]) -> Performance:
    """Play it with records written all the while, then judge; a step that failed is a finding like the others."""
    performance = Performance(fleet.edition, name)
    play = Play(fleet, performance, progress)
    async with fleet.written_to():
        await _attempted(play, PLAYS[name](play))
    await _attempted(play, fleet.ledger.until_all_delivered(fleet.timers.patience_seconds))
    play.judge()
    return performance


async def _attempted(play: Play, happening: Awaitable[None]) -> None:
    """What did not come about is a finding; the rest of a play is left out then."""
    try:
        await happening
    except AssertionError as error:
        play.find(str(error).partition("The last notes")[0])
