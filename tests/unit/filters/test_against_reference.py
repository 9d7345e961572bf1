"""Two implementations of one meaning: what the filter says, held against the plainest one, on drawn patterns."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import ConfigError
from consumer.filters import compile_filter
from tests.unit.filters.drawn import attributes, json_value, pattern_for
from tests.unit.filters.events import accepts, change, put
from tests.unit.filters.reference import reference_matches

ROUNDS = 20


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_data_of_kinesis(seed):
    chance = Random(seed)
    for _ in range(ROUNDS):
        data = json_value(chance)
        pattern = {"data": pattern_for(chance, data)}
        assert accepts(pattern, put(data)) is reference_matches(pattern, {"data": data}), (pattern, data)


def change_and_pattern(chance: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    images = {"NewImage": attributes(chance), "OldImage": attributes(chance)}
    sides = images if chance.random() < 0.5 else {"NewImage": images["NewImage"]}
    return images, {"dynamodb": {name: pattern_for(chance, image, 6) for name, image in sides.items()}}


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_images_of_dynamodb(seed):
    chance = Random(seed)
    for _ in range(ROUNDS):
        images, pattern = change_and_pattern(chance)
        expected = reference_matches(pattern, {"dynamodb": images})
        problems = refusal(pattern)
        if problems:
            # What is refused can indeed never match, unless another branch does.
            assert all("can never match" in problem for problem in problems), pattern
            assert not expected or "$or" in str(pattern), pattern
            continue
        found = accepts(pattern, change(new=images["NewImage"], old=images["OldImage"]))
        assert found is expected, (pattern, images)


def refusal(pattern: Any) -> tuple[str, ...]:
    try:
        compile_filter(pattern, service="dynamodb")
    except ConfigError as error:
        return error.problems
    return ()


def test_what_is_drawn_matches_often_enough_to_mean_something():
    chance = Random(7)
    kinesis: Counter[bool] = Counter()
    dynamodb: Counter[bool | None] = Counter()
    for _ in range(500):
        data = json_value(chance)
        kinesis[reference_matches(pattern_for(chance, data), data if isinstance(data, dict) else {})] += 1
        images, pattern = change_and_pattern(chance)
        dynamodb[None if refusal(pattern) else reference_matches(pattern, {"dynamodb": images})] += 1
    assert min(kinesis[True], kinesis[False], dynamodb[True], dynamodb[False]) > 50
