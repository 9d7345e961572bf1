"""What is shipped: the wheel, its requirements, the README's promises about itself, the lock file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from consumer.cli import config_table, metrics_table
from deploy import check_wheel
from tests.house.tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_wheel_holds_both_packages_their_types_the_command_and_nothing_else(wheel: Path):
    assert check_wheel.problems(wheel) == []


def test_requirements_have_lower_bounds_only_and_no_extra_pins_botocore():
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    for requirement in PROJECT["dependencies"] + extras:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement
    assert not [each for each in extras if "boto" in each]
    assert set(PROJECT["optional-dependencies"]) == {"cli", "testing"}


def test_the_readme_begins_with_the_two_commands():
    blocks = re.findall(r"^```[a-z]*\n(.*?)\n```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks[:2] == ["make demo", "make test"]


def test_the_readme_has_the_table_that_the_config_class_makes():
    text = (ROOT / "README.md").read_text()
    assert config_table.with_table(text) == text, "run `make config-table`"


def test_the_deployers_page_has_the_table_that_the_metrics_make():
    text = (ROOT / "deploy/README.md").read_text()
    assert metrics_table.with_table(text) == text, "run `make config-table`"


def test_the_table_has_a_row_for_each_flag_and_each_field():
    table = config_table.render()
    for name in ("`--source`", "`--http`", "`failover_seconds`", "`scan_read_units_per_second`"):
        assert name in table
    assert "| `--batch-size` | `batch_size` | 1,000 | 1 to 10,000 |" in table


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks one of the two marks"):
        config_table.with_table("# A readme")


def test_the_npm_lock_names_what_is_installed_and_not_from_where():
    lock = json.loads((ROOT / "tests/integration/kinesis_local/package-lock.json").read_text())
    package = lock["packages"]["node_modules/kinesis-local"]
    assert package["version"] == "0.6.2"
    assert package["integrity"].startswith("sha512-")
    assert not [each for each in lock["packages"].values() if "resolved" in each]
