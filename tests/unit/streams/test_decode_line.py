"""Large replies are decoded one after another, each handed over before the next one is made."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from consumer.clock import SystemClock
from consumer.streams.decode_line import DecodeLine

LARGE = 64 * 1024


def body(first: int, size: int = LARGE) -> bytes:
    return bytes([first]) + bytes(size - 1)


class Ticking(SystemClock):
    """A clock that stands, but for what each turn of the loop is said to take."""

    def __init__(self, turn_seconds: float = 0.0) -> None:
        self.now = 0.0
        self.turn_seconds = turn_seconds

    def monotonic(self) -> float:
        self.now += self.turn_seconds
        return self.now


class Pages:
    """What is decoded when, and what is done with a page: a few steps of the loop, as a worker's are."""

    def __init__(self, turn_seconds: float = 0.0) -> None:
        self.line = DecodeLine(Ticking(turn_seconds))
        self.made: list[int] = []
        self.seen: list[str] = []

    def decode(self, reply: bytes | memoryview) -> int:
        self.seen.append(f"made {reply[0]}")
        self.made.append(reply[0])
        return reply[0]

    async def read(self, reply: bytes) -> None:
        page = await self.line.decoded(reply, self.decode)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.seen.append(f"used {page}")


def in_order(count: int) -> list[str]:
    return [f"{what} {number}" for number in range(count) for what in ("made", "used")]


def test_a_page_is_used_before_the_next_one_is_made() -> None:
    async def play() -> list[str]:
        pages = Pages()
        await asyncio.gather(*(pages.read(body(number)) for number in range(5)))
        return pages.seen

    assert asyncio.run(play()) == in_order(5)


def test_where_turns_take_long_all_that_wait_are_decoded_at_once() -> None:
    async def play() -> list[str]:
        pages = Pages(turn_seconds=0.02)
        await asyncio.gather(*(pages.read(body(number)) for number in range(5)))
        return pages.seen

    assert asyncio.run(play())[:5] == [f"made {number}" for number in range(5)]


def test_a_loop_that_is_fast_again_has_them_wait_again() -> None:
    async def play() -> list[str]:
        pages = Pages(turn_seconds=0.02)
        await asyncio.gather(*(pages.read(body(number)) for number in range(5)))
        for _ in range(10):
            await asyncio.sleep(0)
        pages.line._clock.turn_seconds = 0.0
        pages.seen.clear()
        await asyncio.gather(*(pages.read(body(number)) for number in range(5)))
        return pages.seen

    assert asyncio.run(play()) == in_order(5)


def test_who_comes_alone_does_not_wait() -> None:
    async def play() -> bool:
        pages = Pages()
        reading = asyncio.ensure_future(pages.line.decoded(body(1), pages.decode))
        await asyncio.sleep(0)
        return reading.done()

    assert asyncio.run(play())


def test_the_line_rests_and_begins_again() -> None:
    async def play() -> list[str]:
        pages = Pages()
        for number in range(3):
            await pages.read(body(number))
            for _ in range(10):
                await asyncio.sleep(0)
        return pages.seen

    assert asyncio.run(play()) == in_order(3)


def test_a_small_reply_passes_by() -> None:
    async def play() -> list[int]:
        pages = Pages()
        await asyncio.gather(*(pages.read(body(number)) for number in range(3)), pages.read(body(9, LARGE - 1)))
        return pages.made

    assert asyncio.run(play()) == [0, 9, 1, 2]


def test_a_reader_that_is_cancelled_holds_nobody_up_and_costs_no_decoding() -> None:
    async def play() -> list[int]:
        pages = Pages()
        readers = [asyncio.ensure_future(pages.read(body(number))) for number in range(5)]
        await asyncio.sleep(0)
        for number in (1, 2, 4):
            readers[number].cancel()
        await asyncio.wait(readers, timeout=5.0)
        return pages.made

    assert asyncio.run(play()) == [0, 3]


def test_a_reader_that_is_cancelled_when_its_page_is_made_holds_nobody_up() -> None:
    async def play() -> list[int]:
        line, made = DecodeLine(Ticking()), []

        def decode(reply: bytes | memoryview) -> int:
            made.append(reply[0])
            asyncio.get_running_loop().call_soon(readers[reply[0]].cancel)
            return reply[0]

        readers = [asyncio.ensure_future(line.decoded(body(number), decode)) for number in range(3)]
        await asyncio.wait(readers, timeout=5.0)
        return made

    assert asyncio.run(play()) == [0, 1, 2]


@pytest.mark.parametrize("place", [0, 1])
def test_what_can_not_be_decoded_is_its_own_readers_trouble(place: int) -> None:
    async def play() -> list[object]:
        line = DecodeLine(Ticking())

        def decode(reply: bytes | memoryview) -> int:
            if reply[0] == place:
                raise ValueError("no page")
            return reply[0]

        return await asyncio.gather(*(line.decoded(body(n), decode) for n in range(3)), return_exceptions=True)

    ended = asyncio.run(play())
    assert isinstance(ended[place], ValueError)
    assert [each for each in ended if not isinstance(each, ValueError)] == [n for n in range(3) if n != place]


def test_nothing_is_kept_of_a_page_that_was_handed_over() -> None:
    class Page:
        pass

    async def play() -> list[bool]:
        line = DecodeLine(Ticking())
        seen = []

        async def read(number: int) -> None:
            page = await line.decoded(body(number), lambda _: Page())
            seen.append(weakref.ref(page))

        await asyncio.gather(*(read(number) for number in range(3)))
        gc.collect()
        return [page() is None for page in seen]

    assert asyncio.run(play()) == [True, True, True]
