"""The wheel: who is due, in which order, how many at once, and what a busy one does not do to others."""

from __future__ import annotations

import asyncio

import pytest

from consumer.processor import RecordProcessor
from consumer.shards.wheel import PollWheel
from consumer.streams.source import Page
from consumer.testing.virtual_time import VirtualClock
from tests.unit.shards.reader_stage import Sink
from tests.unit.shards.shard_fakes import FakeSource, FakeTenure, Stage, at, page, records, virtual


class Turn:
    """A poll that takes ``seconds`` and notes when it began."""

    def __init__(self, name, log, seconds=0.0, *, wanted=True, listens=True):
        self.listens = listens
        self.name = name
        self.log = log
        self.seconds = seconds
        self.wanted = wanted
        self.task = None

    def __lt__(self, other):
        return str(self.name) < str(other.name)

    def begin(self):
        if not self.wanted:
            return None
        self.log.append((asyncio.get_running_loop().time(), self.name))
        self.task = asyncio.ensure_future(asyncio.sleep(self.seconds))
        return self.task

    def give_up(self):
        self.log.append((asyncio.get_running_loop().time(), f"{self.name} given up"))
        if self.listens:
            self.task.cancel()


def now():
    return VirtualClock().monotonic()


def test_turns_come_when_they_are_due_and_in_that_order():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 10)
        start = now()
        for name, due in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("now", 0.0), ("late", -5.0)):
            wheel.put(Turn(name, log), start + due)
        await at(10)
        assert log == [(0.0, "now"), (0.0, "late"), (1.0, "a"), (2.0, "b"), (3.0, "c")]

    virtual(main)


@pytest.mark.parametrize("rate", [0.99, 1.0, 1.01])
def test_by_a_clock_that_drifts_turns_come_in_time_and_the_wheel_does_not_spin(rate):
    async def main():
        log = []
        clock = VirtualClock(rate=rate)
        wheel = PollWheel(clock, 10)
        start = clock.monotonic()
        for tenth in range(1, 100):
            wheel.put(Turn(tenth, log), start + tenth / 10)
        await at(20)
        assert [name for _, name in log] == list(range(1, 100))
        assert [when * rate for when, _ in log] == pytest.approx([tenth / 10 for tenth in range(1, 100)], abs=1e-5)
        assert asyncio.get_running_loop().steps < 1_000

    virtual(main)


def test_many_shards_are_begun_in_bunches_none_early_and_none_later_than_the_bunch():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 500)
        start = now()
        for number in range(1, 401):
            wheel.put(Turn(number, log), start + 1.0 + number / 1000)
        await at(5)
        assert [name for _, name in log] == list(range(1, 401))
        waits = [when - (1.0 + name / 1000) for when, name in log]
        assert min(waits) >= -1e-6
        assert max(waits) <= 0.020_001
        # 300 wait with more than a hundred others, in bunches of 20; few of the last hundred do.
        assert len({when for when, _ in log[:280]}) <= 300 / 20
        assert max(waits[-80:]) < 1e-6

    virtual(main)


def test_no_more_are_under_way_than_may_be_and_who_is_due_for_longest_comes_first():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 2)
        start = now()
        wheel.put(Turn("slow", log, 10.0), start)
        wheel.put(Turn("slower", log, 15.0), start)
        wheel.put(Turn("second", log, 1.0), start + 2)
        wheel.put(Turn("first", log, 1.0), start + 1)
        await at(9)
        assert (len(log), wheel.under_way) == (2, 2)
        await at(30)
        assert log[2:] == [(10.0, "first"), (11.0, "second")]
        assert wheel.under_way == 0

    virtual(main)


def test_a_turn_that_is_declined_takes_no_place():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 1)
        wheel.put(Turn("gone", log, wanted=False), now())
        assert wheel.under_way == 0
        wheel.put(Turn("wanted", log), now())
        assert [name for _, name in log] == ["wanted"]
        await at(1)

    virtual(main)


def test_a_place_is_free_again_however_its_turn_ended():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 1)
        cancelled = Turn("cancelled", log, 100.0)
        wheel.put(cancelled, now())
        wheel.put(Turn("next", log), now())
        await at(1)
        cancelled.task.cancel()
        await at(2)
        assert log == [(0.0, "cancelled"), (1.0, "next")]

    virtual(main)


def test_a_turn_that_takes_too_long_is_given_up_and_one_that_does_not_listen_is_told_again():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 3, patience_seconds=10.0)
        wheel.put(Turn("deaf", log, 13.5, listens=False), now())
        wheel.put(Turn("hangs", log, 100.0), now() + 4)
        wheel.put(Turn("short", log, 1.0), now() + 5)
        await at(60)
        assert log[3:] == [
            (pytest.approx(10.0), "deaf given up"),
            (pytest.approx(11.0), "deaf given up"),
            (pytest.approx(12.0), "deaf given up"),
            (pytest.approx(13.0), "deaf given up"),
            (pytest.approx(14.0), "hangs given up"),
        ]
        assert wheel.under_way == 0
        assert not asyncio.get_running_loop()._scheduled

    virtual(main)


