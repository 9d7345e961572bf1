"""``| head``: who reads the output may stop at any line, and hears nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consumer.cli.output import UNREAD, until_unread

ROOT = Path(__file__).parents[3]


def unread(arguments: list[str], unbuffered: str = "") -> tuple[int, str]:
    """The exit code and the last words of a process whose standard output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            text=True,
        )
    finally:
        os.close(writer)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        (["consumer", "table-schema", "orders"], ""),
        (["consumer", "table-schema", "orders"], "1"),
        (["consumer", "--help"], ""),
        (["tests.simulation", "--world", "leases", "--seed", "1"], ""),
    ],
    ids=["result", "result-unbuffered", "help", "campaign"],
)
def test_a_command_whose_output_is_not_read_to_its_end_ends_quietly(command: list[str], unbuffered: str) -> None:
    assert unread(["-m", *command], unbuffered) == (UNREAD, "")


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [("return 4", 4, ""), ("raise SystemExit(3)", 3, ""), ("raise RuntimeError('a defect')", 1, "a defect")],
    ids=["code", "exit", "defect"],
)
def test_what_failed_is_told_though_nobody_reads_the_output(end: str, code: int, told: str) -> None:
    """It ended with 141 and without a word, whatever had happened."""
    lines = ["def main():", " print('a line')", f" {end}", "import sys", "from consumer.cli.output import until_unread"]
    ended, said = unread(["-c", "\n".join([*lines, "sys.exit(until_unread(main))"])])
    assert ended == code
    assert said.endswith(f"RuntimeError: {told}\n") if told else said == ""


def test_a_pipe_of_user_code_that_breaks_is_an_error_like_any_other() -> None:
    def main() -> int:
        raise BrokenPipeError("a socket of the processor's")

    with pytest.raises(BrokenPipeError):
        until_unread(main)


def test_without_a_standard_output_a_command_ends_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert until_unread(lambda: 4) == 4
