"""The page 'When things fail' names all settings of delivery with their defaults; its flags and metrics are there."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Final

import pytest
from prometheus_client import CollectorRegistry

from consumer.cli.config_table import shown_default
from consumer.cli.main import main
from consumer.config import describe_fields
from consumer.delivery import delivery
from consumer.delivery_settings import DeliverySettings
from consumer.operate.prometheus import PrometheusHook
from consumer.processor import RecordProcessor
from tests.house.tree import ROOT

PAGE: Final = (ROOT / "deploy/when-things-fail.md").read_text()
README: Final = (ROOT / "README.md").read_text()
BEGIN: Final = "<!-- settings of delivery: compared with WorkerConfig by tests/house/test_when_things_fail.py -->"
END: Final = "<!-- end of the settings of delivery -->"
FIELDS: Final = {each["name"]: each for each in describe_fields()}


def _rows() -> list[list[str]]:
    lines = PAGE.partition(BEGIN)[2].partition(END)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


@pytest.mark.parametrize("cells", _rows(), ids=lambda cells: cells[0])
def test_a_setting_stands_there_with_its_default(cells: list[str]) -> None:
    setting, default, _, what_happens = cells
    assert default == shown_default(FIELDS[setting.strip("`")])
    assert what_happens


def test_every_setting_of_delivery_has_a_row() -> None:
    named = [cells[0].strip("`") for cells in _rows()]
    assert sorted(named) == sorted(field.name for field in fields(DeliverySettings))


def test_lambdas_names_are_those_of_the_settings_own_words() -> None:
    """What a setting's description calls by a name of Lambda's, the page does, too."""
    lambdas = {cells[0].strip("`"): cells[2] for cells in _rows()}
    for name, lambdas_name in lambdas.items():
        for told in re.findall(r"\(([A-Z]\w+[a-z][A-Z]\w+(?: \+ 1)?)\b", FIELDS[name]["doc"]):
            assert lambdas_name == told, name


def test_every_flag_of_the_pages_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    told = ""
    for command in (["run"], *(["dlq", name] for name in ("list", "show", "redrive", "drop"))):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        told += capsys.readouterr().out
    section = README.partition("## When things fail\n")[2].partition("\n## ")[0]
    flags = set(re.findall(r"--[a-z][a-z0-9-]+", PAGE + section))
    assert len(flags) > 20
    assert [flag for flag in sorted(flags) if flag not in told] == []


def test_every_metric_of_the_pages_is_one() -> None:
    served = {each.name for each in PrometheusHook(CollectorRegistry()).described}
    named = set(re.findall(r"`(leasehold_\w+)`", PAGE))
    assert len(named) > 3
    assert [name for name in sorted(named) if name not in served] == []


def test_what_python_alone_can_say_is_named() -> None:
    said = {name for name in RecordProcessor.__annotations__ if name != "requires"}
    sentence = PAGE.partition("What only Python can say")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", sentence)) == said


def test_the_picture_has_the_order_that_the_code_says() -> None:
    picture = re.search(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert picture is not None
    steps = re.findall(r"^  \| (\w+(?: \w+)?)  +", picture[1], re.MULTILINE)
    assert delivery.__doc__ is not None
    assert delivery.__doc__.partition(": ")[2].partition(".")[0] == ", ".join(steps)


def test_the_readme_leads_to_the_page_and_every_link_within_it_has_its_heading() -> None:
    assert "(deploy/when-things-fail.md)" in README
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    assert [link for link in re.findall(r"\]\(#([^)]*)\)", PAGE) if link not in headings] == []
