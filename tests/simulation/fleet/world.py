"""The whole product under drawn faults: ``python -m tests.simulation --world fleet --seeds 500``, or ``--seed 7``.

Whole workers share one lease table and one stream, in virtual time. First a phase in which anything may happen: shards
rotate, split and merge, workers come, go, die and freeze, the stream is made anew. Then the faults stop; one worker is
killed and two leave at once, and the fleet must come to rest with everything delivered, go on delivering, follow one
more rotation, and drain without a trace.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from consumer.testing.faults import FaultPlan
from consumer.testing.shard_log import ShardLog
from consumer.testing.virtual_time import Stalled, VirtualClock
from consumer.worker import Outcome
from tests.simulation.fleet.calm import oddities
from tests.simulation.fleet.draw import CALM_CODE, Draw, drawn
from tests.simulation.fleet.judge import StreamJudge
from tests.simulation.fleet.loop import FleetLoop
from tests.simulation.fleet.operator import Operator
from tests.simulation.fleet.process import Process, Surroundings
from tests.simulation.fleet.stream import NAME, StreamSide
from tests.simulation.fleet.trouble import Trouble
from tests.simulation.network import Calm
from tests.simulation.rest import unrest
from tests.simulation.trace import shown

__all__ = ["FleetReport", "FleetWorld", "run_fleet_seed"]

_QUIET_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What came of one seed; ``counts`` are records written, delivered, delivered again."""

    seed: int
    violations: tuple[str, ...]
    last_steps: tuple[str, ...]
    digest: str
    draw: Draw
    settled_after_seconds: float
    counts: tuple[int, int, int]
    gaps: int
    describes_a_second: float


