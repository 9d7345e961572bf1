"""The configuration: each limit at its edge, everything wrong told at once, and one description of it all."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.config import InitialPosition, WorkerConfig, describe_fields, find_problems
from consumer.errors import ConfigError
from consumer.setting import range_text

GOOD = WorkerConfig(app="orders", initial_position=InitialPosition("TRIM_HORIZON"))
RANGES = [(each["name"], each["between"]) for each in describe_fields() if each["between"]]


@pytest.mark.parametrize(("name", "between"), RANGES)
def test_a_value_at_either_end_of_its_range_is_taken_and_one_beyond_is_named(name: str, between: tuple[float, float]):
    for value in between:
        assert not [each for each in find_problems({name: value}) if "between" in each.sentence]
    for value in (between[0] - 1, between[0] - 0.01, between[1] + 1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=f"{name}=.*must (lie between|be a whole number)"):
            replace(GOOD, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("batch_size", 1.5, "a whole number"),
        ("batch_size", True, "a whole number"),
        ("batch_size", None, "a whole number"),
        ("failover_seconds", "10", "a number"),
        ("create_table", "no", "True or False"),
        ("app", 7, "text"),
        ("worker_id", b"w", "text"),
        ("bisect", "yes", "True or False"),
        ("lanes", None, "a whole number"),
        ("max_attempts", 2.0, "a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_is_given(name: str, value: Any, kind: str):
    with pytest.raises(ConfigError, match=f"{name}=.*must be {kind}"):
        replace(GOOD, **{name: value})


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as told:
        WorkerConfig(
            app="",
            initial_position=InitialPosition("AT_TIMESTAMP", -1.0),
            failover_seconds=0.5,
            max_leases=0,
            on_trimmed="ignore",  # type: ignore[arg-type]
            worker_id="a b",
        )
    assert [problem.partition("=")[0] for problem in told.value.problems] == [
        "app",
        "initial_position",
        "worker_id",
        "failover_seconds",
        "max_leases",
        "on_trimmed",
    ]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"app": "my app"}, "the lease table is named after it"),
        ({"app": "ab"}, "the lease table is named after it"),
        ({"lease_table": "no/slash"}, "3 to 255 letters"),
        ({"checkpointing": "never"}, "is automatic or manual"),
        ({"initial_position": "LATEST"}, "InitialPosition.parse"),
        ({"initial_position": None}, "InitialPosition.parse"),
        ({"idle_wait_seconds": 30.0}, "more than twice idle_wait_seconds"),
    ],
)
def test_a_bad_value_is_refused_with_its_limit(changes: dict[str, Any], sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        replace(GOOD, **changes)


def test_an_app_that_is_no_table_name_is_taken_where_the_table_has_its_own():
    assert replace(GOOD, app="my app", lease_table="leases").table == "leases"
    assert GOOD.table == "orders"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("LATEST", InitialPosition("LATEST")),
        ("TRIM_HORIZON", InitialPosition("TRIM_HORIZON")),
        ("AT_TIMESTAMP=2026-11-20T08:00:00Z", InitialPosition("AT_TIMESTAMP", 1795161600.0)),
        ("AT_TIMESTAMP=2026-11-20T10:00:00+02:00", InitialPosition("AT_TIMESTAMP", 1795161600.0)),
        ("AT_TIMESTAMP=2026-11-20T08:00:00", InitialPosition("AT_TIMESTAMP", 1795161600.0)),
    ],
)
def test_positions_are_parsed(text: str, position: InitialPosition):
    assert InitialPosition.parse(text) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest",
        "earliest",
        "LATEST=1",
        "TRIM_HORIZON=2026-11-20T08:00:00Z",
        "AT_TIMESTAMP",
        "AT_TIMESTAMP=noon",
        "AT_TIMESTAMP=9999-12-31T23:59:59-12:00",
        "AT_TIMESTAMP=0001-01-01T00:00:00+12:00",
    ],
)
def test_what_is_no_position_is_refused_with_a_form_that_works(text: str):
    with pytest.raises(ConfigError, match=r"TRIM_HORIZON|AT_TIMESTAMP=2026"):
        InitialPosition.parse(text)


@given(st.integers(min_value=1, max_value=4_000_000_000))
def test_a_position_comes_back_from_its_text(second: int):
    position = InitialPosition("AT_TIMESTAMP", float(second))
    assert InitialPosition.parse(str(position)) == position


def test_each_field_is_described_once_with_everything_a_flag_needs():
    described = describe_fields()
    assert sorted(each["name"] for each in described) == sorted(each.name for each in fields(WorkerConfig))
    assert [each["name"] for each in described][:2] == ["app", "initial_position"]
    for each in described:
        assert each["doc"].endswith((".", ").")), each["name"]
        if each["cli"] and each["default"] not in (MISSING, None):
            assert each["parse"](str(each["default"])) == each["default"], each["name"]


def test_ranges_read_as_people_write_them():
    assert range_text((0.25, 3600), "s") == "0.25 and 3,600 s"
    assert range_text((0, 100_000), "") == "0 and 100,000"
