"""The plays: what happens to a fleet of Java and Python members in its life.

A step that does not come about ends its play: what follows would build on it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from typing import Final

from tests.integration.kcl.ecs_metadata import EcsMetadata
from tests.integration.kcl.evidence import reigns
from tests.integration.kcl.happenings import (
    killed,
    leader_now,
    longest_silence,
    python_leader,
    resharded,
    stopped,
    until_all_given,
    until_led,
)
from tests.integration.kcl.mixed_stage import MixedFleet
from tests.integration.kcl.play import Performance, Play
from tests.integration.kcl.positions import latest, prepared, prepared_by_python
from tests.integration.ledger import CLOCK

__all__ = ["MIXED", "ONLY", "PLAYS", "perform"]

# A KCL worker reports every 30 s, and counts as alive for two such periods.
KCL_ROW_SECONDS: Final = 60.0


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
        figures["silence"] = longest_silence(fleet, "java1", joined_at)
    if fleet.has_leader:
        async with play.step("Java leads for three runs"):
            await until_led(play, "java1", timers.patience_seconds)
    await resharded(play)
    (java,) = fleet.running("java")
    await killed(play, java, "the Java leader", timers.python_takeover_seconds())
    if fleet.has_leader:
        async with play.step("Python leads for three runs"):
            await until_led(play, "python1", timers.patience_seconds)
    async with play.step("Java joins") as figures:
        joined_at = CLOCK.monotonic()
        await fleet.start_java("java2")
        shares = await fleet.until_shared(timers.patience_seconds)
        figures["shares"] = {name: len(shards) for name, shards in shares.items()}
        figures["silence"] = longest_silence(fleet, "python1", joined_at)
    await stopped(play, python, "the last Python worker")
    async with play.step("Java goes on alone"):
        await until_all_given(play)


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
    if leader_now(fleet) == "java1":
        await killed(play, java, "the Java leader", timers.python_takeover_seconds())
        async with play.step("Java joins under a Python leader"):
            java = await fleet.start_java("java3")
            await fleet.until_shared(timers.patience_seconds)
    leader = await python_leader(play)
    await killed(play, leader, "the Python leader", timers.python_takeover_seconds())
    async with play.step("Python joins anew"):
        await fleet.start_python("python3")
        await fleet.until_shared(timers.patience_seconds)
    await killed(play, java, "a Java worker", timers.python_takeover_seconds())
    async with play.step("Java joins anew"):
        java = await fleet.start_java("java2")
        await fleet.until_shared(timers.patience_seconds)
    await resharded(play)
    await stopped(play, java, "the last Java worker")
    async with play.step("Python goes on alone"):
        await until_all_given(play)
    if not fleet.has_leader or not timers.is_default:
        return
    async with play.step("Java's last signs of life grow old"):
        await CLOCK.sleep(KCL_ROW_SECONDS + timers.failover_seconds)
    await killed(play, await python_leader(play), "the leader of Python alone", timers.all_python_takeover_seconds())


async def hot_python(play: Play) -> None:
    """A Java leader takes leases from a Python worker that becomes busy.

    It balances by CPU where all publish it: it gives to who has less to do than the average and, as it foresees, would
    have so with the lease, too.
    """
    fleet, timers = play.fleet, play.fleet.timers
    async with EcsMetadata(1.0) as metadata:
        async with play.step("Java starts on an empty table"):
            await fleet.start_java("java1", cpu_percent=5.0)
            await fleet.until_shared(timers.patience_seconds, least=4)
        async with play.step("Python joins"):
            await fleet.start_python("python1", ECS_CONTAINER_METADATA_URI_V4=metadata.url)
            await fleet.until_shared(timers.patience_seconds)
        async with play.step("Python's CPU rises to 95 %") as figures:
            before = len(fleet.shares()["python1"])
            metadata.be_busy(95.0)
            # What both publish are averages of half a minute each, weighed by a leader with those before.
            fewer = timers.patience_seconds + 60.0
            await fleet.until(lambda: len(fleet.shares()["python1"]) < before, "fewer leases for Python", fewer)
            figures["shares"] = {"before": before, "after": len(fleet.shares()["python1"])}
            await fleet.until(
                lambda: longest_silence(fleet, "python1", 0.0), "its records given to Java", timers.patience_seconds
            )
            figures["silence"] = longest_silence(fleet, "python1", 0.0)
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
    await killed(play, old, "the KCL 2.7.2", timers.python_takeover_seconds())
    await stopped(play, python, "the Python worker")


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
        figures["silence"] = longest_silence(fleet, "java1", joined_at)
    await resharded(play)
    await killed(play, leader, "the Java leader", timers.patience_seconds)


PLAYS: Final[Mapping[str, Callable[[Play], Awaitable[None]]]] = {
    "java-first": java_first,
    "python-first": python_first,
    "hot-python": hot_python,
    "upgrade": upgrade,
    "latest": latest,
    "prepared": prepared,
    "prepared-by-python": prepared_by_python,
    "java-only": java_only,
}

# They write themselves, when it is time.
QUIET: Final = frozenset({"latest", "prepared", "prepared-by-python"})
MIXED: Final = ("java-first", "python-first", "hot-python", "upgrade", "latest", "prepared", "prepared-by-python")
# The plays that are not for all editions.
ONLY: Final[Mapping[str, frozenset[str]]] = {
    "hot-python": frozenset({"kcl-3.5.1", "kcl-3.3.0", "adapter"}),
    "upgrade": frozenset({"kcl-2.7.2"}),
}


async def perform(fleet: MixedFleet, name: str, progress: Callable[[str], None]) -> Performance:
    """Play it, with records written all the while unless the play writes, then judge; a failed step is a finding."""
    performance = Performance(fleet.edition, name)
    play = Play(fleet, performance, progress)
    async with nullcontext() if name in QUIET else fleet.written_to():
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
