"""The settings of delivery: every contradiction refused at once, each naming both settings and the way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consumer.config import InitialPosition, WorkerConfig, find_problems
from consumer.delivery_settings import AT_ODDS, filter_text
from consumer.errors import ConfigError
from consumer.setting import Odds

GOOD = WorkerConfig(app="orders", initial_position=InitialPosition("TRIM_HORIZON"))
TOPIC = "arn:aws:sns:eu-west-1:000000000000:orders-failed"

# What contradicts, the setting it is told of, another one that the sentence names.
CONTRADICTIONS: list[tuple[dict[str, Any], str, str]] = [
    ({"max_attempts": 3}, "max_attempts", "dead_letters"),
    ({"max_record_age_seconds": 3600.0}, "max_record_age_seconds", "dead_letters"),
    (
        {"max_record_age_seconds": 60.0, "batch_window_seconds": 60.0, "dead_letters": "file:letters"},
        "max_record_age_seconds",
        "batch_window_seconds (60 s)",
    ),
    ({"on_give_up": "drop", "max_attempts": 3, "dead_letters": "file:f"}, "on_give_up", "dead_letters='file:f'"),
    ({"on_give_up": "drop"}, "on_give_up", "max_attempts"),
    ({"on_undecodable": "dead_letter"}, "on_undecodable", "dead_letters"),
    ({"after_dead_letter": "hold_key"}, "after_dead_letter", "dead_letters"),
    ({"after_dead_letter": "hold_key", "dead_letters": "sqs:failed"}, "after_dead_letter", "dead_letters='sqs:failed'"),
    ({"dead_letter_bucket": "bodies"}, "dead_letter_bucket", "dead_letters"),
    ({"dead_letter_topic": TOPIC}, "dead_letter_topic", "dead_letters"),
    ({"on_timeout": "restart"}, "on_timeout", "batch_timeout_seconds"),
]


@pytest.mark.parametrize(("changes", "name", "other"), CONTRADICTIONS)
def test_settings_at_odds_are_refused_and_both_are_named(changes: dict[str, Any], name: str, other: str):
    with pytest.raises(ConfigError) as told:
        replace(GOOD, **changes)
    (problem,) = told.value.problems
    assert problem.startswith(f"{name}=")
    assert other in problem


@pytest.mark.parametrize("rule", AT_ODDS, ids=lambda rule: rule.sentence)
def test_each_rule_has_its_case(rule: Odds):
    worlds = [{name: changes.get(name, getattr(GOOD, name)) for name in rule.names} for changes, _, _ in CONTRADICTIONS]
    assert any(rule.found(*world.values()) for world in worlds)


def test_all_that_is_at_odds_is_told_in_one_message_and_nothing_twice():
    with pytest.raises(ConfigError) as told:
        replace(
            GOOD,
            max_attempts=3,
            max_record_age_seconds=60.0,
            batch_window_seconds=120.0,
            after_dead_letter="hold_key",
            dead_letter_bucket="bodies",
            dead_letter_topic=TOPIC,
            on_undecodable="dead_letter",
            on_timeout="restart",
        )
    assert [problem.partition("=")[0] for problem in told.value.problems] == [
        "on_undecodable",
        "on_timeout",
        "max_attempts",
        "max_record_age_seconds",
        "max_record_age_seconds",
        "dead_letter_bucket",
        "dead_letter_topic",
        "after_dead_letter",
    ]


def test_a_value_wrong_by_itself_is_not_held_against_another():
    with pytest.raises(ConfigError) as told:
        replace(GOOD, max_attempts=3, on_give_up="forget")  # type: ignore[arg-type]
    assert [problem.partition("=")[0] for problem in told.value.problems] == ["on_give_up"]


@pytest.mark.parametrize(
    "changes",
    [
        {"max_attempts": 3, "on_give_up": "drop"},
        {"max_record_age_seconds": 61.0, "batch_window_seconds": 60.0, "on_give_up": "drop"},
        {"max_attempts": 3, "dead_letters": "sqs:failed", "dead_letter_bucket": "bodies", "dead_letter_topic": TOPIC},
        {"dead_letters": "dynamodb:failed", "after_dead_letter": "hold_key"},
        {"dead_letters": "s3://failed/p", "on_give_up": "drop", "max_attempts": 3, "on_undecodable": "dead_letter"},
        {"batch_timeout_seconds": 30.0, "on_timeout": "restart"},
    ],
)
def test_settings_that_agree_are_taken(changes: dict[str, Any]):
    replace(GOOD, **changes)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("dead_letters", "orders-failed", "s3://BUCKET/PREFIX, dynamodb:TABLE, file:PATH or sqs:QUEUE"),
        ("dead_letter_bucket", "Bodies", "3 to 63 small letters"),
        ("dead_letter_topic", "orders-failed", "arn:aws:sns:REGION:ACCOUNT:TOPIC"),
        ("on_give_up", "skip", "is dead_letter or drop"),
        ("filter", "@/no/such/file", "can't be read: No such file"),
        ("filter", "@", "can't be read"),
        ("filter", "@\x00", "can't be read"),
    ],
)
def test_a_value_of_no_form_is_refused_with_the_form(name: str, value: str, sentence: str):
    (problem,) = find_problems({name: value})
    assert sentence in problem.sentence


def test_a_filter_is_the_text_or_what_is_in_the_file(tmp_path: Path):
    path = tmp_path / "filter.json"
    path.write_text('{"eventName": ["INSERT"]}')
    assert filter_text('{"eventName": ["REMOVE"]}') == '{"eventName": ["REMOVE"]}'
    assert filter_text(f"@{path}") == '{"eventName": ["INSERT"]}'
    path.write_bytes(b"\xff\xfe")
    (problem,) = find_problems({"filter": f"@{path}"})
    assert "can't be read" in problem.sentence
