"""``leasehold dlq`` on every store there is, on real servers: three days later, with a body that did not fit."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from consumer.cli.main import main
from consumer.clock import SystemClock
from consumer.dead_letters import taken
from consumer.testing.ministack import Ministack
from tests.contract.letter_stores import REAL, LetterBench, make_bench
from tests.dead_letters import DYNAMODB_ARN, change

pytestmark = pytest.mark.integration

PROCESSOR = """
from consumer import RecordProcessor

class Orders(RecordProcessor):
    poison = "poison"

    def process_records(self, records, checkpointer):
        for record in records:
            if record.keys["pk"] == self.poison:
                raise KeyError("s3cret")
            print("did", record.keys["pk"], record.sequence_number, len(record.new_image["body"]), record.redriven)

class Mended(Orders):
    poison = None
"""
THREE_DAYS_AGO = SystemClock().wall() - 3 * 86_400
TIMES = {"given_up_at": THREE_DAYS_AGO, "first_failed_at": THREE_DAYS_AGO - 60, "key_is_held": True}
LETTERS = [
    change(12, "good", bytes_of_body=1_200_000, **TIMES),
    change(3, "good", **TIMES),
    change(5, "poison", **TIMES),
    change(6, "poison", shard="shardId-2", **TIMES),
]


@pytest.fixture(params=REAL)
def bench(
    request: pytest.FixtureRequest, ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LetterBench:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "redriven_orders", raising=False)
    (tmp_path / "redriven_orders.py").write_text(PROCESSOR)
    for name, value in ministack.environment.items():
        monkeypatch.setenv(name, value)
    bench = make_bench(request.param, tmp_path, ministack.endpoint_url)
    monkeypatch.setenv("LEASEHOLD_DEAD_LETTERS", bench.address)

    async def fill() -> None:
        store = bench.store()
        async with store.open():
            await store.put(LETTERS)

    asyncio.run(fill())
    return bench


def test_letters_are_listed_shown_redriven_and_dropped(bench: LetterBench, capsys: pytest.CaptureFixture[str]) -> None:
    def dlq(*arguments: str) -> tuple[int, str, str]:
        code = main(["dlq", *arguments])
        told = capsys.readouterr()
        assert "s3cret" not in told.out + told.err
        return code, told.out, told.err

    code, out, _ = dlq("list", "--each", "--json")
    assert code == 0
    listed = [json.loads(line) for line in out.splitlines()]
    assert {each["letter"] for each in listed} == {str(letter.identity) for letter in LETTERS}

    code, out, _ = dlq("show", str(LETTERS[0].identity))
    assert code == 0
    (record,) = json.loads(out)["payload"]["Records"]
    assert len(record["dynamodb"]["NewImage"]["body"]["S"]) == 1_200_000

    code, out, _ = dlq("redrive", "--to", "stdout", "--stream", DYNAMODB_ARN)
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(int(line["leasehold"]["sequenceNumber"]) for line in lines) == [3, 5, 6, 12]
    assert all("payload" in line for line in lines)

    assert dlq("redrive", "redriven_orders:Orders", "--dry-run")[:2] == (
        0,
        f"4 letters of {bench.address} would be redriven; nothing was done\n",
    )
    code, out, complained = dlq("redrive", "redriven_orders:Orders", "--max-attempts", "1")
    assert code == 1
    assert out.splitlines()[:2] == ["did good 3 0 True", "did good 12 1200000 True"]
    assert "2 letters redriven; 1 kept: it failed; 1 kept: one before it under its key is kept" in out
    assert "KeyError at redriven_orders.py:10 in process_records" in complained

    code, out, _ = dlq("redrive", "redriven_orders:Mended", "--shard", "shardId-1")
    assert (code, out.splitlines()[0]) == (0, "did poison 5 0 True")
    assert dlq("drop", "--all", "--yes")[:2] == (0, f"1 letter deleted from {bench.address}\n")
    assert dlq("list")[1] == f"no dead letters in {bench.address}\n"


def test_a_store_that_is_not_there_is_told_in_a_sentence(
    bench: LetterBench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = bench.address.replace("letters-", "letters-z")
    monkeypatch.setenv("LEASEHOLD_DEAD_LETTERS", address)
    for arguments in (["list"], ["drop", "--all", "--yes"], ["show", str(LETTERS[0].identity)]):
        assert main(["dlq", *arguments]) == 1
        complained = capsys.readouterr().err
        assert f"{address} does not exist" in complained
        assert "Traceback" not in complained