class FleetWorld:
    """One seed's world."""

    def __init__(self, seed: int, loop: FleetLoop, draw: Draw) -> None:
        self.seed = seed
        self.loop = loop
        self.draw = draw
        self.chance = random.Random(f"{seed}:world")
        self.clock = VirtualClock()
        late = draw.staleness
        self.trouble = Trouble(draw.policy, loop.time)
        self.judge = StreamJudge(
            self.clock.wall,
            pin_seconds=2.0 if draw.position == "LATEST" else 0.001,  # records carry milliseconds, floored
            strict_start=not (late.left_out or late.child_late_calls or late.child_late_seconds),
            policy=draw.policy,
            is_poison=self.trouble.is_poison,
        )
        self.judge.accounts.fails_by_chance = draw.fails_by_chance
        self.log = ShardLog(self.clock.wall, seed=seed, options=draw.options)
        self.plan = FaultPlan(random.Random(f"{seed}:faults"), now=self.clock.monotonic)
        self.around = Surroundings(
            draw, self.log, self.plan, self.judge, f"{draw.service}:{NAME}", trouble=self.trouble
        )
        self.processes = self.around.processes
        self.calm_since = 0.0
        self.side = StreamSide(seed, self.around, self.chance)
        self.operator = Operator(seed, self.around)
        self._position = draw.start(0.0)
        self._writing = True
        self._started = 0
        self._started_anew = 0

    # -- processes

    def add(self) -> Process:
        self._started += 1
        name = f"w{self._started}"
        process = Process(name, self.around, self.loop, random.Random(f"{self.seed}:{name}"), self._position)
        self.processes.append(process)
        self.judge.note(f"{name} starts as {process.worker.worker_id}")
        process.start()
        return process

    def live(self) -> list[Process]:
        return [each for each in self.processes if each.state in ("starting", "running") and not each.frozen]

    def crash(self, process: Process) -> None:
        self.judge.note(f"{process.name} is killed")
        process.state = "dead"
        self.loop.freeze(process.name)

    def freeze(self, process: Process, seconds: float) -> None:
        self.judge.note(f"{process.name} is frozen for {seconds:.1f} s")
        process.frozen = True
        self.loop.freeze(process.name)

        def thaw() -> None:
            if process.state != "dead":
                self.judge.note(f"{process.name} thaws")
                self.judge.awake_since[process.name] = self.loop.time()
                process.frozen = False
                self.loop.thaw(process.name)

        self.loop.call_later(seconds, thaw)

    # -- what happens

    async def _happen(self, what: str) -> None:
        self._check_bounds()
        ended = sum(each.outcome is Outcome.BATCH_TIMED_OUT for each in self.processes)
        for _ in range(ended - self._started_anew):  # as their supervisor would, by their exit code
            self.add()
        self._started_anew = ended
        self.judge.note(f"-- {what}")
        live, chance = self.live(), self.chance
        match what:
            case "rotate" | "split" | "merge" | "reshard":
                self.side.reshape(what)
            case "crash" if live:
                self.crash(chance.choice(live))
            case "drain" if live:
                chance.choice(live).drain()
            case "start" if len(live) < 5:
                self.add()
            case "freeze" if live:
                self.freeze(chance.choice(live), chance.uniform(0.1, 2.5) * self.draw.failover)
            case "recreate" if len(self.judge.logs) < 3:
                await self.side.recreate()
            case "operate":
                self.operator.begin()
            case "blackout":
                for each in self.processes:
                    if each.is_up:
                        self.crash(each)
                await self._sleep_through(chance.choice((1.0, 20.0)), chance.choice(self.draw.days))
                for _ in range(self.draw.workers):
                    self.add()
        if not self.live():
            self.add()

    def _check_bounds(self) -> None:
        for each in self.processes:
            if each.is_up:
                each.check_bounds()

    async def _sleep_through(self, seconds: float, days: float) -> None:
        """Nobody works for seconds, or for days: then few records are written, but some are trimmed."""
        await asyncio.sleep(seconds)
        if days:
            self.side.slowness = 1_500.0
            for _ in range(4):
                await asyncio.sleep(days * 86_400.0 / 4)
                if not self.around.is_stream_gone:
                    self.side.reshape(self.chance.choice(("rotate", "split")))

    # -- the run

    async def run(self) -> float:
        """All phases; returns how long the fleet took to come to rest."""
        self.side.open()
        writer = asyncio.ensure_future(self.side.write_forever())
        await asyncio.sleep(self.chance.uniform(0.0, 8.0))
        self._position = self.draw.start(self.clock.wall() - self.chance.uniform(-3.0, 6.0))
        self.draw.arm(self.plan)
        for _ in range(self.draw.workers):
            self.add()
            await asyncio.sleep(self.chance.choice((0.0, 0.0, 2.0)))
        until = self.loop.time() + self.draw.phase
        while self.loop.time() < until and not self.judge.violations:
            await asyncio.sleep(self.chance.uniform(0.2, 2.0) * self.draw.pause)
            await self._happen(self.chance.choice(self.draw.happenings))
        self._check_repeats()
        if self.draw.safety_only:
            writer.cancel()
            return 0.0
        self._calm_down()
        await self._three_leave()
        settled = await self._rest("the faults stopped")
        if self.draw.policy.operator is not None and not self.judge.violations:
            await self.operator.finish()
        await self._one_more_rotation()
        self._writing = False
        writer.cancel()
        await self._leave()
        return settled

    def _check_repeats(self) -> None:
        """Where nothing went wrong and nobody died, nothing comes twice."""
        draw, again = self.draw, self.judge.counts[2]
        rough: object = {"crash", "freeze", "blackout", "recreate"} & set(draw.happenings)
        policy = draw.policy
        rough = rough or policy.lanes > 1 or policy.poison_every is not None or policy.sink_down is not None
        rough = rough or policy.setting("batch_timeout_seconds") is not None
        if again and not (draw.faults or draw.manual or rough):
            self.judge.breach(f"{again} records came again, although nothing had gone wrong")

    async def _three_leave(self) -> None:
        """One worker is killed and two drain within 2 s of each other, while scans still show the past."""
        while len(self.live()) < 4:
            self.add()
        leaving = self.chance.sample(self.live(), 3)
        self.crash(leaving[0])
        leaving[1].drain()
        await asyncio.sleep(self.chance.uniform(0.0, 2.0))
        leaving[2].drain()

    def _calm_down(self) -> None:
        self.judge.note("the faults stop")
        self.plan.clear()
        self.draw.arm_for_good(self.plan)
        # Where scans lie further back than a failover time, some lease looks free at every look: nobody can balance.
        self.around.network = Calm(min(self.around.network.stale_seconds, self.draw.failover))
        self.around.code = CALM_CODE
        self.around.letters.is_calm = True
        self.trouble.end(self.side.serial)
        self.side.stop_rotating()
        self.loop.call_later(0.0, self._keep_alive)

    def _keep_alive(self) -> None:
        """A supervisor: what ended comes back; under a limit of leases there are enough workers for every shard."""
        if not self._writing or self.judge.violations:
            return
        rows = sum(not lease.is_finished for lease in self.judge.table.rows().leases)
        limit = self.draw.max_leases
        enough = 2 if limit is None else max(2, -(-(rows + 2) // limit))
        for _ in range(enough - len([each for each in self.processes if each.state in ("starting", "running")])):
            self.add()
        self.loop.call_later(2.0, self._keep_alive)

    async def _rest(self, after: str) -> float:
        began = self.loop.time()
        draw = self.draw
        limit = 2 * draw.failover + draw.hand_off_timeout + 60.0 + 3 * draw.audit_interval + draw.child_wait + 60.0
        limit += draw.policy.patience_seconds
        quiet_since: float | None = None
        why: str | None = None
        while self.loop.time() < began + limit and not self.judge.violations:
            await asyncio.sleep(0.5)
            self._check_bounds()
            why = self._unrest()
            if why is not None:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = self.loop.time()
            elif min(self.loop.time() - quiet_since, self.loop.time() - self.judge.moved_at) >= _QUIET_SECONDS:
                return quiet_since - began
        if not self.judge.violations:
            for row in self.judge.table.rows().leases:
                self.judge.note(f"row {row.key} of {row.stream}, parents {row.parents}: {shown(row)}")
            self.judge.breach(f"not at rest {limit:.0f} s after {after}: {why or 'leases move'}")
        return limit

    def _unrest(self) -> str | None:
        """Why the fleet is not at rest yet: what is missing, not held, out of balance, or still leaving."""
        missing = next(self.judge.missing(older_than=3.0), None)
        if missing is not None:
            return f"records did not come, the first: {missing}"
        live = [each for each in self.processes if each.state == "running" and not each.frozen]
        held = {each.worker.worker_id: each.leases for each in live}
        rows = [lease for lease in self.judge.table.rows().leases if not lease.is_finished]
        if why := unrest(rows, held, dict.fromkeys(held, self.draw.max_leases)):
            return why
        if self.around.is_stream_gone:
            return "the stream is gone"
        stream = self.side.stream
        expected = {(stream.incarnation, shard.id) for shard in stream.open_shards()}
        if odd := (expected ^ {(each.stream, each.key) for each in rows}) - self.judge.stuck.unfinished():
            return f"open shards and unfinished rows differ: {sorted(odd)}"
        leaving = [each.name for each in self.processes if each.state == "draining"]
        return f"{leaving} still leave" if leaving else None

    async def _one_more_rotation(self) -> None:
        """A calm fleet follows its shards within seconds and stays under the limit of DescribeStream."""
        if self.judge.violations:
            return
        self.calm_since = self.clock.monotonic()
        self.side.reshape("rotate")
        await asyncio.sleep(12.0)
        late = list(self.judge.missing(older_than=6.0))
        if late:
            self.judge.breach(f"a calm fleet left {len(late)} records for 6 s, the first: {late[0]}")
        await self._rest("one more rotation")

    async def _leave(self) -> None:
        """Drain everybody at once: no error, nothing missing, no row that names anybody."""
        if self.judge.violations:
            return
        await asyncio.sleep(3.0)
        missing = list(self.judge.missing())
        if missing:
            self.judge.breach(f"{len(missing)} records never came, the first: {missing[0]}")
        open_shards = {shard.id for shard in self.side.stream.open_shards()}
        for oddity in oddities(self.judge, self.live(), open_shards, self.operator.mended_at):
            self.judge.breach(oddity)
        leaving = [each for each in self.processes if each.is_up]
        for each in leaving:
            each.drain()
        await asyncio.sleep(self.draw.drain_timeout + 5.0)
        for each in leaving:
            if each.state != "gone" or each.outcome is not Outcome.CLEAN:
                self.judge.breach(f"{each.name} did not leave a calm fleet cleanly: {each.state}, {each.outcome}")
        named = [lease.key for lease in self.judge.table.rows().leases if lease.owner and not lease.is_finished]
        if not self.draw.policy.is_plain and not self.draw.manual:
            for row in self.judge.behind():
                self.judge.breach(row)
        if named:
            self.judge.breach(f"{named} still name an owner after everybody left")

    def describes_a_second(self) -> float:
        """Most DescribeStream calls of the calm fleet, a second over 5 s: each worker may make two at once."""
        times = [at for at in self.plan.times("DescribeStream") if at >= self.calm_since > 0.0]
        most = max((sum(at < each <= at + 5.0 for each in times) / 5.0 for at in times), default=0.0)
        if most >= 10.0:
            self.judge.breach(f"{most} DescribeStream calls a second in a calm fleet")
        return most


def run_fleet_seed(seed: int, draw: Draw | None = None) -> FleetReport:
    """Run one seed to its end or first violation; ``draw`` stands in for the seed's own configuration."""
    loop = FleetLoop(seed)
    world = FleetWorld(seed, loop, draw or drawn(seed))
    judge = world.judge
    settled = describes = 0.0

    async def main() -> None:
        nonlocal settled, describes
        try:
            settled = await world.run()
            describes = world.describes_a_second()
        except Stalled as error:
            judge.breach(str(error))
        finally:
            judge.closed = True
            loop.thaw_all()

    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
    except Stalled as error:
        judge.violations.append(str(error))
    return FleetReport(
        seed,
        tuple(judge.violations),
        tuple(judge.last_steps),
        judge.digest,
        world.draw,
        settled,
        judge.counts,
        judge.gaps,
        describes,
    )
