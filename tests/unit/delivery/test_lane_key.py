"""A processor's ``lane_key``: one record that it can't judge ends no worker and blocks no shard."""

from __future__ import annotations

import logging

import pytest

from consumer.errors import ConfigError
from consumer.hooks import RecordsUnjudged
from consumer.shards.lifecycle import Event
from consumer.testing.memory_dead_letters import MemoryDeadLetters
from tests.unit.delivery.delivery_stage import Sink, letters_of, pages, play
from tests.unit.shards.shard_fakes import stored

TWENTY = [(number, f"k{number}") for number in range(1, 21)]


def raising(*bad):
    """Even and odd numbers, but for these records."""

    def lane_key(record):
        if int(record.sequence_number) in bad:
            raise KeyError("secret of the customer")
        return str(int(record.sequence_number) % 2)

    return lane_key


def silent(*bad):
    return lambda record: None if int(record.sequence_number) in bad else "all"


def played(sink, lane_key, **settings):
    sink.processor.lane_key = lane_key
    return play(sink, pages(TWENTY), **settings)


@pytest.mark.parametrize("how", [raising, silent])
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("bad", [(7,), tuple(range(1, 21))], ids=["one", "all"])
def test_what_it_can_not_judge_is_delivered_and_told(how, lanes, bad, caplog):
    sink = Sink()
    with caplog.at_level(logging.WARNING, "leasehold"):
        stage = played(sink, how(*bad), lanes=lanes)
    assert sorted(sink.effects) == list(range(1, 21))
    for half in (0, 1):
        own = [number for number in sink.effects if number % 2 == half and number not in bad]
        assert own == sorted(own), "those that it can judge keep their order"
    assert stage.ended_by is Event.END_STORED
    assert [fact.count for fact in stage.facts if isinstance(fact, RecordsUnjudged)] == [len(bad)]
    assert f"lane_key can't judge {len(bad)} records, the first {bad[0]}" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("how", [raising, silent])
@pytest.mark.parametrize("lanes", [1, 4])
def test_or_it_becomes_a_dead_letter_where_that_is_asked_for_and_the_shard_goes_on(how, lanes):
    sink, store = Sink(), MemoryDeadLetters()
    stage = played(sink, how(7), lanes=lanes, dead_letters=store, on_undecodable="dead_letter")
    assert sorted(sink.effects) == [number for number in range(1, 21) if number != 7]
    assert letters_of(store) == [(7, "undecodable")]
    assert stage.ended_by is Event.END_STORED


def test_a_record_without_it_that_fails_parks_its_own_key_and_no_other(caplog):
    sink = Sink(7, how="fail")
    stage = played(sink, raising(7), lanes=2, seconds=60.0)
    assert sorted(sink.effects) == [number for number in range(1, 21) if number != 7]
    assert (stage.ended_by, stored(stage)[-1]) == (None, "6")


async def waits(record):
    return "k"


@pytest.mark.parametrize(
    ("lane_key", "told"),
    [
        (waits, "lane_key: waits is async"),
        (lambda self, record: "k", "must take one argument, the record; in a class it is a staticmethod"),
        ("pk", "lane_key: the processor's is of type str"),
    ],
    ids=["async", "two", "text"],
)
def test_what_could_never_say_anything_is_refused_at_start(lane_key, told):
    with pytest.raises(ConfigError, match=told):
        played(Sink(), lane_key, lanes=2)
