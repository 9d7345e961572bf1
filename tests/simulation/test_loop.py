"""The simulated loop itself: virtual time, drawn order, nothing from outside, workers that stand still."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from consumer.testing.virtual_time import Stalled
from tests.simulation.loop import SimClock, SimLoop, spawn_as


def in_virtual_time(main: Callable[[SimLoop], Coroutine[Any, Any, Any]], seed: int = 1) -> Any:
    loop = SimLoop(seed, limit_seconds=100_000.0)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(loop))


def test_time_jumps_to_the_next_timer() -> None:
    async def main(loop: SimLoop) -> float:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(5_000.0))
            group.create_task(asyncio.sleep(90_000.0))
        return loop.time()

    assert in_virtual_time(main) == 90_000.0


def test_what_asyncio_offers_works() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(1.0)
            yield number

    async def main(loop: SimLoop) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 7.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.Event().wait()
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        return [number async for number in numbers()]

    assert in_virtual_time(main) == [0, 1, 2]


def order_of(seed: int) -> list[int]:
    """Which of 20 tasks that are ready at once runs when."""

    async def main(loop: SimLoop) -> list[int]:
        ran: list[int] = []

        async def run(number: int) -> None:
            ran.append(number)

        await asyncio.gather(*(run(number) for number in range(20)))
        return ran

    order: list[int] = in_virtual_time(main, seed)
    return order


def test_a_seed_draws_the_order_of_what_is_ready() -> None:
    assert order_of(1) == order_of(1)
    assert order_of(1) != order_of(2)
    assert sorted(order_of(2)) == list(range(20))


def test_an_executors_work_runs_inline_at_a_drawn_step() -> None:
    def ran_before(seed: int) -> bool:
        """Whether work given to an executor runs before a callback that became ready at the same time."""

        async def main(loop: SimLoop) -> bool:
            ran: list[str] = []
            loop.call_soon(ran.append, "callback")
            await asyncio.to_thread(ran.append, threading.current_thread().name)
            assert threading.main_thread().name in ran
            return ran[0] != "callback"

        return bool(in_virtual_time(main, seed))

    assert {ran_before(seed) for seed in range(20)} == {True, False}


def test_a_lost_wake_up_is_named() -> None:
    async def main(loop: SimLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Stalled, match=r"waiting: .*main"):
        in_virtual_time(main)


def test_a_loop_that_never_sleeps_is_found() -> None:
    async def main(loop: SimLoop) -> None:
        for _ in range(1_000_000):
            await asyncio.sleep(0.0)

    with pytest.raises(Stalled, match="hot loop"):
        in_virtual_time(main)


REFUSED: dict[str, Callable[[asyncio.AbstractEventLoop, socket.socket], Any]] = {
    "a connection": lambda loop, sock: loop.create_connection(asyncio.Protocol, "127.0.0.1", 1),
    "a server": lambda loop, sock: loop.create_server(asyncio.Protocol, "127.0.0.1", 0),
    "a datagram": lambda loop, sock: loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)),
    "a name": lambda loop, sock: loop.getaddrinfo("localhost", 80),
    "a socket": lambda loop, sock: loop.sock_recv(sock, 1),
    "a reader": lambda loop, sock: loop.add_reader(sock, print),
    "a signal": lambda loop, sock: loop.add_signal_handler(signal.SIGUSR1, print),
    "a process": lambda loop, sock: loop.subprocess_exec(asyncio.SubprocessProtocol, sys.executable),
    "a shell": lambda loop, sock: loop.subprocess_shell(asyncio.SubprocessProtocol, "true"),
    "a stream": lambda loop, sock: asyncio.open_connection("127.0.0.1", 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_nothing_comes_from_outside(what: str) -> None:
    async def main(loop: SimLoop) -> None:
        with socket.socket() as sock, pytest.raises(RuntimeError, match="Virtual time has no"):
            await REFUSED[what](loop, sock)

    in_virtual_time(main)


def test_another_thread_may_not_call_in() -> None:
    async def main(loop: SimLoop) -> list[str]:
        told: list[str] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(told.append, "called")
            except RuntimeError as error:
                told.append(str(error))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        loop.call_soon_threadsafe(told.append, "its own thread")
        await asyncio.sleep(1.0)
        return told

    first, second = in_virtual_time(main)
    assert "Virtual time has no" in first
    assert second == "its own thread"


async def ticks(times: list[float]) -> None:
    while True:
        await asyncio.sleep(1.0)
        times.append(asyncio.get_running_loop().time())


def test_a_frozen_worker_does_nothing_and_wakes_with_its_timers_run_out() -> None:
    async def main(loop: SimLoop) -> list[float]:
        times: list[float] = []
        spawn_as("w1", ticks(times))
        await asyncio.sleep(2.5)
        loop.freeze("w1")
        await asyncio.sleep(10.0)
        loop.thaw("w1")
        await asyncio.sleep(1.1)
        return times

    assert in_virtual_time(main) == [1.0, 2.0, 12.5, 13.5]


def test_on_a_machine_that_sleeps_timers_stand_still_and_the_clock_runs_on() -> None:
    """As CLOCK_BOOTTIME and an event loop's CLOCK_MONOTONIC do."""

    async def main(loop: SimLoop) -> list[float]:
        times: list[float] = []
        clock = SimClock()
        began = clock.monotonic()
        spawn_as("w1", ticks(times))
        await asyncio.sleep(2.5)
        loop.freeze("w1")
        loop.hold_timers("w1", 10.0)
        await asyncio.sleep(10.0)
        loop.thaw("w1")
        await asyncio.sleep(0.6)
        assert clock.monotonic() - began == pytest.approx(13.1)
        return times

    assert in_virtual_time(main) == [1.0, 2.0, 13.0]


def test_of_a_killed_worker_not_even_clean_up_runs() -> None:
    async def main(loop: SimLoop) -> list[str]:
        ran: list[str] = []

        async def work() -> None:
            try:
                await asyncio.sleep(1.0)
            finally:
                ran.append("clean-up")

        task = spawn_as("w1", work())
        await asyncio.sleep(0.5)
        loop.freeze("w1")
        task.cancel()
        await asyncio.sleep(100.0)
        assert loop.tasks_of("w1") == [task]
        found = list(ran)
        loop.thaw_all()
        return found

    assert in_virtual_time(main) == []
