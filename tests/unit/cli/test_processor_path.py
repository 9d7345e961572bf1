"""A processor path that works, and a sentence for each way in which one does not."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from consumer.cli.processor_path import load_processor
from consumer.errors import ConfigError
from consumer.processor import RecordProcessor

Write = Callable[[str], str]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Writes a module into the working directory under a name of this test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"user_{abs(hash(request.node.name))}"

    def write(source: str) -> str:
        (tmp_path / f"{name}.py").write_text("from consumer import RecordProcessor\n" + textwrap.dedent(source))
        return name

    return write


GOOD = """
class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        pass

class Outer:
    Inner = Orders

def make():
    return Orders()
"""


@pytest.mark.parametrize("attribute", ["Orders", "Outer.Inner", "make"])
def test_a_class_or_a_callable_makes_processors(module: Write, attribute: str):
    factory = load_processor(f"{module(GOOD)}:{attribute}")
    first, second = factory(), factory()
    assert isinstance(first, RecordProcessor)
    assert first is not second


def test_what_a_processor_requires_is_known_even_of_one_that_a_function_makes(module: Write):
    source = GOOD.replace("    def process", "    requires = {'old_image'}\n    def process")
    assert load_processor(f"{module(source)}:make").requires == {"old_image"}


@pytest.mark.parametrize("attribute", ["Orders", "make"])
def test_nothing_is_lost_of_what_its_class_says_about_records(module: Write, attribute: str):
    said = """
    filter = {"eventName": ["INSERT"]}
    retries = {KeyError: Retry(max_attempts=1)}

    @staticmethod
    def lane_key(record):
        return record

    def process"""
    name = module("from consumer import Retry\n" + GOOD.replace("\n    def process", said))
    factory = load_processor(f"{name}:{attribute}")
    assert factory.filter == {"eventName": ["INSERT"]}
    assert factory.lane_key is not None
    assert factory.lane_key("ada") == "ada"
    assert factory.retries[KeyError].max_attempts == 1


def test_the_working_directory_comes_last(module: Write, tmp_path: Path):
    load_processor(f"{module(GOOD)}:Orders")
    assert sys.path[-1] == str(tmp_path)
    load_processor(f"{module(GOOD)}:Orders")
    assert sys.path.count(str(tmp_path)) == 1


def test_a_module_of_the_working_directory_hides_no_installed_one(module: Write, tmp_path: Path):
    module(GOOD)
    (tmp_path / "consumer.py").write_text("raise AssertionError('the wrong consumer was imported')")
    with pytest.raises(ConfigError, match=r"module consumer \(.*__init__\.py\) has no 'Orders'"):
        load_processor("consumer:Orders")


@pytest.mark.parametrize("path", ["", "orders", "orders:", ":Orders", "orders.py:Orders:x", "a b:C", "orders/x:C"])
def test_what_is_no_path_is_told_the_form(path: str):
    with pytest.raises(ConfigError, match="module:Class"):
        load_processor(path)


@pytest.mark.parametrize(
    ("source", "attribute", "sentence"),
    [
        (GOOD, "Order", "has no 'Order'; its RecordProcessors: Orders"),
        ("", "Orders", "it defines no RecordProcessor"),
        ("class Orders: pass", "Orders", "is not a RecordProcessor; derive the class"),
        ("Orders = 3", "Orders", "is an object of type int, not a RecordProcessor class"),
        ("def make(): return 3", "make", r"make\(\) made an object of type int"),
        ("async def make(): pass", "make", "is an async function"),
        ("class Orders(RecordProcessor): pass", "Orders", "does not define process_records"),
        (
            "class Orders(RecordProcessor):\n  def process_records(self, r, c): yield from r",
            "Orders",
            "process_records of Orders .* contains yield",
        ),
        (
            "class Orders(RecordProcessor):\n  async def process_records(self, r, c): yield r",
            "Orders",
            "process_records of Orders .* contains yield",
        ),
        (
            "class Orders(RecordProcessor):\n  requires = {'image'}\n  def process_records(self, r, c): pass",
            "Orders",
            "requires 'image'; what can be required is 'old_image', 'new_image'",
        ),
        (
            "class Orders(RecordProcessor):\n  def __init__(self): raise ValueError('no\\nqueue')",
            "Orders",
            r"Orders\(\) raised ValueError: no queue \(.*line 3\)",
        ),
        ("class Orders(RecordProcessor):\n  def __init__(self): raise SystemExit(0)", "Orders", "raised SystemExit: 0"),
        (
            "import asyncio\nclass Orders(RecordProcessor):\n  def __init__(self): raise asyncio.CancelledError",
            "Orders",
            "raised CancelledError",
        ),
        ("import asyncio\nraise asyncio.CancelledError", "Orders", "raised CancelledError"),
        (
            "class Orders(RecordProcessor):\n  requires = 'old_image'\n  def process_records(self, r, c): pass",
            "Orders",
            "requires 'old_image'; write a set of names",
        ),
        (
            "class Orders(RecordProcessor):\n  requires = None\n  def process_records(self, r, c): pass",
            "Orders",
            "requires None; write a set of names",
        ),
        ("1 / 0", "Orders", r"Importing .* raised ZeroDivisionError: division by zero \(.*line 2\)"),
        ("import nowhere_to_be_found", "Orders", "raised ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("raise SystemExit", "Orders", "raised SystemExit"),
        ("def broken(:", "Orders", "raised SyntaxError"),
    ],
)
def test_whatever_is_wrong_with_user_code_is_a_sentence(module: Write, source: str, attribute: str, sentence: str):
    with pytest.raises(ConfigError, match=sentence) as told:
        load_processor(f"{module(source)}:{attribute}")
    assert len(told.value.problems) == 1
    assert "\n" not in str(told.value)


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(module: Write, tmp_path: Path):
    module(GOOD)
    with pytest.raises(ConfigError, match=f"no module 'absent.orders'.*{tmp_path}"):
        load_processor("absent.orders:Orders")
