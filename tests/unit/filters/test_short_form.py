"""The short form: our records' own names, compared with the values that user code sees."""

from __future__ import annotations

import pytest

from consumer.filters import compile_filter
from tests.unit.filters.events import accepts, change, put

PRICED = {"price": {"N": "10.50"}, "status": {"S": "paid"}, "open": {"BOOL": True}, "gone": {"NULL": True}}
NESTED = {
    "address": {"M": {"city": {"S": "Rome"}, "a.b": {"S": "dot"}}},
    "lines": {"L": [{"M": {"sku": {"S": "a"}, "n": {"N": "1"}}}, {"M": {"sku": {"S": "b"}, "n": {"N": "2"}}}]},
    "tags": {"SS": ["hot", "new"]},
    "sizes": {"NS": ["1", "2.0"]},
    "none": {"L": []},
    "a.b": {"S": "outer"},
    "blob": {"B": "AAE="},
}
TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}

DYNAMODB = [
    ({"new_image.price": [{"numeric": [">", 10]}], "event_name": ["INSERT"]}, change("INSERT", new=PRICED), True),
    ({"new_image.price": [{"numeric": [">", 10]}], "event_name": ["INSERT"]}, change(new=PRICED), False),
    ({"new_image.price": [{"numeric": [">", 10.5]}]}, change(new=PRICED), False),
    ({"new_image.price": [10.5]}, change(new=PRICED), True),
    ({"new_image.price": ["10.50"]}, change(new=PRICED), False),
    ({"new_image.price": [{"numeric": [">", 0]}]}, change(new={"price": {"N": "NaN"}}), False),
    ({"new_image.status": ["paid"]}, change(new=PRICED), True),
    ({"new_image.status": ["paid"]}, change(new={}), False),
    ({"new_image.status": ["paid"]}, change("REMOVE", old=PRICED), False),
    ({"old_image.status": [{"anything-but": ["paid"]}]}, change("REMOVE", old=PRICED), False),
    ({"new_image.open": [True]}, change(new=PRICED), True),
    ({"new_image.open": [False]}, change(new=PRICED), False),
    ({"new_image.gone": [None]}, change(new=PRICED), True),
    ({"keys.pk": [{"prefix": "k"}]}, change(), True),
    ({"event_id": ["e1"], "sequence_number": ["111"], "size_bytes": [26]}, change(), True),
    ({"timestamp": [{"numeric": [">=", 1678831218]}]}, change(), True),
    ({"is_ttl_delete": [True]}, change("REMOVE", identity=TTL), True),
    ({"is_ttl_delete": [True]}, change("REMOVE"), False),
    ({"user_identity.type": ["Service"]}, change(identity=TTL), True),
    ({"user_identity": {"principal_id": [{"exists": True}]}}, change(), False),
    # Being there counts for all that an attribute may be, and for images.
    ({"old_image": [{"exists": False}]}, change("INSERT", new={}), True),
    ({"old_image": [{"exists": False}]}, change(new={}, old={}), False),
    ({"old_image": [{"exists": True}]}, change(new={}, old={}), True),
    ({"new_image.address": [{"exists": True}]}, change(new=NESTED), True),
    ({"new_image.address": [{"exists": False}]}, change(new=NESTED), False),
    ({"new_image.none": [{"exists": True}]}, change(new=NESTED), True),
    ({"new_image.none": [{"exists": False}]}, change(new=NESTED), False),
    ({"new_image.gone": [{"exists": True}]}, change(new=PRICED), True),
    ({"new_image.other": [{"exists": False}]}, change(new=NESTED), True),
    # Maps by dots, or by objects where a name has dots itself; lists and sets by their elements.
    ({"new_image.address.city": ["Rome"]}, change(new=NESTED), True),
    ({"new_image": {"address": {"a.b": ["dot"]}}}, change(new=NESTED), True),
    ({"new_image": {"a.b": ["outer"]}}, change(new=NESTED), True),
    ({"new_image.a.b": ["outer"]}, change(new=NESTED), False),
    ({"new_image.tags": ["hot"]}, change(new=NESTED), True),
    ({"new_image.sizes": [2]}, change(new=NESTED), True),
    ({"new_image.sizes": [3]}, change(new=NESTED), False),
    ({"new_image.lines.sku": ["b"]}, change(new=NESTED), True),
    ({"new_image.lines": {"sku": ["b"], "n": [1]}}, change(new=NESTED), False),
    ({"new_image.lines": {"sku": ["b"], "n": [2]}}, change(new=NESTED), True),
    ({"new_image.lines": {"sku": ["b"], "t": [{"exists": False}]}}, change(new=NESTED), True),
    ({"new_image.lines": {"n": [{"exists": False}]}}, change(new=NESTED), False),
    # Binary is no text, but it is something.
    ({"new_image.blob": ["AAE="]}, change(new=NESTED), False),
    ({"new_image.blob": [{"anything-but": "x"}]}, change(new=NESTED), True),
    ({"new_image.blob": [{"numeric": [">", 0]}]}, change(new=NESTED), False),
    ({"$or": [{"event_name": ["REMOVE"]}, {"new_image.status": ["paid"]}]}, change(new=PRICED), True),
    ({"$or": [{"event_name": ["REMOVE"]}, {"new_image.status": ["open"]}]}, change(new=PRICED), False),
    ({"new_image": {"$or": [{"status": ["open"]}, {"price": [10.5]}]}}, change(new=PRICED), True),
    ({'new_image.a"b': ["x"]}, change(new={'a"b': {"S": "x"}}), True),
    ({'new_image.a"b': ["x"]}, change(new={"a": {"S": "x"}}), False),
]


