"""The page 'From the KCL' names settings that are there, with the defaults that they have, and commands that parse."""

from __future__ import annotations

import re
import shlex
from inspect import isfunction
from typing import Final

import pytest

from consumer.cli.config_table import shown_default
from consumer.cli.main import main
from consumer.config import describe_fields
from consumer.processor import RecordProcessor, ShardContext
from tests.house.tree import ROOT

PAGE: Final = (ROOT / "deploy/from-the-kcl.md").read_text()
BEGIN: Final = "<!-- settings of the KCL: compared with WorkerConfig by tests/house/test_from_the_kcl.py -->"
END: Final = "<!-- end of the settings of the KCL -->"
FIELDS: Final = {each["name"]: each for each in describe_fields()}


def rows(begin: str, end: str) -> list[list[str]]:
    """The cells of the table's rows between two marks, its head left out."""
    assert begin in PAGE
    assert end in PAGE
    lines = [line for line in PAGE.partition(begin)[2].partition(end)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("cells", rows(BEGIN, END), ids=lambda cells: cells[0])
def test_a_setting_of_ours_is_there_with_the_default_that_the_page_says(cells: list[str]):
    assert len(cells) == 5
    _, _, ours, default, _ = cells
    if ours == "none":
        assert default == ""
        return
    assert re.fullmatch(r"`\w+`", ours), ours
    assert default == shown_default(FIELDS[ours.strip("`")])


def test_every_setting_of_ours_that_leasing_shares_with_a_kcl_is_on_the_page():
    named = {cells[2].strip("`") for cells in rows(BEGIN, END)}
    assert {"app", "lease_table", "failover_seconds", "max_leases", "coordination", "checkpointing"} <= named


def test_every_callback_of_ours_has_a_row():
    named = set(re.findall(r"`(\w+)\(", " ".join(cells[1] for cells in rows("## The processor", "\n## "))))
    methods = {name for name, value in vars(RecordProcessor).items() if isfunction(value)}
    callbacks = {name for name in methods if not name.startswith("_")}
    assert callbacks <= named | {"checkpoint"}
    for attribute in re.findall(r"`shard\.(\w+)`", PAGE):
        assert attribute in ShardContext.__dataclass_fields__


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^ *leasehold (.*)$|`leasehold ([^`]*)`", PAGE, re.MULTILINE))), ids=str
)
def test_every_command_on_the_page_is_one(command: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    words = shlex.split(command[0] or command[1])
    known = [word for word in words if not word.startswith("-")][:2]
    subcommand = words[:2] if words[0] == "table" else words[:1]
    with pytest.raises(SystemExit) as end:
        main([*subcommand, "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert known
    for flag in [word for word in words if word.startswith("--")]:
        assert flag in told, f"{flag} of {words}"


def test_every_flag_on_the_page_is_one(capsys: pytest.CaptureFixture[str]):
    told = ""
    for command in (["run"], ["doctor"], ["table", "prepare-2x"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        told += capsys.readouterr().out
    assert [flag for flag in sorted(set(re.findall(r"--[a-z][a-z0-9-]+", PAGE))) if flag not in told] == []


def test_every_link_within_the_page_has_its_heading():
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    assert [link for link in re.findall(r"\]\(#([^)]*)\)", PAGE) if link not in headings] == []
