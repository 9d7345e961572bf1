"""``leasehold dlq`` on letters in a file: what it says, what it does, what it exits with. Times are three days old."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

import pytest

from consumer.cli.main import main
from consumer.clock import SystemClock
from consumer.dead_letters.file import FileDeadLetters
from consumer.dead_letters.letter import DeadLetter, Reason
from consumer.dead_letters.store import Unreadable
from tests.dead_letters import DYNAMODB_ARN, KINESIS_ARN, change, put

THREE_DAYS_AGO = SystemClock().wall() - 3 * 86_400
PROCESSOR = """
from consumer import BatchFailures, RecordProcessor

class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        for record in records:
            print(record.sequence_number, record.redriven, record.new_image["pk"])

class Fails(RecordProcessor):
    def process_records(self, records, checkpointer):
        raise KeyError("s3cret")

class WrongRetries(Orders):
    retries = {KeyError: 3}

class Interrupted(RecordProcessor):
    def process_records(self, records, checkpointer):
        if records[0].sequence_number == "2":
            import os, signal
            os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "dlq_test_orders", raising=False)
    (tmp_path / "dlq_test_orders.py").write_text(PROCESSOR)
    return tmp_path


def kept(folder: Path) -> list[DeadLetter | Unreadable]:
    async def read() -> list[DeadLetter | Unreadable]:
        store = FileDeadLetters(str(folder / "letters"))
        async with store.open():
            return [each async for each in store.letters()]

    return asyncio.run(read())


def store(folder: Path, *letters: DeadLetter) -> None:
    async def write() -> None:
        store = FileDeadLetters(str(folder / "letters"))
        async with store.open():
            await store.put(letters)

    asyncio.run(write())


def aged(number: int, key: str = "a", *, held: bool = True, **more: object) -> DeadLetter:
    times = {"given_up_at": THREE_DAYS_AGO, "first_failed_at": THREE_DAYS_AGO - 60}
    return change(number, key, key_is_held=held, **{**times, **more})


def dlq(*arguments: str) -> int:
    return main(["dlq", arguments[0], "--dead-letters", "file:letters", *arguments[1:]])


def test_letters_are_counted_by_shard_and_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1), aged(2, "b"), aged(3, shard="shardId-2", reason=Reason.KEY_HELD), put(4))
    assert dlq("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("arn:")] == [DYNAMODB_ARN, f"{KINESIS_ARN}@1573691800.5"]
    assert lines[1].split() == ["LETTERS", "REASON", "OLDEST", "NEWEST", "SHARD"]
    assert lines.count(lines[1]) == 2
    counts = [(line.split()[0], line.split()[1], line.split()[4]) for line in lines[:-1] if line[:1].isdigit()]
    assert sorted(counts) == [
        ("1", "attempts_exhausted", "shardId-1"),
        ("1", "key_held", "shardId-2"),
        ("2", "attempts_exhausted", "shardId-1"),
    ]
    assert max(map(len, lines)) < 100, "a stream's name is long, and stands by itself"
    assert lines[-1].startswith("4 dead letters, given up from 2019-11-14T00:38:06Z to ")
    assert lines[-1].endswith(" in file:letters")


def test_keys_are_shown_only_where_they_are_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1, "alice"), aged(2, "alice"), aged(3, "bob"))
    for arguments in (("list",), ("list", "--each"), ("list", "--each", "--json")):
        assert dlq(*arguments) == 0
        told = capsys.readouterr()
        assert "alice" not in told.out + told.err
    assert dlq("list", "--by", "key", "--json") == 0
    groups = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["letters"], each["key"]) for each in groups] == [(2, aged(1, "alice").key), (1, aged(3, "bob").key)]
    assert dlq("list", "--key", groups[0]["key"]) == 0
    assert "2 dead letters" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_no_empty_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["list"], ["redrive", "dlq_test_orders:Orders"], ["drop", "--all", "--yes"]):
        assert dlq(*command) == 3
        assert f"file:letters is not there in {folder}" in capsys.readouterr().err


def test_an_empty_store_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder)
    assert dlq("list") == 0
    assert capsys.readouterr().out == "no dead letters in file:letters\n"


def test_a_letter_is_shown_whole_by_the_name_that_list_gives(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1), aged(2, bytes_of_body=10))
    dlq("list", "--each")
    name = capsys.readouterr().out.splitlines()[1].split()[0]
    assert dlq("show", name) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["payload"]["Records"][0]["dynamodb"]["NewImage"]["body"] == {"S": "x" * 10}
    assert shown["leasehold"]["failure"]["message"] == "'alice'"
    assert dlq("show", name.replace(",2.0,", ",7.0,")) == 1
    assert "there is no letter" in capsys.readouterr().err


def test_c98_a_redrive_after_three_days_empties_the_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(3), aged(1, "b"), aged(2))
    assert dlq("redrive", "dlq_test_orders:Orders") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.endswith(" a")] == ["2 True a", "3 True a"]
    assert "1 True b" in said
    assert said[-1] == "3 letters redriven (file:letters)"
    assert kept(folder) == []


def test_what_fails_is_told_without_its_message_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1), aged(2))
    assert dlq("redrive", "dlq_test_orders:Fails", "--max-attempts", "1") == 1
    told = capsys.readouterr()
    assert "s3cret" not in told.out + told.err
    assert "KeyError at dlq_test_orders.py:11 in process_records" in told.err
    assert told.out == (
        "0 letters redriven; 1 kept: it failed; 1 kept: one before it under its key is kept (file:letters)\n"
    )
    assert len(kept(folder)) == 2


