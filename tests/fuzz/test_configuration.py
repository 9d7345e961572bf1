"""Flags and variables of any text: a configuration, or sentences that name the flag; never a traceback."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.cli import show_config
from consumer.cli.main import main
from consumer.cli.settings import described, resolve
from consumer.config import InitialPosition, WorkerConfig, describe_fields
from consumer.errors import ConfigError
from consumer.exit_codes import BAD_CONFIGURATION, CLEAN
from consumer.streams.address import parse_address

T = TypeVar("T")

SOUND = {"app": "orders", "source": "dynamodb:orders", "initial_position": "LATEST"}
NAMES = [each["name"] for each in described()]
texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", " ", "0", "-1", "1e309", "nan", "inf", "1_0", "٣", "0x10", "true", "None", "9" * 5000, "\x00", "\ud800"]
    ),
    st.sampled_from(["AT_TIMESTAMP=" + stamp for stamp in ("2026-11-20", "9999-12-31T23:59:59Z", "1", "-1", "T")]),
    st.floats().map(str),
    st.integers().map(str),
)
flags = st.dictionaries(st.sampled_from(NAMES), texts, max_size=5)


def _or_problems(make: Callable[[], T]) -> T | tuple[str, ...]:
    try:
        return make()
    except ConfigError as error:
        return tuple(error.problems)


@given(flags, flags)
@settings(max_examples=300)
def test_any_flags_and_variables_make_a_configuration_or_name_what_is_wrong(
    given_flags: dict[str, str], variables: dict[str, str]
) -> None:
    environment = {"LEASEHOLD_" + name.upper(): text for name, text in variables.items()}
    resolved = resolve(SOUND | given_flags, environment)
    for problem in resolved.problems:
        assert re.match(r"(--|LEASEHOLD_)\w", problem), problem
    if resolved.problems:
        return
    config = resolved.config()
    assert isinstance(config, WorkerConfig)
    assert all(isinstance(line, str) for line in show_config.report("orders:Orders", resolved))


@given(st.text(max_size=60) | st.builds("{}:{}".format, st.sampled_from(["dynamodb", "kinesis", "arn"]), texts))
@settings(max_examples=300)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    address = _or_problems(lambda: parse_address(text))
    if isinstance(address, tuple):
        assert address
    else:
        assert address.service in ("dynamodb", "kinesis")
        assert address.name


FIELDS = [each["name"] for each in describe_fields()]
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=3), st.just([]))


@given(st.dictionaries(st.sampled_from(FIELDS), values, max_size=4))
@settings(max_examples=300)
def test_any_values_in_code_make_a_configuration_or_name_the_field(changes: dict[str, Any]) -> None:
    sound = {"app": "orders", "initial_position": InitialPosition("LATEST")}
    config = _or_problems(lambda: WorkerConfig(**(sound | changes)))
    if isinstance(config, tuple):
        assert {problem.partition("=")[0] for problem in config} <= set(FIELDS)


@pytest.fixture
def _no_log_setup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.cli.logs.set_up", lambda *_, **__: None)


tokens = st.one_of(
    st.sampled_from(["run", "demo", "--version", "--help", "-h", "--", "-x", "--app", "--source", "--show-config"]),
    st.sampled_from(["--app=orders", "--source=kinesis:clicks", "--initial-position=LATEST", "--max-leases", "a:B"]),
    texts.filter(lambda text: "demo" not in text),
)


@pytest.mark.usefixtures("_no_log_setup")
@settings(max_examples=200, suppress_health_check=[])
@given(st.lists(tokens.filter(lambda token: token != "demo"), max_size=6))
def test_any_command_line_ends_with_help_or_a_sentence(arguments: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code  # type: ignore[assignment]
    assert code in (CLEAN, BAD_CONFIGURATION), err.getvalue()
    assert "Traceback" not in err.getvalue()
    if code == BAD_CONFIGURATION:
        assert err.getvalue().startswith(("leasehold: ", "usage: "))
    else:
        assert out.getvalue().strip()
