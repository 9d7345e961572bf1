"""The page 'When things fail': each block of code is run, and does what the page says of it."""

from __future__ import annotations

import asyncio
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from consumer.cli.main import main
from consumer.dead_letters.envelope import decode
from consumer.dead_letters.file import FileDeadLetters
from consumer.dead_letters.letter import DeadLetter
from consumer.processor import RecordProcessor
from consumer.testing import MemoryDeadLetters, VirtualClock, run_virtual
from tests.unit.worker_stage import Stage

PAGE: Final = (Path(__file__).parents[3] / "deploy/when-things-fail.md").read_text()
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^##+ (.*)$", re.MULTILINE)

# What the page calls `warehouse`: it refuses orders by name, is busy for as many calls as there are pauses, or is down.
WAREHOUSE: Final = """\
refused, busy, written = set(), [], []


class Refused(Exception):
    pass


class Busy(Exception):
    def __init__(self, seconds):
        self.seconds = seconds


def write(order):
    if busy:
        raise Busy(busy.pop())
    if order["pk"] in refused:
        raise Refused("no stock for " + order["pk"])
    written.append((order["pk"], int(order["total"])))


def write_all(orders):
    positions = []
    for position, order in enumerate(orders):
        try:
            write(order)
        except Refused:
            positions.append(position)
    return positions
"""


def _blocks() -> Iterator[tuple[str, str, str]]:
    """The page's blocks of code: under which heading, in which language, and the text."""
    for found in FENCE.finditer(PAGE):
        headings = HEADING.findall(PAGE, 0, found.start())
        yield headings[-1] if headings else "", found[1], found[2]


PYTHON: Final = [(heading, text) for heading, language, text in _blocks() if language == "python"]
CONSOLE: Final = [(heading, text) for heading, language, text in _blocks() if language == "console"]


