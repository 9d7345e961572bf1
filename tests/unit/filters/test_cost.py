"""A filter reads of a record what its patterns name, and what it costs is small beside what it spares."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import force_setattr

from consumer.filters import compile_filter
from consumer.streams.images import decoded
from tests.unit.filters.events import accepts, change, put

IMAGE: dict[str, Any] = {
    "pk": {"S": "order#12345"},
    "price": {"N": "12.50"},
    "status": {"S": "paid"},
    "address": {"M": {"city": {"S": "Rome"}, "zip": {"S": "00184"}}},
    "tags": {"L": [{"S": "a"}, {"S": "b"}]},
    "note": {"S": "x" * 80},
    **{f"n{each}": {"N": str(each)} for each in range(6)},
}


def with_broken(*images: str) -> Any:
    """A record of which these images would raise whatever is asked of them."""
    record = change(new=IMAGE, old=IMAGE)
    for image in images:
        force_setattr(record._change, image, Raw(b"no JSON"))
    return record


@pytest.mark.parametrize(
    ("pattern", "untouched"),
    [
        ({"eventName": ["MODIFY"]}, ["keys", "new_image", "old_image"]),
        ({"dynamodb": {"SizeBytes": [26]}}, ["keys", "new_image", "old_image"]),
        ({"dynamodb": {"NewImage": {"status": {"S": ["paid"]}}}}, ["keys", "old_image"]),
        ({"old_image.status": ["paid"]}, ["keys", "new_image"]),
        ([{"eventName": ["MODIFY"]}, {"new_image.status": ["paid"]}], ["keys", "new_image", "old_image"]),
    ],
)
def test_only_what_is_named_is_decoded(pattern, untouched):
    assert accepts(pattern, with_broken(*untouched))


def test_an_image_is_decoded_once_for_all_patterns():
    reads = []

    class Counted:
        event_name = "MODIFY"

        @property
        def _change(self) -> Any:
            reads.append(1)
            return change(new=IMAGE)._change

    told = [{"dynamodb": {"NewImage": {"status": {"S": [f"{each}"]}}}} for each in range(5)]
    assert compile_filter(told, service="dynamodb").split([Counted()]).filtered == [0]  # type: ignore[list-item]
    assert len(reads) == 1


def test_data_is_read_no_further_than_to_the_names_asked_for():
    """Bytes that are no UTF-8 in another field are another field's matter."""
    assert accepts({"data": {"a": [1]}}, put(b'{"b": "\xff", "a": 1}'))


def cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def test_judging_by_an_attribute_costs_less_than_decoding_the_image():
    """Measured: a quarter. Rounds in turn, the best of each: a busy machine slows both."""
    records = [change(new=IMAGE) for _ in range(500)]
    judging = compile_filter({"dynamodb": {"NewImage": {"status": {"S": ["open"]}}}}, service="dynamodb")
    rounds = [
        (
            cpu_seconds(lambda: judging.split(records)),
            cpu_seconds(lambda: [decoded(record._change.new_image) for record in records]),
        )
        for _ in range(15)
    ]
    assert min(judged for judged, _ in rounds) < 0.7 * min(decoding for _, decoding in rounds)
