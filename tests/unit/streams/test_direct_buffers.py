"""Memory used again: only when nobody looks into it, and for no longer than it is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from consumer.streams import direct_buffers
from consumer.streams.direct_buffers import Buffers


class Timers:
    """A clock of which only the timers are used; ``fire`` lets one go off."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []
        self.cancelled = 0

    def monotonic(self) -> float:
        raise AssertionError("nobody asks for the time")

    wall = monotonic

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps")

    def timeout(self, seconds: float | None) -> asyncio.Timeout:
        raise AssertionError("nobody waits")

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        self.set.append((seconds, callback))
        return self  # type: ignore[return-value]

    def cancel(self) -> None:
        self.cancelled += 1

    def fire(self) -> None:
        _, callback = self.set.pop()
        callback()


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def buffers(timers: Timers) -> Buffers:
    return Buffers(timers)


def place_of(view: memoryview) -> int:
    return id(view.obj)


def test_a_buffer_that_nobody_looks_into_is_used_again(buffers: Buffers) -> None:
    view = buffers.take(100_000)
    assert len(view) == 100_000
    place = place_of(view)
    part = view[10:20]
    del view
    other = buffers.take(100_000)
    assert place_of(other) != place, "a part of it is still there"
    del part
    assert place_of(buffers.take(99_000)) == place


def test_a_record_keeps_the_buffer_that_its_image_lies_in(buffers: Buffers) -> None:
    class Entry(msgspec.Struct):
        image: msgspec.Raw

    view = buffers.take(20)
    view[:] = b'{"image": [1, 2, 3]}'
    entry = msgspec.json.decode(view, type=Entry)
    del view
    second = buffers.take(20)
    second[:] = b"x" * 20
    assert bytes(entry.image) == b"[1, 2, 3]"


def test_a_small_body_does_not_hold_a_large_buffer(buffers: Buffers) -> None:
    place = place_of(buffers.take(1_000_000))
    small = buffers.take(100_000)
    assert place_of(small) != place
    assert len(small.obj) < 130_000  # type: ignore[arg-type]
    assert place_of(buffers.take(900_000)) == place


def test_what_is_not_needed_for_some_seconds_is_given_back(buffers: Buffers, timers: Timers) -> None:
    buffers.take(100_000)
    held = buffers.take(300_000)
    timers.fire()
    assert len(buffers._known) == 2, "both were used since"
    timers.fire()
    assert [id(buffer) for buffer in buffers._known] == [place_of(held)]
    del held
    timers.fire()
    assert (list(buffers._known), buffers._bytes, timers.set) == ([], 0, []), "nothing is left to look after"
    buffers.take(100_000)
    assert len(timers.set) == 1


def test_a_take_looks_at_a_few_of_many_and_comes_to_each_in_turn(
    buffers: Buffers, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [buffers.take(20_000) for _ in range(1000)]
    looks = []
    is_free = direct_buffers._is_free
    monkeypatch.setattr(direct_buffers, "_is_free", lambda buffer: looks.append(buffer) or is_free(buffer))
    buffers.take(20_000)
    assert 0 < len(looks) <= 32
    place = place_of(held.pop(500))
    places = [place_of(view) for view in (buffers.take(20_000) for _ in range(200))]
    assert place in places


def test_no_more_than_so_much_is_kept(buffers: Buffers) -> None:
    views = [buffers.take(16 * 1024 * 1024) for _ in range(12)]
    assert buffers._bytes <= 128 * 1024 * 1024
    assert len({place_of(view) for view in views}) == 12


def test_closing_forgets_them_and_their_timer(buffers: Buffers, timers: Timers) -> None:
    buffers.take(100_000)
    buffers.close()
    assert (list(buffers._known), timers.cancelled) == ([], 1)
    buffers.close()
