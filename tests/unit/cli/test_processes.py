"""How many processes ``--processes`` comes to, and the command line of each."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from consumer.cli import processes as processes_module
from consumer.cli import run
from consumer.cli.main import main
from consumer.cli.processes import ProcessCount, _interpreter, command_of, process_count
from consumer.cli.run import add_arguments
from consumer.cli.settings import Settings, resolve
from consumer.operate.cpus import Cpus
from tests.house.tree import ROOT

REQUIRED = {"app": "orders-audit", "source": "dynamodb:orders", "initial_position": "LATEST"}
GOOD = ["--app", "orders-audit", "--source", "dynamodb:orders", "--initial-position", "LATEST"]
PROCESSOR = """
import os
from pathlib import Path
from consumer import RecordProcessor

Path(__file__).with_suffix(f".{os.getpid()}").touch()

class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        pass
"""


def settings_of(**flags: str) -> Settings:
    settings = resolve(REQUIRED | flags, {})
    assert settings.problems == ()
    return settings


def test_a_number_is_that_many_and_says_who_gave_it():
    assert process_count(settings_of(processes="7")) == ProcessCount(7, "--processes")
    assert process_count(resolve(REQUIRED, {"LEASEHOLD_PROCESSES": "2"})) == ProcessCount(2, "LEASEHOLD_PROCESSES")
    assert process_count(settings_of()) == ProcessCount(1, "default")


@pytest.mark.parametrize(
    ("cpus", "count"), [(0.25, 1), (1.0, 1), (1.9, 1), (2.0, 2), (3.5, 3), (96.0, 96), (448.0, 256)]
)
def test_auto_is_one_for_each_whole_cpu_within_bounds(cpus: float, count: int):
    found = process_count(settings_of(processes="auto"), lambda: Cpus(cpus, "its ECS task allows"))
    assert found.count == count
    assert found.because.startswith(f"auto: its ECS task allows {cpus:g} CPU")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "1000", "257", "", " 2", "²", "9" * 5_000, "Auto"])
def test_what_is_no_number_of_processes_is_told_the_bounds(text: str):
    (problem,) = resolve(REQUIRED | {"processes": text}, {}).problems
    assert problem == (
        f"--processes: {text!r} is not a number of processes; it is a whole number from 1 to 256, or auto: one for "
        "each CPU that this process may use."
    )


def flags_in(command: list[str]) -> argparse.Namespace:
    """What a worker process makes of its command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(command[command.index("run") + 1 :])


def test_a_process_has_the_flags_of_all_but_its_own_name_page_and_number():
    given = {"failover_seconds": "6", "worker_id": "ada", "http": "0.0.0.0:9464", "processes": "3", "tune_gc": "true"}
    command = command_of(2, "orders:Orders", REQUIRED | given, settings_of(**given))
    assert command[: command.index("-m")] == _interpreter()
    found = flags_in(command)
    assert found.processor == "orders:Orders"
    told = {name: value for name, value in vars(found).items() if value not in (None, False)}
    assert told == {
        **REQUIRED,
        **given,
        "processor": "orders:Orders",
        "worker_id": "ada-2",
        "http": "127.0.0.1:0",
        "processes": "1",
    }


def test_a_process_without_a_page_of_all_has_none_either_and_a_derived_name_its_number():
    found = flags_in(command_of(12, "orders:Orders", REQUIRED, settings_of()))
    assert found.http is None
    assert found.worker_id.endswith("-12")


def test_the_longest_name_leaves_room_for_the_number():
    given = {"worker_id": "a" * 128}
    found = flags_in(command_of(12, "orders:Orders", REQUIRED | given, settings_of(**given)))
    assert found.worker_id == "a" * 125 + "-12"
    assert resolve(vars(found), {}).problems == ()


