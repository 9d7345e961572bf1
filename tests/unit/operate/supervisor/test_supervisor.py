"""A supervisor over processes that end as a test tells them, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count

import pytest

from consumer.operate.supervisor.lifeline import Told
from consumer.operate.supervisor.supervisor import Supervisor
from consumer.testing.virtual_time import run_virtual
from tests.stress.stepping import cancelled_at
from tests.unit.operate.supervisor.machine import DRAIN_SECONDS, FakeProcess, Machine, play, supervisor_of


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leasehold")


async def nothing(machine: Machine, supervisor: Supervisor) -> None:
    """The scene of those that end by themselves."""


def test_all_are_started_at_once_and_drain_together():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(0.5)
        assert [(each.number, each.state) for each in supervisor.view()] == [(n, "starting") for n in range(1, 5)]
        await machine.clock.sleep(1.0)
        assert {each.state for each in supervisor.view()} == {"at_work"}
        assert [each.port for each in supervisor.view()] == [9001, 9002, 9003, 9004]
        supervisor.drain()
        await machine.clock.sleep(0.1)
        assert {each.state for each in supervisor.view()} == {"ended"}
        assert [each.asked for each in machine.started] == [["drain"]] * 4

    assert play(scene, 4) == 0


def test_a_process_that_dies_is_started_again_after_a_pause_and_the_others_are_left_alone(
    caplog: pytest.LogCaptureFixture,
):
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(2).end(-9)
        await machine.clock.sleep(0.25)
        (_, second) = supervisor.view()
        assert (second.state, second.pid, second.port) == ("restarting", None, None)
        assert second.reason == "ended (killed by SIGKILL) and is started again"
        assert len(machine.started) == 2
        await machine.clock.sleep(0.3)
        assert [each.number for each in machine.started] == [1, 2, 2]
        await machine.clock.sleep(1.1)
        assert [(each.state, each.start) for each in supervisor.view()] == [("at_work", 1), ("at_work", 2)]
        assert supervisor.restarts == 1
        supervisor.drain()

    assert play(scene) == 0
    assert "Process 2 (pid 101) ended after 5 s: killed by SIGKILL. The leases it held expire in at most 10 s" in (
        caplog.text
    )
    assert "It is started again in 0.5 s." in caplog.text


def test_a_process_that_ends_for_a_call_that_does_not_is_started_again_at_once(caplog: pytest.LogCaptureFixture):
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        for _ in range(20):
            machine.newest(2).end(5)
            await machine.clock.sleep(1.0)
        assert supervisor.restarts == 20
        supervisor.drain()

    assert play(scene) == 0
    assert "exit code 5, for a call of user code that does not end. The leases it held expire" in caplog.text
    assert "It is started again in 0 s." in caplog.text


def test_processes_that_all_died_after_they_had_worked_are_started_again():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        for number in (1, 2):
            machine.newest(number).end(1)
        await machine.clock.sleep(5.0)
        assert {(each.state, each.start) for each in supervisor.view()} == {("at_work", 2)}
        supervisor.drain()

    assert play(scene) == 0


def test_a_process_that_somebody_drains_is_started_again_without_alarm(caplog: pytest.LogCaptureFixture):
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(1).end(0)
        await machine.clock.sleep(5.0)
        supervisor.drain()

    assert play(scene) == 0
    assert [record.levelname for record in caplog.records if "ended after" in record.message] == ["WARNING"]
    assert "expire" not in caplog.text


def test_a_crash_loop_drains_the_others_and_ends_with_the_code_of_what_crashed(caplog: pytest.LogCaptureFixture):
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(2.0)
        machine.at_start[1] = 9
        machine.newest(1).end(9)

    assert play(scene) == 9
    assert "process 1 died 5 times within 300 s, a crash loop. The others drain" in caplog.text
    assert "Process 2 (pid 101) has ended." in caplog.text


def test_a_bad_configuration_ends_all_with_3_and_is_told_once():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(1.5)
        assert len(machine.started) == 3
        assert supervisor.failure == ("there is no module 'orders'.",)

    assert play(scene, 3, at_start={1: 3, 2: 3, 3: 3}, sentences=("there is no module 'orders'.",)) == 3


def test_when_no_process_gets_through_its_start_all_ends_with_what_they_said(caplog: pytest.LogCaptureFixture):
    heard: list[tuple[str, ...]] = []

    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(1.5)
        heard.append(supervisor.failure)

    assert play(scene, 3, at_start={1: 1, 2: 1, 3: 1}, sentences=("no credentials.",)) == 1
    assert heard == [("no credentials.",)]
    assert caplog.text.count("no credentials") == 1, "once in the log, however many processes"
    assert "in its start: exit code 1. As before. It is started again" in caplog.text


def test_a_machine_that_can_start_no_process_says_so(caplog: pytest.LogCaptureFixture):
    assert play(nothing, 1, refuses=[OSError(11, "Resource temporarily unavailable")]) == 1
    assert "not one of the processes got through its start" in caplog.text


def test_what_hangs_in_the_drain_is_killed_at_the_deadline_and_told(caplog: pytest.LogCaptureFixture):
    ended_at: list[float] = []

    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(1)._obeys = {"drain": 0}
        machine.newest(2)._obeys = {}
        began = machine.clock.monotonic()
        supervisor.drain()
        assert await machine.newest(2).ended() == -9
        ended_at.append(machine.clock.monotonic() - began)
        assert machine.newest(2).asked == ["drain", "leave"]

    assert play(scene) == 4
    assert DRAIN_SECONDS < ended_at[0] <= DRAIN_SECONDS + 5.0  # what deploy/README.md asks of whoever kills
    assert "Process 2 (pid 101) does not end; it is killed. The leases it holds expire in at most 10 s" in caplog.text
    assert "Process 1 (pid 100) does not end" not in caplog.text


def test_no_time_is_no_time():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(2)._obeys = {}
        began = machine.clock.monotonic()
        supervisor.drain()
        supervisor.leave()
        await machine.newest(2).ended()
        assert machine.clock.monotonic() - began <= 1.0

    assert play(scene, obeys={"leave": 4}) == 4


@pytest.mark.parametrize(("code", "whole"), [(0, 0), (1, 1), (4, 4), (5, 4), (-9, 1), (7, 1)])
def test_the_exit_code_is_that_of_the_worst_drain(code: int, whole: int):
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(2)._obeys = {"drain": code}
        supervisor.drain()

    assert play(scene, 3) == whole


def test_a_stop_during_the_start_ends_all_and_leaves_nothing_behind():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(0.5)
        machine.newest(2)._obeys = {"drain": -15}  # systemd's own signal, before anything of ours listened
        supervisor.drain()

    assert play(scene) == 0


def test_nothing_is_started_again_during_a_drain():
    async def scene(machine: Machine, supervisor: Supervisor) -> None:
        await machine.clock.sleep(5.0)
        machine.newest(2).end(-9)
        await machine.clock.sleep(0.1)
        supervisor.drain()
        await machine.clock.sleep(10.0)
        assert len(machine.started) == 2

    assert play(scene) == 0


def test_what_was_being_started_when_the_drain_began_is_told_of_it():
    class Slow(Machine):
        async def start(self, number: int, hear: Callable[[Told], None]) -> FakeProcess:
            await self.clock.sleep(1.0)
            return await super().start(number, hear)

    async def run() -> int:
        machine = Slow()
        supervisor = supervisor_of(machine, 1)
        running = asyncio.create_task(supervisor.run())
        await machine.clock.sleep(0.5)
        supervisor.drain()
        code = await running
        assert machine.newest(1).asked == ["drain"]
        return code

    assert run_virtual(run()) == 0


def test_what_is_started_only_after_the_drains_deadline_is_killed_too():
    class Slow(Machine):
        async def start(self, number: int, hear: Callable[[Told], None]) -> FakeProcess:
            await self.clock.sleep(DRAIN_SECONDS + 10.0)
            return await super().start(number, hear)

    async def run() -> int:
        machine = Slow()
        machine.obeys = {}
        supervisor = supervisor_of(machine, 1)
        running = asyncio.create_task(supervisor.run())
        await machine.clock.sleep(1.0)
        supervisor.drain()
        async with machine.clock.timeout(DRAIN_SECONDS + 20.0):
            return await running

    assert run_virtual(run()) == 4


def test_cancelled_at_each_await_it_leaves_no_task():
    async def life(place: int) -> bool:
        machine = Machine()
        supervisor = supervisor_of(machine, 2)
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lambda: machine.newest(1).end(-9))
        loop.call_later(10.0, supervisor.drain)
        reached = await cancelled_at(supervisor.run(), place)
        await machine.clock.sleep(0.0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return reached

    places = next(place for place in count() if not run_virtual(life(place)))
    assert 1 <= places < 100
