"""A supervisor through drawn crashes, hangs, slow starts, stops and scrapes, in virtual time; a seed is a machine."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from consumer.exit_codes import BAD_CONFIGURATION, CLEAN, DRAIN_TIMED_OUT, ERROR
from consumer.operate.supervisor.lifeline import Asked, AtWork, Failed, Told
from consumer.operate.supervisor.page import GroupPage
from consumer.operate.supervisor.restarts import FIRST_PAUSE_SECONDS, LOOP_DEATHS, LOOP_SECONDS
from consumer.operate.supervisor.supervisor import GRACE_SECONDS, LEAVE_SECONDS, ProcessView, Supervisor
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.unit.operate.supervisor.machine import DRAIN_SECONDS, supervisor_of

SEEDS = 150
ANSWER_SECONDS = 4.0
SLOWEST_START_SECONDS = 3.0


class Drawn:
    """A process with a fate of its own: how its start goes, how long it lives, and what it does when it is told."""

    def __init__(
        self, number: int, pid: int, hear: Callable[[Told], None], random: Random, clock: VirtualClock
    ) -> None:
        self.number, self.pid, self.hear = number, pid, hear
        self.asked: list[tuple[float, Asked]] = []
        self.ended_at: float | None = None
        self.counted = 0
        self.was_at_work = False
        self.was_killed = False
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._random, self._clock = random, clock
        self._drains_after = random.choice((0.0, 0.01, 3.0, 20.0, DRAIN_SECONDS + 1.0, None))
        self._drained_code = random.choice((CLEAN,) * 6 + (DRAIN_TIMED_OUT, 1))
        self._leaves_after = random.choice((0.0, 0.5, None))
        later = clock.call_later
        if random.random() < 0.1:
            later(random.uniform(0.0, 2.0), lambda: self._fail(random.choice((1, 1, 1, BAD_CONFIGURATION, -9))))
        else:
            later(random.uniform(0.1, 2.0), self._work)
            if random.random() < 0.5:
                later(random.expovariate(1 / 60.0), lambda: self.end(random.choice((0, 1, 7, -9, -11))))

    @property
    def is_alive(self) -> bool:
        return not self.code.done()

    def ask(self, request: Asked) -> None:
        self.asked.append((self._clock.monotonic(), request))
        after = self._drains_after if request == "drain" else self._leaves_after
        if after is not None:
            code = self._drained_code if request == "drain" else DRAIN_TIMED_OUT
            self._clock.call_later(after, lambda: self.end(code))

    def kill(self) -> None:
        self.was_killed = self.was_killed or self.is_alive
        self.end(-9)

    def end(self, code: int) -> None:
        if self.is_alive:
            self.code.set_result(code)
            self.ended_at = self._clock.monotonic()

    async def ended(self) -> int:
        return await self.code

    def _work(self) -> None:
        if self.is_alive:
            self.was_at_work = True
            self.hear(AtWork(f"w-{self.pid}", self.pid))

    def _fail(self, code: int) -> None:
        if self.is_alive and not self.asked:
            self.hear(Failed((f"reason {code}.",)))
            self.end(code)


class Storm:
    """A machine on which all of that happens, and what must hold all the time."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = VirtualClock()
        self.count = self.random.choice((1, 2, 3, 8))
        self.started: list[Drawn] = []
        self.deaths: list[tuple[float, int, int]] = []
        self.supervisor: Supervisor = supervisor_of(self, self.count)  # type: ignore[arg-type]
        self.starts_slowly = self.random.random() < 0.3
        self.refuses = self.random.choice((0.0, 0.0, 0.05))
        self.totals = [0.0]
        self.was_told = False
        self.left_at = math.inf

    async def start(self, number: int, hear: Callable[[Told], None]) -> Drawn:
        assert not self.supervisor.is_draining, "started in a drain"
        assert [each for each in self.of(number) if each.is_alive] == [], "two processes of one number"
        ends = [at for at, whose, _ in self.deaths if whose == number]
        assert not ends or self.clock.monotonic() - ends[-1] >= FIRST_PAUSE_SECONDS - 1e-6, "started again at once"
        if self.starts_slowly:
            await self.clock.sleep(self.random.uniform(0.0, SLOWEST_START_SECONDS))
        if self.random.random() < self.refuses:
            self._dead(number, ERROR)
            raise OSError(11, "Resource temporarily unavailable")
        process = Drawn(number, 100 + len(self.started), hear, self.random, self.clock)
        process.code.add_done_callback(lambda code: process.asked or self._dead(number, code.result()))
        self.started.append(process)
        return process

    def _dead(self, number: int, code: int) -> None:
        if not self.supervisor.is_draining:
            self.deaths.append((self.clock.monotonic(), number, code))

    def of(self, number: int) -> list[Drawn]:
        return [each for each in self.started if each.number == number]

    async def fetch(self, port: int, path: str) -> str:
        """The page of a process, which may die before it has answered."""
        process = self.started[port - 100]
        await self.clock.sleep(min(ANSWER_SECONDS, self.random.expovariate(2.0)))
        if not process.is_alive or self.random.random() < 0.1:
            raise OSError("no answer")
        if path == "/healthz":
            return '{"healthy": true, "shards_held": 1, "problems": []}'
        process.counted += self.random.randrange(100)
        return f"# TYPE leasehold_retries counter\nleasehold_retries_total {process.counted}\n# EOF\n"

    async def look(self) -> None:
        """Ask the page as Prometheus and a load balancer do."""
        page = GroupPage(self.supervisor, self.fetch)
        while True:
            await self.clock.sleep(self.random.uniform(0.2, 15.0))
            views = self.supervisor.view()
            for view in views:
                self.judge_view(view)
            families = {family.name: family for family in (await page.metrics()).collect()}
            states = {sample.labels["state"]: sample.value for sample in families["leasehold_processes"].samples}
            states["at_work"] += states.pop("silent")
            assert {state: count for state, count in states.items() if count} == Counter(view.state for view in views)
            if "leasehold_retries" in families:
                self.totals.append(families["leasehold_retries"].samples[0].value)
                assert self.totals[-1] >= self.totals[-2], "Prometheus would count everything a second time"
                assert self.totals[-1] <= sum(each.counted for each in self.started)
            health = await page.health()
            assert [each["process"] for each in health.body["processes"]] == list(range(1, self.count + 1))
            ill = [each["process"] for each in health.body["processes"] if not each["healthy"]]
            assert [int(problem.split()[1]) for problem in health.body["problems"]] == ill
            if not health.body["draining"]:
                assert {each["process"] for each in health.body["processes"] if each["state"] != "at_work"} <= {*ill}

    def judge_view(self, view: ProcessView) -> None:
        if view.pid is not None:
            assert self.started[view.pid - 100].is_alive, "seen after its end"
        if view.state == "at_work":
            assert view.pid is not None
            assert self.started[view.pid - 100].was_at_work

    async def stop(self) -> None:
        """Once, mostly; now and then a second time."""
        await self.clock.sleep(self.random.choice((0.5, 5.0, 300.0, 3_000.0)) * self.random.random())
        self.was_told = not self.supervisor.is_draining
        if self.random.random() < 0.7:
            self.supervisor.drain()
            await self.clock.sleep(self.random.choice((1.0, 20.0)) * self.random.random())
        if not self.supervisor.is_draining or self.random.random() < 0.5:
            self.left_at = self.clock.monotonic()
            self.supervisor.leave()

    async def run(self) -> None:
        looking = asyncio.create_task(self.look())
        stopping = asyncio.create_task(self.stop())
        code = await self.supervisor.run()
        for task in (looking, stopping):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.wait((looking, stopping))
        assert [each for each in self.started if each.is_alive] == [], "a process outlived its supervisor"
        for process in self.started:
            self._judge_stop(process)
        self._judge_end(code)

    def _judge_stop(self, process: Drawn) -> None:
        """What it was told, and that it was not left alone with it for longer than is promised."""
        assert process.ended_at is not None
        for at, request in process.asked:
            allowed = LEAVE_SECONDS + (DRAIN_SECONDS + GRACE_SECONDS if request == "drain" else 0.0)
            assert process.ended_at - at <= allowed + 1e-6, f"told to {request}"
            assert request == "leave" or at <= self.left_at
        assert not process.was_killed or process.asked[-1][1] == "leave", "it was never told to"

    def _judge_end(self, code: int) -> None:
        """The exit code and who decided on the end, told anew from what happened."""
        own = max(Counter(number for _, number, _ in self._recent()).values(), default=0)
        never = not any(each.was_at_work for each in self.started)
        all_failed = never and {number for _, number, _ in self.deaths} == set(range(1, self.count + 1))
        refused = any(code == BAD_CONFIGURATION for _, _, code in self.deaths)
        is_hopeless = refused or all_failed or own >= LOOP_DEATHS or len(self._recent()) >= self.count + LOOP_DEATHS - 1
        assert self.was_told != is_hopeless
        assert self.supervisor.restarts == len(self.deaths) - is_hopeless
        if self.was_told:
            assert code == max((_blame(each) for each in self.started if each.asked), default=CLEAN)
        else:
            last = self.deaths[-1][2]
            assert code == (last if last > 0 else ERROR)

    def _recent(self) -> list[tuple[float, int, int]]:
        return [death for death in self.deaths if self.deaths[-1][0] - death[0] <= LOOP_SECONDS]


def _blame(process: Drawn) -> int:
    """What the end of a process that was told to stop makes of the exit code."""
    code = process.code.result()
    if process.was_killed:
        return DRAIN_TIMED_OUT
    if code == CLEAN or not process.was_at_work:
        return CLEAN
    return DRAIN_TIMED_OUT if code == DRAIN_TIMED_OUT else ERROR


@pytest.mark.parametrize("first", range(0, SEEDS, 30))
def test_processes_come_and_go_and_nothing_is_left_over_or_counted_twice(first: int, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.CRITICAL, "leasehold")
    for seed in range(first, first + 30):
        run_virtual(_stormy(seed))


async def _stormy(seed: int) -> None:
    try:
        await Storm(seed).run()
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