def test_a_value_that_looks_like_a_flag_reaches_the_process():
    given = {"worker_id": "--http"}
    assert flags_in(command_of(1, "orders:Orders", REQUIRED | given, settings_of(**given))).worker_id == "--http-1"


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        pytest.param(["-X", "dev", "-O", "-P"], ["-m", "told"], id="options of the interpreter"),
        pytest.param([], ["-m", "told"], id="as a module: the working directory comes first"),
        pytest.param([], ["bin/told.py"], id="as a script: the working directory is left out"),
    ],
)
def test_a_process_has_the_interpreters_options_and_its_module_path(
    tmp_path: Path, options: list[str], runs: list[str]
):
    code = (
        "from consumer.cli.processes import _interpreter; import subprocess, sys\n"
        "subprocess.run([*_interpreter(), '-m', 'shown'], check=True)\n"
        "import shown\n"
    )
    shown = "import os, sys; print(sys.flags.dev_mode, sys.flags.optimize, os.getcwd() in sys.path)\n"
    libraries = tmp_path / "libraries"
    for place in ("here/told.py", "here/bin/told.py", "libraries/told.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(code)
    (libraries / "shown.py").write_text(shown)
    search = os.pathsep.join([str(libraries), *filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, *options, *runs],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path / "here",
        env=os.environ | {"PYTHONPATH": search},
        timeout=60,
    )
    child, own = ended.stdout.splitlines()
    assert child == own


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "supervised_orders.py").write_text(PROCESSOR)
    return tmp_path


def test_a_supervisor_does_not_import_user_code(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr(processes_module, "supervise", lambda *asked_for: asked.append(asked_for) or 0)
    assert main(["run", "supervised_orders:Orders", *GOOD, "--processes", "3"]) == 0
    (processor, flags, _, processes) = asked[0]
    assert (processor, flags["processes"], processes.count) == ("supervised_orders:Orders", "3", 3)
    assert list(folder.glob("supervised_orders.[0-9]*")) == []


def test_all_that_is_wrong_is_told_before_any_process_is_started(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(processes_module, "supervise", None)
    assert main(["run", "supervised_orders:Nothing", *GOOD, "--processes", "2", "--failover-seconds", "0"]) == 3
    told = capsys.readouterr().err
    assert "--failover-seconds 0.0" in told
    assert "has no 'Nothing'" in told
    assert main(["run", *GOOD, "--processes", "2"]) == 3
    assert "the processor is missing" in capsys.readouterr().err


@pytest.mark.parametrize("processes", ["1", "auto"])
def test_one_process_has_no_supervisor(folder: Path, monkeypatch: pytest.MonkeyPatch, processes: str):
    monkeypatch.setattr(processes_module, "supervise", None)
    monkeypatch.setattr(run, "_processes", lambda settings: ProcessCount(1, "auto: its affinity mask has 1 CPU"))
    monkeypatch.setattr("consumer.cli.work.work", lambda *_: 0)
    assert main(["run", "supervised_orders:Orders", *GOOD, "--processes", processes]) == 0


def test_show_config_says_how_many_why_and_what_holds_for_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(processes_module, "supervise", None)
    asked = ["run", "supervised_orders:Orders", *GOOD, "--show-config", "--max-leases", "100", "--processes"]
    assert main([*asked, "4"]) == 0
    told = capsys.readouterr().out
    assert ["processes", "4", "--processes"] in [line.split() for line in told.splitlines()]
    assert (
        "4 worker processes on this machine (--processes), each a worker of its own with all of the above: max_leases, "
        "prefetch_bytes and processor_threads hold for each, 400 leases and 256 MiB read ahead for all."
    ) in told
    monkeypatch.setattr(run, "_processes", lambda settings: ProcessCount(1, "auto: its affinity mask has 1 CPU"))
    assert main([*asked, "auto"]) == 0
    assert "One worker process on this machine (auto: its affinity mask has 1 CPU), without a supervisor." in (
        capsys.readouterr().out
    )
    assert main(asked[:-1]) == 0
    assert "on this machine" not in capsys.readouterr().out