class Shop:
    """A warehouse, a module ``orders`` with a block's code, and a worker in virtual time that runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.warehouse = self._module("warehouse", WAREHOUSE)
        self.letters: list[DeadLetter] = []

    def orders(self, code: str) -> ModuleType:
        """The block as a module that is imported."""
        return self._module("orders", code)

    def deliver(
        self, factory: type[RecordProcessor], *images: dict[str, Any], meanwhile: Callable[[], None], **settings: Any
    ) -> list[tuple[str, int]]:
        """What a worker writes of these items in a minute, and of others under new names that go on coming.

        ``meanwhile`` is called after half of it. What was given up is in ``letters``.
        """
        store = MemoryDeadLetters()

        async def run() -> None:
            stage = Stage(VirtualClock())
            for image in images:
                stage.log.put_item("orders", new_image=image)
            given = store if "dead_letters" in settings else None
            async with stage.worker(factory, letters=given, **settings) as worker:
                running = asyncio.ensure_future(worker.run())
                for number in range(60):
                    if number == 30:
                        meanwhile()
                    stage.put(number, f"other-{number}")
                    await asyncio.sleep(1)
                worker.stop()
                await running

        run_virtual(run(), limit_seconds=3600)
        self.letters = [decode(envelope) for envelope in store.envelopes.values()]
        return [each for each in self.warehouse.written if each[0].startswith("order-")]

    def _module(self, name: str, code: str) -> ModuleType:
        (self.folder / f"{name}.py").write_text(code)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield Shop(tmp_path)
    for name in ("orders", "warehouse"):
        sys.modules.pop(name, None)


def order(number: int, total: int, **others: Any) -> dict[str, Any]:
    return {"pk": f"order-{number}", "total": total, **others}


SEVEN: Final = (order(6, 1), order(7, 2), order(8, 3), order(7, 4))


def _a_named_record_parks_its_key(shop: Shop, code: str) -> None:
    """While order 7 is refused, all others are written once; with stock it is written, both times, in order."""
    shop.warehouse.refused.add("order-7")
    written = shop.deliver(shop.orders(code).Orders, *SEVEN, meanwhile=shop.warehouse.refused.clear)
    assert written == [("order-6", 1), ("order-8", 3), ("order-7", 2), ("order-7", 4)]


def _a_named_record_is_a_dead_letter(shop: Shop, code: str) -> None:
    shop.warehouse.refused.add("order-7")
    factory = shop.orders(code).Orders
    assert shop.deliver(factory, *SEVEN, meanwhile=_nothing, dead_letters="file:x") == [("order-6", 1), ("order-8", 3)]
    assert [(each.key, each.attempts) for each in shop.letters] == [('{"pk":{"S":"order-7"}}', 5)] * 2


def _rules_by_class_and_a_pause(shop: Shop, code: str) -> None:
    """Refused is a dead letter after one attempt, or one more as proof; what is busy is waited for, and costs none."""
    shop.warehouse.refused.add("order-7")
    shop.warehouse.busy += [2.0] * 8
    factory = shop.orders(code).Orders
    written = shop.deliver(factory, *SEVEN, meanwhile=_nothing, dead_letters="file:x")
    assert written == [("order-6", 1), ("order-8", 3)]
    assert len(shop.letters) == 2
    assert all(each.attempts <= 2 for each in shop.letters), "and not the five of others"
    assert {each.failure.kind for each in shop.letters} == {"Refused"}


def _one_customer_is_in_one_lane(shop: Shop, code: str) -> None:
    factory = shop.orders(code).ByCustomer
    images = [{"pk": f"order-{number % 3}#{number}", "total": number} for number in range(30)]
    written = shop.deliver(factory, *images, meanwhile=_nothing, lanes=16)
    assert len(written) == 30
    for customer in ("order-0#", "order-1#", "order-2#"):
        of_customer = [total for pk, total in written if pk.startswith(customer)]
        assert of_customer == sorted(of_customer)


def _lambdas_pattern(shop: Shop, code: str) -> None:
    images = (order(1, 500, status="paid"), order(2, 500, status="open"), order(3, 100, status="paid"))
    assert shop.deliver(shop.orders(code).PaidOrders, *images, meanwhile=_nothing) == [("order-1", 500)]


def _short_form_and_function(shop: Shop, code: str) -> None:
    module = shop.orders(code)
    rome, bern = {"city": "Rome"}, {"city": "Bern"}
    images = (order(1, 500, address=rome), order(2, 500, address=bern), order(3, 100, address=rome), order(4, 500))
    assert shop.deliver(module.InRome, *images, meanwhile=_nothing) == [("order-1", 500)]
    shop.warehouse.written.clear()
    images = (order(1, 1, text="x" * 300), order(2, 2, text="x"))
    assert shop.deliver(module.Large, *images, meanwhile=_nothing) == [("order-1", 1)]


def _asserts_of_its_own(shop: Shop, code: str) -> None:
    assert "\nassert " in code
    shop.orders(code)


def _nothing() -> None:
    pass


EFFECTS: Final[list[tuple[str, Callable[[Shop, str], None]]]] = [
    ("Saying which record failed", _a_named_record_parks_its_key),
    ("Saying which record failed", _a_named_record_parks_its_key),
    ("Retry", _rules_by_class_and_a_pause),
    ("Lanes", _one_customer_is_in_one_lane),
    ("Filters", _lambdas_pattern),
    ("Filters", _short_form_and_function),
    ("Records that know more", _asserts_of_its_own),
    ("Records that know more", _asserts_of_its_own),
]


def test_each_block_is_run_here() -> None:
    assert [heading for heading, _ in PYTHON] == [heading for heading, _ in EFFECTS]
    kinds = [language for _, language, _ in _blocks()]
    assert len(kinds) == len(PYTHON) + len(CONSOLE) + 1, "and one picture"
    assert kinds.count("text") == 1
    assert PAGE.count("```") == 2 * len(kinds)


@pytest.mark.parametrize("number", range(len(EFFECTS)), ids=lambda number: f"{number} {EFFECTS[number][0]}")
def test_what_a_block_is_said_to_do_it_does(number: int, shop: Shop) -> None:
    EFFECTS[number][1](shop, PYTHON[number][1])


@pytest.mark.parametrize("number", [0, 1])
def test_with_a_store_what_failed_is_a_dead_letter_after_five_attempts(number: int, shop: Shop) -> None:
    _a_named_record_is_a_dead_letter(shop, PYTHON[number][1])


def test_the_commands_say_what_the_page_shows(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    """In the order of the page, on the two letters of its story; each line that is shown is printed."""
    shop.warehouse.refused.add("order-7")
    factory = shop.orders(PYTHON[0][1]).Orders
    shop.deliver(factory, *SEVEN, meanwhile=_nothing, dead_letters="file:x", after_dead_letter="hold_key")
    asyncio.run(_keep(shop.letters))
    letter = ""
    for text in (text.replace("\\\n", "") for _, text in CONSOLE):
        for command, shown in re.findall(r"^\$ leasehold (.*)\n((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            words = shlex.split(command.replace("$LETTER", letter))
            if words[0] == "run":
                words.append("--show-config")
            if "--dry-run" in words:
                shop.warehouse.refused.clear()
            assert main(words) == 0, command
            printed = capsys.readouterr().out
            assert re.fullmatch(_pattern(shown), printed, re.DOTALL) or (words[0] == "run" and not shown), printed
            letter = printed.partition("  ")[0] if "--each" in words else letter
    assert [each for each in shop.warehouse.written if each[0] == "order-7"] == [("order-7", 2), ("order-7", 4)]


async def _keep(letters: list[DeadLetter]) -> None:
    store = FileDeadLetters("dead.jsonl")
    async with store.open():
        await store.put(letters)


def _pattern(shown: str) -> str:
    """What matches the text that is shown; ``...`` is anything within a line, and alone on a line any lines."""
    lines = re.escape(shown).replace(r"\ ", " ").replace("\\\n", "\n")
    lines = re.sub(r"^\\\.\\\.\\\.\n", "(?:.*\n)?", lines, flags=re.MULTILINE)
    return re.sub(r" *\\\.\\\.\\\. *", r"[^\\n]*", lines)
