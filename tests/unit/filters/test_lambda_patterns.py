"""Patterns as AWS' pages on event filtering have them (in our own examples), pasted unchanged."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.filters.events import accepts, change, put


def new(**attributes: Any) -> dict[str, Any]:
    return {"dynamodb": {"NewImage": attributes}}


TTL = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
LINES = {
    "Lines": {
        "L": [{"M": {"Sku": {"S": "a"}, "Count": {"N": "1"}}}, {"M": {"Sku": {"S": "b"}, "Count": {"N": "20"}}}],
    }
}


def line(**attributes: Any) -> dict[str, Any]:
    return new(Lines={"L": {"M": attributes}})


DYNAMODB = [
    # One key, and its other value.
    ({"dynamodb": {"Keys": {"Customer": {"S": ["Any"]}}}}, change(keys={"Customer": {"S": "Any"}}), True),
    ({"dynamodb": {"Keys": {"Customer": {"S": ["Any"]}}}}, change(keys={"Customer": {"S": "any"}}), False),
    ({"dynamodb": {"Keys": {"Id": {"N": ["101"]}}}}, change(keys={"Id": {"N": "101"}}), True),
    # Either of two values; of an attribute that is missing, neither.
    (new(Agent={"S": ["Pat", "Shirley"]}), change(new={"Agent": {"S": "Shirley"}}), True),
    (new(Agent={"S": ["Pat", "Shirley"]}), change(new={"Agent": {"S": "Terry"}}), False),
    (new(Agent={"S": ["Pat", "Shirley"]}), change(new={}), False),
    (new(Agent={"S": ["Pat"]}), change("REMOVE", old={"Agent": {"S": "Pat"}}), False),
    # Another type is another value.
    (new(Size={"S": ["1"]}), change(new={"Size": {"N": "1"}}), False),
    (new(Open={"BOOL": [True]}), change(new={"Open": {"BOOL": True}}), True),
    (new(Open={"BOOL": [True]}), change(new={"Open": {"BOOL": False}}), False),
    (new(Gone={"NULL": [True]}), change(new={"Gone": {"NULL": True}}), True),
    (new(Raw={"B": ["AAE="]}), change(new={"Raw": {"B": "AAE="}}), True),
    # Fields beside the images.
    ({"eventName": ["INSERT", "REMOVE"]}, change("REMOVE"), True),
    ({"eventName": ["INSERT", "REMOVE"]}, change("MODIFY"), False),
    ({"eventName": [{"prefix": "MOD"}]}, change("MODIFY"), True),
    ({"eventName": [{"anything-but": "REMOVE"}]}, change("REMOVE"), False),
    ({"eventID": ["e1"], "eventVersion": ["1.1"], "eventSource": ["aws:dynamodb"]}, change(), True),
    ({"awsRegion": [{"prefix": "us-"}]}, change(), True),
    ({"awsRegion": [{"anything-but": {"prefix": "us-"}}]}, change(), False),
    ({"dynamodb": {"SizeBytes": [{"numeric": [">=", 26, "<", 27]}]}}, change(), True),
    ({"dynamodb": {"SizeBytes": [27]}}, change(), False),
    ({"dynamodb": {"ApproximateCreationDateTime": [1678831218]}}, change(), True),
    ({"dynamodb": {"StreamViewType": ["NEW_AND_OLD_IMAGES"], "SequenceNumber": ["111"]}}, change(), True),
    ({"userIdentity": {"type": ["Service"], "principalId": ["dynamodb.amazonaws.com"]}}, change(identity=TTL), True),
    ({"userIdentity": {"type": ["Service"]}}, change(), False),
    ({"userIdentity": {"type": [{"exists": False}]}}, change(), True),
    ({"userIdentity": {"type": [{"exists": False}]}}, change(identity=TTL), False),
    # "Exists" looks at leaves: never at the object that an attribute is.
    (new(Units={"L": {"S": [{"exists": True}]}}), change(new={"Units": {"L": [{"S": "a"}]}}), True),
    (new(Units={"L": {"S": [{"exists": True}]}}), change(new={"Units": {"L": []}}), False),
    (new(Units=[{"exists": False}]), change(new={"Units": {"L": [{"S": "a"}]}}), True),
    ({"dynamodb": {"OldImage": [{"exists": False}]}}, change(old={"a": {"S": "b"}}), True),
    (new(Name={"S": [{"exists": False}]}), change(new={"Name": {"S": "x"}}), False),
    (new(Name={"S": [{"exists": False}]}), change(new={"Name": {"N": "1"}}), True),
    (new(Name={"S": [{"exists": False}]}), change("REMOVE"), True),
    (new(Name={"S": ["x", {"exists": False}]}), change(new={"Name": {"S": "x"}}), True),
    (new(Name={"S": ["x", {"exists": False}]}), change(new={"Name": {"S": "y"}}), False),
    # Elements of sets and lists: any; several names of one element: the same.
    (new(Tags={"SS": ["hot"]}), change(new={"Tags": {"SS": ["cold", "hot"]}}), True),
    (new(Tags={"SS": [{"anything-but": "hot"}]}), change(new={"Tags": {"SS": ["hot"]}}), False),
    (new(Tags={"SS": [{"anything-but": "hot"}]}), change(new={"Tags": {"SS": ["hot", "cold"]}}), True),
    (line(Sku={"S": ["a"]}, Count={"N": ["1"]}), change(new=LINES), True),
    (line(Sku={"S": ["a"]}, Count={"N": ["20"]}), change(new=LINES), False),
    (new(Place={"M": {"City": {"S": ["Rome"]}}}), change(new={"Place": {"M": {"City": {"S": "Rome"}}}}), True),
    (new(Place={"M": {"City": {"S": ["Rome"]}}}), change(new={"Place": {"S": "Rome"}}), False),
    # Both images; and "$or".
    (
        {"dynamodb": {"NewImage": {"a": {"S": ["1"]}}, "OldImage": {"a": {"S": ["0"]}}}},
        change(new={"a": {"S": "1"}}, old={"a": {"S": "0"}}),
        True,
    ),
    (
        {"dynamodb": {"NewImage": {"a": {"S": ["1"]}}, "OldImage": {"a": {"S": ["0"]}}}},
        change(new={"a": {"S": "1"}}, old={"a": {"S": "1"}}),
        False,
    ),
    ({"$or": [{"eventName": ["REMOVE"]}, new(a={"S": ["1"]})]}, change(new={"a": {"S": "1"}}), True),
    ({"$or": [{"eventName": ["REMOVE"]}, new(a={"S": ["1"]})]}, change(new={"a": {"S": "2"}}), False),
    (new(**{"$or": [{"a": {"S": ["1"]}}, {"b": {"S": ["1"]}}]}, c={"S": ["1"]}), change(new={"b": {"S": "1"}}), False),
    # A dot between first names leads deeper, as event-ruler reads it; in names of attributes it is a dot.
    ({"dynamodb.NewImage.a.S": ["1"]}, change(new={"a": {"S": "1"}}), True),
    (new(**{"a.b": {"S": ["1"]}}), change(new={"a.b": {"S": "1"}}), True),
    # Names that msgspec can't look for by itself.
    (new(**{'a"b\\': {"S": ["1"]}}), change(new={'a"b\\': {"S": "1"}}), True),
]


@pytest.mark.parametrize(("pattern", "record", "expected"), DYNAMODB)
def test_a_pattern_for_dynamodb(pattern, record, expected):
    assert accepts(pattern, record) is expected


NUMERIC = [
    ([">", 10], "10.5", True),
    ([">", 10], "10", False),
    ([">=", 10, "<", 20], "1E1", True),
    ([">=", 10, "<", 20], "20", False),
    (["=", 100], "100.00", True),
    (["=", 0.1], "0.1", True),
    (["<", 0], "-0.000000000000000000000000000001", True),
    (["=", 12345678901234567890123456789012345678], "12345678901234567890123456789012345678", True),
    ([">", 5_000_000_000], "5000000001", True),
]


@pytest.mark.parametrize(("comparison", "number", "expected"), NUMERIC)
def test_numeric_works_under_n_where_lambda_has_only_text(comparison, number, expected):
    """SAM#3123: there DynamoDB's numbers are text, and no comparison ever matches."""
    pattern = new(Price={"N": [{"numeric": comparison}]})
    assert accepts(pattern, change(new={"Price": {"N": number}})) is expected
    assert accepts(new(Prices={"NS": [{"numeric": comparison}]}), change(new={"Prices": {"NS": [number]}})) is expected


