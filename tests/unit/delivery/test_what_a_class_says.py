"""What a processor's class says of its records is heard, or refused: never passed over."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import pytest

from consumer.delivery.attempts import Retry
from consumer.errors import ConfigError
from consumer.processor import RecordProcessor
from tests.unit.delivery.delivery_stage import Sink, pages, play

ONE = [(1, "k")]


class Plain(RecordProcessor):
    def process_records(self, records: Any, checkpointer: Any) -> None:
        pass


class Filters(Plain):
    filter = staticmethod(lambda record: False)


class Orders(Plain):
    lane_key = staticmethod(lambda record: record.key)


class Retries(Plain):
    retries: ClassVar[Any] = {KeyError: Retry(max_attempts=1)}


def played(factory: Any) -> None:
    sink = Sink()
    sink.processor = factory
    play(sink, pages(ONE))


@pytest.mark.parametrize(("kind", "name"), [(Filters, "filter"), (Orders, "lane_key"), (Retries, "retries")])
def test_a_factory_that_hides_it_is_refused(kind: type[RecordProcessor], name: str) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__} has {name}, which is not heard of"):
        played(partial(kind))
    played(kind)
    factory = partial(kind)
    setattr(factory, name, getattr(kind, name))
    played(factory)


def test_a_class_that_says_nothing_may_be_made_by_anything() -> None:
    played(partial(Plain))
