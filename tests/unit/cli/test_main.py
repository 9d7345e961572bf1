"""The command from outside: help, version, bad input, and what it does not import."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from consumer.cli import entry, work
from consumer.cli.main import main
from consumer.cli.show_config import estimate, led_read_units
from consumer.config import InitialPosition, WorkerConfig

PROCESSOR = """
from consumer import RecordProcessor

class Orders(RecordProcessor):
    def process_records(self, records, checkpointer):
        pass
"""
GOOD = ["--app", "orders-audit", "--source", "dynamodb:orders", "--initial-position", "TRIM_HORIZON"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "main_test_orders.py").write_text(PROCESSOR)
    return tmp_path


HELP = """\
usage: leasehold [-h] [--version] COMMAND ...

A consumer for DynamoDB Streams and Kinesis.

positional arguments:
  COMMAND
    run         read a stream with a RecordProcessor
    demo        three workers on a real table and a rotating stream, two of
                them stopped
    doctor      who works a lease table (a Java KCL's, too), and what joining
                it would do
    dlq         list, show, redrive or drop records that were given up on
    table       change how a lease table is shared, between two ways
    table-schema
                print the lease table's CreateTable request as JSON

options:
  -h, --help    show this help message and exit
  --version     show program's version number and exit

exit codes: 0 clean, 1 error, 3 bad configuration, 4 drain timed out, 5 batch
timed out
"""


def _told_and_loaded(*arguments: str) -> tuple[str, set[str]]:
    """What the command, begun at its entry, says in a process of its own, and the modules it has imported for that."""
    code = (
        f"import sys; sys.argv = ['leasehold', *{arguments}]; before = set(sys.modules)\n"
        "from consumer.cli.entry import main\n"
        "try: main()\n"
        "finally: print('--', *(set(sys.modules) - before), file=sys.stderr, sep='\\n')\n"
    )
    environment = os.environ | {"COLUMNS": "80"}
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60, env=environment
    )
    told, _, loaded = run.stderr.partition("--\n")
    return run.stdout + told, set(loaded.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("--nonsense",), ()])
def test_what_needs_no_library_loads_none(arguments: tuple[str, ...]) -> None:
    """Help is asked for by hand: it is to take a few times what Python itself takes to start, and no more."""
    told, loaded = _told_and_loaded(*arguments)
    assert told
    ours = {name for name in loaded if name.partition(".")[0] in ("consumer", "lease_store")}
    assert ours <= {
        "consumer",
        "consumer.cli",
        "consumer.cli.entry",
        "consumer.exit_codes",
        "consumer.cli.main",
        "consumer.cli.output",
        "consumer.cli.version",
        "lease_store",
        "lease_store.lazy_names",
    }
    foreign = {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names - {"consumer", "lease_store"}
    assert foreign == set()
    slow = {"asyncio", "dataclasses", "decimal", "inspect", "logging"}
    if "--version" not in arguments:  # for which the distribution's metadata is read
        slow |= {"email", "importlib.metadata", "json", "pathlib", "zipfile"}
    assert loaded & slow == set()


def test_the_help_tells_of_each_command_and_the_version_is_the_installed_one() -> None:
    assert _told_and_loaded("--help")[0] == HELP
    assert _told_and_loaded("--version")[0] == f"leasehold {metadata.version('leasehold')}\n"


def test_the_help_of_run_waits_for_no_aws_library() -> None:
    told, loaded = _told_and_loaded("run", "--help")
    assert "--drain-timeout-seconds" in told
    assert loaded & {"botocore", "boto3", "aiobotocore", "aiohttp", "msgspec", "prometheus_client", "asyncio"} == set()
    assert [name for name in loaded if name.startswith(("consumer.leasing", "consumer.streams"))] == []


def test_a_worker_without_a_page_loads_nothing_that_makes_one() -> None:
    code = "import sys, consumer.cli.work; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout
    assert {"prometheus_client", "aiohttp.web", "boto3", "rich"} & set(loaded.split()) == set()


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    assert "demo" in capsys.readouterr().out


def test_all_problems_of_all_kinds_are_told_in_one_go_with_exit_code_3(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEASEHOLD_ON_TRIMMED", "ignore")
    arguments = [
        "run",
        "absent:Orders",
        "--app",
        "a",
        "--source",
        "file:orders",
        "--failover-seconds",
        "0",
        "--http",
        "x",
    ]
    assert main(arguments) == 3
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("leasehold: ") for line in lines)
    for start in (
        "--initial-position is missing",
        "--http",
        "--app 'a'",
        "--failover-seconds 0.0",
        "LEASEHOLD_ON_TRIMMED",
    ):
        assert [line for line in lines if line.startswith(f"leasehold: {start}")], start
    assert [line for line in lines if "file:orders" in line]
    assert [line for line in lines if "no module 'absent'" in line]


def test_a_mistake_in_a_pattern_is_told_with_its_place_and_beside_all_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    pattern = folder / "inserts.json"
    pattern.write_text('{"eventName": [{"prefx": "I"}]}')
    arguments = ["run", "main_test_orders:Orders", *GOOD, "--filter", f"@{pattern}", "--on-timeout", "restart"]
    assert main(arguments) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("leasehold: --on-timeout 'restart': ")]
    assert [line for line in lines if line.startswith("leasehold: --filter: filter.eventName[0]: ")]
    pattern.unlink()
    assert main(arguments) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(f"leasehold: --filter '@{pattern}': the file can't be read")]
    assert len([line for line in lines if "--filter" in line]) == 1


@pytest.mark.parametrize(("source", "code"), [("dynamodb:orders", 0), ("kinesis:orders", 3)])
def test_a_pattern_may_ask_for_an_arn_that_is_known_only_once_there_is_a_stream(folder: Path, source: str, code: int):
    pattern = '{"eventSourceARN": [{"suffix": "stream/2026-01-01T00:00:00.000"}]}'
    flags = [*GOOD, "--source", source, "--filter", pattern, "--show-config"]
    assert main(["run", "main_test_orders:Orders", *flags]) == code


def test_the_table_that_is_read_is_not_taken_for_the_leases(folder: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["run", "main_test_orders:Orders", "--app", "orders", *GOOD[2:]]
    assert main(arguments) == 3
    assert "--app orders: the lease table would be the table whose stream is read" in capsys.readouterr().err
    assert main([*arguments, "--lease-table", "orders-leases", "--show-config"]) == 0


@pytest.mark.parametrize("name", ["ab", "orders leases", "örders", "a" * 256, ""])
def test_the_schema_of_a_table_that_can_not_be_is_not_printed(name: str, capsys: pytest.CaptureFixture[str]):
    assert main(["table-schema", name]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"leasehold: TABLE {name!r}: a DynamoDB table's name is 3 to 255 letters")


def test_an_instant_to_come_is_no_position(folder: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["run", "main_test_orders:Orders", *GOOD[:-1], "AT_TIMESTAMP=2999-01-01T00:00:00Z"]
    assert main(arguments) == 3
    assert "lies in the future" in capsys.readouterr().err


def test_ctrl_c_while_the_libraries_load_is_no_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "work", interrupted)
    assert main(["run", "main_test_orders:Orders", *GOOD]) == 1
    assert capsys.readouterr().err == "leasehold: interrupted before anything was begun.\n"


def test_an_unknown_flag_is_a_sentence_with_exit_code_3(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        main(["run", "a:B", "--failover", "3"])
    assert end.value.code == 3
    assert capsys.readouterr().err.startswith("leasehold: unrecognized arguments: --failover 3")


def test_show_config_prints_each_value_with_its_origin_and_what_scanning_costs(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LEASEHOLD_FAILOVER_SECONDS", "6")
    assert main(["run", "main_test_orders:Orders", *GOOD, "--show-config"]) == 0
    told = capsys.readouterr().out
    assert "the lock and the index by owner: at most 1.8 read units/s, 0.59 USD/month." in told
    rows = [line.split() for line in told.splitlines()]
    assert ["app", "orders-audit", "--app"] in rows
    assert ["failover_seconds", "6", "LEASEHOLD_FAILOVER_SECONDS"] in rows
    assert ["lease_table", "-", "default"] in rows
    assert ["10", "2", "72", "1.0", "s", "8", "s", "11.0", "3.56", "6.76"] in rows


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("true", True), ("0", False), ("no", False), ("", False)])
def test_show_config_may_be_a_variable_as_every_flag(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    shown: bool,
):
    monkeypatch.setattr(work, "work", lambda *_: 0)
    monkeypatch.setenv("LEASEHOLD_SHOW_CONFIG", value)
    assert main(["run", "main_test_orders:Orders", *GOOD]) == 0
    assert ("orders-audit" in capsys.readouterr().out) is shown


def test_the_estimate_follows_from_the_prices_and_stays_within_the_budget():
    config = WorkerConfig(app="orders", initial_position=InitialPosition("LATEST"), scan_read_units_per_second=50.0)
    small = estimate(config, 10, 2)
    assert small.scan_period_seconds == 1.0
    assert small.scan_dollars == pytest.approx(2 * 1.0 * 2_592_000 * 0.125e-6)
    assert small.renewal_dollars == pytest.approx((10 / 5.25 + 2 * 0.3) * 2_592_000 * 0.625e-6)
    large = estimate(config, 10_000, 20)
    assert large.read_units_per_second == pytest.approx(50.0)
    assert large.scan_period_seconds > 100


def test_reads_under_a_leader_keep_to_the_fleets_budget():
    config = WorkerConfig(app="orders", initial_position=InitialPosition("LATEST"), scan_read_units_per_second=50.0)
    assert led_read_units(config, 10) == led_read_units(config, 1)
    assert led_read_units(config, 500) == pytest.approx(led_read_units(config, 1) / 10)


def test_the_estimate_says_how_long_a_takeover_takes_with_the_rows_that_will_be_there():
    config = WorkerConfig(app="orders", initial_position=InitialPosition("LATEST"), failover_seconds=10.0)
    assert estimate(config, 10, 2).takeover_seconds == 12.0
    open_only, with_finished = estimate(config, 1_000, 10), estimate(config, 1_000, 10, finished=6)
    assert with_finished.rows == 7_010
    assert with_finished.scan_period_seconds > 6 * open_only.scan_period_seconds
    # Seen a period late, and judged by a look that comes a period less F/3 after F.
    period = with_finished.scan_period_seconds
    assert with_finished.takeover_seconds == pytest.approx(10.0 + period + (period - 10.0 / 3) + 2 * period - 1.0)


@pytest.mark.parametrize("name", ["consumer", "lease_store"])
def test_a_foreign_package_that_hides_ours_is_refused_by_its_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert entry.main() == 3
    shown = capsys.readouterr().err
    assert shown.startswith(f"leasehold: {tmp_path / name}.py is a foreign package named {name!r}")
    assert len(shown.splitlines()) == 1


def test_a_foreign_package_after_ours_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "consumer.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert entry.foreign_packages() == []


def test_leasehold_in_an_archive_is_no_foreign_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    archive = tmp_path / "leasehold.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in ("consumer/__init__.py", "consumer/cli/main.py", "lease_store/__init__.py", "lease_store/verbs.py"):
            packed.writestr(path, "")
    monkeypatch.syspath_prepend(archive)
    assert entry.foreign_packages() == []