def test_numeric_under_n_is_the_only_place_where_text_is_a_number():
    assert not accepts({"data": {"n": [{"numeric": ["=", 1]}]}}, put({"n": "1"}))
    assert not accepts(new(Price={"N": ["1.0"]}), change(new={"Price": {"N": "1"}}))
    assert not accepts(new(Price={"N": [{"numeric": [">", 0]}]}), change(new={"Price": {"N": "NaN"}}))
    assert not accepts(new(Price={"N": [{"numeric": [">", 0]}]}), change(new={"Price": {"N": "many"}}))


def data(*alternatives: Any) -> dict[str, Any]:
    return {"data": {"f": list(alternatives)}}


PLAIN = [
    # Types are told apart; numbers go by their value, as event-ruler has it.
    (data("1"), 1, False),
    (data(1), "1", False),
    (data(1), True, False),
    (data(True), 1, False),
    (data(0), False, False),
    (data(None), None, True),
    (data(None), "null", False),
    (data(""), "", True),
    (data(""), None, False),
    (data(300), 300.0, True),
    (data(0.1), 0.1, True),
    # Texts.
    (data({"prefix": "us-"}), "us-east", True),
    (data({"prefix": "us-"}), "eu-us-", False),
    (data({"prefix": "1"}), 123, False),
    (data({"prefix": {"equals-ignore-case": "US-"}}), "us-east", True),
    (data({"suffix": ".png"}), "a.png", True),
    (data({"suffix": ".png"}), "a.png\n", False),
    (data({"suffix": {"equals-ignore-case": ".PNG"}}), "a.pnG", True),
    (data({"suffix": {"equals-ignore-case": ".PNG"}}), "a.png.gz", False),
    (data({"suffix": {"equals-ignore-case": ".PNG"}}), "a.png\n", False),
    (data({"equals-ignore-case": "alice"}), "ALICE", True),
    (data({"equals-ignore-case": "alice"}), "alices", False),
    (data({"equals-ignore-case": "a.c"}), "abc", False),
    (data({"equals-ignore-case": "straße"}), "STRASSE", True),
    (data({"equals-ignore-case": "ss"}), "ß", False),
    (data({"wildcard": "*/lib/*.py"}), "src/lib/a/b.py", True),
    (data({"wildcard": "*/lib/*.py"}), "src/lib/a/b.pyc", False),
    (data({"wildcard": "a*a"}), "a", False),
    (data({"wildcard": "*a*a"}), "a", False),
    (data({"wildcard": "*ab*ab*"}), "xabx", False),
    (data({"wildcard": "*ab*ab*"}), "abab", True),
    (data({"wildcard": "a\\*b"}), "a*b", True),
    (data({"wildcard": "a\\*b"}), "aXb", False),
    (data({"wildcard": "*"}), "", True),
    (data({"wildcard": "*"}), 1, False),
    # Negation: of any value that is there.
    (data({"anything-but": "x"}), "y", True),
    (data({"anything-but": "x"}), "x", False),
    (data({"anything-but": ["x", "y"]}), "y", False),
    (data({"anything-but": [1, 2]}), 2.0, False),
    (data({"anything-but": [1, 2]}), "1", True),
    (data({"anything-but": "x"}), None, True),
    (data({"anything-but": {"prefix": "us-"}}), "us-east", False),
    (data({"anything-but": {"prefix": ["us-", "eu-"]}}), "eu-west", False),
    (data({"anything-but": {"suffix": ".png"}}), "a.gif", True),
    (data({"anything-but": {"equals-ignore-case": ["A", "b"]}}), "B", False),
    (data({"anything-but": {"wildcard": "*x*"}}), "axb", False),
    # Numbers.
    (data({"numeric": ["=", 3.018e2]}), 301.8, True),
    (data({"numeric": [">", 0, "<=", 5]}), 5, True),
    (data({"numeric": [">", 0, "<=", 5]}), 5.000001, False),
    (data({"numeric": [">", 1, ">", 5]}), 3, False),
    (data({"numeric": [">", 5, ">", 1]}), 3, False),
    (data({"numeric": ["<=", 5, "<", 5]}), 5, False),
    (data({"numeric": ["<", 10]}), True, False),
    (data({"numeric": [">", 10]}), 12345678901234567890123, True),
    # Leaves.
    (data({"exists": True}), None, True),
    (data({"exists": True}), {"g": 1}, False),
    (data({"exists": False}), {"g": 1}, True),
    (data({"exists": True}), [], False),
    (data({"exists": False}), [], True),
    # Arrays: any element; arrays within arrays count as their elements.
    (data("x"), ["w", "x"], True),
    (data("x"), [["w"], ["x"]], True),
    (data("x"), [{"f": "x"}], False),
    (data("x", "y"), "y", True),
    (data({"prefix": "a"}, 7), 7, True),
]


