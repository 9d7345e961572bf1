from __future__ import annotations

from pathlib import Path

import pytest

from consumer.demo.journal import Appender, DamagedJournal, Delivery, Follower, Write, read_deliveries, read_writes

WRITES = [Write("a", 1, "put", 1.5), Write("b", 1, "put", 2.5)]


def test_lines_come_back_as_they_were_appended(tmp_path: Path):
    path = tmp_path / "writes.jsonl"
    for _ in range(2):  # opened again, it goes on at the end
        with Appender(path) as file:
            file.append(WRITES)
    assert read_writes(path) == WRITES * 2


def test_a_follower_reads_on_and_leaves_half_a_line_for_later(tmp_path: Path):
    path = tmp_path / "writes.jsonl"
    follower = Follower(path, Write)
    assert follower.new() == []
    with Appender(path) as file:
        file.append(WRITES[:1])
    assert follower.new() == WRITES[:1]
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    assert follower.new() == []
    path.write_bytes(whole * 2)
    assert follower.new() == WRITES[:1]


def test_half_a_line_at_the_end_was_never_acknowledged(tmp_path: Path):
    path = tmp_path / "deliveries-ada.jsonl"
    line = Delivery("s", "a", "12", 1, "ada", 3, 1.0)
    with Appender(path) as file:
        file.append([line])
    path.write_bytes(path.read_bytes() + b'{"shard_id":"s","ke')
    assert read_deliveries([path, tmp_path / "deliveries-ben.jsonl"]) == [line]


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"key":"a"}\n', b"\n"])
def test_a_damaged_line_is_told_with_its_file(tmp_path: Path, line: bytes):
    path = tmp_path / "writes.jsonl"
    path.write_bytes(line)
    with pytest.raises(DamagedJournal, match=r"writes\.jsonl has a line that is no write"):
        read_writes(path)
