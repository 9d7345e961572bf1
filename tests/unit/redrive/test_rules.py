"""A redrive tries as a worker does: attempts, pauses, rules by class, time limits; and it comes to an end."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, ClassVar

import pytest

from consumer.delivery.attempts import Retry
from consumer.delivery.threads import InlineThreads
from consumer.delivery.time_limit import Overdue
from consumer.errors import ConfigError
from consumer.outcomes import RetryAfter
from consumer.processor import RecordProcessor
from consumer.redrive.redrive import Redrive, RedriveRules, Tally
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from consumer.testing.virtual_time import VirtualClock, run_virtual
from tests.dead_letters import change


class Fails(RecordProcessor):
    """Raises what it is told, as often as it is told; notes when it was called."""

    error: Any = KeyError("alice")
    times = 99
    calls: list[float]

    def process_records(self, records: Any, checkpointer: Any) -> None:
        self.calls.append(asyncio.get_running_loop().time())
        if len(self.calls) <= self.times:
            raise self.error


def redriven(processor: type[RecordProcessor], *, letters: int = 1, **rules: Any) -> tuple[Tally, MemoryDeadLetters]:
    """What comes of letters of as many keys; a processor's calls begin anew."""
    store = MemoryDeadLetters()
    processor.calls = []  # type: ignore[attr-defined]
    overdue = rules.pop("overdue", None)

    async def redrive() -> Tally:
        await store.put([change(n, f"key-{n}", key_is_held=True) for n in range(letters)])
        redriving = Redrive(
            store,
            processor,
            InlineThreads(),
            clock=VirtualClock(),
            random=Random(7),
            worker_id="w",
            rules=RedriveRules(**rules),
            overdue=overdue,
        )
        return await redriving.run(store.letters())

    return run_virtual(redrive()), store


@pytest.mark.parametrize(("rules", "tries"), [({}, 5), ({"max_attempts": 1}, 1), ({"max_attempts": 3}, 3)])
def test_a_letter_has_its_attempts_with_pauses_and_stays(rules: dict[str, int], tries: int) -> None:
    tally, store = redriven(Fails, **rules)
    assert len(Fails.calls) == tries
    assert (tally.redriven, len(store.envelopes)) == (0, 1)
    pauses = [later - earlier for earlier, later in zip(Fails.calls, Fails.calls[1:], strict=False)]
    assert all(0 < pause <= 0.5 * 2**nth for nth, pause in enumerate(pauses))


def test_what_fails_for_a_moment_is_done() -> None:
    class Moment(Fails):
        times = 3

    tally, store = redriven(Moment)
    assert (tally.redriven, tally.is_complete, store.envelopes) == (1, True, {})


def test_the_processor_s_rules_hold_by_the_class_of_the_exception() -> None:
    class Refused(Fails):
        retries: ClassVar[Any] = {LookupError: Retry(max_attempts=1)}

    class Slow(Fails):
        retries: ClassVar[Any] = {ValueError: Retry(max_attempts=1), KeyError: Retry(max_attempts=2, first_seconds=900)}

    redriven(Refused)
    assert len(Refused.calls) == 1
    redriven(Slow)
    assert len(Slow.calls) == 2
    assert Slow.calls[1] - Slow.calls[0] > 60, "its first pause is drawn from 900 s, and not from half a second"


def test_retries_that_are_no_rules_are_refused_before_anything_is_called() -> None:
    class Wrong(Fails):
        retries: ClassVar[Any] = {KeyError: 3}

    with pytest.raises(ConfigError, match="an exception class and a Retry"):
        redriven(Wrong)
    assert Wrong.calls == []


def test_who_asks_for_a_pause_again_and_again_is_not_waited_for_for_ever() -> None:
    class Busy(Fails):
        error = RetryAfter(60)

    tally, store = redriven(Busy)
    assert len(Busy.calls) == 11
    assert Busy.calls[-1] - Busy.calls[0] == pytest.approx(600)
    assert (sum(tally.kept.values()), len(store.envelopes)) == (1, 1)


def test_pauses_that_were_asked_for_spend_no_attempt() -> None:
    class Both(Fails):
        def process_records(self, records: Any, checkpointer: Any) -> None:
            self.calls.append(0.0)
            raise RetryAfter(1) if len(self.calls) % 2 else KeyError("alice")

    redriven(Both)
    assert len(Both.calls) == 10


def test_a_call_that_lasts_too_long_is_cancelled_and_that_is_an_attempt() -> None:
    class Hangs(RecordProcessor):
        calls: list[float]

        async def process_records(self, records: Any, checkpointer: Any) -> None:
            self.calls.append(asyncio.get_running_loop().time())
            await asyncio.sleep(3600)

    tally, _ = redriven(Hangs, letters=2, batch_timeout_seconds=30.0, max_attempts=2)
    assert (len(Hangs.calls), sum(tally.kept.values())) == (4, 2)
    assert Hangs.calls[1] - Hangs.calls[0] == pytest.approx(30, abs=0.5)


def test_a_call_that_nothing_can_end_is_told_of() -> None:
    heard: list[frozenset[str]] = []
    overdue = Overdue(lambda: heard.append(overdue.shards))

    class Deaf(RecordProcessor):
        async def process_records(self, records: Any, checkpointer: Any) -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                await asyncio.sleep(3600)

    redriven(Deaf, batch_timeout_seconds=30.0, max_attempts=1, overdue=overdue)
    assert heard == [frozenset({"shardId-1"}), frozenset()]


def test_a_constructor_that_raises_keeps_its_letters_as_initialize_does() -> None:
    class Broken(Fails):
        def __init__(self) -> None:
            self.calls.append(0.0)
            raise OSError("no network")

    tally, store = redriven(Broken, letters=2)
    assert (len(Broken.calls), sum(tally.kept.values()), len(store.envelopes)) == (10, 2, 2)
