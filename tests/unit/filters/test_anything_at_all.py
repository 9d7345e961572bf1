"""Whatever is given as a filter, or lies in a record: a filter or a ConfigError, and a verdict; never another error."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.errors import ConfigError
from consumer.filters import compile_filter
from tests.unit.filters.events import change, put

WORDS = st.sampled_from(
    [
        *(
            "eventName",
            "dynamodb",
            "NewImage",
            "Keys",
            "a",
            "S",
            "N",
            "M",
            "L",
            "BOOL",
            "userIdentity",
            "type",
            "INSERT",
        ),
        *(
            "new_image",
            "new_image.a",
            "event_name",
            "keys.pk",
            "data",
            "data.a",
            "partitionKey",
            "partition_key",
            "a.b",
        ),
        *("$or", "prefix", "suffix", "anything-but", "numeric", "exists", "equals-ignore-case", "wildcard", "cidr"),
        *("Filters", "Pattern", "filter_criteria", "filter", ">", "<=", "=", "*", "\\", "", '"', "\ud800", "\0"),
    ]
)
PLAIN = st.one_of(WORDS, st.integers(), st.floats(), st.booleans(), st.none())
ODD = st.one_of(st.binary(max_size=3), st.just(object), st.just({1}), st.just(1j), st.decimals(), st.just(frozenset()))


def tree(leaves: st.SearchStrategy[Any], names: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
        max_leaves=10,
    )


RECORDS = {
    "dynamodb": [
        change(),
        change(new={"a": {"N": "1"}, "b": {"M": {"a": {"S": "x"}}}}, old={"a": {"L": [{"S": "x"}, {"N": "1"}]}}),
        change(new={"a": {"Unknown": 1}}, old={"a": []}),
    ],
    "kinesis": [put({"a": {"b": [1, "x", None]}}), put([]), put(b"\xff"), put(None)],
}


def judge(told: Any) -> None:
    for service, records in RECORDS.items():
        try:
            made = compile_filter(told, service=service)  # type: ignore[arg-type]
        except ConfigError:
            continue
        verdicts = made.split(records)
        found = [*verdicts.accepted, *verdicts.filtered, *verdicts.failed]
        assert sorted(found) == list(range(len(records)))


@settings(max_examples=400)
@given(tree(PLAIN, WORDS))
def test_json(told):
    judge(told)
    judge(json.dumps(told))


@settings(max_examples=100)
@given(tree(st.one_of(PLAIN, ODD), st.one_of(WORDS, st.integers(), st.none())))
def test_python_values(told):
    if not callable(told):
        judge(told)


@settings(max_examples=100)
@given(st.text(max_size=30), st.binary(max_size=30))
def test_text(text, binary):
    judge(text)
    judge(binary)