@pytest.mark.parametrize(("pattern", "value", "expected"), PLAIN)
def test_a_value_of_data(pattern, value, expected):
    assert accepts(pattern, put({"f": value, "other": [1]})) is expected


STAFF = {"staff": [{"first": "Anna", "last": "Smith"}, {"first": "Peter", "last": "Jones"}]}
KINESIS = [
    ({"partitionKey": ["1"], "data": {"Location": ["Los Angeles"]}}, put({"Location": "Los Angeles"}), True),
    ({"partitionKey": ["1"], "data": {"Location": ["Los Angeles"]}}, put({"Location": "Los Angeles"}, "2"), False),
    ({"partitionKey": ["1"], "data": {"Location": ["Los Angeles"]}}, put({"location": "Los Angeles"}), False),
    ({"data": {"order": {"type": ["buy"]}}}, put({"order": {"type": "buy", "quantity": 1000}}), True),
    ({"sequenceNumber": ["222"], "kinesisSchemaVersion": ["1.0"]}, put(1), True),
    ({"approximateArrivalTimestamp": [{"numeric": ["=", 1545084650.987]}]}, put(1), True),
    ({"data": {"staff": {"first": ["Anna"], "last": ["Smith"]}}}, put(STAFF), True),
    ({"data": {"staff": {"first": ["Anna"], "last": ["Jones"]}}}, put(STAFF), False),
    ({"data": {"staff": {"first": ["Anna"], "left": [{"exists": False}]}}}, put(STAFF), True),
    # Absence below an array: of all its elements, unless an earlier name has chosen one.
    ({"data": {"a": {"b": [{"exists": False}]}}}, put({"a": [{"b": 1}, {"c": 2}]}), False),
    ({"data": {"a": {"b": [1], "c": [{"exists": False}]}}}, put({"a": [{"b": 1}, {"c": 2}]}), True),
    ({"data": {"a": {"b": [{"exists": False}], "c": [2]}}}, put({"a": [{"b": 1}, {"c": 2}]}), False),
    ({"data": {"a": {"b": [{"exists": False}]}}}, put({"a": []}), True),
    # JSON that is no object has no fields, but is JSON.
    ({"data": {"a": [1]}}, put(5), False),
    ({"data": {"a": [1]}}, put([{"a": 1}]), True),
    ({"data": {"a": [{"exists": False}]}}, put(None), True),
]