@pytest.mark.parametrize(("pattern", "record", "expected"), DYNAMODB)
def test_a_short_pattern_for_dynamodb(pattern, record, expected):
    assert accepts(pattern, record) is expected


KINESIS = [
    ({"partition_key": ["1"], "data.type": ["buy"]}, put({"type": "buy"}), True),
    ({"partition_key": ["1"], "data": {"type": ["buy"]}}, put({"type": "sell"}), False),
    ({"data.order.price": [{"numeric": [">", 10]}]}, put({"order": {"price": 10.01}}), True),
    ({"data.order.price": [{"numeric": [">", 10]}]}, put({"order": {"price": "11"}}), False),
    ({"sequence_number": ["222"], "sub_sequence_number": [0], "size_bytes": [2]}, put(1), True),
    ({"timestamp": [1545084650.987]}, put(1), True),
    ({"encryption_type": [{"exists": False}]}, put(1), True),
    # Here the forms differ: an object counts as being there.
    ({"data.order": [{"exists": True}]}, put({"order": {}}), True),
    ({"partitionKey": ["1"], "data": {"order": [{"exists": True}]}}, put({"order": {}}), False),
]


@pytest.mark.parametrize(("pattern", "record", "expected"), KINESIS)
def test_a_short_pattern_for_kinesis(pattern, record, expected):
    assert accepts(pattern, record) is expected


def test_an_image_of_a_type_that_nobody_knows_is_not_judged_by_it():
    strange = change(new={"a": {"X": "1"}, "b": {"S": "x"}})
    asked = compile_filter({"new_image.a": ["1"]}, service="dynamodb", on_undecodable="dead_letter").split([strange])
    assert list(asked.undecodable) == [0]
    assert accepts({"new_image.b": ["x"]}, strange)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity"])
@pytest.mark.parametrize("alternative", ["x", 1, {"numeric": [">", 0]}, {"anything-but": ["x"]}])
def test_what_is_no_number_under_n_matches_nothing_and_upsets_nobody(number, alternative):
    record = change(new={"price": {"N": number}, "prices": {"L": [{"N": number}]}})
    assert not accepts({"new_image.price": [alternative]}, record)
    assert not accepts({"new_image.prices": [alternative]}, record)
    assert accepts({"new_image.price": [{"exists": True}]}, record)
