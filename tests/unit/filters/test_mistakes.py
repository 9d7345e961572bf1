"""Every mistake in a filter is shown at start: where it is, what is wrong, and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from consumer.errors import ConfigError
from consumer.filters import compile_filter
from consumer.record import ViewType


def problems(told: Any, service: str = "dynamodb", **settings: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        compile_filter(told, service=service, **settings)  # type: ignore[arg-type]
    return caught.value.problems


def new(**attributes: Any) -> dict[str, Any]:
    return {"dynamodb": {"NewImage": attributes}}


PRICE = "filter.dynamodb.NewImage.price.N[0]"
OPERATORS = [
    ({"numeric": [">"]}, f"{PRICE}.numeric: takes a list of comparisons and numbers in turn"),
    ({"numeric": []}, f"{PRICE}.numeric: takes a list of comparisons and numbers in turn"),
    ({"numeric": 5}, f"{PRICE}.numeric: takes a list of comparisons and numbers in turn"),
    ({"numeric": [">", "10"]}, f'{PRICE}.numeric[1]: must be a number, without quotes, and this is "10"'),
    ({"numeric": [">", True]}, f"{PRICE}.numeric[1]: must be a number, without quotes, and this is true"),
    ({"numeric": [">", float("inf")]}, f"{PRICE}.numeric[1]: must be a number, without quotes"),
    ({"numeric": ["=>", 1]}, f'{PRICE}.numeric[0]: "=>" is no comparison; known are =, >, >=, <, <='),
    ({"numeric": [">", 10, "<", 10]}, f"{PRICE}.numeric: no number is in this range, so it can never match"),
    ({"numeric": [">", 10, "<=", 5]}, f"{PRICE}.numeric: no number is in this range"),
    ({"numeric": ["=", 10, ">", 10]}, f"{PRICE}.numeric: no number is in this range"),
    ({"nummeric": [">", 1]}, f"{PRICE}: \"nummeric\" is no operator; did you mean 'numeric'? known are anything-but"),
    ({"anything_but": ["1"]}, "did you mean 'anything-but'?"),
    ({"cidr": "10.0.0.0/8"}, "Lambda has no cidr either; a Python predicate can tell addresses apart"),
    ({"prefix": "1", "suffix": "2"}, f"{PRICE}: holds 2 operators, and takes one; write those"),
    ({}, f"{PRICE}: holds 0 operators, and takes one"),
    ({"prefix": 1}, f"{PRICE}.prefix: takes a text, and this is the number 1"),
    ({"suffix": ["a"]}, f"{PRICE}.suffix: takes a text, and this is a list"),
    ({"prefix": {"equals-ignore-case": None}}, f"{PRICE}.prefix.equals-ignore-case: takes a text, and this is null"),
    ({"prefix": {"suffix": "a"}}, f"{PRICE}.prefix: takes a text, and this is an object"),
    ({"equals-ignore-case": 1}, f"{PRICE}.equals-ignore-case: takes a text"),
    ({"exists": "true"}, f'{PRICE}.exists: takes true or false, without quotes, and this is "true"'),
    ({"anything-but": []}, f"{PRICE}.anything-but: is an empty list; name at least one value"),
    ({"anything-but": ["a", ["b"]]}, f"{PRICE}.anything-but[1]: takes texts and numbers, and this is a list"),
    ({"anything-but": {"numeric": ["=", 1]}}, f"{PRICE}.anything-but: takes a value, a list of values, or one of"),
    ({"anything-but": {"prefix": ""}}, f"{PRICE}.anything-but.prefix: must name a text that is not empty"),
    ({"anything-but": {"prefix": []}}, f"{PRICE}.anything-but.prefix: must name a text that is not empty"),
    ({"anything-but": {"suffix": ["a", 1]}}, f"{PRICE}.anything-but.suffix: takes a text, and this is the number 1"),
    ({"wildcard": "a**b"}, f"{PRICE}.wildcard: ends in a lone backslash"),
    ({"wildcard": "a\\"}, f"{PRICE}.wildcard: ends in a lone backslash"),
    ({"wildcard": "a\\b"}, f"{PRICE}.wildcard: a backslash stands before * or \\ only"),
    ({None: "a"}, f"{PRICE}: null is no operator; known are anything-but"),
    (float("nan"), f"{PRICE}: is the number nan; a value, or an operator"),
    ({"anything-but": float("inf")}, f"{PRICE}.anything-but: takes texts and numbers, and this is the number inf"),
    (["a"], f'{PRICE}: is a list; a value, or an operator such as {{"prefix": "a"}}, stands here'),
]


@pytest.mark.parametrize(("alternative", "words"), OPERATORS)
def test_a_mistake_in_an_operator(alternative, words):
    (problem,) = problems(new(price={"N": [alternative]}))
    assert words in problem


NAMES = [
    ({"eventname": ["INSERT"]}, "filter.eventname: no record has 'eventname'; did you mean 'eventName'? Lambda's form"),
    ({"event_nam": ["INSERT"]}, "filter.event_nam: no record has 'event_nam'; did you mean 'event"),
    (
        {"dynamoDB": {"NewImage": {"a": {"S": ["x"]}}}},
        "filter.dynamoDB.NewImage.a.S: no record has 'dynamoDB'; did you",
    ),
    ({"dynamodb": {"newImage": {"a": {"S": ["x"]}}}}, "no record has 'newImage'; did you mean 'NewImage'?"),
    ({"NewImage": {"a": {"S": ["x"]}}}, 'stands under "dynamodb": {"dynamodb": {"NewImage": ...}}.'),
    ({"Records": [{"eventName": ["INSERT"]}]}, "filter.Records: a pattern is written for one record"),
    ({"userIdentity": {"Type": ["Service"]}}, "no record has 'Type'; did you mean 'type'?"),
    ({"new_image.a": ["x"], "new_imag.b": ["x"]}, "no record has 'new_imag'; did you mean 'new_image'? the short form"),
    ({"eventSourceARN": ["arn"]}, "filter.eventSourceARN: the stream's ARN is not known here"),
    ({"data": {"a": ["x"]}}, "filter.data.a: this is a DynamoDB stream, and data is what Kinesis has"),
    ({"eventName": {"a": ["x"]}}, "filter.eventName.a: eventName is a plain value and has no fields."),
    ({"eventName": ["insert"]}, "filter.eventName[0]: no record has \"insert\" here; did you mean 'INSERT'? there are"),
    ({"event_name": ["INSERT", "UPDATE"]}, 'filter.event_name[1]: no record has "UPDATE" here; there are INSERT, MOD'),
    (new(a={"String": ["x"]}), "'String' stands where an attribute's type belongs; types are B, BOOL, BS, L, M, N,"),
    (new(a={"S": {"b": ["x"]}}), "filter.dynamodb.NewImage.a.S.b: what stands under S is a plain value"),
    (new(a=["x"]), 'filter.dynamodb.NewImage.a[0]: "x" can never match here: an attribute is an object with its type'),
    (
        new(a=[{"exists": True}]),
        "filter.dynamodb.NewImage.a[0]: exists can never match here: an attribute is an object",
    ),
    (new(a={"M": {"b": [{"numeric": ["=", 1]}]}}), "NewImage.a.M.b[0]: numeric can never match here: an attribute is"),
    (new(a={"M": ["x"]}), "filter.dynamodb.NewImage.a.M[0]"),
    (new(a={"L": ["x"]}), 'the elements of a list have types, too: {"L": {"S": ["a"]}}.'),
    ({"dynamodb": [{"exists": True}]}, "filter.dynamodb[0]: exists can never match here: the place holds an object"),
    ({"new_image": ["x"]}, 'filter.new_image[0]: "x" can never match here: the place holds an object'),
]


@pytest.mark.parametrize(("pattern", "words"), NAMES)
def test_a_name_that_no_record_has_or_a_place_that_holds_something_else(pattern, words):
    (problem,) = problems(pattern)
    assert words in problem


TYPES = [
    (new(a={"N": [10]}), 'the number 10 can never match here: numbers are text in DynamoDB JSON; write "100"'),
    (new(a={"BOOL": ["true"]}), '"true" can never match here: the place holds true or false; write it without quotes.'),
    (new(a={"S": [1]}), "the number 1 can never match here: the place holds a text; write it in quotes."),
    (new(a={"S": [{"numeric": ["=", 1]}]}), "numeric can never match here: the place holds a text"),
    (new(a={"NULL": [None]}), "null can never match here: the place holds true or false"),
    ({"dynamodb": {"SizeBytes": ["26"]}}, '"26" can never match here: the place holds a number; write it without'),
    ({"eventID": [{"numeric": ["=", 1]}]}, "filter.eventID[0]: numeric can never match here"),
    ({"is_ttl_delete": ["yes"]}, "the place holds true or false"),
]


@pytest.mark.parametrize(("pattern", "words"), TYPES)
def test_a_value_of_a_type_that_the_place_never_has(pattern, words):
    (problem,) = problems(pattern)
    assert words in problem


def test_such_a_value_beside_one_that_can_match_does_no_harm():
    compile_filter(new(a={"N": ["100", 100]}), service="dynamodb")


SHAPES = [
    ({"eventName": "INSERT"}, 'filter.eventName: is "INSERT"; values stand in a list: ["INSERT"].'),
    ({"eventName": 5}, "filter.eventName: is the number 5; values stand in a list: [5]."),
    ({"eventName": []}, 'filter.eventName: is an empty list, which nothing matches; for any value write [{"exists"'),
    ({"dynamodb": {}}, "filter.dynamodb: is an empty object; it must name at least one field."),
    ({}, "filter: is an empty object; a pattern names at least one field. Leave the filter out to get all."),
    ([], "filter: names no pattern, and would let nothing through; leave the filter out to get all."),
    ({"Filters": []}, "filter: names no pattern"),
    (5, 'filter: is the number 5; a pattern is an object, such as {"eventName": ["INSERT"]}.'),
    (None, "filter: is null; a pattern is an object"),
    ([{"eventName": ["INSERT"]}, 5], "filter[1]: is the number 5; a pattern is an object"),
    ({1: ["a"]}, "filter: has the number 1 for a name, and names are texts."),
    ({"$or": []}, "filter.$or: takes a list of objects, of which one must match."),
    ({"$or": {"eventName": ["INSERT"]}}, "filter.$or: takes a list of objects"),
    ({"$or": [{"eventName": ["INSERT"]}, "x"]}, 'filter.$or[1]: is "x"; $or takes objects.'),
    ({"$or": [{"eventName": ["INSERT"]}, {"eventName": []}]}, "filter.$or[1].eventName: is an empty list"),
    (
        {"eventName": ["INSERT"], "new_image.a": ["x"]},
        "filter: mixes two forms: 'eventName' is a name in Lambda's events, 'new_image.a' one of our records.",
    ),
    ({"$or": [{"eventName": ["INSERT"]}, {"event_name": ["REMOVE"]}]}, "filter: mixes two forms"),
    ({"Filters": [{"Pattern": "{}", "Name": "n"}]}, "Filters[0]: has Name beside Pattern, which stands alone."),
]


@pytest.mark.parametrize(("told", "words"), SHAPES)
def test_something_that_is_no_pattern(told, words):
    (problem,) = problems(told)
    assert words in problem


TEXTS = [
    ('{"eventName": ["INSERT"', "filter: is no JSON; line 1, column 24: Expecting ',' delimiter, where the text ends."),
    ('{"eventName": ["INSERT"],\n "dynamodb" {}}', "filter: is no JSON; line 2, column 13: Expecting ':' delimiter at"),
    ("", "filter: is no JSON; line 1, column 1: Expecting value, where the text ends."),
    ('{"dynamodb": {"SizeBytes": [NaN]}}', "filter: is no JSON: it holds NaN, which JSON does not have."),
    ("null", "filter: is null; a pattern is an object."),
    ("[" * 100_000, "filter: is nested too deeply to be read."),
    (b"\xff", "filter: is no JSON: "),
    ("{'eventName': ['INSERT']}", "JSON takes double quotes."),
    ('filter { pattern = jsonencode({ eventName = ["INSERT"] }) }', "This looks like Terraform's own language"),
    ('Filters:\n  - Pattern: \'{"eventName": ["INSERT"]}\'', "This looks like YAML; give what stands behind Pattern:"),
]


@pytest.mark.parametrize(("text", "words"), TEXTS)
def test_text_that_is_no_json_is_shown_by_line_and_column(text, words):
    (problem,) = problems(text)
    assert words in problem


def test_all_mistakes_are_told_at_once_each_with_its_own_pattern():
    told = {
        "Filters": [
            {"Pattern": '{"eventName": ["INSERT"]}'},
            {"Pattern": {"eventName": ["insert"], **new(price={"N": [{"numeric": [">"]}]})}},
            {"Pattern": '{"eventName" ["INSERT"]}'},
        ]
    }
    assert [problem.partition(": ")[0] for problem in problems(told)] == [
        "Filters[2].Pattern",
        "Filters[1].eventName[0]",
        "Filters[1].dynamodb.NewImage.price.N[0].numeric",
    ]


CARRIED = [
    (ViewType.KEYS_ONLY, "new_image", False),
    (ViewType.KEYS_ONLY, "old_image", False),
    (ViewType.NEW_IMAGE, "new_image", True),
    (ViewType.NEW_IMAGE, "old_image", False),
    (ViewType.OLD_IMAGE, "old_image", True),
    (ViewType.NEW_AND_OLD_IMAGES, "new_image", True),
    (ViewType.NEW_AND_OLD_IMAGES, "old_image", True),
    (None, "old_image", True),
]


@pytest.mark.parametrize(("view_type", "image", "carried"), CARRIED)
def test_an_image_that_the_stream_does_not_carry(view_type, image, carried):
    lambdas = {"dynamodb": {image.title().replace("_", ""): {"a": {"S": ["x"]}}}}
    for told in ({f"{image}.a": ["x"]}, {image: [{"exists": False}]}, lambdas):
        if carried:
            compile_filter(told, service="dynamodb", view_type=view_type)
            continue
        (problem,) = problems(told, view_type=view_type)
        assert f"the stream's view type {view_type} carries no {image}; enable the table's stream anew with" in problem
    compile_filter({"keys.pk": ["x"]}, service="dynamodb", view_type=view_type)


KINESIS = [
    ({"kinesis": {"data": {"a": ["x"]}}}, "Lambda's patterns have partitionKey and data at the top"),
    ({"dynamodb": {"NewImage": {"a": ["x"]}}}, "this is a Kinesis stream; what its records hold is under data."),
    ({"body": {"a": ["x"]}}, "body is what SQS has; for a Kinesis stream write data."),
    ({"data": ["plain"]}, 'filter.data[0]: "plain" can never match here: the place holds an object'),
    ({"partitionkey": ["1"]}, "did you mean 'partitionKey'?"),
    ({"partitionKey": ["1"], "partition_key": ["1"]}, "filter: mixes two forms"),
    ({"partitionKey": [1]}, "the number 1 can never match here: the place holds a text"),
]


@pytest.mark.parametrize(("pattern", "words"), KINESIS)
def test_a_mistake_in_a_pattern_for_kinesis(pattern, words):
    (problem,) = problems(pattern, "kinesis")
    assert words in problem


def test_what_multiplies_out_is_bounded():
    many = {"$or": [{"partitionKey": [str(each)]} for each in range(32)]}
    for _ in range(2):
        many = {"data": {f"a{each}": ["x"] for each in range(2)}, **many}
    compile_filter(many, service="kinesis")
    product = {f"b{each}": {"$or": [{f"c{way}": ["x"]} for way in range(11)]} for each in range(3)}
    assert "comes to more than 1000 ways to match; use fewer $or." in problems({"data": product}, "kinesis")[0]


def test_so_is_depth():
    deep: dict[str, Any] = {"a": ["x"]}
    for _ in range(60):
        deep = {"a": deep}
    (problem,) = problems({"data": deep}, "kinesis")
    assert "lies more than 50 names deep." in problem
