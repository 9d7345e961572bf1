"""Filters as people have them: from the API, the CLI, SAM, CloudFormation, CDK and Terraform."""

from __future__ import annotations

import json

import pytest

from consumer.filters import compile_filter
from tests.unit.filters.events import change

PATTERN = {"eventName": ["INSERT"]}
TEXT = json.dumps(PATTERN)

SHAPES = {
    "one pattern": PATTERN,
    "its text": TEXT,
    "its text in bytes": TEXT.encode(),
    "its text, escaped once too often": json.dumps(TEXT),
    "its text, of several lines": json.dumps(PATTERN, indent=2),
    "a list": [PATTERN],
    "a tuple": (PATTERN,),
    "a list of texts": [TEXT],
    "the text of a list": json.dumps([PATTERN]),
    "the API's FilterCriteria": {"Filters": [{"Pattern": TEXT}]},
    "the CLI's --filter-criteria": json.dumps({"Filters": [{"Pattern": TEXT}]}),
    "what get-event-source-mapping prints": {"FilterCriteria": {"Filters": [{"Pattern": TEXT}]}},
    "SAM with a pattern that is no text": {"Filters": [{"Pattern": PATTERN}]},
    "CDK's FilterCriteria.filter": [{"pattern": TEXT}],
    "CDK's property": {"filters": [{"pattern": TEXT}]},
    "the Serverless Framework": {"filterPatterns": [PATTERN]},
    "Terraform's plan as JSON": {"filter_criteria": [{"filter": [{"pattern": TEXT}]}]},
    "Terraform's block in JSON": {"filter_criteria": {"filter": {"pattern": TEXT}}},
    "the value of that block": [{"filter": [{"pattern": TEXT}]}],
    "one entry": {"Pattern": TEXT},
}


@pytest.mark.parametrize("told", SHAPES.values(), ids=SHAPES)
def test_a_filter_is_taken_as_it_is_pasted(told):
    verdicts = compile_filter(told, service="dynamodb").split([change("INSERT"), change("REMOVE")])
    assert list(verdicts.accepted) == [0]
    assert list(verdicts.filtered) == [1]


def test_what_terraforms_jsonencode_escapes():
    text = r'{"dynamodb":{"SizeBytes":[{"numeric":["\u003e",25,"\u003c=",26]}]}}'
    assert compile_filter(text, service="dynamodb").split([change()]).all_accepted


def test_more_patterns_than_lambda_takes():
    told = {"Filters": [{"Pattern": json.dumps({"eventID": [f"e{each}"]})} for each in range(40)]}
    assert compile_filter(told, service="dynamodb").split([change()]).all_accepted


def test_terraform_with_several_filters():
    told = {"filter_criteria": [{"filter": [{"pattern": TEXT}, {"pattern": '{"eventName":["REMOVE"]}'}]}]}
    verdicts = compile_filter(told, service="dynamodb").split([change("INSERT"), change("REMOVE"), change("MODIFY")])
    assert list(verdicts.accepted) == [0, 1]