def test_keys_that_may_have_moved_on_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1, "alice", held=False), aged(2, "alice", held=False), aged(3, "b"))
    for arguments in (("--dry-run",), ()):
        assert dlq("redrive", "dlq_test_orders:Orders", *arguments) == 1
        told = capsys.readouterr()
        assert "left alone: 2 letters" in told.err
        assert '2 of \'{"pk":{"S":"alice"}}\'' in told.err
        assert len(kept(folder)) == (3 if arguments else 2)
    assert dlq("redrive", "dlq_test_orders:Orders", "--even-if-newer") == 0
    assert kept(folder) == []


def test_a_dry_run_calls_and_removes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1), aged(2))
    assert dlq("redrive", "dlq_test_orders:Fails", "--dry-run") == 0
    assert capsys.readouterr().out == "2 letters of file:letters would be redriven; nothing was done\n"
    assert len(kept(folder)) == 2


def test_letters_go_to_stdout_whole_and_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    letters = [aged(1, held=False), put(2)]
    store(folder, *letters)
    assert dlq("redrive", "--to", "stdout") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(line["leasehold"]["sequenceNumber"] for line in lines) == ["1", "2"]
    assert all(json.loads(line["payload"])["Records"] for line in lines)
    assert len(kept(folder)) == 2


def test_who_interrupts_finds_done_what_was_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1), aged(2), aged(3))
    assert dlq("redrive", "dlq_test_orders:Interrupted", "--batch-size", "1") == 1
    told = capsys.readouterr()
    assert "interrupted" in told.err
    done = int(told.out.split()[0])
    assert done in (1, 2)
    assert len(kept(folder)) == 3 - done


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--all"], 0),
        (["--key", aged(1).key], 1),
        (["--reason", "key_held"], 3),
        (["--stream", DYNAMODB_ARN, "--shard", "shardId-1"], 0),
        (["--stream", "another"], 3),
        ([str(aged(1).identity), str(aged(3, "b").identity)], 1),
    ],
)
def test_what_is_meant_is_dropped(folder: Path, arguments: list[str], left: int) -> None:
    store(folder, aged(1), aged(2), aged(3, "b"))
    assert dlq("drop", *arguments, "--yes") == 0
    assert len(kept(folder)) == left


def test_dropping_what_is_not_there_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(folder, aged(1))
    assert dlq("drop", str(aged(7).identity), str(aged(1).identity), "--yes") == 1
    told = capsys.readouterr()
    assert "there is no letter" in told.err
    assert told.out == "1 letter deleted from file:letters\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("answer", [("y\n", 0, 0), ("n\n", 1, 2), ("", 1, 2)])
def test_who_sits_there_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: tuple[str, int, int]
) -> None:
    text, code, left = answer
    store(folder, aged(1), aged(2))
    monkeypatch.setattr(sys, "stdin", Terminal(text))
    assert dlq("drop", "--all") == code
    assert "Delete 2 letters of file:letters for good? [y/N]" in capsys.readouterr().err
    assert len(kept(folder)) == left


def test_what_comes_after_the_question_was_not_asked_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder, aged(1), aged(2, given_up_at=SystemClock().wall() + 3600))
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert dlq("drop", "--all") == 1
    assert "kept: 1 letter that came after the question" in capsys.readouterr().err
    assert len(kept(folder)) == 1
    assert dlq("drop", "--all", "--yes") == 0
    assert kept(folder) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "--reason", "bored"], "--reason bored: is one of attempts_exhausted,"),
        (["show", "x"], "'x' is no letter's name; write STREAM,SHARD,SEQUENCE.SUB,DIGEST"),
        (["redrive"], "the processor is missing"),
        (["redrive", "nowhere:Orders"], "there is no module 'nowhere'"),
        (["redrive", "dlq_test_orders:Orders", "--to", "stdout"], "--to stdout calls nothing"),
        (["redrive", "dlq_test_orders:Orders", "--batch-size", "0"], "--batch-size 0: must lie between 1 and 10,000"),
        (["redrive", "dlq_test_orders:Orders", "--max-attempts", "0"], "--max-attempts 0: must lie between 1 and"),
        (["redrive", "dlq_test_orders:Orders", "--batch-timeout-seconds", "-1"], "must lie between 0.001 and"),
        (["redrive", "dlq_test_orders:WrongRetries"], "an exception class and a Retry"),
        (["drop", "--yes"], "say which letters to drop"),
        (["drop", "--all", "--key", "k", "--yes"], "one of these"),
        (["drop", "--all"], "nobody is there to be asked"),
    ],
)
def test_bad_flags_are_refused_with_the_way_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert dlq(*arguments) == 3
    assert said in capsys.readouterr().err


def test_all_that_is_wrong_is_told_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEASEHOLD_DEAD_LETTERS", "ftp://x")
    assert main(["dlq", "redrive", "--reason", "bored", "--batch-size", "x"]) == 3
    told = capsys.readouterr().err
    for each in (
        "--dead-letters: 'ftp://x' is no store",
        "--reason bored",
        "--batch-size: 'x'",
        "processor is missing",
    ):
        assert each in told
    monkeypatch.delenv("LEASEHOLD_DEAD_LETTERS")
    assert main(["dlq", "list"]) == 3
    assert "--dead-letters is missing" in capsys.readouterr().err


def test_a_line_that_is_no_letter_is_told_and_the_rest_is_redriven(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(folder, aged(1))
    with (folder / "letters").open("a") as file:
        file.write("what is this\n")
    store(folder, aged(2))
    assert dlq("redrive", "dlq_test_orders:Orders") == 1
    told = capsys.readouterr()
    assert "file:letters, byte" in told.err
    assert "2 letters redriven" in told.out
    assert [type(each) for each in kept(folder)] == [Unreadable]
