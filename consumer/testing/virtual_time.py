"""A seeded asyncio loop in virtual time: sleeping costs nothing, a lost wake-up is an error, a seed replays a schedule.

``run_virtual(main, seed=7)`` runs a coroutine to its end. Of all callbacks that are ready one is drawn at a time
(``seed=None``: first come, first served); when none is ready, time jumps to the next timer; when there is no timer
either, ``Stalled`` names what waits. Sockets, signals, subprocesses and foreign threads have no place in virtual time
and raise.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

__all__ = ["Stalled", "VirtualClock", "VirtualTimeLoop", "run_virtual"]

T = TypeVar("T")


class Stalled(AssertionError):
    """Nothing is ready and nothing is scheduled: a wake-up was lost."""


class _NoSelector:
    """Stands where a loop keeps its selector; in virtual time nothing comes from outside."""

    def select(self, timeout: float | None) -> list[Any]:
        return []

    def close(self) -> None:
        return None


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """An event loop whose ``time()`` moves only when nothing is ready.

    ``on_step`` (if set) is called after every callback: the place for invariants. ``limit_seconds`` of virtual time (an
    endless polling loop) raise Stalled as well.
    """

    def __init__(self, seed: int | None = None, *, limit_seconds: float = 30 * 86_400.0) -> None:
        super().__init__()
        self._now = 0.0
        self._limit = limit_seconds
        self._draw = None if seed is None else random.Random(f"{seed}:order")
        self._selector = _NoSelector()
        self._clock_resolution = 1e-9
        self.on_step: Callable[[], None] | None = None
        self.steps = 0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        self._forget_cancelled()
        if not self._ready:  # type: ignore[attr-defined]
            self._jump()
        ready = self._ready  # type: ignore[attr-defined]
        if self._draw is not None and len(ready) > 1:
            ready.rotate(-self._draw.randrange(len(ready)))
        handle = ready.popleft()
        self.steps += 1
        if not handle._cancelled:
            handle._run()
            if self.on_step is not None:
                self.on_step()

    def _forget_cancelled(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False

    def _jump(self) -> None:
        scheduled = self._scheduled  # type: ignore[attr-defined]
        if not scheduled:
            waiting = sorted(task.get_name() + " in " + str(task.get_coro()) for task in asyncio.all_tasks(self))
            raise Stalled("Nothing is ready and nothing is scheduled; waiting: " + "; ".join(waiting))
        self._now = max(self._now, scheduled[0]._when)
        if self._now > self._limit:
            raise Stalled(f"Still running after {self._limit:.0f} virtual seconds.")
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            self._ready.append(handle)  # type: ignore[attr-defined]

    def run_in_executor(  # type: ignore[override]  # typeshed ties the function's arguments together
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Runs ``func`` inline at a drawn step: a thread's work joins the schedule."""
        future: asyncio.Future[T] = self.create_future()

        def step() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:
                future.set_exception(error)

        self.call_soon(step)
        return future

    def call_soon_threadsafe(  # type: ignore[override]  # typeshed ties the callback's arguments together
        self, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """For callbacks of the loop's own thread; another thread's would come at a moment that no seed governs."""
        if self._thread_id not in (None, threading.get_ident()):  # type: ignore[attr-defined]
            self._refuse()
        return self.call_soon(callback, *args, context=context)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("Virtual time has no sockets, signals, subprocesses or threads.")

    def _process_events(self, event_list: Any) -> None:
        return None

    def _write_to_self(self) -> None:
        return None


for _name in (
    *("add_reader", "remove_reader", "add_writer", "remove_writer", "add_signal_handler", "remove_signal_handler"),
    *("sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into"),
    *("sock_sendall", "sock_sendto", "sock_sendfile", "sendfile", "start_tls", "getaddrinfo", "getnameinfo"),
    *("create_connection", "create_server", "create_unix_connection", "create_unix_server"),
    *("create_datagram_endpoint", "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe"),
    *("subprocess_exec", "subprocess_shell"),
):
    setattr(VirtualTimeLoop, _name, VirtualTimeLoop._refuse)


class VirtualClock:
    """A ``Clock`` on the running virtual loop: offset by ``skew_seconds``, running ``rate`` times as fast as the loop.

    ``wall_start`` is the epoch second at which virtual time begins.
    """

    def __init__(self, *, skew_seconds: float = 0.0, rate: float = 1.0, wall_start: float = 1_800_000_000.0) -> None:
        self._skew = skew_seconds
        self._rate = rate
        self._wall_start = wall_start

    def monotonic(self) -> float:
        return 1_000.0 + self._skew + asyncio.get_running_loop().time() * self._rate

    def wall(self) -> float:
        return self._wall_start + self._skew + asyncio.get_running_loop().time() * self._rate

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._rate)

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        return asyncio.timeout(None if seconds is None else seconds / self._rate)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds / self._rate, callback)


def run_virtual(main: Coroutine[Any, Any, T], *, seed: int | None = None, limit_seconds: float = 30 * 86_400.0) -> T:
    """Run ``main`` in virtual time; tasks still running at its end are cancelled, as ``asyncio.run`` does."""
    loop = VirtualTimeLoop(seed, limit_seconds=limit_seconds)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)
