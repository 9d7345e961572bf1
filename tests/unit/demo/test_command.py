"""The command around the demo: its flags, its view, its sentences. What needs servers is in tests/integration."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import demo
from consumer.cli.main import main
from consumer.demo.check import Verdict
from consumer.demo.live_view import LiveView
from consumer.demo.local_aws import clean_environment
from consumer.demo.plain_view import PlainView
from consumer.testing import ministack


def test_everything_wrong_with_the_flags_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "full").write_text("")
    code = main(["demo", "--seconds", "5", "--source", "kafka", "--keep", str(tmp_path)])
    said = capsys.readouterr().err
    assert code == 3
    assert [line.split(":")[1].split()[0] for line in said.splitlines()] == ["--seconds", "--source", "--keep"]
    assert "between 30 and 3,600" in said


@pytest.mark.parametrize("seconds", ["nan", "soon", "inf", "-1"])
def test_seconds_must_be_a_number_in_range(seconds: str, capsys: pytest.CaptureFixture[str]):
    assert main(["demo", "--seconds", seconds]) == 3
    assert f"--seconds {seconds}: must be a number" in capsys.readouterr().err


GOOD = Verdict(
    written=2000, delivered=2000, lost=0, duplicates=3, out_of_order=0, rotations=3, splits=1, merges=0, keys=96,
    takeover_seconds=13.0, handoff_seconds=0.4, problems=(), missed=("the takeover took 13.00 s, the goal is 12 s",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "problems", "code"), [([], (), 0), (["--strict"], (), 1), ([], ("1 writes were never delivered",), 1)]
)
def test_the_last_line_is_the_verdict_and_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    problems: tuple[str, ...],
    code: int,
):
    from dataclasses import replace

    monkeypatch.setattr(demo.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(demo, "_verdict", lambda *_, **__: replace(GOOD, problems=problems))
    assert main(["demo", *flags]) == code
    printed = capsys.readouterr()
    last = json.loads(printed.out.splitlines()[-1])
    assert (last["written"], last["takeover_seconds"], last["passed"]) == (2000, 13.0, code == 0)
    assert "the goal is 12 s" in printed.err
    assert all(problem in printed.err for problem in problems)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def view_on(monkeypatch: pytest.MonkeyPatch, out: Any, columns: int = 80, **environment: str) -> Any:
    monkeypatch.setattr(sys, "stdout", out)
    for name, value in {"TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "", **environment}.items():
        monkeypatch.setenv(name, value)
    return demo._view(plain=False)


def test_the_live_view_is_for_terminals_that_can_show_it(monkeypatch: pytest.MonkeyPatch):
    assert isinstance(view_on(monkeypatch, Terminal()), LiveView)
    assert isinstance(view_on(monkeypatch, Terminal(), columns=60), LiveView)
    assert isinstance(view_on(monkeypatch, Terminal(), columns=59), PlainView)
    assert isinstance(view_on(monkeypatch, io.StringIO()), PlainView)
    assert isinstance(view_on(monkeypatch, Terminal(), NO_COLOR="1"), PlainView)
    assert isinstance(view_on(monkeypatch, Terminal(), TERM="dumb"), PlainView)


def test_without_rich_there_are_lines_and_a_sentence(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.delitem(sys.modules, "consumer.demo.live_view")
    out = Terminal()
    assert isinstance(view_on(monkeypatch, out), PlainView)
    assert "pip install 'leasehold[cli]'" in out.getvalue()


def test_a_missing_ministack_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def missing() -> Any:
        raise ministack.MinistackMissing("ministack was not found. Run `make demo`.")

    monkeypatch.setattr(demo.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(ministack.Ministack, "start", missing)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert main(["demo"]) == 1
    assert "`make demo`" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_children_see_nothing_of_the_users_aws_or_leasehold_settings(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "real")
    monkeypatch.setenv("LEASEHOLD_MAX_LEASES", "1")
    environment = clean_environment()
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_ACCESS_KEY_ID"] == "local"
    assert environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert not [name for name in environment if name.startswith("LEASEHOLD_")]