@pytest.mark.parametrize(("pattern", "record", "expected"), KINESIS)
def test_a_pattern_for_kinesis(pattern, record, expected):
    assert accepts(pattern, record) is expected


def test_of_several_patterns_any_will_do():
    patterns = [{"eventName": ["INSERT"]}, new(a={"S": ["1"]}), {"event_name": ["REMOVE"]}]
    assert accepts(patterns, change("INSERT"))
    assert accepts(patterns, change(new={"a": {"S": "1"}}))
    assert accepts(patterns, change("REMOVE"))
    assert not accepts(patterns, change(new={"a": {"S": "2"}}))


def test_a_name_twice_means_both_as_in_aws_own_example():
    text = '{"dynamodb": {"NewImage": {"a": {"S": ["1"]}}}, "dynamodb": {"OldImage": {"a": {"S": ["0"]}}}}'
    assert accepts(text, change(new={"a": {"S": "1"}}, old={"a": {"S": "0"}}))
    assert not accepts(text, change(new={"a": {"S": "1"}}, old={"a": {"S": "1"}}))
    assert not accepts(text, change(new={"a": {"S": "0"}}, old={"a": {"S": "0"}}))
    twice = '{"eventName": ["INSERT"], "eventName": ["REMOVE"]}'
    assert accepts(twice, change("REMOVE"))
    assert not accepts(twice, change("INSERT"))
    both = '{"$or": [{"eventName": ["INSERT"]}, {"eventName": ["REMOVE"]}], "$or": [{"eventID": ["e1"]}]}'
    assert accepts(both, change("REMOVE"))
    assert not accepts(both, change("MODIFY"))


def test_the_streams_own_arn():
    arn = "arn:aws:dynamodb:us-east-2:123456789012:table/t/stream/2024"
    assert accepts({"eventSourceARN": [arn]}, change(), stream_arn=arn)
    assert not accepts({"eventSourceARN": [{"suffix": "2025"}]}, change(), stream_arn=arn)