class HandClock(VirtualClock):
    """A clock that is moved and rung by hand."""

    def __init__(self):
        super().__init__()
        self.seconds = 0.0
        self.bells = []

    def monotonic(self):
        return self.seconds

    def call_later(self, delay_seconds, callback):
        self.bells.append(callback)
        return asyncio.get_running_loop().call_later(1e6, callback)


def test_who_has_ended_is_not_given_up_in_its_next_turn_after_a_long_freeze():
    async def main():
        clock, log = HandClock(), []
        wheel, thawed = PollWheel(clock, 10, patience_seconds=75.0), asyncio.Event()

        class Again(Turn):
            async def read(self):
                await thawed.wait()
                wheel.put(self, clock.seconds)

            def begin(self):
                if self.task is None:
                    self.task = asyncio.ensure_future(self.read())
                    return self.task
                return super().begin()

        wheel.put(Again("a", log), 0.0)
        await asyncio.sleep(0)
        clock.seconds = 114.0
        thawed.set()
        asyncio.get_running_loop().call_soon(clock.bells[0])  # in the turn in which it ends, before that is told
        await at(1.0)
        assert [name for _, name in log] == ["a"]

    virtual(main)


def test_a_closed_wheel_begins_nothing_and_keeps_no_timer():
    async def main():
        log = []
        wheel = PollWheel(VirtualClock(), 1)
        wheel.put(Turn("later", log), now() + 5)
        wheel.close()
        wheel.put(Turn("put afterwards", log), now())
        await at(10)
        assert log == []
        assert not asyncio.get_running_loop()._scheduled

    virtual(main)


def test_a_wheel_needs_a_place():
    with pytest.raises(ValueError, match="limit=0"):
        PollWheel(VirtualClock(), 0)


class Idle(RecordProcessor):
    async def process_records(self, records, checkpointer):
        raise AssertionError("there is nothing to process")


def test_idle_shards_have_no_task_but_for_their_reads_and_are_all_read():
    """Two hundred of them on four places: each is read at its pace, and between reads nothing of them runs."""

    async def main():
        wheel = PollWheel(VirtualClock(), 4)
        stages = [Stage(FakeTenure(key=f"s{n}"), FakeSource(), Idle, wheel=wheel) for n in range(200)]
        for stage in stages:
            stage.consumer.begin()
        await at(30.05)
        mine = asyncio.current_task()
        assert len([task for task in asyncio.all_tasks() if task is not mine]) <= 4
        reads = [len(stage.source.reads) for stage in stages]
        assert (min(reads), max(reads)) == (pytest.approx(36, abs=3), pytest.approx(36, abs=3))
        for stage in stages:
            stage.tenure.ask("lost")
        await asyncio.gather(*(stage.ended for stage in stages))

    virtual(main)


def test_busy_shards_do_not_pass_over_a_quiet_one_where_places_are_few():
    class Endless(FakeSource):
        async def read(self, *rest) -> Page:
            await asyncio.sleep(0.1)
            self.script.append(records(len(self.reads) + 1))
            return await super().read(*rest)

    async def main():
        wheel = PollWheel(VirtualClock(), 2)
        busy = [Stage(FakeTenure(key=f"busy{n}"), Endless(), Sink, wheel=wheel) for n in range(10)]
        quiet = Stage(FakeTenure(key="quiet"), FakeSource(), Sink, wheel=wheel)
        for stage in (*busy, quiet):
            stage.consumer.begin()
        await at(60)
        assert len(quiet.source.reads) > 30, "due again after a second and half a round of the others"
        assert min(len(stage.source.reads) for stage in busy) > 100
        for stage in (*busy, quiet):
            stage.tenure.ask("lost")
        await asyncio.gather(*(stage.ended for stage in (*busy, quiet)))

    virtual(main)


def test_a_turn_that_is_given_up_before_its_first_step_is_taken_all_the_same():
    class Impatient(PollWheel):
        def put(self, poll, at):
            VirtualClock().call_later(max(0.0, at - now()), lambda: self.begin_and_give_up(poll))

        def begin_and_give_up(self, poll):
            if poll.begin() is not None:
                poll.give_up()

    async def main():
        sink = Sink()
        stage = Stage(FakeTenure(), FakeSource(records(1, 2)), lambda: sink, wheel=Impatient(VirtualClock(), 10))
        task = stage.start()
        await at(5)
        stage.tenure.ask("lost")
        await task
        assert sink.seen == [1, 2]

    virtual(main)


def test_a_shard_whose_lease_is_lost_while_it_waits_for_a_place_is_not_read():
    async def main():
        wheel = PollWheel(VirtualClock(), 1)
        wheel.put(Turn("long", [], 100.0), now())
        stage = Stage(FakeTenure(), FakeSource(page()), Sink, wheel=wheel)
        stage.consumer.begin()
        await at(1)
        assert len(stage.source.opened) == 1
        stage.tenure.ask("lost")
        await stage.ended
        await at(200)
        assert stage.source.reads == []

    virtual(main)
