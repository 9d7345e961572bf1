"""Flag before variable before default, and everything wrong at once with where it came from."""

from __future__ import annotations

import argparse

import pytest

from consumer.cli.settings import HttpAddress, Setting, add_flags, described, parse_http, resolve, told_flags
from consumer.config import InitialPosition, describe_fields
from consumer.errors import ConfigError

REQUIRED = {"app": "orders-audit", "source": "dynamodb:orders", "initial_position": "LATEST"}


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_default():
    settings = resolve(
        REQUIRED | {"failover_seconds": "5"},
        {"LEASEHOLD_FAILOVER_SECONDS": "6", "LEASEHOLD_MAX_LEASES": "7", "LEASEHOLD_MINISTACK": "/bin/true"},
    )
    assert settings.problems == ()
    told = {name: (setting.value, setting.origin) for name, setting in settings.values.items()}
    assert told["failover_seconds"] == (5.0, "--failover-seconds")
    assert told["max_leases"] == (7, "LEASEHOLD_MAX_LEASES")
    assert told["idle_wait_seconds"] == (1.0, "default")
    config = settings.config()
    assert (config.app, config.failover_seconds, config.max_leases) == ("orders-audit", 5.0, 7)
    assert config.initial_position == InitialPosition("LATEST")


def test_every_problem_is_told_at_once_with_its_origin():
    settings = resolve(
        {"app": "x", "failover_seconds": "soon", "http": "here", "log_level": "loud"},
        {"LEASEHOLD_BATCH_SIZE": "0", "LEASEHOLD_INITIAL_POSITION": "earliest", "LEASEHOLD_LOG_FORMAT": "xml"},
    )
    assert [problem.partition(" ")[0].rstrip(":") for problem in settings.problems] == [
        "--source",
        "LEASEHOLD_INITIAL_POSITION",
        "--failover-seconds",
        "--http",
        "--log-level",
        "LEASEHOLD_LOG_FORMAT",
        "--app",
        "LEASEHOLD_BATCH_SIZE",
    ]
    assert settings.problems[0].startswith("--source is missing: ")
    assert settings.problems[-1] == "LEASEHOLD_BATCH_SIZE 0: must lie between 1 and 10,000."


def test_an_empty_app_is_told_and_an_unset_one_too():
    assert resolve(REQUIRED | {"app": ""}, {}).problems == (
        "--app '': the app needs a name; workers that share it share the shards.",
    )
    assert "LEASEHOLD_APP" in resolve({name: REQUIRED[name] for name in ("source", "initial_position")}, {}).problems[0]


def test_every_field_with_a_flag_has_one_and_its_text_is_kept():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    assert {each["flag"] for each in describe_fields() if each["cli"]} < set(flags)
    negated = {each["negated"] for each in described() if each["negated"]}
    assert set(flags) == {each["flag"] for each in described()} | negated | {"-h", "--help"}
    assert parser.parse_args(["--failover-seconds", "nonsense"]).failover_seconds == "nonsense"
    assert "Required." in parser.format_help()


def parsed(*words: str) -> dict[str, str | None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("processor")
    add_flags(parser)
    return {**vars(parser.parse_args([*words, "orders:Orders"])), **REQUIRED}


@pytest.mark.parametrize(
    ("words", "variables", "value", "origin"),
    [
        ([], {}, False, "default"),
        (["--bisect"], {}, True, "--bisect"),
        ([], {"LEASEHOLD_BISECT": "True"}, True, "LEASEHOLD_BISECT"),
        ([], {"LEASEHOLD_BISECT": "0"}, False, "LEASEHOLD_BISECT"),
        (["--no-bisect"], {"LEASEHOLD_BISECT": "true"}, False, "--no-bisect"),
        (["--bisect", "--no-bisect"], {}, False, "--no-bisect"),
    ],
)
def test_yes_or_no_has_a_flag_for_either_and_a_variable_that_says_true_or_false(
    words: list[str], variables: dict[str, str], value: bool, origin: str
):
    flags = parsed(*words)
    assert flags["processor"] == "orders:Orders"
    settings = resolve(flags, variables)
    assert settings.problems == ()
    assert settings.values["bisect"] == Setting(value, origin)
    assert settings.config().bisect is value


def test_what_is_neither_true_nor_false_is_refused():
    assert resolve(REQUIRED, {"LEASEHOLD_BISECT": "maybe", "LEASEHOLD_TUNE_GC": "2"}).problems == (
        "LEASEHOLD_BISECT: 'maybe' is neither true nor false.",
        "LEASEHOLD_TUNE_GC: '2' is neither true nor false.",
    )


def test_given_flags_can_be_said_again():
    words = ["--failover-seconds=5", "--bisect", "--no-empty-batches", "--lanes=4"]
    given = parsed(*words)
    said = told_flags(given)
    assert sorted(said) == sorted([*words, *(f"--{name.replace('_', '-')}={text}" for name, text in REQUIRED.items())])
    assert parsed(*said) == given


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9464", HttpAddress("127.0.0.1", 9464)),
        ("localhost:0", HttpAddress("localhost", 0)),
        ("[::1]:65535", HttpAddress("::1", 65535)),
    ],
)
def test_http_addresses_are_parsed_and_shown_alike(text: str, address: HttpAddress):
    assert parse_http(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "9464", ":9464", "localhost", "localhost:", "localhost:x", "a:65536", "a:-1", "::1:80", "a:²"]
)
def test_what_is_no_http_address_is_refused(text: str):
    with pytest.raises(ConfigError, match=r"HOST:PORT|is not a port"):
        parse_http(text)
